/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A front end for judging daemons: one request, one answer, a deadline on each. Unlike
 * vhost/frontend it waits, and it sends what it is told, wrong things included.
 *
 * While it waits it obeys the back channel: each request there is counted and, when that is asked
 * for, answered with 0; its fds are closed. One thread. It owns its sockets.
 */
#ifndef TOOLS_VU_CLIENT_H
#define TOOLS_VU_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "vhost/proto.h"
#include "vhost/wire.h"

#define VU_CLIENT_EVERY UINT32_MAX

struct vu_client {
	struct vu_channel main, back;	/* back: sock -1 without */
	unsigned timeout_ms;		/* for each wait */
	uint64_t protocol;		/* acked protocol features */
	unsigned back_requests;		/* that came over the back channel */
	/* The request whose answer was -EPROTO last; 0: none, VU_CLIENT_EVERY: after an answer too
	 * many, which the next request seems to get. */
	uint32_t malformed;
};

/* What came of a message that may be refused. */
enum vu_client_outcome {
	VU_CLIENT_TAKEN,	/* answered with 0 */
	VU_CLIENT_REFUSED,	/* answered with something else, or without payload */
	VU_CLIENT_CLOSED,	/* the daemon ended the connection */
	VU_CLIENT_UNKNOWN,	/* no answer is owed (no REPLY_ACK), and the daemon goes on */
};

/*
 * Connects to who listens at @path; waits up to @timeout_ms for somebody to, since a daemon may be
 * between two of its connections. 0 or -errno with @e.
 */
int vu_client_connect(struct vu_client *c, const char *path, unsigned timeout_ms, struct err *e);
/* Closes everything. Works twice. */
void vu_client_close(struct vu_client *c);

/* Sends @m as it is: its flags and fds (borrowed) are the caller's matter. 0 or -errno with @e. */
int vu_client_send(struct vu_client *c, const struct vu_msg *m, struct err *e);
/*
 * The next message of the daemon, whatever it is; @what names it in @e. The caller closes its fds.
 * 0, -ETIMEDOUT, -ECONNRESET when the daemon ended the connection, or -EPROTO.
 */
int vu_client_recv(struct vu_client *c, const char *what, struct vu_msg *ret, struct err *e);
/*
 * Sends request @m->header.request and takes its answer into *@m (the caller closes the fds), which
 * must be as proto.h's table says. 0 or vu_client_recv's errors; -EPROTO: it is not.
 */
int vu_client_ask(struct vu_client *c, struct vu_msg *m, struct err *e);
/* vu_client_ask of a request without payload that is answered with a number. */
int vu_client_get(struct vu_client *c, uint32_t request, uint64_t *ret, struct err *e);
/*
 * Sends @m and waits until it is obeyed: by REPLY_ACK when that was acked, else by the answer to a
 * GET_FEATURES after it. 0, -EREMOTEIO when it was refused, or vu_client_recv's errors.
 */
int vu_client_tell(struct vu_client *c, struct vu_msg *m, struct err *e);
/*
 * The same for a message that a good daemon refuses: the outcome, an enum vu_client_outcome, or
 * -ETIMEDOUT or -EPROTO with @e.
 */
int vu_client_try(struct vu_client *c, struct vu_msg *m, struct err *e);

/* Waits @ms, or until @fd (-1: none) is readable; the back channel is obeyed. Whether @fd is. */
bool vu_client_wait(struct vu_client *c, int fd, unsigned ms);

/* Messages by kind; the rest of the struct is zero. */
struct vu_msg vu_client_msg(uint32_t request);
struct vu_msg vu_client_msg_u64(uint32_t request, uint64_t value);
struct vu_msg vu_client_msg_state(uint32_t request, uint32_t index, uint32_t num);
/* With @fd, borrowed; -1: with the flag that says there is none. */
struct vu_msg vu_client_msg_fd(uint32_t request, uint32_t index, int fd);

#endif
