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

	if (t->config == VU_CONFIG_REGION)
		return;
	if (t->config == VU_CONFIG_OWN)
		t->config_own(dev, d->config);
	else
		memcpy(d->config, dev->frontend.config, d->config_size);
	for (unsigned i = 0; i < t->config_queues_size; i++)
		d->config[t->config_queues_off + i] = (uint8_t)(dev->counted >> (8 * i));
}

/* Whether the driver lives, and the daemon does not know it yet. */
static bool is_ahead(const struct vhost_user_device *dev)
{
	const struct virtio_dev *d = &dev->virtio;
	uint64_t needs = d->config_window.needs;

	return d->live && !d->resetting && !(d->status & VIRTIO_CONFIG_S_NEEDS_RESET) &&
	       (d->acked & needs) == needs &&
	       (dev->run == VHOST_USER_IDLE || dev->run == VHOST_USER_LOST);
}

bool vhost_user_config_load_next(struct vhost_user_device *dev)
{
	const struct virtio_config_window *w = &dev->virtio.config_window;
	uint8_t before[VIRTIO_CONFIG_MAX], *config = dev->virtio.config;

	memcpy(before, config, sizeof(before));
	vhost_user_config_load(dev);
	if (dev->type->config == VU_CONFIG_OWN || (dev->type->config_kept && is_ahead(dev)))
		memcpy(config + w->off, before + w->off, w->len);
	return memcmp(before, config, sizeof(before)) != 0;
}

static bool has_answer(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->read.state == VHOST_USER_READ_ASKED)
		return false;
	dev->read.state = VHOST_USER_READ_NONE;
	return true;
}

static void ask(struct vhost_user_device *dev, uint64_t off, unsigned size)
{
	struct machine *m = dev->machine;

	if (!m->ops->in_vcpu(m->ctx) || dev->virtio.read_now || dev->lost ||
	    dev->read.state != VHOST_USER_READ_NONE)
		return;
	dev->read = (struct vhost_user_read){
		.state = VHOST_USER_READ_ASKED, .off = off, .size = size,
		.value = virtio_config_bytes(&dev->virtio, off, size),
	};
	loop_post(m->loop, &dev->work);
	machine_wait_until(m, has_answer, dev, &dev->read.value);
}

void vhost_user_config_answer(struct vhost_user_device *dev)
{
	struct vhost_user_read *r = &dev->read;

	if (r->state != VHOST_USER_READ_ASKED)
		return;
	r->value = virtio_config_bytes(&dev->virtio, r->off, r->size);
	r->state = VHOST_USER_READ_ANSWERED;
	machine_wake(dev->machine);
}

void vhost_user_config_reading(struct vhost_user_device *dev, uint64_t off, unsigned size)
{
	const struct shmem_region *r = shmem_find(&dev->shmem, 0);
	uint64_t at = dev->shmem.window.window.gpa;
	struct virtio_pmem_config c = { 0 };

	if (dev->type->config_asked)
		ask(dev, off, size);
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
	if (dev->type->config_asked) {
		off = dev->type->config_window.off;
		len = dev->type->config_window.len;
	}
	for (unsigned i = off; i < off + len; i++)
		dev->config_dirty[i / 64] |= BIT64(i % 64);
}

static bool is_dirty(const struct vhost_user_device *dev, unsigned byte)
{
	return byte < VIRTIO_CONFIG_MAX && dev->config_dirty[byte / 64] & BIT64(byte % 64);
}

/* To the front end's copy, and to its daemon by @send. */
static void hand_on(struct vhost_user_device *dev,
		    void (*send)(struct vu_frontend *f, unsigned off, unsigned len))
{
	struct vu_frontend *f = &dev->frontend;

	for (unsigned at = 0, len; at < VIRTIO_CONFIG_MAX; at += len + 1) {
		for (len = 0; is_dirty(dev, at + len); len++)
			f->config[at + len] = dev->virtio.config[at + len];
		if (len)
			send(f, at, len);
	}
	memset(dev->config_dirty, 0, sizeof(dev->config_dirty));
}

void vhost_user_config_flush(struct vhost_user_device *dev)
{
	if (!dev->lost && !(dev->type->config_kept && is_ahead(dev)))
		hand_on(dev, vu_frontend_config_write);
}

void vhost_user_config_restore(struct vhost_user_device *dev)
{
	const struct virtio_config_window *w = &dev->virtio.config_window;

	for (unsigned i = w->off; dev->type->config_kept && i < (unsigned)w->off + w->len; i++)
		if (dev->virtio.config[i] != dev->frontend.config[i])
			vhost_user_config_written(dev, i, 1);
	hand_on(dev, vu_frontend_config_keep);
}

void vhost_user_config_work(struct vhost_user_device *dev)
{
	vhost_user_config_flush(dev);
	if (dev->read.state != VHOST_USER_READ_ASKED)
		return;
	if (dev->lost)
		vhost_user_config_answer(dev);
	else
		vu_frontend_config_read(&dev->frontend);
}
