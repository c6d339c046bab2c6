/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of vhost-user: what a device program (back end, daemon) is built on.
 *
 * Theory of operation. One loop, one thread, one front end at a time: while one is connected the
 * next waits in the listening socket's backlog, and when it leaves everything it gave (memory,
 * eventfds, negotiated features) is dropped and the next is accepted, so a VMM may be restarted
 * any number of times. A ring is started by SET_VRING_KICK, stopped by GET_VRING_BASE and runs
 * while it is enabled too ("Ring states"). A kick runs the device's handle_queue for a bounded number
 * of chains; then the socket gets its turn again.
 *
 * A front end's message is checked by proto.h's table and refused as a whole or obeyed as a whole.
 * A refused message is answered non-zero when an answer was asked for (REPLY_ACK); when it was not,
 * the connection ends, for the front end would go on believing it. A guest that breaks a ring gets
 * the ring's err eventfd signalled, and the ring stands still until it is stopped and started anew.
 *
 * Devices that answer later keep chains: those are in flight. A message that would take memory or
 * the ring away from chains in flight waits, and no chain is popped meanwhile, until the device has
 * pushed them all; so a device keeps only chains that it will finish by itself. What is in flight
 * is written down in a buffer that the front end keeps, when it asked for one (INFLIGHT_SHMFD,
 * vhost/inflight.h): after a kill the next process pops those chains again, before all others and
 * in the guest's order. Without a buffer the used index tells it where to go on, which is right for
 * devices that push in the order of popping.
 *
 * A device with shared memory regions (SHMEM) maps files into them by backend_shmem_map: a request
 * on the back channel whose answer is waited for, and nothing else is done meanwhile. `enable` is
 * the place to do it: the guest's driver sees the device run only after. The front end drops all
 * mappings when the guest resets the device; with the connection they are gone as well.
 */
#ifndef VHOST_BACKEND_H
#define VHOST_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/acceptor.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "vhost/guest_map.h"
#include "vhost/inflight.h"
#include "vhost/proto.h"
#include "vhost/ring.h"
#include "vhost/wire.h"

enum {
	BACKEND_QUEUES_MAX = 256,	/* what a queue index of one byte can name */
	BACKEND_BATCH = 64,		/* chains handle_queue gets before the socket's turn */
	BACKEND_POLL_MS = 1,		/* how often a ring without kick eventfd is looked at */
	BACKEND_F_VERSION_1 = 32,	/* virtio feature bit */
	/* That a front end may take to answer SHMEM_MAP: it may have to wait for other daemons, and
	 * gives those 10 seconds for each of their answers (shmem-share). */
	BACKEND_REPLY_MS = 30000,
};

struct backend;

/* One virtqueue. Devices use the functions below and `index`. */
struct backend_queue {
	struct backend *backend;
	unsigned index;
	struct ring ring;
	struct inflight_queue inflight;	/* of a started ring */
	struct vu_vring_addr addr;	/* as the front end sent it */
	bool has_addr;
	uint16_t size, base;		/* entries (0: not told yet); avail index to start at */
	int kick, call, err;		/* owned; -1 for none */
	bool started, enabled;
	bool in_handler;		/* calls are held back until handle_queue returns */
	unsigned budget;		/* chains left in this run */
	struct loop_watch watch;	/* of kick */
	struct loop_timer again;	/* next run without a kick */
	struct misuse broken;
};

/* A device. Everything is called in the loop's thread. */
struct backend_ops {
	/*
	 * Serves the queue: pops and pushes until there is nothing to pop. False: it waits for
	 * something of its own and will call backend_queue_wake.
	 */
	bool (*handle_queue)(void *arg, struct backend_queue *q);
	/* The front end negotiated @features; also (0) when it left. May be NULL. */
	void (*negotiated)(void *arg, uint64_t features);
	/* Chains of @q in flight are gone: forget them, touch their memory no more. May be NULL for
	 * a device that pushes every chain before handle_queue returns. */
	void (*drop)(void *arg, struct backend_queue *q);
	/*
	 * SET_VRING_ENABLE: @q is about to be enabled, or disabled; each time one comes, before it
	 * is obeyed and answered. 0, or -errno with @e to refuse. May be NULL.
	 */
	int (*enable)(void *arg, struct backend_queue *q, bool on, struct err *e);
	/* Fills the zeroed config space. NULL: there is none. */
	void (*config_read)(void *arg, uint8_t config[VU_CONFIG_MAX]);
	/* The guest wrote [off, off + len) of the config space, which lies inside it. 0, or -EINVAL
	 * to refuse. May be NULL. */
	int (*config_write)(void *arg, unsigned off, const uint8_t *data, unsigned len);
};

struct backend_device {
	const char *name;		/* "rng", for messages; borrowed */
	uint64_t features;		/* virtio device features without the library's own */
	unsigned queues;		/* 1 to BACKEND_QUEUES_MAX */
	const struct backend_ops *ops;	/* borrowed */
	void *arg;
	/* Bytes of its shared memory regions by shmid, multiples of VU_SHMEM_PAGE; 0: there is none
	 * with this shmid. */
	uint64_t shmem[VU_SHMEM_REGIONS];
	/* It looks at ring_chain.outside and refuses such a request; else the queue breaks. Another
	 * device's window that is not shared is outside, and any program of the guest may point a
	 * request there. */
	bool refuses_outside;
};

struct backend {
	struct loop *loop;
	struct backend_device dev;
	struct backend_queue *queues;	/* dev.queues of them */
	bool ended;			/* the only connection it had to serve is over */
	unsigned reply_ms;		/* BACKEND_REPLY_MS; may be changed */

	/* private below; see backend.c */
	struct acceptor door;		/* zeroed when serving one given connection */
	struct vu_channel channel;	/* main; sock -1 while nobody is connected */
	struct loop_watch watch;
	struct vu_channel back;		/* back channel; sock -1 without */
	struct loop_watch back_watch;
	int back_wait;			/* epoll of the back channel alone; owned; -1: no SHMEM */
	uint32_t back_wait_events;	/* what it waits for */
	uint64_t acked;			/* virtio features, bit 30 included */
	uint64_t protocol;		/* protocol features */
	struct guest_map map;
	struct inflight inflight;	/* the front end's, or made for it */
	bool holding;			/* `held` waits for chains in flight */
	struct vu_msg held;
	struct loop_job unhold;
	struct misuse refused;		/* messages of this connection */
};

/* Borrows @loop, @dev's pointers. Before the sandbox. 0 or -errno with @e. */
int backend_init(struct backend *b, struct loop *loop, const struct backend_device *dev,
		 struct err *e);
/* Ends the connection, closes everything. Works on a zeroed struct, twice. */
void backend_fini(struct backend *b);

/* Takes the listening *@sock and serves one front end after the other. */
void backend_listen(struct backend *b, int *sock);
/* Takes the connected *@sock and serves it; at its end `ended` is true and the loop is stopped. */
int backend_connect(struct backend *b, int *sock, struct err *e);

/* Virtio features it offers: the device's, VERSION_1, the ring's, bit 30. */
uint64_t backend_features(const struct backend *b);
/* Protocol features it offers: proto.h's column `backend`, CONFIG only with a config space, SHMEM
 * only with a shared memory region. */
uint64_t backend_protocol_features(const struct backend *b);

/* Tells the front end that the config space changed, when it can be told. */
void backend_config_changed(struct backend *b);

/*
 * SHMEM_MAP: @fd (borrowed) appears in a region of the device's, as @m says; SHMEM_UNMAP: a whole
 * earlier mapping goes (shmid, shm_offset and len name it). Waits for the answer, up to reply_ms,
 * and reads nothing of the main channel meanwhile; legal in every call of the device's but `drop`
 * and `negotiated` with 0. 0: it is in effect for the guest. Else, with @e: -EREMOTEIO: the front
 * end refused, nothing changed; -ENOTSUP: it did not ack what that needs (SHMEM, BACKEND_SEND_FD,
 * REPLY_ACK); -ENOTCONN: it gave no back channel; -ETIMEDOUT or another -errno: no answer, the back
 * channel is closed and nobody knows what is mapped.
 */
int backend_shmem_map(struct backend *b, const struct vu_shmem_map *m, int fd, struct err *e);
int backend_shmem_unmap(struct backend *b, const struct vu_shmem_map *m, struct err *e);

/* Whether chains in flight are written down (INFLIGHT_SHMFD): only then may they be pushed in
 * another order than they were popped in, for a killed device's successor knows no better. */
bool backend_queue_is_recorded(const struct backend_queue *q);
/* Whether a chain waits and may be popped now. */
bool backend_queue_has_chain(struct backend_queue *q);
/* Takes the next chain. False: none now; handle_queue returns then, and is called again in time. */
bool backend_queue_pop(struct backend_queue *q, struct ring_chain *ret);
/* Undoes the last pop, of @head: the chain comes again, and is not in flight meanwhile. Nothing
 * that was popped after it may have been pushed; several are undone from the last to the first. */
void backend_queue_unpop(struct backend_queue *q, uint16_t head);
/* Gives it back with @written bytes written to its writable part, and interrupts the guest if it
 * wants that. */
void backend_queue_push(struct backend_queue *q, uint16_t head, uint32_t written);
/* Runs handle_queue soon: what it waited for has come. */
void backend_queue_wake(struct backend_queue *q);
/* Stops serving the queue: the guest's request cannot be answered at all (no room for a status,
 * say). */
void backend_queue_break(struct backend_queue *q, const char *why);

#endif
