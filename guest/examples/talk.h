/* SPDX-License-Identifier: Apache-2.0 */
/* What the ends of a channel do in ring-host and ring-guest. All give 0 when both sides came to
 * their end, or -errno of the channel (ring.h), or of reading and writing. */
#ifndef GUEST_EXAMPLES_TALK_H
#define GUEST_EXAMPLES_TALK_H

#include <stdio.h>

#include "ring.h"

/* How an end of a copy sleeps. */
struct talk_wait {
	int fd;				/* to be polled, -1: it spins */
	int (*taken)(void *arg);	/* called when @fd is ready; -errno ends the copy */
	void *arg;
};

/* Sends each line of @in, one at a time, and writes the answers to @out. An answer that does not
 * come within @ms milliseconds is -ETIMEDOUT. */
int talk_ask(struct ring *r, FILE *in, FILE *out, int ms);

/* Answers what talk_ask asks, until it ends. */
int talk_answer(struct ring *r);

/* Sends each message back, until the other end sends no more. */
int talk_echo(struct ring *r);

/* Sends what comes from @in until its end, and writes to @out what the other sends until its. */
int talk_copy(struct ring *r, const struct talk_wait *w, int in, int out);

#endif
