/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a daemon offers, judged by what its device needs: the first daemon's, and that of one that
 * comes after it. What must hold for any device was checked while it negotiated (frontend.h).
 */
#ifndef DEVICES_VHOST_USER_OFFER_H
#define DEVICES_VHOST_USER_OFFER_H

#include <stdint.h>

#include "base/err.h"

struct vhost_user_device;

/* Set-up, the front end READY. Whether a device can be made of it: 0 with the number of its queues
 * that queues= counts, or -errno with @e: what is missing, and what to do. */
int vhost_user_offer_check(const struct vhost_user_device *dev, unsigned *ret_counted,
			   struct err *e);
/* Set-up. How many queues it has in all, once `counted` is known. */
unsigned vhost_user_offer_queues(const struct vhost_user_device *dev);
/* Loop, the front end READY. Whether what the guest was told of the realized device holds with this
 * daemon, too: features (it may have more, which nobody is told of), queues, shared memory regions.
 * 0 or -errno with @e: what shrank. */
int vhost_user_offer_fits(const struct vhost_user_device *dev, struct err *e);

/* Set-up, and loop, the front end READY. What a driver is to be offered with this daemon. */
uint64_t vhost_user_offer_features(const struct vhost_user_device *dev);
/* Loop. What the driver acked, less what is between it and the front end alone. */
uint64_t vhost_user_offer_acked(const struct vhost_user_device *dev);

#endif
