/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_own.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

#include <linux/virtio_fs.h>
#include <linux/virtio_net.h>
#include <linux/virtio_scsi.h>

#include "devices/vhost_user_device.h"

_Static_assert(sizeof(((struct virtio_fs_config *)0)->tag) == VHOST_USER_TAG_MAX, "length of a tag");

void vhost_user_own_fs(const struct vhost_user_device *dev, uint8_t *config)
{
	struct virtio_fs_config c = { 0 };

	/* A tag that fills its field has no NUL. */
	memcpy(c.tag, dev->options->tag, strlen(dev->options->tag));
	memcpy(config, &c, sizeof(c));
}

void vhost_user_own_net(const struct vhost_user_device *dev, uint8_t *config)
{
	struct virtio_net_config c = { .max_virtqueue_pairs = htole16(1) };

	(void)dev;
	memcpy(config, &c, offsetof(struct virtio_net_config, speed));
}

/*
 * Targets and LUNs as many as an address has room for. The sizes of sense data and command are
 * what daemons assume (VIRTIO 1.3, 5.6.4), nobody tells them of others; a driver may write those
 * two all the same. Two descriptors less than a queue has are left for a segment list: the header
 * and the answer take them.
 */
void vhost_user_own_scsi(const struct vhost_user_device *dev, uint8_t *config)
{
	const struct virtio_scsi_config c = {
		.seg_max = htole32(dev->options->queue_size > 3 ?
				   (uint32_t)dev->options->queue_size - 2 : 1),
		.max_sectors = htole32(0xffff),
		.cmd_per_lun = htole32((uint32_t)dev->options->queue_size),
		.event_info_size = htole32(sizeof(struct virtio_scsi_event)),
		.sense_size = htole32(VIRTIO_SCSI_SENSE_DEFAULT_SIZE),
		.cdb_size = htole32(VIRTIO_SCSI_CDB_DEFAULT_SIZE),
		.max_target = htole16(255),
		.max_lun = htole32(16383),
	};

	memcpy(config, &c, sizeof(c));
}
