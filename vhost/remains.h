/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a daemon that has ended left of a split ring: where the next one goes on.
 *
 * No ring is served here, and none that anybody serves is read: nobody but the driver touches it
 * while there is no daemon. RAM is read through its descriptor, since the dead daemon may have cut
 * it short. Every word is the guest's or that daemon's, and believed no further than that it may
 * harm the two.
 */
#ifndef VHOST_REMAINS_H
#define VHOST_REMAINS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "memory/guest_mem.h"
#include "vhost/frontend.h"

struct vu_remains {
	uint16_t used;		/* the used ring's index: every request before it was given back,
				 * if it was done in order */
	uint16_t in_flight;	/* requests that were not */
	bool in_order;		/* what is in flight is what lies behind `used`: nothing is, or
				 * what was given back, as far as the ring remembers, was so in
				 * the order in which it was taken, and what lies there are
				 * different requests */
};

/* Loop, the daemon dead. 0; or -errno with @e: the ring has left RAM, or its indices are nothing
 * that a driver and a device can have written. */
int vu_remains_read(const struct guest_mem *mem, const struct vu_ring *r, struct vu_remains *ret,
		    struct err *e);

#endif
