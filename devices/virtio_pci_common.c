/* SPDX-License-Identifier: Apache-2.0 */
/* Common configuration registers: VIRTIO 1.3, 4.1.4.3. */
#include <linux/virtio_pci.h>

#include "base/range.h"
#include "devices/virtio_pci.h"

enum common_reg {
	DEVICE_FEATURE_SELECT, DEVICE_FEATURE, DRIVER_FEATURE_SELECT, DRIVER_FEATURE,
	CONFIG_VECTOR, NUM_QUEUES, DEVICE_STATUS, CONFIG_GENERATION, QUEUE_SELECT,
	QUEUE_SIZE, QUEUE_VECTOR, QUEUE_ENABLE, QUEUE_NOTIFY_OFF,
	QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE, COMMON_REGS
};

static const struct {
	uint8_t off, size;
	bool writable;
} common_regs[COMMON_REGS] = {
	[DEVICE_FEATURE_SELECT] = { VIRTIO_PCI_COMMON_DFSELECT, 4, true },
	[DEVICE_FEATURE] = { VIRTIO_PCI_COMMON_DF, 4, false },
	[DRIVER_FEATURE_SELECT] = { VIRTIO_PCI_COMMON_GFSELECT, 4, true },
	[DRIVER_FEATURE] = { VIRTIO_PCI_COMMON_GF, 4, true },
	[CONFIG_VECTOR] = { VIRTIO_PCI_COMMON_MSIX, 2, true },
	[NUM_QUEUES] = { VIRTIO_PCI_COMMON_NUMQ, 2, false },
	[DEVICE_STATUS] = { VIRTIO_PCI_COMMON_STATUS, 1, true },
	[CONFIG_GENERATION] = { VIRTIO_PCI_COMMON_CFGGENERATION, 1, false },
	[QUEUE_SELECT] = { VIRTIO_PCI_COMMON_Q_SELECT, 2, true },
	[QUEUE_SIZE] = { VIRTIO_PCI_COMMON_Q_SIZE, 2, true },
	[QUEUE_VECTOR] = { VIRTIO_PCI_COMMON_Q_MSIX, 2, true },
	[QUEUE_ENABLE] = { VIRTIO_PCI_COMMON_Q_ENABLE, 2, true },
	[QUEUE_NOTIFY_OFF] = { VIRTIO_PCI_COMMON_Q_NOFF, 2, false },
	[QUEUE_DESC] = { VIRTIO_PCI_COMMON_Q_DESCLO, 8, true },
	[QUEUE_DRIVER] = { VIRTIO_PCI_COMMON_Q_AVAILLO, 8, true },
	[QUEUE_DEVICE] = { VIRTIO_PCI_COMMON_Q_USEDLO, 8, true },
};

static uint64_t ones(unsigned size)
{
	return size < 8 ? BIT64(8 * size) - 1 : UINT64_MAX;
}

/* A queue that does not exist reads 0 everywhere. */
static uint64_t queue_reg_read(const struct virtio_pci *p, enum common_reg reg)
{
	const struct virtio_queue *q = virtio_queue_at(p->virtio, p->queue_select);

	if (!q)
		return 0;
	switch ((int)reg) {
	case QUEUE_SIZE:
		return q->size;
	case QUEUE_VECTOR:
		return q->vector;
	case QUEUE_ENABLE:
		return q->enabled;
	case QUEUE_NOTIFY_OFF:
		return p->queue_select;
	case QUEUE_DESC:
		return q->desc;
	case QUEUE_DRIVER:
		return q->avail;
	case QUEUE_DEVICE:
		return q->used;
	}
	return 0;
}

static uint64_t common_reg_read(const struct virtio_pci *p, enum common_reg reg)
{
	const struct virtio_dev *d = p->virtio;

	switch ((int)reg) {
	case DEVICE_FEATURE_SELECT:
		return p->device_feature_select;
	case DEVICE_FEATURE:
		return virtio_features_half(d->offered, p->device_feature_select);
	case DRIVER_FEATURE_SELECT:
		return p->driver_feature_select;
	case DRIVER_FEATURE:
		return virtio_features_half(d->acked, p->driver_feature_select);
	case CONFIG_VECTOR:
		return p->config_vector;
	case NUM_QUEUES:
		return d->n_queues;
	case DEVICE_STATUS:
		return virtio_get_status(d);
	case CONFIG_GENERATION:
		return (uint8_t)d->generation;
	case QUEUE_SELECT:
		return p->queue_select;
	}
	return queue_reg_read(p, reg);
}

/* A vector outside the table reads back as none: VIRTIO 1.3, 4.1.5.1.2.1. */
static uint16_t vector_mapped(const struct virtio_pci *p, uint64_t vector)
{
	return vector < p->msix.count ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

static void queue_reg_write(struct virtio_pci *p, enum common_reg reg, uint64_t value)
{
	struct virtio_queue *q = virtio_queue_at(p->virtio, p->queue_select);

	if (!q)
		return;
	if (reg == QUEUE_VECTOR) {
		/* Some drivers choose vectors after they enabled the queues. */
		if (virtio_vector_writable(p->virtio))
			q->vector = vector_mapped(p, value);
		return;
	}
	if (!virtio_queue_writable(p->virtio, q))
		return;
	switch ((int)reg) {
	case QUEUE_SIZE:
		q->size = (uint16_t)value;
		break;
	case QUEUE_ENABLE:
		if (value == 1)
			virtio_queue_enable(p->virtio, p->queue_select);
		break;
	case QUEUE_DESC:
		q->desc = value;
		break;
	case QUEUE_DRIVER:
		q->avail = value;
		break;
	case QUEUE_DEVICE:
		q->used = value;
		break;
	}
}

static void common_reg_write(struct virtio_pci *p, enum common_reg reg, uint64_t value)
{
	switch ((int)reg) {
	case DEVICE_FEATURE_SELECT:
		p->device_feature_select = (uint32_t)value;
		break;
	case DRIVER_FEATURE_SELECT:
		p->driver_feature_select = (uint32_t)value;
		break;
	case DRIVER_FEATURE:
		virtio_set_features_half(p->virtio, p->driver_feature_select, (uint32_t)value);
		break;
	case CONFIG_VECTOR:
		p->config_vector = vector_mapped(p, value);
		break;
	case DEVICE_STATUS:
		virtio_set_status(p->virtio, (uint8_t)value);
		break;
	case QUEUE_SELECT:
		p->queue_select = (uint16_t)value;
		break;
	default:
		queue_reg_write(p, reg, value);
	}
}

/* Moves @v, which begins at byte @from, to where byte @to is its first. At most 7 bytes away. */
static uint64_t move(uint64_t v, uint64_t from, uint64_t to)
{
	return from >= to ? v << (8 * (from - to)) : v >> (8 * (to - from));
}

/* Accesses of any size and alignment: every register they share a byte with, in its place. */
uint64_t virtio_pci_common_read(struct virtio_pci *p, uint64_t off, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < COMMON_REGS; i++) {
		uint8_t at = common_regs[i].off;

		if (range_overlaps(off, size, at, common_regs[i].size))
			value |= move(common_reg_read(p, (enum common_reg)i), at, off);
	}
	return value;
}

void virtio_pci_common_write(struct virtio_pci *p, uint64_t off, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < COMMON_REGS; i++) {
		enum common_reg reg = (enum common_reg)i;
		uint8_t at = common_regs[i].off;
		uint64_t mask, now;

		if (!common_regs[i].writable || !range_overlaps(off, size, at, common_regs[i].size))
			continue;
		mask = move(ones(size), off, at) & ones(common_regs[i].size);
		now = common_reg_read(p, reg) & ~mask;
		common_reg_write(p, reg, now | (move(value, off, at) & mask));
	}
}
