/* SPDX-License-Identifier: Apache-2.0 */
/* The least of a virtio driver: registers of both transports, a split ring (VIRTIO 1.3, 2.7). */
#ifndef BARE_VIRTIO_H
#define BARE_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/bare/lib/pci.h"

enum {
	VIRTIO_BLK = 2, VIRTIO_RNG = 4, VIRTIO_PMEM = 27,

	STATUS_ACKNOWLEDGE = 1, STATUS_DRIVER = 2, STATUS_DRIVER_OK = 4, STATUS_FEATURES_OK = 8,
	STATUS_NEEDS_RESET = 64, STATUS_FAILED = 128,

	/* Common configuration */
	FEATURE_SELECT = 0x00, FEATURE = 0x04, DRIVER_FEATURE_SELECT = 0x08, DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10, NUM_QUEUES = 0x12, DEVICE_STATUS = 0x14, CONFIG_GENERATION = 0x15,
	QUEUE_SELECT = 0x16, QUEUE_SIZE = 0x18, QUEUE_VECTOR = 0x1a, QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e, QUEUE_DESC = 0x20, QUEUE_DRIVER = 0x28, QUEUE_DEVICE = 0x30,
	COMMON_SIZE = 0x38, NO_VECTOR = 0xffff,

	/* The page of a device by MMIO */
	MMIO_MAGIC = 0x00, MMIO_VERSION = 0x04, MMIO_DEVICE = 0x08, MMIO_VENDOR = 0x0c,
	MMIO_FEATURES = 0x10, MMIO_FEATURES_SELECT = 0x14, MMIO_DRIVER_FEATURES = 0x20,
	MMIO_DRIVER_FEATURES_SELECT = 0x24, MMIO_QUEUE_SELECT = 0x30, MMIO_QUEUE_SIZE_MAX = 0x34,
	MMIO_QUEUE_SIZE = 0x38, MMIO_QUEUE_READY = 0x44, MMIO_QUEUE_NOTIFY = 0x50,
	MMIO_INTERRUPT_STATUS = 0x60, MMIO_INTERRUPT_ACK = 0x64, MMIO_STATUS = 0x70,
	MMIO_QUEUE_DESC = 0x80, MMIO_QUEUE_DRIVER = 0x90, MMIO_QUEUE_DEVICE = 0xa0,
	MMIO_REGION_SELECT = 0xac, MMIO_REGION = 0xb0, MMIO_GENERATION = 0xfc, MMIO_CONFIG = 0x100,
	MMIO_SIZE = 0x1000, INTERRUPT_USED = 1, INTERRUPT_CONFIG = 2,

	DESC_NEXT = 1, DESC_WRITE = 2,
};
#define MMIO_BASE		UINT64_C(0xe1000000)
#define VIRTIO_F_EVENT_IDX	(UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1	(UINT64_C(1) << 32)

struct virtio_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct virtio_queue {
	uint16_t size;
	struct virtio_desc *desc;
	volatile uint16_t *avail;	/* flags, index, ring, used_event */
	volatile uint16_t *used;	/* flags, index, then elements of two dwords */
	uint64_t doorbell;
	uint16_t added;			/* chains made available: the next index */
};

struct virtio;

/* The registers that every driver needs, as one transport has them. */
struct virtio_transport {
	uint8_t (*status)(const struct virtio *v);
	void (*set_status)(const struct virtio *v, uint8_t status);
	uint64_t (*features)(const struct virtio *v);
	void (*ack)(const struct virtio *v, uint64_t features);
	/* Writes size and addresses of queue 0 and enables it; sets its doorbell. */
	void (*enable_queue)(struct virtio *v, uint16_t vector);
	void (*kick)(const struct virtio *v);
};

struct virtio {
	const struct virtio_transport *transport;
	uint64_t mmio;			/* by MMIO: its page, and of what follows only `queue` */
	unsigned slot, pci_cfg;		/* pci_cfg: offset of that capability */
	uint64_t bar, common, isr, config, notify;
	uint32_t notify_multiplier;
	struct msix msix;
	struct virtio_queue queue;	/* queue 0 */
};

/* A part of a chain. */
struct virtio_part {
	void *at;
	uint32_t len;
	bool writable;			/* by the device */
};

/* Finds the device, turns on memory and bus mastering, reads its capabilities. */
void virtio_find(struct virtio *v, unsigned device);
/* Device number @n by MMIO, which must be a @device. */
struct virtio virtio_find_mmio(unsigned n, unsigned device);
/* The registers' places again, after the BAR has moved. */
void virtio_locate(struct virtio *v);

uint8_t virtio_status(const struct virtio *v);
void virtio_set_status(const struct virtio *v, uint8_t status);
uint64_t virtio_features(const struct virtio *v);
void virtio_ack(const struct virtio *v, uint64_t features);
/* Writes 0 and waits for it to be read. */
void virtio_reset(const struct virtio *v);

/* From 0 up to FEATURES_OK, with @features beside VERSION_1. */
void virtio_negotiate(const struct virtio *v, uint64_t features);
/* Fresh memory for queue 0 of @size entries, its addresses written and the queue enabled; @vector
 * is PCI's. */
void virtio_set_up_queue(struct virtio *v, uint16_t size, uint16_t vector);
void virtio_start(const struct virtio *v);
/* All of it: reset, negotiate, queue 0, DRIVER_OK; nobody is interrupted. */
void virtio_bring_up(struct virtio *v);

/* Makes a chain of @n parts available, without a doorbell; descriptors are taken from @first on. */
void virtio_add(struct virtio *v, unsigned first, const struct virtio_part *parts, unsigned n);
void virtio_kick(const struct virtio *v);
uint16_t virtio_used(const struct virtio *v);
/* What used element @n says. */
uint32_t virtio_used_len(const struct virtio *v, uint16_t n);
/* Adds a chain at descriptor 0, kicks, waits until all that was added is used; its length. */
uint32_t virtio_request(struct virtio *v, const struct virtio_part *parts, unsigned n);

/* One request of the entropy source for @len bytes: its used length. */
uint32_t rng_request(struct virtio *v, void *to, uint32_t len);
/* Brings the entropy source up and has it fill its ring a few times. */
void rng_check_works(struct virtio *v);

enum blk_type { BLK_READ = 0, BLK_WRITE = 1, BLK_FLUSH = 4, BLK_SECTOR = 512 };
enum { BLK_IOERR = 1 };	/* a status */
/* One request of the disk; the status byte it gives. */
uint8_t blk_request(struct virtio *v, enum blk_type type, uint64_t sector, void *data,
		    uint32_t len);

#endif
