/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_config.h"

#include <endian.h>
#include <string.h>

#include <linux/virtio_pmem.h>

#include "base/range.h"
#include "devices/vhost_user_device.h"

void vhost_user_config_load(struct vhost_user_device *dev)
{
	struct virtio_dev *d = &dev->virtio;
	const struct vu_device_type *t = dev->type;
	unsigned counted = d->n_queues - t->queues_fixed;

	if (t->config == VU_CONFIG_REGION)
		return;
	if (t->config == VU_CONFIG_OWN)
		t->config_own(dev, d->config);
	else
		memcpy(d->config, dev->frontend.config, d->config_size);
	for (unsigned i = 0; i < t->config_queues_size; i++)
		d->config[t->config_queues_off + i] = (uint8_t)(counted >> (8 * i));
}

void vhost_user_config_reading(struct vhost_user_device *dev)
{
	const struct shmem_region *r = shmem_find(&dev->shmem, 0);
	uint64_t at = dev->shmem.window.window.gpa;
	struct virtio_pmem_config c = { 0 };

	if (dev->type->config != VU_CONFIG_REGION)
		return;
	if (at != GUEST_WINDOW_NOWHERE)
		c = (struct virtio_pmem_config){ htole64(at + r->offset), htole64(r->size) };
	memcpy(dev->virtio.config, &c, sizeof(c));
}

void vhost_user_config_written(struct vhost_user_device *dev, unsigned off, unsigned len)
{
	if (dev->type->config == VU_CONFIG_OWN)
		return;
	for (unsigned i = off; i < off + len; i++)
		dev->config_dirty[i / 64] |= BIT64(i % 64);
}

static bool is_dirty(const struct vhost_user_device *dev, unsigned byte)
{
	return byte < VIRTIO_CONFIG_MAX && dev->config_dirty[byte / 64] & BIT64(byte % 64);
}

void vhost_user_config_flush(struct vhost_user_device *dev)
{
	struct vu_frontend *f = &dev->frontend;

	if (dev->lost)
		return;
	for (unsigned at = 0, len; at < VIRTIO_CONFIG_MAX; at += len + 1) {
		for (len = 0; is_dirty(dev, at + len); len++)
			f->config[at + len] = dev->virtio.config[at + len];
		if (len)
			vu_frontend_config_write(f, at, len);
	}
	memset(dev->config_dirty, 0, sizeof(dev->config_dirty));
}
