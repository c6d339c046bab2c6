/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Config spaces that the front end makes, because daemons of the type do not serve them: each is
 * named in its row of the device types (config_own).
 *
 * Loop, and set-up, under the device lock. @config has the row's config_size bytes; the number of
 * queues is put in after.
 */
#ifndef DEVICES_VHOST_USER_OWN_H
#define DEVICES_VHOST_USER_OWN_H

#include <stdint.h>

struct vhost_user_device;

/* struct virtio_fs_config: the tag of tag=. */
void vhost_user_own_fs(const struct vhost_user_device *dev, uint8_t *config);
/*
 * struct virtio_net_config up to the MTU: the daemon's where it serves one and says by a feature
 * that it means it, but for what mac= and mtu= say. Else the link is up, and the address is made of
 * the socket and the device's name, so that it is the same at each start.
 */
void vhost_user_own_net(const struct vhost_user_device *dev, uint8_t *config);
/* With MAC and STATUS, which are true of any; and MTU when there is one. */
uint64_t vhost_user_own_net_features(const struct vhost_user_device *dev, uint64_t offered);
/* The interface is somewhere else now: the guest announces it, or the daemon does where the guest
 * cannot. */
void vhost_user_own_net_resumes(struct vhost_user_device *dev);
/* struct virtio_gpu_config: one screen, no event; the capability sets are the daemon's. */
void vhost_user_own_gpu(const struct vhost_user_device *dev, uint8_t *config);
/* struct virtio_scsi_config: as after a reset. */
void vhost_user_own_scsi(const struct vhost_user_device *dev, uint8_t *config);

#endif
