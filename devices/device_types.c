/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/device_types.h"

#include <stddef.h>
#include <string.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_console.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_gpio.h>
#include <linux/virtio_gpu.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_input.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pmem.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_snd.h>
#include <linux/virtio_vsock.h>

#include "base/err.h"
#include "base/range.h"
#include "devices/vhost_user_own.h"
#include "vhost/proto.h"

/* PCI Code and ID Assignment Specification: base class, subclass, interface. */
enum {
	CLASS_STORAGE_SCSI = 0x010000,
	CLASS_STORAGE_OTHER = 0x018000,
	CLASS_NETWORK_ETHERNET = 0x020000,
	CLASS_DISPLAY_OTHER = 0x038000,
	CLASS_MULTIMEDIA_AUDIO = 0x040100,
	CLASS_MULTIMEDIA_OTHER = 0x048000,
	CLASS_COMMUNICATION_OTHER = 0x078000,
	CLASS_INPUT_OTHER = 0x098000,
	CLASS_OTHERS = 0x00ff00,
};

/* Of VIRTIO 1.4, which kernel headers do not have yet. A CAN bus has a status of 16 bits and no
 * more: a daemon that is asked for more may refuse, or give what lies behind in its memory. */
enum {
	ID_SPI = 45, ID_MEDIA = 48,
	SPI_CONFIG_SIZE = 32, CAN_CONFIG_SIZE = 2, MEDIA_CONFIG_SIZE = 40,
};

enum {
	TYPE_BLK, TYPE_CAN, TYPE_CONSOLE, TYPE_FS, TYPE_GPIO, TYPE_GPU, TYPE_I2C, TYPE_INPUT,
	TYPE_MEDIA,
	TYPE_NET, TYPE_PMEM, TYPE_RNG, TYPE_SCMI, TYPE_SCSI, TYPE_SND, TYPE_SPI, TYPE_VSOCK,
	TYPE_GENERIC,
};

/* What a driver of a network interface would say, or be told, by the control queue: no daemon's to
 * offer. */
#define NET_CONTROL \
	(BIT64(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT64(VIRTIO_NET_F_CTRL_VQ) | \
	 BIT64(VIRTIO_NET_F_CTRL_RX) | BIT64(VIRTIO_NET_F_CTRL_VLAN) | \
	 BIT64(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT64(VIRTIO_NET_F_GUEST_ANNOUNCE) | \
	 BIT64(VIRTIO_NET_F_MQ) | BIT64(VIRTIO_NET_F_CTRL_MAC_ADDR) | \
	 BIT64(50 /* DEVICE_STATS */) | BIT64(52 /* VQ_NOTF_COAL */) | \
	 BIT64(VIRTIO_NET_F_NOTF_COAL))
/* And in its config space. */
#define NET_BEHIND \
	(BIT64(VIRTIO_NET_F_HASH_REPORT) | BIT64(VIRTIO_NET_F_RSS) | BIT64(VIRTIO_NET_F_STANDBY) | \
	 BIT64(VIRTIO_NET_F_SPEED_DUPLEX))

const struct vu_device_type vu_device_types[] = {
	[TYPE_BLK] = {
		.name = "blk",
		.aliases = { "block" },
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
		.config_kept = true,
		.config_queues_off = offsetof(struct virtio_blk_config, num_queues),
		.config_queues_size = 2,
		.required = BIT64(VU_PF_CONFIG),
		.withheld = BIT64(VIRTIO_BLK_F_BARRIER) | BIT64(VIRTIO_BLK_F_SCSI) |
			    BIT64(VIRTIO_BLK_F_SECURE_ERASE) | BIT64(17 /* ZONED */),
		.withheld_why = "barriers and SCSI commands are of the legacy interface; the limits of"
				" secure erase and zones lie behind the config space that is fetched",
	},
	[TYPE_CAN] = {
		.name = "can",
		.about = "a CAN bus",
		.virtio_id = VIRTIO_ID_CAN,
		.pci_class = CLASS_COMMUNICATION_OTHER,
		.queues_fixed = 3,
		.queue_size = 64,
		.mq_feature = -1,
		.config = VU_CONFIG_DAEMON,
		.config_size = CAN_CONFIG_SIZE,
		.required = BIT64(VU_PF_CONFIG),
	},
	[TYPE_CONSOLE] = {
		.name = "console",
		.about = "a console, or several",
		.virtio_id = VIRTIO_ID_CONSOLE,
		.pci_class = CLASS_COMMUNICATION_OTHER,
		.queues_fixed = 2,
		.queues_default = VU_QUEUES_OF_DAEMON,
		.queue_size = 128,
		.mq_feature = -1,
		.config = VU_CONFIG_DAEMON,
		.config_size = sizeof(struct virtio_console_config),
		.required = BIT64(VU_PF_CONFIG),
		.config_window = { offsetof(struct virtio_console_config, emerg_wr), 4,
				   BIT64(VIRTIO_CONSOLE_F_EMERG_WRITE) },
	},
	[TYPE_FS] = {
		.name = "fs",
		.about = "a directory of the host",
		.virtio_id = VIRTIO_ID_FS,
		.pci_class = CLASS_STORAGE_OTHER,
		.queues_fixed = 1,
		.queues_default = 1,
		.queue_size = 128,
		.mq_feature = -1,
		.config = VU_CONFIG_OWN,
		.config_size = sizeof(struct virtio_fs_config),
		.config_own = vhost_user_own_fs,
		.ends_with_daemon = true,	/* its session, with all files that are open */
		.config_queues_off = offsetof(struct virtio_fs_config, num_request_queues),
		.config_queues_size = 4,
		.withheld = BIT64(0 /* NOTIFICATION */),
		.withheld_why = "a queue for notifications would stand between those of requests, and no"
				" daemon has it",
	},
	[TYPE_GPIO] = {
		.name = "gpio",
		.about = "lines of a GPIO chip",
		.virtio_id = VIRTIO_ID_GPIO,
		.pci_class = CLASS_COMMUNICATION_OTHER,
		.queues_fixed = 2,
		.queue_size = 64,
		.mq_feature = -1,
		.config = VU_CONFIG_DAEMON,
		.config_size = sizeof(struct virtio_gpio_config),
		.required = BIT64(VU_PF_CONFIG),
	},
	[TYPE_GPU] = {
		.name = "gpu",
		.about = "a graphics card with one screen",
		.virtio_id = VIRTIO_ID_GPU,
		.pci_class = CLASS_DISPLAY_OTHER,
		.queues_fixed = 2,
		.queue_size = 256,
		.mq_feature = -1,
		.config = VU_CONFIG_OWN,
		.config_size = sizeof(struct virtio_gpu_config),
		.config_own = vhost_user_own_gpu,
		.config_optional = true,
		.config_window = { offsetof(struct virtio_gpu_config, events_clear), 4, 0 },
		.ends_with_daemon = true,	/* what is drawn, and what it is drawn with */
		.required = BIT64(VU_PF_CONFIG),
	},
	[TYPE_I2C] = {
		.name = "i2c",
		.about = "an I2C bus",
		.virtio_id = VIRTIO_ID_I2C_ADAPTER,
		.pci_class = CLASS_COMMUNICATION_OTHER,
		.queues_fixed = 1,
		.queue_size = 4,
		.mq_feature = -1,
		.config = VU_CONFIG_NONE,
	},
	[TYPE_INPUT] = {
		.name = "input",
		.about = "a keyboard, a mouse or the like",
		.virtio_id = VIRTIO_ID_INPUT,
		.pci_class = CLASS_INPUT_OTHER,
		.queues_fixed = 2,
		/* Not QEMU's 4, in which what a hand does in a moment has no room. */
		.queue_size = 64,
		.mq_feature = -1,
		.config = VU_CONFIG_DAEMON,
		.config_size = sizeof(struct virtio_input_config),
		.config_window = { offsetof(struct virtio_input_config, select), 2, 0 },
		.config_asked = true,
		.required = BIT64(VU_PF_CONFIG),
	},
	[TYPE_MEDIA] = {
		.name = "media",
		.about = "a camera or a codec",
		.virtio_id = ID_MEDIA,
		.pci_class = CLASS_MULTIMEDIA_OTHER,
		.queues_fixed = 2,
		.queue_size = 256,
		.mq_feature = -1,
		.config = VU_CONFIG_DAEMON,
		.config_size = MEDIA_CONFIG_SIZE,
		.required = BIT64(VU_PF_CONFIG),
	},
	[TYPE_NET] = {
		.name = "net",
		.about = "a network interface",
		.virtio_id = VIRTIO_ID_NET,
		.pci_class = CLASS_NETWORK_ETHERNET,
		.queues_default = 1,
		.queues_each = 2,
		.queue_size = 256,
		.mq_feature = VIRTIO_NET_F_MQ,
		.control_feature = BIT64(VIRTIO_NET_F_CTRL_VQ),
		.control_features = BIT64(VIRTIO_NET_F_CTRL_VQ) | BIT64(VIRTIO_NET_F_MQ) |
				    BIT64(VIRTIO_NET_F_GUEST_ANNOUNCE),
		.config = VU_CONFIG_OWN,
		.config_size = offsetof(struct virtio_net_config, speed),
		.config_own = vhost_user_own_net,
		.features_own = vhost_user_own_net_features,
		.resumes = vhost_user_own_net_resumes,
		.config_optional = true,
		.config_queues_off = offsetof(struct virtio_net_config, max_virtqueue_pairs),
		.config_queues_size = 2,
		.withheld = NET_CONTROL | NET_BEHIND,
		.withheld_why = "filters, addresses and offloads are not set by the control queue, since no"
				" daemon can be told of them; the speed, and hashes of packets, lie behind"
				" the config space that there is",
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
		.about = "a source of random bytes",
		.virtio_id = VIRTIO_ID_RNG,
		.pci_class = CLASS_OTHERS,
		.queues_fixed = 1,
		.queue_size = 4,
		.mq_feature = -1,
		.config = VU_CONFIG_NONE,
	},
	[TYPE_SCMI] = {
		.name = "scmi",
		.about = "a system control processor",
		.virtio_id = VIRTIO_ID_SCMI,
		.pci_class = CLASS_COMMUNICATION_OTHER,
		.queues_fixed = 2,
		.queue_size = 256,
		.mq_feature = -1,
		.config = VU_CONFIG_NONE,
	},
	[TYPE_SCSI] = {
		.name = "scsi",
		.about = "a SCSI host adapter",
		.virtio_id = VIRTIO_ID_SCSI,
		.pci_class = CLASS_STORAGE_SCSI,
		.queues_fixed = 2,
		.queues_default = VU_QUEUES_PER_VCPU,
		.queue_size = 128,
		.mq_feature = -1,
		.config = VU_CONFIG_OWN,
		.config_size = sizeof(struct virtio_scsi_config),
		.config_own = vhost_user_own_scsi,
		.config_window = { offsetof(struct virtio_scsi_config, sense_size), 8, 0 },
		.config_queues_off = offsetof(struct virtio_scsi_config, num_queues),
		.config_queues_size = 4,
	},
	[TYPE_SND] = {
		.name = "snd",
		.aliases = { "sound" },
		.about = "a sound card",
		.virtio_id = VIRTIO_ID_SOUND,
		.pci_class = CLASS_MULTIMEDIA_AUDIO,
		.queues_fixed = 4,
		/* That of events: vhost-device-sound 0.3.0, once kicked there, looks for an end of
		 * the buffers that it never takes, and serves no queue any more. */
		.queues_waiting = BIT64(1),
		.queue_size = 64,
		.mq_feature = -1,
		.config = VU_CONFIG_DAEMON,
		.config_size = sizeof(struct virtio_snd_config),
		.required = BIT64(VU_PF_CONFIG),
		.withheld = BIT64(0 /* CTLS */),
		.withheld_why = "the number of a sound card's controls lies behind the config space that is"
				" fetched",
	},
	[TYPE_SPI] = {
		.name = "spi",
		.about = "an SPI controller",
		.virtio_id = ID_SPI,
		.pci_class = CLASS_COMMUNICATION_OTHER,
		.queues_fixed = 1,
		.queue_size = 4,
		.mq_feature = -1,
		.config = VU_CONFIG_DAEMON,
		.config_size = SPI_CONFIG_SIZE,
		.required = BIT64(VU_PF_CONFIG),
	},
	[TYPE_VSOCK] = {
		.name = "vsock",
		.about = "sockets between guest and host",
		.virtio_id = VIRTIO_ID_VSOCK,
		.pci_class = CLASS_COMMUNICATION_OTHER,
		.queues_fixed = 3,
		/* That of events, which would tell that connections ended with a migration or with
		 * their daemon: no ring is walked here. */
		.queues_kept = 1,
		.queue_size = 128,
		.mq_feature = -1,
		.config = VU_CONFIG_DAEMON,
		.config_size = sizeof(struct virtio_vsock_config),
		.required = BIT64(VU_PF_CONFIG),
	},
	[TYPE_GENERIC] = {
		.name = "generic",
		.aliases = { "vhost-user-device", "vhost-user-device-pci", "vhost-user-test-device",
			     "vhost-user-test-device-pci" },
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

/* Whether @name is vhost-user-TYPE, vhost-user-TYPE-pci or vhost-user-TYPE-device. */
static bool is_qemus(const char *type, const char *name)
{
	static const char prefix[] = "vhost-user-";
	size_t len = strlen(type);
	const char *end;

	if (strncmp(name, prefix, sizeof(prefix) - 1) ||
	    strncmp(name + sizeof(prefix) - 1, type, len))
		return false;
	end = name + sizeof(prefix) - 1 + len;
	return !*end || !strcmp(end, "-pci") || !strcmp(end, "-device");
}

static bool is_called(const struct vu_device_type *t, const char *name)
{
	if (!strcmp(t->name, name) || is_qemus(t->name, name))
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

bool vu_config_is_daemons(const struct vu_device_type *type)
{
	return type->config == VU_CONFIG_DAEMON || type->config == VU_CONFIG_OPTION;
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
