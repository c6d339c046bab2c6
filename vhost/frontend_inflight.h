/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The in-flight buffer of a device ("Inflight I/O tracking"): a file that a daemon makes, in which
 * it notes the requests it has taken and not given back, so that the daemon after it goes on with
 * just those. The front end never maps it: it keeps the descriptor and hands it on.
 *
 * It belongs to one life of the device, from its first start to its reset, and so to the device's
 * owner, which outlives connections. Loop, under the device lock.
 */
#ifndef VHOST_FRONTEND_INFLIGHT_H
#define VHOST_FRONTEND_INFLIGHT_H

#include <stdint.h>

#include "base/err.h"
#include "vhost/proto.h"

struct vu_inflight_buffer {
	int fd;				/* owned; -1: there is none */
	struct vu_inflight shape;	/* as the daemon gave it */
};

#define VU_INFLIGHT_NONE { .fd = -1 }

/*
 * The daemon's answer to GET_INFLIGHT_FD, in which @asked went out: takes a copy of *@fd, which
 * stays the caller's. Without a size the daemon wants no buffer, and there is none. 0; or -EPROTO
 * with @e when it is not a file that holds what the answer says; -errno when there is no room for
 * the descriptor.
 */
int vu_inflight_take(struct vu_inflight_buffer *b, const struct vu_inflight *asked,
		     const struct vu_inflight *answer, int fd, struct err *e);
/* The life is over. Works on a buffer that is not there. */
void vu_inflight_drop(struct vu_inflight_buffer *b);

#endif
