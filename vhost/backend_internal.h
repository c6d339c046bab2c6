/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by backend.c (connection), backend_back.c (back channel), backend_queue.c (rings) and
 * backend_messages.c (what a front end asks). Nobody else includes it. */
#ifndef VHOST_BACKEND_INTERNAL_H
#define VHOST_BACKEND_INTERNAL_H

#include "vhost/backend.h"

/* A queue of a new connection: stopped, disabled, without fds. */
void backend_queue_reset(struct backend_queue *q);
/* Starts (SET_VRING_KICK came) with what NUM, BASE and ADDR said. 0 or -EINVAL with @e. */
int backend_queue_start(struct backend_queue *q, struct err *e);
/* Stops; chains in flight are dropped. The kick eventfd is closed, base says where to go on. */
void backend_queue_stop(struct backend_queue *q);
/* The memory table changed: finds the parts of a started ring again, or breaks it. */
void backend_queue_place(struct backend_queue *q);
/* After a change of started, enabled, kick or of b->holding: watches, unwatches, runs. */
void backend_queue_update(struct backend_queue *q);
/* A resumed ring: a predecessor may have died between filling it and calling. */
void backend_queue_call_resumed(struct backend_queue *q);

/* What became of a message. */
enum backend_verdict {
	BACKEND_DONE,		/* obeyed; @reply has the payload if the message has one */
	BACKEND_REFUSED,	/* nothing changed; @e says why */
	BACKEND_HELD,		/* must wait until no chain is in flight */
	BACKEND_VERDICTS
};

/* Obeys a message that passed vu_msg_check_request; takes the fds it uses. */
enum backend_verdict backend_message(struct backend *b, struct vu_msg *m, struct vu_msg *reply,
				     struct err *e);

/* backend_back.c. No back channel yet; what waiting for an answer needs. 0 or -errno with @e. */
int backend_back_init(struct backend *b, struct err *e);
void backend_back_fini(struct backend *b);
/* Takes *@sock as the back channel, in the place of an earlier one. 0 or -errno with @e. */
int backend_back_take(struct backend *b, int *sock, struct err *e);
/* Closes it, if there is one. */
void backend_back_drop(struct backend *b);
/* Whether the device has a shared memory region. */
bool backend_has_shmem(const struct backend *b);
/* Chains in flight in any queue. */
unsigned backend_in_flight(const struct backend *b);
/* A chain was pushed: a held message may go on. */
void backend_unhold(struct backend *b);

#endif
