/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --vu-trace: one JSON object a line for each vhost-user message, in a file or pipe.
 *
 * Theory of operation. A line is written at once and never waited for: who reads slowly loses
 * lines, and is told how many (an object with "event": "dropped" where they are missing, and the sums
 * in the last one, "event": "end"), messages and events each. Files are written as ever; a pipe, FIFO, terminal or socket is
 * used without blocking, whoever shares it does not notice. What a full pipe takes of a line is
 * completed before anything else, so every line is whole. Opened before the sandbox closes paths;
 * afterwards it needs write(2). All in the loop thread, under the device lock.
 */
#ifndef VHOST_TRACE_H
#define VHOST_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/log.h"
#include "vhost/proto.h"

enum { VU_TRACE_LINE = 8192 };	/* most bytes of a line */

struct vu_trace {
	int fd;				/* owned; -1: nobody wants a trace */
	bool is_socket;
	char what[128];			/* as the user named it, for messages */
	uint64_t start;			/* clock_ns() that lines count from */
	uint64_t messages, dropped;	/* of `messages`, those whose line was not written */
	uint64_t events_dropped;	/* what is no message, and was not written */
	uint64_t told_dropped, told_events;	/* of these two, told by a line so far */
	struct misuse failed;
	char line[VU_TRACE_LINE];	/* being made */
	char rest[VU_TRACE_LINE];	/* of a line that was not taken whole */
	size_t rest_len;
};

/* What a line says of a message beside what is in it. */
struct vu_trace_about {
	const char *device;
	bool back;			/* by the back channel */
	bool to_daemon;
	bool answer;
	uint64_t number;		/* of the request, from 1 in each connection and channel; of
					 * an answer the request's; 0: an answer to nothing */
	uint64_t took_ns;		/* an answer's, since its request */
	const char *fault;		/* what --vu-fault did to it; NULL: nothing */
};

/* Set-up. @text is the option's value: a path, fd=N of an open descriptor, which stays its owner's,
 * or "-" for standard error; NULL: no trace. 0 or -errno with @e. */
int vu_trace_open(struct vu_trace *t, const char *text, struct err *e);
/* Writes the last line, closes, and warns of what was lost. Works twice, and on a zeroed struct. */
void vu_trace_close(struct vu_trace *t);

/* A message of @len bytes of payload, which header.size should say but may not. */
void vu_trace_message(struct vu_trace *t, const struct vu_trace_about *about,
		      const struct vu_msg *m, size_t len);
/* What else happened to @device: @event ("connected"), and when @name is given that it is @text. */
void vu_trace_event(struct vu_trace *t, const char *device, const char *event, const char *name,
		    const char *text);

#endif
