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

#include <stdbool.h>
#include <stdint.h>

struct vhost_user_device;

/* Loop, and set-up. The guest's copy becomes the daemon's (or, of VU_CONFIG_OWN, what it is after a
 * reset), but for the number of queues; of VU_CONFIG_REGION there is nothing of the daemon's. */
void vhost_user_config_load(struct vhost_user_device *dev);
/* Loop. The same later in the device's life, but what the driver chose stays: of a type that keeps
 * it (config_kept), while another daemon does not know it yet; and what no daemon knows. Whether
 * the guest's copy changed. */
bool vhost_user_config_load_next(struct vhost_user_device *dev);
/* Loop, before vu_frontend_start. Hands on what the driver chose, where the daemon has another. */
void vhost_user_config_restore(struct vhost_user_device *dev);
/* Any thread. The guest is about to read @size bytes of it at @off: VU_CONFIG_REGION is made now,
 * since the guest may move the region; nowhere it has no size. Of a type whose config is asked
 * for, a vCPU's exit waits and gets the daemon's bytes; one does so at a time, and who reads beside
 * it gets what was read before. */
void vhost_user_config_reading(struct vhost_user_device *dev, uint64_t off, unsigned size);
/* Loop. Hands on writes, and asks the daemon when a read waits for it. */
void vhost_user_config_work(struct vhost_user_device *dev);
/* Loop. The daemon has answered, is lost, or the device is reset: the read that waits goes on. */
void vhost_user_config_answer(struct vhost_user_device *dev);
/* Any thread. The guest wrote [off, off + len) of its copy; of VU_CONFIG_OWN that is all. */
void vhost_user_config_written(struct vhost_user_device *dev, unsigned off, unsigned len);
/* Loop. Hands on what the guest wrote, one write for each run of bytes; to the next daemon when
 * there is none, and when it has started where that has to be known first (config_kept). */
void vhost_user_config_flush(struct vhost_user_device *dev);

#endif
