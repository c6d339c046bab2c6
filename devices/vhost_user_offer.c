/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_offer.h"

#include <errno.h>
#include <inttypes.h>

#include "base/range.h"
#include "devices/vhost_user_device.h"

/* Of a type that has as many as its daemon, when that does not say: a driver that knows of fewer
 * leaves the rest alone. */
enum { QUEUES_UNTOLD = 2 };

static unsigned each(const struct vu_device_type *t)
{
	return t->queues_each ? t->queues_each : 1;
}

/* How many counted queues the daemon can serve, after the fixed ones. */
static unsigned queues_room(const struct vhost_user_device *dev)
{
	const struct vu_device_type *t = dev->type;
	const struct vu_frontend *f = &dev->frontend;
	uint64_t has = (uint64_t)f->queues_max + t->queues_kept;
	unsigned max = (unsigned)min_u64(has, VIRTIO_QUEUES_MAX);
	unsigned room = max > t->queues_fixed ? (max - t->queues_fixed) / each(t) : 0;
	bool many = t->mq_feature < 0 || (f->protocol & BIT64(VU_PF_MQ) &&
					  f->features & BIT64(t->mq_feature));

	return many || room == 0 ? room : 1;
}

/* *@ret: the counted ones. */
static int count_queues(const struct vhost_user_device *dev, unsigned *ret, struct err *e)
{
	const struct vhost_user_options *o = dev->options;
	const struct vu_device_type *t = dev->type;
	unsigned theirs = t->queues_fixed - t->queues_kept;
	unsigned room = queues_room(dev), want;
	/* How many it serves it says with protocol feature MQ. */
	bool is_told = dev->frontend.queues_max != UINT32_MAX;

	if (o->queues_given)
		want = (unsigned)o->queues;
	else if (t->queues_default == VU_QUEUES_OF_DAEMON)
		want = is_told ? room : QUEUES_UNTOLD;
	else if (t->queues_default == VU_QUEUES_PER_VCPU)
		want = o->vcpus > 1 && room > 1 && is_told ? (unsigned)min_u64(o->vcpus, room) : 1;
	else
		want = (unsigned)t->queues_default;
	if ((uint64_t)dev->frontend.queues_max + t->queues_kept < t->queues_fixed || want > room)
		return err_set(e, -EINVAL, "device %s: it needs %u queues, but the daemon at %s serves %u%s",
			       dev->id, theirs + want * each(t), dev->where,
			       (unsigned)min_u64(dev->frontend.queues_max, VIRTIO_QUEUES_MAX),
			       o->queues_given ? ": give queues= less, or start the daemon with more" :
			       ": start the daemon with more");
	*ret = want;
	return 0;
}

uint64_t vhost_user_offer_features(const struct vhost_user_device *dev)
{
	const struct vu_device_type *t = dev->type;
	uint64_t offered = vu_features_offer(t, dev->frontend.features);

	if (t->features_own)
		offered = t->features_own(dev, offered);
	return vhost_user_control_features(dev, offered);
}

uint64_t vhost_user_offer_acked(const struct vhost_user_device *dev)
{
	uint64_t acked = dev->virtio.acked & ~dev->type->control_feature;

	return dev->type->features_own ? acked & dev->frontend.features : acked;
}

/* A guest that keeps to an MTU of which its daemon does not know would be worse off than one
 * without. */
static int check_mtu(const struct vhost_user_device *dev, struct err *e)
{
	if (!dev->options->mtu_given || dev->frontend.protocol & BIT64(VU_PF_MTU))
		return 0;
	return err_set(e, -EINVAL, "device %s: the daemon at %s does not offer protocol feature MTU and"
		       " cannot be told of mtu=; leave it out or use another daemon", dev->id,
		       dev->where);
}

int vhost_user_offer_check(const struct vhost_user_device *dev, unsigned *ret_counted,
			   struct err *e)
{
	const struct vu_frontend *f = &dev->frontend;

	if (!(f->features & BIT64(VIRTIO_F_VERSION_1)))
		return err_set(e, -EINVAL, "device %s: the daemon at %s does not offer VIRTIO_F_VERSION_1:"
			       " minivmm has no legacy devices; use a daemon of virtio 1.0 or later",
			       dev->id, dev->where);
	if (dev->type->config == VU_CONFIG_REGION && !f->shmem[0])
		return err_set(e, -EINVAL, "device %s: the daemon at %s has no shared memory region 0, which"
			       " is what the guest would use of it; use another daemon or device type",
			       dev->id, dev->where);
	if (check_mtu(dev, e))
		return -EINVAL;
	if (dev->control.given && dev->control.gone)
		return err_set(e, -ENOTCONN, "device %s", dev->control.why.msg);
	return count_queues(dev, ret_counted, e);
}

unsigned vhost_user_offer_queues(const struct vhost_user_device *dev)
{
	return dev->type->queues_fixed + dev->counted * each(dev->type) + dev->control.given;
}

int vhost_user_offer_fits(const struct vhost_user_device *dev, struct err *e)
{
	const struct virtio_dev *d = &dev->virtio;
	const struct vu_frontend *f = &dev->frontend;
	uint64_t lacks = d->offered & ~vhost_user_offer_features(dev);
	unsigned theirs = dev->type->queues_fixed - dev->type->queues_kept;
	unsigned queues = theirs + queues_room(dev) * each(dev->type);
	unsigned has = theirs + dev->counted * each(dev->type);

	if (lacks)
		return err_set(e, -EINVAL, "the daemon at %s offers less than the one before, of virtio"
			       " features 0x%" PRIx64 " is missing: start it as it was", dev->where, lacks);
	if (check_mtu(dev, e))
		return -EINVAL;
	if (f->queues_max < has || queues < has)
		return err_set(e, -EINVAL, "the daemon at %s serves %u queues, the device has %u: start it"
			       " with as many as before", dev->where,
			       queues < f->queues_max ? queues : f->queues_max, has);
	for (unsigned id = 0; id < VU_SHMEM_REGIONS; id++) {
		const struct shmem_region *r = shmem_find(&dev->shmem, id);

		if (f->shmem[id] != (r ? r->size : 0))
			return err_set(e, -EINVAL, "shared memory region %u of the daemon at %s has %" PRIu64
				       " bytes, that of the device %" PRIu64 ": start it as it was", id,
				       dev->where, f->shmem[id], r ? r->size : 0);
	}
	return 0;
}
