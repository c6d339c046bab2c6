/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of each virtio device type that a vhost-user daemon can serve: one const row.
 * Option parsing, checks at set-up and documentation read the same table; a new type is a new row.
 * Names and defaults are those of QEMU's vhost-user devices.
 */
#ifndef DEVICES_DEVICE_TYPES_H
#define DEVICES_DEVICE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio.h"

enum vu_config_source {
	VU_CONFIG_NONE,		/* the device has no config space */
	VU_CONFIG_DAEMON,	/* GET_CONFIG: protocol feature CONFIG is required */
	VU_CONFIG_REGION,	/* the front end's: where shared memory region 0 is; the daemon
				 * must have it (virtio_pmem_config) */
	VU_CONFIG_OPTION,	/* the daemon's, of as many bytes as config-size= says; 0: none */
	VU_CONFIG_OWN,		/* the front end's, which makes it by config_own */
};

enum {
	VU_QUEUES_PER_VCPU = -1, VU_QUEUES_OF_DAEMON = -2, VU_QUEUE_SIZE_MAX = 1024,
	VU_TYPE_ALIASES = 4,
};

struct vhost_user_device;

struct vu_device_type {
	const char *name;			/* the word of --vhost-user */
	/* Further words, beside vhost-user-NAME, which may end in -pci or -device; the rest is
	 * NULL. */
	const char *aliases[VU_TYPE_ALIASES];
	const char *about;			/* for --help and the manual page, a few words */
	uint16_t virtio_id;			/* 0: given by virtio-id= */
	uint32_t pci_class;			/* 24 bits */

	uint8_t queues_fixed;			/* queues that are always there */
	/* And those that queues= counts: their default. VU_QUEUES_PER_VCPU: one for each vCPU as
	 * far as the daemon goes; VU_QUEUES_OF_DAEMON: what it has; 0: there are none. */
	int8_t queues_default;
	uint8_t queues_each;			/* of which each is so many; 0: one */
	uint8_t queues_kept;			/* so many of the last ones no daemon is given */
	/* Mask: queues whose buffers wait for what a device has to tell. No kick is injected into
	 * them, as there is nothing that a daemon could do at once. */
	uint64_t queues_waiting;
	/* With more than one counted queue there is one more, the last, which a process of minivmm
	 * serves (vhost_user_control.h): the feature by which a driver says that it uses it, and
	 * all those that are offered when it is served. No daemon is told of the first. 0: none. */
	uint64_t control_feature, control_features;
	uint16_t queue_size;			/* default of queue-size= */
	/* The virtio feature that tells a driver of more than one counted queue, which then also
	 * need protocol feature MQ; -1: a driver knows without. */
	int8_t mq_feature;

	enum vu_config_source config;
	uint16_t config_size;			/* bytes, of VU_CONFIG_DAEMON, _REGION, _OWN */
	/* Loop, and set-up, of VU_CONFIG_OWN: writes all bytes but the number of queues. */
	void (*config_own)(const struct vhost_user_device *dev, uint8_t *config);
	/* And what a driver is offered in place of @offered, since some features say what stands
	 * there; NULL: the same. */
	uint64_t (*features_own)(const struct vhost_user_device *dev, uint64_t offered);
	/* Loop: a daemon that is not the first is about to go on with the rings. May be NULL. */
	void (*resumes)(struct vhost_user_device *dev);
	bool config_optional;			/* of VU_CONFIG_OWN: a daemon may serve one, too */
	struct virtio_config_window config_window;	/* bytes whose writes are handed on */
	/* What a driver writes decides what it reads: a read waits for the daemon's bytes of now,
	 * and of a write the whole window is handed on, as daemons of such a type expect. */
	bool config_asked;
	/* What a driver wrote holds for its life: the next daemon is told of it, once it has the
	 * features, since some listen only then. */
	bool config_kept;
	/* Where the front end says how many counted queues there are: an integer of so many bytes
	 * in the config space; 0: nowhere. */
	uint8_t config_queues_off, config_queues_size;

	/* What the guest was given by a daemon ends with it: on-lost is reset, not wait, unless
	 * given. */
	bool ends_with_daemon;
	uint64_t required;			/* mask of protocol features it must have */
	uint64_t withheld;			/* mask of the type's own features never offered */
	const char *withheld_why;		/* a sentence for the manual */
};

/* Every type, ended by a row with name NULL. */
extern const struct vu_device_type vu_device_types[];
/* The row for any virtio id, filled from options. */
extern const struct vu_device_type *const vu_generic_type;

/* The row called @name (or one of its aliases, or as QEMU calls it), or NULL. */
const struct vu_device_type *vu_device_type_named(const char *name);
/* The row of virtio device id @id, or NULL; never the generic one. */
const struct vu_device_type *vu_device_type_of_id(uint64_t id);
/* Whether the daemon serves the config space, if there is one. */
bool vu_config_is_daemons(const struct vu_device_type *type);
/* "blk, pmem, rng, generic" in @buf, cut off where it ends; returns @buf. */
const char *vu_device_type_list(char *buf, size_t size);

/*
 * Features between the device's own (0 to 23 and 50 up) belong to transport and rings (VIRTIO 1.3,
 * 2.2). One row each: passed on from daemon to driver, or withheld and why. What has no row is
 * withheld, since nobody here knows its meaning.
 */
struct virtio_feature {
	uint8_t bit;
	bool passed;
	const char *name;
	const char *why_not;	/* of what is withheld: a sentence for the manual */
};

/* Ended by name NULL. */
extern const struct virtio_feature virtio_transport_features[];

/* What a driver may be offered of a daemon's features: minus the transport's that this VMM cannot,
 * minus the type's own withheld ones, minus the protocol's gate bit 30. */
uint64_t vu_features_offer(const struct vu_device_type *type, uint64_t daemon);

#endif
