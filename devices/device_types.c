/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/device_types.h"

#include <stddef.h>
#include <string.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pmem.h>
#include <linux/virtio_ring.h>

#include "base/err.h"
#include "base/range.h"
#include "vhost/proto.h"

/* PCI Code and ID Assignment Specification: base class, subclass, interface. */
enum {
	CLASS_STORAGE_SCSI = 0x010000,
	CLASS_COMMUNICATION_OTHER = 0x078000,
	CLASS_OTHERS = 0x00ff00,
};

enum { TYPE_BLK, TYPE_PMEM, TYPE_RNG, TYPE_GENERIC };

const struct vu_device_type vu_device_types[] = {
	[TYPE_BLK] = {
		.name = "blk",
		.aliases = { "block", "vhost-user-blk", "vhost-user-blk-pci" },
		.about = "a disk",
		.virtio_id = VIRTIO_ID_BLOCK,
		.pci_class = CLASS_STORAGE_SCSI,
		.queues_default = VU_QUEUES_PER_VCPU,
		.queue_size = 128,
		.mq_feature = VIRTIO_BLK_F_MQ,
		.config = VU_CONFIG_DAEMON,
		/* Up to and with write_zeroes_may_unmap. */
		.config_size = offsetof(struct virtio_blk_config, unused1),
		.config_window = { offsetof(struct virtio_blk_config, wce), 1,
				   BIT64(VIRTIO_BLK_F_CONFIG_WCE) },
		.config_queues_off = offsetof(struct virtio_blk_config, num_queues),
		.config_queues_size = 2,
		.required = BIT64(VU_PF_CONFIG),
		.withheld = BIT64(VIRTIO_BLK_F_BARRIER) | BIT64(VIRTIO_BLK_F_SCSI) |
			    BIT64(VIRTIO_BLK_F_SECURE_ERASE) | BIT64(17 /* ZONED */),
		.withheld_why = "barriers and SCSI commands are of the legacy interface; the limits of"
				" secure erase and zones lie behind the config space that is fetched",
	},
	[TYPE_PMEM] = {
		.name = "pmem",
		.about = "persistent memory",
		.virtio_id = VIRTIO_ID_PMEM,
		.pci_class = CLASS_OTHERS,
		.queues_fixed = 1,
		.queue_size = 128,
		.mq_feature = -1,
		.config = VU_CONFIG_REGION,
		.config_size = sizeof(struct virtio_pmem_config),
		.required = BIT64(VU_PF_SHMEM),
	},
	[TYPE_RNG] = {
		.name = "rng",
		.aliases = { "vhost-user-rng", "vhost-user-rng-pci" },
		.about = "a source of random bytes",
		.virtio_id = VIRTIO_ID_RNG,
		.pci_class = CLASS_OTHERS,
		.queues_fixed = 1,
		.queue_size = 4,
		.mq_feature = -1,
		.config = VU_CONFIG_NONE,
	},
	[TYPE_GENERIC] = {
		.name = "generic",
		.aliases = { "vhost-user-test-device", "vhost-user-test-device-pci" },
		.about = "any virtio device, by its number",
		.pci_class = CLASS_COMMUNICATION_OTHER,
		.queues_default = 1,
		.queue_size = 64,
		.mq_feature = -1,
		.config = VU_CONFIG_OPTION,
		.config_window = { 0, VIRTIO_CONFIG_MAX, 0 },
	},
	{ .name = NULL },
};

const struct vu_device_type *const vu_generic_type = &vu_device_types[TYPE_GENERIC];

static bool is_called(const struct vu_device_type *t, const char *name)
{
	if (!strcmp(t->name, name))
		return true;
	for (unsigned i = 0; i < VU_TYPE_ALIASES && t->aliases[i]; i++) {
		if (!strcmp(t->aliases[i], name))
			return true;
	}
	return false;
}

const struct vu_device_type *vu_device_type_named(const char *name)
{
	for (const struct vu_device_type *t = vu_device_types; t->name; t++) {
		if (is_called(t, name))
			return t;
	}
	return NULL;
}

const struct vu_device_type *vu_device_type_of_id(uint64_t id)
{
	for (const struct vu_device_type *t = vu_device_types; t->name; t++) {
		if (t->virtio_id && t->virtio_id == id)
			return t;
	}
	return NULL;
}

const char *vu_device_type_list(char *buf, size_t size)
{
	buf[0] = '\0';
	for (const struct vu_device_type *t = vu_device_types; t->name; t++)
		err_list_add(buf, size, t->name);
	return buf;
}

const struct virtio_feature virtio_transport_features[] = {
	{ VIRTIO_F_NOTIFY_ON_EMPTY, false, "NOTIFY_ON_EMPTY",
	  "belongs to the legacy interface, which minivmm does not have" },
	{ VU_F_LOG_ALL, false, "VHOST_F_LOG_ALL",
	  "is dirty logging between front end and daemon, not a matter of the driver" },
	{ VIRTIO_F_ANY_LAYOUT, false, "ANY_LAYOUT",
	  "belongs to the legacy interface; every modern device has it" },
	{ VIRTIO_RING_F_INDIRECT_DESC, true, "RING_INDIRECT_DESC", NULL },
	{ VIRTIO_RING_F_EVENT_IDX, true, "RING_EVENT_IDX", NULL },
	{ VU_F_PROTOCOL_FEATURES, false, "VHOST_USER_F_PROTOCOL_FEATURES",
	  "is the gate of vhost-user's own features, not a matter of the driver" },
	{ VIRTIO_F_VERSION_1, true, "VERSION_1", NULL },
	{ VIRTIO_F_ACCESS_PLATFORM, false, "ACCESS_PLATFORM",
	  "there is no IOMMU: the addresses in rings are guest-physical" },
	{ VIRTIO_F_RING_PACKED, true, "RING_PACKED", NULL },
	{ VIRTIO_F_IN_ORDER, true, "IN_ORDER", NULL },
	{ VIRTIO_F_ORDER_PLATFORM, true, "ORDER_PLATFORM", NULL },
	{ VIRTIO_F_SR_IOV, false, "SR_IOV", "the PCI function has no virtual functions" },
	{ VIRTIO_F_NOTIFICATION_DATA, false, "NOTIFICATION_DATA",
	  "a doorbell is an eventfd, which does not carry the data to the daemon" },
	{ VIRTIO_F_NOTIF_CONFIG_DATA, false, "NOTIF_CONFIG_DATA",
	  "a doorbell is an eventfd of one queue; what is written to it does not matter" },
	{ VIRTIO_F_RING_RESET, false, "RING_RESET",
	  "queues are latched until the device as a whole is reset" },
	{ VIRTIO_F_ADMIN_VQ, false, "ADMIN_VQ", "no administration queue is described to the driver" },
	{ .name = NULL },
};

/* The bits from 24 to 49: VIRTIO 1.3, 2.2. */
static const uint64_t transport_bits = (BIT64(50) - 1) & ~(BIT64(24) - 1);

uint64_t vu_features_offer(const struct vu_device_type *type, uint64_t daemon)
{
	uint64_t passed = ~transport_bits & ~type->withheld;

	for (const struct virtio_feature *f = virtio_transport_features; f->name; f++) {
		if (f->passed)
			passed |= BIT64(f->bit);
	}
	return daemon & passed;
}
