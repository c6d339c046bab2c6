/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands between a front end and its channels when --vu-trace or --vu-fault is given: it sees
 * each message once, tells the trace, and does what the faults say. Without either there is no tap,
 * and a channel costs one comparison more.
 *
 * Theory of operation. A tap belongs to a device and outlives its connections, so that faults
 * count over all of them. It has two ends, one a channel. The wire (wire.c) hands every message of
 * a channel with a tap to vu_tap_send and vu_tap_recv, which use vu_channel_put and vu_channel_take
 * in turn. What a delay holds back waits in a queue of the end and direction with all that follows
 * it, so order is kept; a timer sends it on, or tells the front end to receive. A delay ends with
 * its connection, and when DELAYED_MAX messages wait.
 *
 * `close` ends the connection as a front end would that wants no more of it: the main channel is
 * shut down in our direction, since only the daemon can say that it touches guest memory no more;
 * the back channel in both. After `short` nothing passes any more in that direction, as if its
 * sender hung in the middle of a write.
 *
 * In the loop thread, under the device lock.
 */
#ifndef VHOST_TAP_H
#define VHOST_TAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "vhost/fault.h"
#include "vhost/trace.h"
#include "vhost/wire.h"

enum { VU_TAP_ASKED = 32 };

struct vu_tap_held;

/* Messages that a delay, or a copy that is due, holds back: oldest first. */
struct vu_tap_queue {
	struct vu_tap_held *first, **end;
	unsigned count;
	struct loop_timer timer;
	bool cut;			/* nothing passes any more */
};

/* A request that is owed an answer. */
struct vu_tap_asked {
	uint32_t id;
	uint64_t number, at;		/* clock_ns() */
};

struct vu_tap_end {
	struct vu_tap *tap;
	bool back;
	struct vu_channel *channel;	/* NULL while there is none */
	void (*ready)(void *arg);	/* something is to be received */
	void *arg;
	struct vu_tap_queue out, in;
	struct vu_tap_asked asked[VU_TAP_ASKED];	/* oldest first */
	unsigned n_asked;
	uint64_t number;		/* of the last request */
};

struct vu_tap {
	const char *device;		/* id; borrowed */
	struct loop *loop;
	struct vu_trace *trace;
	struct vu_fault *faults;	/* of all devices; borrowed */
	unsigned n_faults;
	int spare;			/* what extra-fds sends; owned; -1: no fault needs it */
	struct vu_tap_end main, back;
};

/* Set-up. Everything is borrowed until vu_tap_fini. 0 or -errno with @e. */
int vu_tap_init(struct vu_tap *t, const char *device, struct loop *loop, struct vu_trace *trace,
		struct vu_fault *faults, unsigned n_faults, struct err *e);
/* Works on a zeroed struct, twice. */
void vu_tap_fini(struct vu_tap *t);

/* Puts @end before @c, a new connection's; @ready is called from the loop when something held back
 * is to be received. Until vu_channel_fini of @c, or vu_tap_lost. */
void vu_tap_attach(struct vu_tap_end *end, struct vu_channel *c, void (*ready)(void *arg),
		   void *arg);
/* The channel is gone: what is held back is forgotten. */
void vu_tap_detach(struct vu_tap_end *end);
/* Connections begin (@socket is where, for the trace) and end (@why is one sentence). */
void vu_tap_connected(struct vu_tap *t, const char *socket);
void vu_tap_lost(struct vu_tap *t, const char *why);

/* Of wire.c: vu_channel_send and vu_channel_recv of a channel with a tap. */
int vu_tap_send(struct vu_tap_end *end, const struct vu_msg *m);
int vu_tap_recv(struct vu_tap_end *end, struct vu_msg *ret, struct err *e);

#endif
