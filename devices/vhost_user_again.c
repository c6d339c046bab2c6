/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_again.h"

#include <errno.h>

#include <linux/virtio_config.h>

#include "base/log.h"
#include "base/range.h"
#include "devices/vhost_user_config.h"
#include "devices/vhost_user_device.h"
#include "devices/vhost_user_offer.h"
#include "vhost/remains.h"

/* One that has no memory for a moment may refuse, too, and not the next time. */
enum { REFUSALS_MAX = 3 };

void vhost_user_again_failed(struct vhost_user_device *dev, const char *why)
{
	vu_frontend_fini(&dev->frontend);
	vhost_user_link_failed(&dev->link, why);
}

/* Whether what is to go on stands still, and the guest does not know. */
static bool is_stalled(const struct vhost_user_device *dev)
{
	return dev->run == VHOST_USER_LOST && !dev->virtio.resetting &&
	       !(dev->virtio.status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

bool vhost_user_again_may_resume(const struct vhost_user_device *dev)
{
	return dev->on_lost == VHOST_USER_WAIT && vhost_user_link_is_on(&dev->link);
}

bool vhost_user_again_is_hopeless(struct vhost_user_device *dev)
{
	if (dev->run != VHOST_USER_STARTING || !dev->frontend.refused)
		return false;
	if (++dev->refusals < REFUSALS_MAX)
		return false;
	log_error("device %s cannot go on: its daemon said no to %u starts in a row: it works when the guest"
		  " has reset it", dev->id, dev->refusals);
	dev->refusals = 0;
	return true;
}

/* A stalled device has more to be served than an idle one. */
static int check_fits(const struct vhost_user_device *dev, struct err *e)
{
	int r = vhost_user_offer_fits(dev, e);

	if (r == 0 && is_stalled(dev) && dev->inflight.fd >= 0 &&
	    !(dev->frontend.protocol & BIT64(VU_PF_INFLIGHT_SHMFD)))
		r = err_set(e, -EINVAL, "the daemon at %s has no INFLIGHT_SHMFD, by which the one before"
			    " noted the requests it had not finished: start it as it was", dev->where);
	return r;
}

void vhost_user_again_ready(struct vhost_user_device *dev)
{
	const char *more = "";
	struct err e;

	if (check_fits(dev, &e)) {
		vhost_user_again_failed(dev, e.msg);
		return;
	}
	dev->lost = false;
	if (is_stalled(dev))
		more = "; it goes on";
	else if (dev->run == VHOST_USER_LOST)
		more = "; it works when the guest has reset it";
	vhost_user_link_up(&dev->link, more);
	vhost_user_config_flush(dev);
	if (vhost_user_config_load_next(dev))
		virtio_config_changed(&dev->virtio);
	loop_post(dev->machine->loop, &dev->work);
}

static int place_ring(struct vhost_user_device *dev, unsigned i, struct err *e)
{
	const uint64_t packed = BIT64(VIRTIO_F_RING_PACKED), in_order = BIT64(VIRTIO_F_IN_ORDER);
	const uint64_t acked = dev->virtio.acked;
	struct vu_ring *ring = &dev->frontend.rings[i];
	struct vu_remains left;
	int r;

	if (!ring->enabled)
		return 0;
	if (acked & packed)
		return err_set(e, -EOPNOTSUPP, "its rings are packed, and do not show where the daemon"
			       " before was");
	r = vu_remains_read(dev->machine->mem, ring, &left, e);
	if (r)
		return err_prefix(e, r, "queue %u: ", i);
	if (!left.in_order && dev->inflight.fd < 0 && !(acked & in_order))
		return err_set(e, -EIO, "the daemon before took requests of queue %u out of turn, and had no"
			       " INFLIGHT_SHMFD to note which of them it had not finished", i);
	ring->base = left.used;
	return 0;
}

void vhost_user_again_resume(struct vhost_user_device *dev)
{
	struct vu_frontend *f = &dev->frontend;
	struct err e;
	int r = 0;

	vhost_user_device_latch(dev);
	if (dev->type->resumes)
		dev->type->resumes(dev);
	for (unsigned i = 0; i < f->n_rings && r == 0; i++)
		r = place_ring(dev, i, &e);
	vhost_user_config_restore(dev);
	if (r == 0)
		r = vu_frontend_start(f, vhost_user_offer_acked(dev), &e);
	if (r) {
		log_error("device %s cannot go on: %s: it works when the guest has reset it", dev->id,
			  e.msg);
		virtio_needs_reset(&dev->virtio, NULL);
		return;
	}
	dev->run = VHOST_USER_STARTING;
	/* What the dead daemon gave back last, it may not have said any more. */
	for (unsigned i = 0; i < f->n_rings; i++)
		if (f->rings[i].enabled)
			loop_signal(dev->machine->loop, f->rings[i].call);
}

void vhost_user_again_try(struct vhost_user_device *dev, int *sock, int *pidfd)
{
	struct err e;

	vu_frontend_fini(&dev->frontend);
	if (vhost_user_device_negotiate(dev, sock, pidfd, &e))
		vhost_user_again_failed(dev, e.msg);
}

static void try_daemon(void *arg, int *sock, int *pidfd)
{
	struct vhost_user_device *dev = arg;

	if (vhost_user_display_lacks(dev))
		vhost_user_display_await(dev, sock, pidfd);
	else
		vhost_user_again_try(dev, sock, pidfd);
}

static void no_daemon(void *arg)
{
	struct vhost_user_device *dev = arg;

	if (is_stalled(dev))
		virtio_needs_reset(&dev->virtio, NULL);
	loop_post(dev->machine->loop, &dev->work);
}

/* Before the guest has seen the device. */
static void never_a_daemon(void *arg, const char *why)
{
	struct vhost_user_device *dev = arg;

	dev->failed = true;
	err_set(&dev->why, -ENOTCONN, "%s", why);
}

const struct vhost_user_link_ops vhost_user_again_ops = {
	.try = try_daemon,
	.hopeless = no_daemon,
	.never = never_a_daemon,
};
