/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device and the daemon that comes after the one that was lost: tried, taken or turned away, and
 * given the rings that the one before left, when the guest is to notice nothing (on-lost=wait).
 *
 * Where a ring goes on. With an in-flight buffer (vhost/frontend_inflight.h) the daemons know
 * between them what was done, and are told the used ring's index. Without one, what lies behind
 * that index is what was in flight only if the dead daemon gave back every request in its turn; if
 * the ring shows that it did not (vhost/remains.h), going on could lose a request, or do one twice
 * that the guest believes to be over, whose memory is something else by now. A guest that waits is
 * better than one that is corrupted: that device needs a reset. So does one with packed rings,
 * which have no index in memory.
 *
 * Under the device lock, in the loop.
 */
#ifndef DEVICES_VHOST_USER_AGAIN_H
#define DEVICES_VHOST_USER_AGAIN_H

#include "base/err.h"
#include "devices/vhost_user_link.h"

struct vhost_user_device;

/* The link's, whose arg is the device. */
extern const struct vhost_user_link_ops vhost_user_again_ops;

/* A daemon that is not the first has negotiated: it becomes the device's, or is turned away. */
void vhost_user_again_ready(struct vhost_user_device *dev);
/* The daemon that is tried is none: one sentence. */
void vhost_user_again_failed(struct vhost_user_device *dev, const char *why);
/* Negotiates with the daemon at *@sock, as vhost_user_link_ops.try has it, which is the link's next
 * step; it has had to wait for something else. */
void vhost_user_again_try(struct vhost_user_device *dev, int *sock, int *pidfd);
/* Whether a running device that has lost its daemon may go on with the next one. */
bool vhost_user_again_may_resume(const struct vhost_user_device *dev);
/* A running device has lost its daemon. Whether that is for good, until the guest resets it: one
 * after the other refuses what it was left with, and so would the next. */
bool vhost_user_again_is_hopeless(struct vhost_user_device *dev);
/* The device is LOST and was not told to the guest, and there is a daemon: its rings go on, or the
 * guest is told. */
void vhost_user_again_resume(struct vhost_user_device *dev);

#endif
