/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_device.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <linux/virtio_pmem.h>

#include "base/range.h"

/* Config space */

/* The daemon's bytes with what the front end has to say put over them. */
static void load_config(struct vhost_user_device *dev)
{
	struct virtio_dev *d = &dev->virtio;
	const struct vu_device_type *t = dev->type;
	unsigned counted = d->n_queues - t->queues_fixed;

	memcpy(d->config, dev->frontend.config, d->config_size);
	for (unsigned i = 0; i < t->config_queues_size; i++)
		d->config[t->config_queues_off + i] = (uint8_t)(counted >> (8 * i));
}

/* VU_CONFIG_REGION, made at each read: the guest may move the region. Nowhere it has no size. */
static void load_region(struct virtio_dev *d)
{
	struct vhost_user_device *dev = d->backend_arg;
	const struct shmem_region *r = shmem_find(&dev->shmem, 0);
	uint64_t at = dev->shmem.window.window.gpa;
	struct virtio_pmem_config c = { 0 };

	if (dev->type->config != VU_CONFIG_REGION)
		return;
	if (at != GUEST_WINDOW_NOWHERE)
		c = (struct virtio_pmem_config){ htole64(at + r->offset), htole64(r->size) };
	memcpy(d->config, &c, sizeof(c));
}

static bool is_dirty(const struct vhost_user_device *dev, unsigned byte)
{
	return byte < VIRTIO_CONFIG_MAX && dev->config_dirty[byte / 64] & BIT64(byte % 64);
}

/* Loop. Hands on what the driver wrote, one write for each run of bytes. */
static void flush_config(struct vhost_user_device *dev)
{
	struct vu_frontend *f = &dev->frontend;

	for (unsigned at = 0, len; at < VIRTIO_CONFIG_MAX; at += len + 1) {
		for (len = 0; is_dirty(dev, at + len); len++)
			f->config[at + len] = dev->virtio.config[at + len];
		if (len && !dev->lost)
			vu_frontend_config_write(f, at, len);
	}
	memset(dev->config_dirty, 0, sizeof(dev->config_dirty));
}

/* Life cycle, in the loop */

static void start_step(struct vhost_user_device *dev)
{
	struct virtio_dev *d = &dev->virtio;
	struct vu_frontend *f = &dev->frontend;
	struct err e;
	int r;

	if (dev->lost) {
		virtio_needs_reset(d, NULL);
		return;
	}
	f->n_rings = d->n_queues;
	for (unsigned i = 0; i < d->n_queues; i++) {
		const struct virtio_queue *q = &d->queues[i];

		f->rings[i] = (struct vu_ring){ .enabled = q->enabled, .size = q->size,
						.desc = q->desc, .avail = q->avail, .used = q->used,
						.kick = q->kick, .call = q->call };
	}
	r = d->transport->connect(d, &e);
	if (!r)
		r = vu_frontend_start(f, d->acked, &e);
	if (r) {
		if (misuse_first(&dev->not_started))
			log_warn("device %s: cannot start: %s", dev->id, e.msg);
		d->transport->disconnect(d);
		virtio_needs_reset(d, NULL);
		return;
	}
	dev->run = VHOST_USER_STARTING;
}

/* No one touches the rings any more. */
static void stop_complete(struct vhost_user_device *dev)
{
	dev->emptying = !shmem_share_clear(&dev->share);
	if (dev->emptying)
		return;
	dev->run = VHOST_USER_IDLE;
	dev->virtio.transport->disconnect(&dev->virtio);
	virtio_reset_done(&dev->virtio);
	if (dev->reset_done)
		loop_post(dev->machine->loop, &dev->work);
}

static void stop_step(struct vhost_user_device *dev)
{
	switch (dev->run) {
	case VHOST_USER_IDLE:
		stop_complete(dev);
		break;
	case VHOST_USER_STARTING:
	case VHOST_USER_RUNNING:
		dev->run = VHOST_USER_STOPPING;
		vu_frontend_stop(&dev->frontend);
		break;
	case VHOST_USER_STOPPING:
		break;
	case VHOST_USER_LOST:
		if (dev->daemon_dead)
			stop_complete(dev);
		else
			log_warn("device %s: its reset waits for the end of the daemon, which does"
				 " not answer", dev->id);
		break;
	}
}

static void machine_reset_step(struct vhost_user_device *dev)
{
	void (*done)(void *arg) = dev->reset_done;

	if (!shmem_share_clear(&dev->share))
		return;
	dev->reset_done = NULL;
	dev->virtio.transport->reset(&dev->virtio);
	done(dev->reset_arg);
}

static void work_run(void *arg)
{
	struct vhost_user_device *dev = arg;
	const struct virtio_dev *d = &dev->virtio;

	flush_config(dev);
	if (d->resetting)
		stop_step(dev);
	else if (d->live && dev->run == VHOST_USER_IDLE)
		start_step(dev);
	if (dev->reset_done && !d->resetting)
		machine_reset_step(dev);
}

/* Virtio's side, on a vCPU or in the loop */

static void want_work(struct virtio_dev *d)
{
	struct vhost_user_device *dev = d->backend_arg;

	loop_post(dev->machine->loop, &dev->work);
}

static void config_write(struct virtio_dev *d, unsigned off, unsigned len)
{
	struct vhost_user_device *dev = d->backend_arg;

	for (unsigned i = off; i < off + len; i++)
		dev->config_dirty[i / 64] |= BIT64(i % 64);
	loop_post(dev->machine->loop, &dev->work);
}

/* Whether the start that was asked for has come to its end, whatever that is. */
static bool is_started(void *arg)
{
	const struct vhost_user_device *dev = arg;
	const struct virtio_dev *d = &dev->virtio;

	return dev->run == VHOST_USER_RUNNING || dev->run == VHOST_USER_LOST || !d->live ||
	       d->resetting || d->status & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void start(struct virtio_dev *d)
{
	struct vhost_user_device *dev = d->backend_arg;

	want_work(d);
	if (d->shmem)
		machine_wait_until(dev->machine, is_started, dev);
}

static const struct virtio_backend_ops backend_ops = {
	.start = start,
	.stop = want_work,
	.config_reading = load_region,
	.config_write = config_write,
};

/* The daemon's side, in the loop */

static void daemon_ready(void *arg)
{
	struct vhost_user_device *dev = arg;

	dev->ready = true;
}

static void daemon_started(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->run == VHOST_USER_STARTING)
		dev->run = VHOST_USER_RUNNING;
	machine_wake(dev->machine);
}

static void daemon_stopped(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->run == VHOST_USER_STOPPING)
		stop_complete(dev);
}

static void daemon_lost(void *arg, const char *why, bool daemon_dead)
{
	struct vhost_user_device *dev = arg;

	dev->lost = true;
	dev->daemon_dead = daemon_dead;
	if (!dev->realized) {
		dev->failed = true;
		err_set(&dev->why, -ENOTCONN, "%s", why);
		return;
	}
	log_error("device %s", why);
	shmem_share_clear(&dev->share);
	machine_wake(dev->machine);
	if (dev->run == VHOST_USER_IDLE)
		return;
	dev->run = VHOST_USER_LOST;
	if (dev->virtio.resetting)
		stop_step(dev);
	else
		virtio_needs_reset(&dev->virtio, NULL);
}

static void daemon_ended(void *arg)
{
	struct vhost_user_device *dev = arg;

	dev->daemon_dead = true;
	if (dev->run == VHOST_USER_LOST && dev->virtio.resetting)
		stop_complete(dev);
}

static void daemon_config_changed(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (!dev->realized)
		return;
	flush_config(dev);
	load_config(dev);
	virtio_config_changed(&dev->virtio);
}

static void daemon_ring_error(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->realized && dev->virtio.live)
		virtio_needs_reset(&dev->virtio, NULL);
}

static int daemon_maps(void *arg, const struct vu_shmem_map *m, int fd, struct err *e)
{
	struct vhost_user_device *dev = arg;

	if (!dev->realized)
		return err_set(e, -EBUSY, "device %s is not there yet", dev->id);
	return shmem_share_map(&dev->share, m, fd, e);
}

static int daemon_unmaps(void *arg, const struct vu_shmem_map *m, struct err *e)
{
	struct vhost_user_device *dev = arg;

	if (!dev->realized)
		return err_set(e, -EBUSY, "device %s is not there yet", dev->id);
	return shmem_share_unmap(&dev->share, m, e);
}

static void daemon_mapped(void *arg, const struct vu_shmem_map *m)
{
	struct vhost_user_device *dev = arg;

	shmem_share_mapped(&dev->share, m);
}

/* Other daemons have let go of something. */
static void share_settled(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->emptying)
		stop_complete(dev);
	else if (dev->share.clearing)
		shmem_share_clear(&dev->share);
	if (dev->reset_done)
		loop_post(dev->machine->loop, &dev->work);
	vu_frontend_shmem_again(&dev->frontend);
}

static const struct vu_frontend_ops frontend_ops = {
	.ready = daemon_ready,
	.started = daemon_started,
	.stopped = daemon_stopped,
	.lost = daemon_lost,
	.dead = daemon_ended,
	.config_changed = daemon_config_changed,
	.ring_error = daemon_ring_error,
	.shmem_map = daemon_maps,
	.shmem_unmap = daemon_unmaps,
	.shmem_mapped = daemon_mapped,
};

/* Set-up */

void vhost_user_device_init(struct vhost_user_device *dev, const struct vhost_user_options *o,
			    struct machine *m, struct pci_bus *bus)
{
	*dev = (struct vhost_user_device){ .options = o, .type = o->type, .machine = m,
					   .bus = bus };
	dev->work = (struct loop_job){ .run = work_run, .arg = dev };
	vhost_user_options_name(o, dev->id);
	snprintf(dev->fd_name, sizeof(dev->fd_name), "fd %u", (unsigned)o->fd);
}

static const char *where(const struct vhost_user_device *dev)
{
	return dev->options->socket ? dev->options->socket : dev->fd_name;
}

int vhost_user_device_connect(struct vhost_user_device *dev, int *sock, struct err *e)
{
	struct vu_frontend_params params = {
		.name = dev->id,
		.socket = where(dev),
		.config_size = dev->type->config == VU_CONFIG_REGION ? 0 :
			       (unsigned)dev->options->config_size,
		.required = dev->type->required,
		.quirk = dev->options->quirk,
		.shared = dev->options->shmem_share ? NULL : &dev->machine->shared,
	};

	return vu_frontend_init(&dev->frontend, dev->machine->loop, dev->machine->mem, sock,
				&params, &frontend_ops, dev, e);
}

/* How many counted queues the daemon can serve, after the fixed ones. */
static unsigned queues_room(const struct vhost_user_device *dev)
{
	const struct vu_device_type *t = dev->type;
	const struct vu_frontend *f = &dev->frontend;
	unsigned max = f->queues_max < VIRTIO_QUEUES_MAX ? f->queues_max : VIRTIO_QUEUES_MAX;
	unsigned room = max > t->queues_fixed ? max - t->queues_fixed : 0;
	bool many = t->mq_feature < 0 || (f->protocol & BIT64(VU_PF_MQ) &&
					  f->features & BIT64(t->mq_feature));

	return many || room == 0 ? room : 1;
}

static int count_queues(const struct vhost_user_device *dev, unsigned *ret, struct err *e)
{
	const struct vhost_user_options *o = dev->options;
	const struct vu_device_type *t = dev->type;
	unsigned room = queues_room(dev), want;

	if (o->queues_given)
		want = (unsigned)o->queues;
	else if (t->queues_default == VU_QUEUES_PER_VCPU)
		want = o->vcpus > 1 && room > 1 ? (unsigned)min_u64(o->vcpus, room) : 1;
	else
		want = (unsigned)t->queues_default;
	if (dev->frontend.queues_max < t->queues_fixed || want > room)
		return err_set(e, -EINVAL, "device %s: it needs %u queues, but the daemon at %s serves %u%s",
			       dev->id, t->queues_fixed + want, where(dev), t->queues_fixed + room,
			       o->queues_given ? ": give queues= less, or start the daemon with more" :
			       ": start the daemon with more");
	*ret = t->queues_fixed + want;
	return 0;
}

/* What the type needs of a daemon, beside what the front end asked for. */
static int check_offer(const struct vhost_user_device *dev, struct err *e)
{
	if (dev->lost)
		return err_set(e, -ENOTCONN, "device %s", dev->why.msg);
	if (!(dev->frontend.features & BIT64(VIRTIO_F_VERSION_1)))
		return err_set(e, -EINVAL, "device %s: the daemon at %s does not offer VIRTIO_F_VERSION_1:"
			       " minivmm has no legacy devices; use a daemon of virtio 1.0 or later",
			       dev->id, where(dev));
	if (dev->type->config == VU_CONFIG_REGION && !dev->frontend.shmem[0])
		return err_set(e, -EINVAL, "device %s: the daemon at %s has no shared memory region 0, which"
			       " is what the guest would use of it; use another daemon or device type",
			       dev->id, where(dev));
	return 0;
}

static int realize_regions(struct vhost_user_device *dev, struct err *e)
{
	const struct vhost_user_options *o = dev->options;
	int r;

	r = shmem_init(&dev->shmem, dev->machine, dev->id, dev->frontend.shmem, o->shmem_max, e);
	if (!r)
		r = shmem_share_init(&dev->share, &dev->shmem, dev->machine, dev->id,
				     o->shmem_share, share_settled, dev, e);
	if (!r && shmem_size(&dev->shmem))
		dev->virtio.shmem = &dev->shmem;
	return r;
}

int vhost_user_device_realize(struct vhost_user_device *dev, struct err *e)
{
	const struct vhost_user_options *o = dev->options;
	struct virtio_dev *d = &dev->virtio;
	unsigned n = 0;
	int r;

	assert(dev->ready && !dev->realized);
	r = check_offer(dev, e);
	if (!r)
		r = count_queues(dev, &n, e);
	if (!r)
		r = virtio_init(d, dev->id, (uint16_t)o->virtio_id, n, (uint16_t)o->queue_size,
				(unsigned)o->config_size, dev->machine, e);
	if (r)
		return r;
	d->backend = &backend_ops;
	d->backend_arg = dev;
	d->offered = vu_features_offer(dev->type, dev->frontend.features);
	d->config_window = dev->type->config_window;
	load_config(dev);
	r = realize_regions(dev, e);
	if (!r && o->transport == VHOST_USER_PCI)
		r = virtio_pci_init(&dev->pci, d, dev->bus, dev->type->pci_class, e);
	else if (!r)
		r = virtio_mmio_init(&dev->mmio, d, e);
	if (r) {
		shmem_share_fini(&dev->share);
		shmem_fini(&dev->shmem);
		virtio_fini(d);
		return r;
	}
	dev->realized = true;
	return 0;
}

void vhost_user_device_fini(struct vhost_user_device *dev)
{
	if (!dev->machine)
		return;
	loop_cancel(dev->machine->loop, &dev->work);
	vu_frontend_fini(&dev->frontend);
	if (dev->virtio.transport)
		dev->virtio.transport->fini(&dev->virtio);
	shmem_share_fini(&dev->share);
	shmem_fini(&dev->shmem);
	virtio_fini(&dev->virtio);
	dev->machine = NULL;
}

void vhost_user_device_reset(struct vhost_user_device *dev, void (*done)(void *arg), void *arg)
{
	assert(dev->realized && !dev->reset_done);
	dev->reset_done = done;
	dev->reset_arg = arg;
	virtio_reset(&dev->virtio);
	loop_post(dev->machine->loop, &dev->work);
}
