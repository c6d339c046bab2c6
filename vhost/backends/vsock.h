/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock (VIRTIO 1.3, 5.10): stream connections between programs of the guest and of the
 * host, where each is one of a Unix socket. vsock.c is the device and its packets, vsock_conn.c a
 * connection, vsock_host.c where connections come from and go to on the host.
 *
 * Ports. A program of the guest that connects to port P of the host (CID 2) gets a connection to
 * the socket PATH_P. A program of the host connects to PATH, writes "CONNECT P\n" and, when a program of
 * the guest listens at P, reads "OK HOSTPORT\n"; from there on the connection is the guest's.
 *
 * Theory of operation. Nothing is kept for the guest: bytes for it are read from a socket when
 * there is a buffer to read them into and it has said that it has room (credit), straight into that
 * buffer. Bytes of the guest go straight to the socket; what that does not take is kept, at most
 * VSOCK_BUFFER a connection, as it was told that there is room for. What a connection has to say
 * beside that is recomputed from its state, so it needs no queue; what is left is the
 * answers to packets that belong to no connection, `resets`. When there are too many of those
 * because the guest gives no buffers, none of its packets is taken until it does.
 *
 * Everything in the loop's thread.
 */
#ifndef VHOST_BACKENDS_VSOCK_H
#define VHOST_BACKENDS_VSOCK_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/listener.h"
#include "base/log.h"
#include "base/loop.h"
#include "vhost/backend.h"
#include "vhost/backends/vsock_connector.h"

enum {
	VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES,

	VSOCK_CID_HOST = 2,
	VSOCK_CONNS_MAX = 1024,
	VSOCK_HELLOS_MAX = 64,		/* of them, those that have not said CONNECT yet */
	VSOCK_BUFFER = 65536,		/* bytes; a power of two */
	VSOCK_LINE = 32,		/* of CONNECT; with the newline */
	VSOCK_RESETS_PAUSE = 64,	/* no packet is taken while as many resets wait */
	/* Each connection may end with one beside those. */
	VSOCK_RESETS_MAX = VSOCK_RESETS_PAUSE + VSOCK_CONNS_MAX,
	VSOCK_BUCKETS = 256,
};

enum vsock_state {
	VSOCK_HELLO,	/* the program has not said yet which port of the guest it wants */
	VSOCK_CALLING,	/* REQUEST is to be sent */
	VSOCK_CALLED,	/* REQUEST was sent */
	VSOCK_OPEN,
	VSOCK_DRAINING,	/* gone for the guest; the program has not taken all of its bytes yet */
};

struct vsock;

struct vsock_conn {
	struct vsock *v;
	struct vsock_conn *next;	/* in its bucket */
	struct vsock_conn *next_ready;
	bool is_ready;			/* in v's list of those with something for the guest */
	enum vsock_state state;
	uint32_t host_port, guest_port;	/* guest_port 0 in VSOCK_HELLO */

	int sock;			/* owned; non-blocking */
	struct loop_watch watch;	/* of sock; fd -1 when nothing of it matters now */
	bool readable;			/* as far as is known */
	bool paused;			/* not watched: readable, and the guest takes nothing */
	bool ended;			/* the program sends no more, or the guest wants no more */
	bool hung_up;			/* the program takes no more */
	char line[VSOCK_LINE];		/* in VSOCK_HELLO */
	unsigned line_len;

	/* For the guest. Counters wrap, as the packets' do. */
	uint32_t peer_alloc, peer_forwarded, sent;	/* its room is alloc - (sent - forwarded) */
	bool asked;			/* for credit, since it last gave some */
	bool respond, update;		/* RESPONSE, CREDIT_UPDATE are to be sent */
	uint32_t shutdown_sent;		/* VIRTIO_VSOCK_SHUTDOWN_* */

	/* Of the guest */
	uint32_t shutdown_got;		/* VIRTIO_VSOCK_SHUTDOWN_* */
	uint32_t received, forwarded, told;	/* told: of forwarded, in the last packet */
	uint8_t *buffer;		/* owned; NULL while empty */
	uint32_t start, used;		/* bytes of the buffer, a ring */
};

/* An answer to what belongs to no connection. */
struct vsock_reset {
	uint64_t host_cid;
	uint32_t host_port, guest_port;
	uint16_t type;
};

struct vsock {
	struct loop *loop;
	uint64_t guest_cid;
	struct backend_queue *queues[VSOCK_QUEUES];	/* NULL until first served; the library's */
	struct ring_chain chain;
	struct iovec iov[RING_SEGMENTS_MAX];

	struct vsock_conn *buckets[VSOCK_BUCKETS];
	unsigned conns, hellos, conns_max;
	struct vsock_conn *ready, **ready_end;
	struct vsock_reset resets[VSOCK_RESETS_MAX];
	unsigned reset_at, n_resets;	/* a ring */
	uint32_t next_port;		/* of the host, to try next */

	struct listener listener;
	int listen_sock;		/* owned */
	struct loop_watch listen_watch;
	bool accept_failed;		/* until a connection ends, or accept_again */
	struct loop_timer accept_again;
	struct vsock_connector connector;
	struct misuse misuse;		/* by the guest */
	struct misuse refused, mute;	/* its calls in vain; programs that made none */
	struct misuse unwatched;	/* sockets that the kernel did not watch */
};

/* Answers a packet of the guest's, or ends a connection that it knows, by RST. */
void vsock_reset(struct vsock *v, const struct vsock_reset *r);
/* Runs a queue again: there is something for it to do. */
void vsock_wake(struct vsock *v, unsigned queue);

/* A connection in @state for *@sock, which it takes; NULL when there are enough, or no memory, and
 * *@sock is the caller's still. vsock_conn_update follows. */
struct vsock_conn *vsock_conn_new(struct vsock *v, int *sock, enum vsock_state state,
				  uint32_t host_port, uint32_t guest_port);
void vsock_conn_free(struct vsock_conn *c);
/* The connection that the guest means; NULL: none. */
struct vsock_conn *vsock_conn_find(const struct vsock *v, uint32_t host_port, uint32_t guest_port);
/* Gives it its ports. */
void vsock_conn_set_ports(struct vsock_conn *c, uint32_t host_port, uint32_t guest_port);
/* After every change: watches the socket for what matters now, lists it when there is something for
 * the guest. */
void vsock_conn_update(struct vsock_conn *c);
/* Ends it on both sides, for the guest by RST if it knows it. Frees it. */
void vsock_conn_reset(struct vsock_conn *c);
/* The guest knows it no more. Frees it, now or when the program has taken what it is to have. */
void vsock_conn_drain(struct vsock_conn *c);
/* The guest's room, as a packet's @alloc and @forwarded tell. */
void vsock_conn_credit(struct vsock_conn *c, uint32_t alloc, uint32_t forwarded);
/* Takes @len bytes at @off of v->chain for the program; false: there is no memory for them. */
bool vsock_conn_take(struct vsock_conn *c, uint64_t off, uint32_t len);
/* The guest's shutdown of @flags. May free it. */
void vsock_conn_shut(struct vsock_conn *c, uint32_t flags);
/* Makes its next packet: fills @h and the writable part of v->chain behind it. */
void vsock_conn_fill(struct vsock_conn *c, struct virtio_vsock_hdr *h);
/* The next with something for the guest, which leaves the list; NULL: none. */
struct vsock_conn *vsock_conn_next_ready(struct vsock *v);
/* Resets those that the guest's driver knew; with @all every one is dropped, and nobody told. */
void vsock_conn_drop(struct vsock *v, bool all);

/* Listens at @path and starts the connector. 0 or -errno with @e. */
int vsock_host_init(struct vsock *v, const char *path, enum seccomp_mode mode, struct err *e);
void vsock_host_fini(struct vsock *v);
/* Watches the listening socket while there is room for a connection. */
void vsock_host_listen(struct vsock *v);
/* The program has written, in VSOCK_HELLO. May free it. */
void vsock_host_hello(struct vsock_conn *c);
/* The guest took the program's call: tells the program. False: it is gone. */
bool vsock_host_accepted(struct vsock_conn *c);
/* The guest's REQUEST: connects; NULL when it cannot be. */
struct vsock_conn *vsock_host_connect(struct vsock *v, uint32_t host_port, uint32_t guest_port);

#endif
