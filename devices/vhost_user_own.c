/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_own.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

#include <linux/virtio_fs.h>
#include <linux/virtio_gpu.h>
#include <linux/virtio_net.h>
#include <linux/virtio_scsi.h>

#include "base/range.h"
#include "devices/vhost_user_config.h"
#include "devices/vhost_user_device.h"

_Static_assert(sizeof(((struct virtio_fs_config *)0)->tag) == VHOST_USER_TAG_MAX, "length of a tag");

void vhost_user_own_fs(const struct vhost_user_device *dev, uint8_t *config)
{
	struct virtio_fs_config c = { 0 };

	/* A tag that fills its field has no NUL. */
	memcpy(c.tag, dev->options->tag, strlen(dev->options->tag));
	memcpy(config, &c, sizeof(c));
}

/* Features about the config space that the daemon means. */
static uint64_t daemon_says(const struct vhost_user_device *dev)
{
	return dev->frontend.has_config ? dev->frontend.features : 0;
}

static uint64_t hash(uint64_t h, const char *text)
{
	/* FNV-1a, 64 bits, the NUL included. */
	do {
		h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	} while (*text++);
	return h;
}

/* Locally administered; nothing about it is secret. */
static void make_mac(const struct vhost_user_device *dev, uint8_t mac[6])
{
	uint64_t h = hash(hash(UINT64_C(0xcbf29ce484222325), dev->where), dev->id);

	mac[0] = 0x02;
	for (unsigned i = 1; i < 6; i++)
		mac[i] = (uint8_t)(h >> (8 * i));
}

void vhost_user_own_net(const struct vhost_user_device *dev, uint8_t *config)
{
	const size_t size = offsetof(struct virtio_net_config, speed);
	const struct vhost_user_options *o = dev->options;
	uint64_t said = daemon_says(dev);
	struct virtio_net_config c = { 0 };

	/* What the front end holds now may be of one that was turned away. Nothing of this is the
	 * driver's to write, so that it stays until there is another daemon. */
	if (dev->lost)
		return;
	if (said)
		memcpy(&c, dev->frontend.config, size);
	if (o->mac)
		memcpy(c.mac, o->mac_bytes, sizeof(c.mac));
	else if (!(said & BIT64(VIRTIO_NET_F_MAC)))
		make_mac(dev, c.mac);
	if (!(said & BIT64(VIRTIO_NET_F_STATUS)))
		c.status = htole16(VIRTIO_NET_S_LINK_UP);
	if (o->mtu_given)
		c.mtu = htole16((uint16_t)o->mtu);
	if (dev->control.announce)
		c.status |= htole16(VIRTIO_NET_S_ANNOUNCE);
	memcpy(config, &c, size);
}

uint64_t vhost_user_own_net_features(const struct vhost_user_device *dev, uint64_t offered)
{
	const uint64_t mtu = BIT64(VIRTIO_NET_F_MTU);

	offered |= BIT64(VIRTIO_NET_F_MAC) | BIT64(VIRTIO_NET_F_STATUS);
	if (dev->options->mtu_given)
		return offered | mtu;
	return daemon_says(dev) & mtu ? offered : offered & ~mtu;
}

void vhost_user_own_net_resumes(struct vhost_user_device *dev)
{
	const uint64_t needs = BIT64(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT64(VIRTIO_NET_F_CTRL_VQ);
	const uint8_t *mac = dev->virtio.config + offsetof(struct virtio_net_config, mac);

	if ((dev->virtio.acked & needs) == needs && dev->control.has_ring) {
		dev->control.announce = true;
		vhost_user_config_load(dev);
		virtio_config_changed(&dev->virtio);
		return;
	}
	dev->frontend.rarp = 0;
	for (unsigned i = 0; i < 6; i++)
		dev->frontend.rarp |= (uint64_t)mac[i] << (8 * i);
}

void vhost_user_own_gpu(const struct vhost_user_device *dev, uint8_t *config)
{
	struct virtio_gpu_config c = { .num_scanouts = htole32(1) };
	const size_t off = offsetof(struct virtio_gpu_config, num_capsets);

	/* As for net: what the front end holds now may be of one that was turned away. */
	if (dev->lost)
		return;
	memcpy(&c.num_capsets, dev->frontend.config + off, sizeof(c.num_capsets));
	memcpy(config, &c, sizeof(c));
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
