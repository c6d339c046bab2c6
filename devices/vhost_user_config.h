/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The config space of a device that a daemon serves: the daemon's bytes, cached, with what the
 * front end has to say (the number of queues) put over them each time; or the front end's own
 * (vhost_user_own.h); or, of persistent memory, where its region is, which the daemon cannot know.
 *
 * Under the device lock.
 */
#ifndef DEVICES_VHOST_USER_CONFIG_H
#define DEVICES_VHOST_USER_CONFIG_H

struct vhost_user_device;

/* Loop, and set-up. The guest's copy becomes the daemon's (or, of VU_CONFIG_OWN, what it is after a
 * reset), but for the number of queues; of VU_CONFIG_REGION there is nothing of the daemon's. */
void vhost_user_config_load(struct vhost_user_device *dev);
/* Any thread. The guest is about to read it: VU_CONFIG_REGION is made now, since the guest may move
 * the region. Nowhere it has no size. */
void vhost_user_config_reading(struct vhost_user_device *dev);
/* Any thread. The guest wrote [off, off + len) of its copy; of VU_CONFIG_OWN that is all. */
void vhost_user_config_written(struct vhost_user_device *dev, unsigned off, unsigned len);
/* Loop. Hands on what the guest wrote, one write for each run of bytes; to the next daemon when
 * there is none. */
void vhost_user_config_flush(struct vhost_user_device *dev);

#endif
