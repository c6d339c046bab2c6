/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_device.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/range.h"
#include "devices/vhost_user_again.h"
#include "devices/vhost_user_config.h"
#include "devices/vhost_user_offer.h"

/* Life cycle, in the loop */

/* @why is logged the first time; NULL: it was. */
static void start_failed(struct vhost_user_device *dev, const char *why)
{
	loop_timer_cancel(dev->machine->loop, &dev->patience);
	if (why && misuse_first(&dev->not_started))
		log_warn("device %s: cannot start: %s", dev->id, why);
	virtio_needs_reset(&dev->virtio, NULL);
	machine_wake(dev->machine);
}

/* Without a connection a start waits for one. A driver whose exit waits with it, does not wait for
 * ever: it may hold up a whole guest. */
static void await_connection(struct vhost_user_device *dev)
{
	if (!vhost_user_link_is_on(&dev->link))
		start_failed(dev, NULL);
	else if (dev->virtio.shmem && !dev->patience.at)
		loop_timer_set(dev->machine->loop, &dev->patience,
			       clock_ns() + MS_TO_NS(VU_DEADLINE_MS));
}

static void patience_ended(void *arg)
{
	start_failed(arg, "its daemon did not come back while the driver waited");
}

void vhost_user_device_latch(struct vhost_user_device *dev)
{
	const struct virtio_dev *d = &dev->virtio;
	struct vu_frontend *f = &dev->frontend;

	f->n_rings = vhost_user_control_rings(dev);
	for (unsigned i = 0; i < f->n_rings; i++) {
		const struct virtio_queue *q = &d->queues[i];

		f->rings[i] = (struct vu_ring){ .enabled = q->enabled, .size = q->size,
						.desc = q->desc, .avail = q->avail, .used = q->used,
						.kick = q->kick, .call = q->call,
						.waiting = dev->type->queues_waiting & BIT64(i),
						.idle = vhost_user_control_is_idle(dev, i) };
	}
}

static void start_step(struct vhost_user_device *dev)
{
	struct virtio_dev *d = &dev->virtio;
	struct err e;
	int r;

	/* Gone: the loss is about to be told. */
	if (dev->lost || dev->frontend.state == VU_GONE) {
		await_connection(dev);
		return;
	}
	loop_timer_cancel(dev->machine->loop, &dev->patience);
	vhost_user_device_latch(dev);
	r = d->transport->connect(d, &e);
	vhost_user_config_restore(dev);
	if (!r)
		r = vhost_user_control_start(dev, &e);
	if (!r)
		r = vu_frontend_start(&dev->frontend, vhost_user_offer_acked(dev), &e);
	if (r) {
		d->transport->disconnect(d);
		start_failed(dev, e.msg);
		return;
	}
	dev->run = VHOST_USER_STARTING;
}

/* No one touches the rings any more. */
static void stop_complete(struct vhost_user_device *dev)
{
	bool has_control_back = vhost_user_control_stop(dev);

	dev->emptying = !shmem_share_clear(&dev->share) || !has_control_back;
	if (dev->emptying)
		return;
	dev->run = VHOST_USER_IDLE;
	vu_inflight_drop(&dev->inflight);
	loop_timer_cancel(dev->machine->loop, &dev->patience);
	dev->virtio.transport->disconnect(&dev->virtio);
	if (dev->type->config == VU_CONFIG_OWN)
		vhost_user_config_load(dev);
	virtio_reset_done(&dev->virtio);
	if (dev->reset_done)
		loop_post(dev->machine->loop, &dev->work);
}

static void stop_step(struct vhost_user_device *dev)
{
	/* Another vCPU may wait for a start which that ends. */
	machine_wake(dev->machine);
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
		if (dev->emptying)
			stop_complete(dev);
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

/* The driver has set the device going, and knows of no reason to reset it. */
static void live_step(struct vhost_user_device *dev)
{
	if (dev->run == VHOST_USER_IDLE)
		start_step(dev);
	else if (dev->run == VHOST_USER_LOST && !dev->lost)
		vhost_user_again_resume(dev);
}

static void work_run(void *arg)
{
	struct vhost_user_device *dev = arg;
	const struct virtio_dev *d = &dev->virtio;

	vhost_user_config_work(dev);
	if (d->resetting)
		stop_step(dev);
	else if (d->live && !(d->status & VIRTIO_CONFIG_S_NEEDS_RESET))
		live_step(dev);
	if (dev->reset_done && !d->resetting)
		machine_reset_step(dev);
}

/* Virtio's side, on a vCPU or in the loop */

static void want_work(struct virtio_dev *d)
{
	struct vhost_user_device *dev = d->backend_arg;

	loop_post(dev->machine->loop, &dev->work);
}

static void config_reading(struct virtio_dev *d, uint64_t off, unsigned size)
{
	vhost_user_config_reading(d->backend_arg, off, size);
}

static void config_write(struct virtio_dev *d, unsigned off, unsigned len)
{
	struct vhost_user_device *dev = d->backend_arg;

	vhost_user_config_written(dev, off, len);
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
		machine_wait_until(dev->machine, is_started, dev, NULL);
}

static const struct virtio_backend_ops backend_ops = {
	.start = start,
	.stop = want_work,
	.config_reading = config_reading,
	.config_write = config_write,
};

/* The daemon's side, in the loop */

static void daemon_ready(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->realized) {
		vhost_user_again_ready(dev);
		return;
	}
	dev->ready = true;
	if (vhost_user_link_is_trying(&dev->link))
		vhost_user_link_up(&dev->link, "");
}

static void daemon_started(void *arg)
{
	struct vhost_user_device *dev = arg;

	dev->refusals = 0;
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

static void daemon_switched(void *arg)
{
	vhost_user_control_switched(arg);
}

static void daemon_lost(void *arg, const char *why, bool daemon_dead)
{
	struct vhost_user_device *dev = arg;
	bool spawned, hopeless;

	if (vhost_user_link_is_trying(&dev->link)) {
		vhost_user_again_failed(dev, why);
		return;
	}
	dev->lost = true;
	if (!dev->realized) {
		dev->failed = true;
		err_set(&dev->why, -ENOTCONN, "%s", why);
		return;
	}
	log_error("device %s", why);
	vhost_user_config_answer(dev);
	vhost_user_control_switched(dev);
	if (dev->on_lost == VHOST_USER_EXIT) {
		log_error("device %s: so the machine ends (on-lost=exit)", dev->id);
		dev->machine->ops->request(dev->machine->ctx, MACHINE_DEVICE_LOST, 0);
	}
	shmem_share_clear(&dev->share);
	machine_wake(dev->machine);
	spawned = vhost_user_link_dismiss(&dev->link, daemon_dead);
	/* One that has no ring, or none any more, writes nothing; and the one that had them is dead
	 * already. */
	if (dev->run == VHOST_USER_IDLE || dev->run == VHOST_USER_LOST || dev->emptying) {
		vhost_user_link_lost(&dev->link);
		return;
	}
	hopeless = vhost_user_again_is_hopeless(dev);
	dev->run = VHOST_USER_LOST;
	dev->daemon_dead = daemon_dead;
	if (daemon_dead)
		vhost_user_link_lost(&dev->link);
	if (dev->virtio.resetting)
		stop_step(dev);
	else if (hopeless || !vhost_user_again_may_resume(dev))
		virtio_needs_reset(&dev->virtio, NULL);
	else if (!daemon_dead && !spawned)
		log_warn("device %s waits for the end of its daemon, which may still use its rings",
			 dev->id);
}

static void daemon_ended(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->run != VHOST_USER_LOST || dev->daemon_dead)
		return;
	dev->daemon_dead = true;
	vhost_user_link_lost(&dev->link);
	if (dev->virtio.resetting)
		stop_complete(dev);
}

static void daemon_config_changed(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (!dev->realized)
		return;
	vhost_user_config_flush(dev);
	vhost_user_config_load_next(dev);
	virtio_config_changed(&dev->virtio);
}

static void daemon_config_read(void *arg)
{
	struct vhost_user_device *dev = arg;

	vhost_user_config_flush(dev);
	vhost_user_config_load(dev);
	vhost_user_config_answer(dev);
}

static void daemon_ring_error(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (dev->realized && dev->virtio.live)
		virtio_needs_reset(&dev->virtio, NULL);
}

/* Its driver cannot know of it otherwise. */
static void region_cut_short(void *arg)
{
	struct vhost_user_device *dev = arg;

	virtio_needs_reset(&dev->virtio, NULL);
}

static int daemon_maps(void *arg, const struct vu_shmem_map *m, int fd, struct err *e)
{
	struct vhost_user_device *dev = arg;

	if (!dev->realized)
		return err_set(e, -EBUSY, "device %s is not there yet", dev->id);
	/* What was there is gone, and the guest has not been told of a new life. */
	if (dev->run == VHOST_USER_LOST)
		return err_set(e, -EBUSY, "the guest has not reset the device since the daemon before"
			       " was lost");
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
	.switched = daemon_switched,
	.lost = daemon_lost,
	.dead = daemon_ended,
	.config_changed = daemon_config_changed,
	.config_read = daemon_config_read,
	.ring_error = daemon_ring_error,
	.shmem_map = daemon_maps,
	.shmem_unmap = daemon_unmaps,
	.shmem_mapped = daemon_mapped,
};

/* Connecting */

int vhost_user_device_negotiate(struct vhost_user_device *dev, int *sock, int *pidfd,
				struct err *e)
{
	struct vu_frontend_params params = {
		.name = dev->id,
		.socket = dev->where,
		.config_size = vu_config_is_daemons(dev->type) || dev->type->config_optional ?
			       (unsigned)dev->options->config_size : 0,
		.config_optional = dev->type->config_optional,
		.mtu = (uint16_t)dev->options->mtu,
		.required = dev->type->required,
		.quirk = dev->options->quirk,
		.shared = dev->options->shmem_share ? NULL : &dev->machine->shared,
		.inflight = &dev->inflight,
		.pidfd = pidfd,
		.display = &dev->display.sock,
		.tap = dev->tap,
	};

	return vu_frontend_init(&dev->frontend, dev->machine->loop, dev->machine->mem, sock,
				&params, &frontend_ops, dev, e);
}

/* Set-up */

void vhost_user_device_init(struct vhost_user_device *dev, const struct vhost_user_options *o,
			    struct machine *m, struct pci_bus *bus)
{
	*dev = (struct vhost_user_device){ .options = o, .type = o->type, .machine = m,
					   .bus = bus, .inflight = VU_INFLIGHT_NONE };
	dev->control.pairs = 1;
	dev->work = (struct loop_job){ .run = work_run, .arg = dev };
	dev->patience = (struct loop_timer){ .expired = patience_ended, .arg = dev };
	vhost_user_link_init(&dev->link, m->loop, dev->id, &vhost_user_again_ops, dev);
	vhost_user_options_name(o, dev->id);
	vhost_user_display_init(dev);
	if (o->exec)
		snprintf(dev->place, sizeof(dev->place), "exec=%s", o->command.text);
	else
		snprintf(dev->place, sizeof(dev->place), "fd %u", (unsigned)o->fd);
	dev->where = o->socket ? o->socket : dev->place;
}

int vhost_user_device_connect(struct vhost_user_device *dev, int *sock, struct err *e)
{
	return vhost_user_device_negotiate(dev, sock, NULL, e);
}

static int realize_regions(struct vhost_user_device *dev, struct err *e)
{
	const struct vhost_user_options *o = dev->options;
	const struct guest_window_params window = {
		.name = dev->id, .idle_max = o->window_idle_max, .cut_short = region_cut_short,
		.arg = dev,
	};
	int r = shmem_init(&dev->shmem, dev->machine, dev->frontend.shmem, o->shmem_max, &window,
			   e);

	if (!r)
		r = shmem_share_init(&dev->share, &dev->shmem, dev->machine, dev->id,
				     o->shmem_share, share_settled, dev, e);
	if (!r && shmem_size(&dev->shmem))
		dev->virtio.shmem = &dev->shmem;
	return r;
}

/* What a daemon had mapped is gone with it, and the guest has to know. */
static int choose_on_lost(struct vhost_user_device *dev, struct err *e)
{
	const struct vhost_user_options *o = dev->options;
	bool may_wait = o->reconnect && !dev->virtio.shmem;
	bool waits = may_wait && !dev->type->ends_with_daemon;

	dev->on_lost = waits ? VHOST_USER_WAIT : VHOST_USER_RESET;
	if (o->on_lost_given)
		dev->on_lost = (enum vhost_user_on_lost)o->on_lost;
	if (dev->on_lost == VHOST_USER_WAIT && !may_wait)
		return err_set(e, -EINVAL, "device %s: on-lost=wait: its daemon has shared memory regions,"
			       " and what it maps there ends with it: leave it out, or give on-lost=exit",
			       dev->id);
	return 0;
}

int vhost_user_device_realize(struct vhost_user_device *dev, struct err *e)
{
	const struct vhost_user_options *o = dev->options;
	struct virtio_dev *d = &dev->virtio;
	int r;

	assert(dev->ready && !dev->realized);
	if (dev->lost)
		return err_set(e, -ENOTCONN, "device %s", dev->why.msg);
	r = vhost_user_offer_check(dev, &dev->counted, e);
	if (!r)
		r = virtio_init(d, dev->id, (uint16_t)o->virtio_id, vhost_user_offer_queues(dev),
				(uint16_t)o->queue_size, (unsigned)o->config_size, dev->machine, e);
	if (r)
		return r;
	d->backend = &backend_ops;
	d->backend_arg = dev;
	d->offered = vhost_user_offer_features(dev);
	d->config_window = dev->type->config_window;
	vhost_user_config_load(dev);
	r = realize_regions(dev, e);
	if (!r)
		r = choose_on_lost(dev, e);
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
	loop_timer_cancel(dev->machine->loop, &dev->patience);
	vhost_user_link_fini(&dev->link);
	vhost_user_control_fini(dev);
	vhost_user_display_fini(dev);
	vu_frontend_fini(&dev->frontend);
	vu_inflight_drop(&dev->inflight);
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
	vhost_user_config_answer(dev);
	dev->read.state = VHOST_USER_READ_NONE;
	virtio_reset(&dev->virtio);
	loop_post(dev->machine->loop, &dev->work);
}
