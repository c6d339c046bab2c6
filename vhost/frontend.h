/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front end: one connection to one daemon.
 *
 * Theory of operation. Everything is a request in a queue, sent in order, each with a deadline;
 * answers arrive in order and call the request's continuation. Nothing here ever waits. Where the
 * protocol needs an answer and the daemon lacks REPLY_ACK, a GET_FEATURES follows as a barrier. A
 * missed deadline, a malformed answer or the end of the stream makes the connection GONE:
 * the owner is told once, by name of the device, the socket and the request. All in the loop
 * thread, under the device lock. A daemon owns the guest, never this process: every byte is checked.
 *
 *     connecting -> ready -> starting -> running -> stopping -> ready
 *          \___________\________\__________\___________\-----> gone
 */
#ifndef VHOST_FRONTEND_H
#define VHOST_FRONTEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "memory/guest_mem.h"
#include "vhost/proto.h"
#include "vhost/wire.h"

enum vu_state { VU_CONNECTING, VU_READY, VU_STARTING, VU_RUNNING, VU_STOPPING, VU_GONE, VU_STATES };

enum { VU_RINGS_MAX = 64, VU_DEADLINE_MS = 10000 };

/* One ring, as the guest's driver latched it. Addresses are guest-physical. */
struct vu_ring {
	bool enabled;			/* rings that are not are skipped */
	uint16_t size;			/* entries */
	uint16_t base;			/* avail index to start at; after a stop, where it stopped */
	uint64_t desc, avail, used;
	int kick, call;			/* borrowed eventfds; the owner keeps them until stopped or gone */
};

/* How the owner hears of things. Called in the loop, never from inside a vu_frontend_* call. */
struct vu_frontend_ops {
	/* Negotiated: features, queues_max and config are valid. */
	void (*ready)(void *arg);
	/* Every ring is started and enabled. */
	void (*started)(void *arg);
	/* Every ring is stopped: the daemon touches them no more; ring.base is where each stopped. */
	void (*stopped)(void *arg);
	/* The connection is lost; @why is one sentence. @daemon_dead false: the daemon missed a deadline
	 * and may still write guest memory; `dead` follows when its process has ended. */
	void (*lost)(void *arg, const char *why, bool daemon_dead);
	void (*dead)(void *arg);
	/* CONFIG_CHANGE_MSG was answered and the config read anew. */
	void (*config_changed)(void *arg);
};

struct vu_frontend_params {
	const char *name;		/* device's id, for messages; borrowed */
	const char *socket;		/* what the user wrote, for messages; borrowed */
	unsigned config_size;		/* bytes to GET_CONFIG; 0: none, CONFIG not required */
	uint64_t required;		/* protocol features without which the device cannot work */
	unsigned deadline_ms;		/* of every wait; 0: VU_DEADLINE_MS */
};

struct vu_frontend {
	struct loop *loop;
	struct guest_mem *mem;
	const struct vu_frontend_ops *ops;
	void *arg;
	struct vu_frontend_params params;
	enum vu_state state;

	uint64_t features;		/* virtio features offered, without bit 30 */
	uint64_t acked;			/* by the guest */
	uint64_t protocol_offered, protocol;	/* offered; acked = offered and implemented */
	bool has_protocol;		/* bit 30 was offered */
	unsigned queues_max;		/* GET_QUEUE_NUM, or what a daemon without MQ has: UINT_MAX = unknown */
	uint64_t slots_max;		/* memory regions the daemon takes */
	uint8_t config[VU_CONFIG_MAX];	/* cache of params.config_size bytes */

	struct vu_ring rings[VU_RINGS_MAX];
	unsigned n_rings;
	/* private below; see frontend.c */
	struct vu_channel channel;	/* main */
	struct loop_watch watch;
	struct vu_channel back;		/* back channel: the daemon's requests */
	struct loop_watch back_watch;
	struct vu_pending *pending, **pending_end;
	unsigned n_pending;
	struct loop_timer deadline;
	struct vu_mem_region shadow[MEM_REGIONS_MAX];	/* what this daemon's table holds */
	unsigned n_shadow;
	int pidfd;			/* of the daemon, when it can be known; -1 */
	struct loop_watch pid_watch;
	struct misuse back_misuse;	/* unknown or refused back-channel requests */
	bool stop_wanted;		/* stop arrived while starting */
	struct loop_job notice;		/* delivers ops calls outside the caller's stack */
	unsigned notices;
	char why[256];
	bool daemon_dead;
};

/*
 * Takes the connected *@sock and begins to negotiate; ops->ready or ops->lost follows. @mem, @loop,
 * @ops and @arg are borrowed until vu_frontend_fini. 0 or -errno with @e.
 */
int vu_frontend_init(struct vu_frontend *f, struct loop *loop, struct guest_mem *mem, int *sock,
		     const struct vu_frontend_params *p, const struct vu_frontend_ops *ops, void *arg,
		     struct err *e);
/* Closes everything at once, calls nobody. Works on a zeroed struct, twice. */
void vu_frontend_fini(struct vu_frontend *f);

/* READY: hands over features, memory table and the enabled ones of f->rings[0..n_rings). -EINVAL
 * when an address is not in RAM. `started` or `lost` follows. */
int vu_frontend_start(struct vu_frontend *f, uint64_t acked, struct err *e);
/* STARTING or RUNNING: stops every ring; `stopped` or `lost` follows. */
void vu_frontend_stop(struct vu_frontend *f);
/* Guest wrote config space: SET_CONFIG of the cache's bytes [off, off + len). */
void vu_frontend_config_write(struct vu_frontend *f, unsigned off, unsigned len);

/* "running", for reports and errors. */
const char *vu_state_name(enum vu_state s);

#endif
