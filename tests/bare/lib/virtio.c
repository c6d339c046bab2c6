/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bare/lib/virtio.h"

#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"

enum {
	VENDOR = 0x1af4, DEVICE_BASE = 0x1040,
	CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_MULTIPLIER = 16,
	TYPE_COMMON = 1, TYPE_NOTIFY = 2, TYPE_ISR = 3, TYPE_CONFIG = 4, TYPE_PCI = 5,
};

void virtio_locate(struct virtio *v)
{
	v->bar = pci_read(v->slot, PCI_BAR0, 4) & ~UINT64_C(0xf);
	for (unsigned cap = 0; (cap = pci_capability(v->slot, PCI_CAP_VENDOR, cap)) != 0;) {
		uint64_t at = v->bar + pci_read(v->slot, cap + CAP_OFFSET, 4);

		switch (pci_read(v->slot, cap + CAP_TYPE, 1)) {
		case TYPE_COMMON:
			v->common = at;
			break;
		case TYPE_NOTIFY:
			v->notify = at;
			v->notify_multiplier = pci_read(v->slot, cap + CAP_MULTIPLIER, 4);
			break;
		case TYPE_ISR:
			v->isr = at;
			break;
		case TYPE_CONFIG:
			v->config = at;
			break;
		case TYPE_PCI:
			v->pci_cfg = cap;
			break;
		}
	}
	CHECK(v->common && v->notify && v->isr && v->pci_cfg);
	msix_find(&v->msix, v->slot, v->bar);
}

/* Registers */

static uint8_t pci_status(const struct virtio *v)
{
	return read8(v->common + DEVICE_STATUS);
}

static void pci_set_status(const struct virtio *v, uint8_t status)
{
	write8(v->common + DEVICE_STATUS, status);
}

static uint64_t pci_features(const struct virtio *v)
{
	uint64_t low, high;

	write32(v->common + FEATURE_SELECT, 0);
	low = read32(v->common + FEATURE);
	write32(v->common + FEATURE_SELECT, 1);
	high = read32(v->common + FEATURE);
	return high << 32 | low;
}

static void pci_ack(const struct virtio *v, uint64_t features)
{
	write32(v->common + DRIVER_FEATURE_SELECT, 0);
	write32(v->common + DRIVER_FEATURE, (uint32_t)features);
	write32(v->common + DRIVER_FEATURE_SELECT, 1);
	write32(v->common + DRIVER_FEATURE, (uint32_t)(features >> 32));
}

static void pci_enable_queue(struct virtio *v, uint16_t vector)
{
	struct virtio_queue *q = &v->queue;

	write16(v->common + QUEUE_SELECT, 0);
	write16(v->common + QUEUE_SIZE, q->size);
	write16(v->common + QUEUE_VECTOR, vector);
	CHECK_EQ(read16(v->common + QUEUE_VECTOR), vector);
	write64(v->common + QUEUE_DESC, (uint64_t)q->desc);
	write64(v->common + QUEUE_DRIVER, (uint64_t)q->avail);
	write64(v->common + QUEUE_DEVICE, (uint64_t)q->used);
	q->doorbell = v->notify +
		      (uint64_t)read16(v->common + QUEUE_NOTIFY_OFF) * v->notify_multiplier;
	write16(v->common + QUEUE_ENABLE, 1);
	CHECK_EQ(read16(v->common + QUEUE_ENABLE), 1);
}

static void pci_kick(const struct virtio *v)
{
	write16(v->queue.doorbell, 0);
}

static const struct virtio_transport by_pci = {
	pci_status, pci_set_status, pci_features, pci_ack, pci_enable_queue, pci_kick,
};

static uint8_t mmio_status(const struct virtio *v)
{
	return (uint8_t)read32(v->mmio + MMIO_STATUS);
}

static void mmio_set_status(const struct virtio *v, uint8_t status)
{
	write32(v->mmio + MMIO_STATUS, status);
}

static uint64_t mmio_features(const struct virtio *v)
{
	uint64_t low, high;

	write32(v->mmio + MMIO_FEATURES_SELECT, 0);
	low = read32(v->mmio + MMIO_FEATURES);
	write32(v->mmio + MMIO_FEATURES_SELECT, 1);
	high = read32(v->mmio + MMIO_FEATURES);
	return high << 32 | low;
}

static void mmio_ack(const struct virtio *v, uint64_t features)
{
	write32(v->mmio + MMIO_DRIVER_FEATURES_SELECT, 0);
	write32(v->mmio + MMIO_DRIVER_FEATURES, (uint32_t)features);
	write32(v->mmio + MMIO_DRIVER_FEATURES_SELECT, 1);
	write32(v->mmio + MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32));
}

static void mmio_write_address(const struct virtio *v, unsigned off, const volatile void *at)
{
	write32(v->mmio + off, (uint32_t)(uintptr_t)at);
	write32(v->mmio + off + 4, (uint32_t)((uintptr_t)at >> 32));
}

static void mmio_enable_queue(struct virtio *v, uint16_t vector)
{
	struct virtio_queue *q = &v->queue;

	(void)vector;
	write32(v->mmio + MMIO_QUEUE_SELECT, 0);
	write32(v->mmio + MMIO_QUEUE_SIZE, q->size);
	mmio_write_address(v, MMIO_QUEUE_DESC, q->desc);
	mmio_write_address(v, MMIO_QUEUE_DRIVER, q->avail);
	mmio_write_address(v, MMIO_QUEUE_DEVICE, q->used);
	q->doorbell = v->mmio + MMIO_QUEUE_NOTIFY;
	write32(v->mmio + MMIO_QUEUE_READY, 1);
	CHECK_EQ(read32(v->mmio + MMIO_QUEUE_READY), 1);
}

static void mmio_kick(const struct virtio *v)
{
	write32(v->queue.doorbell, 0);
}

static const struct virtio_transport by_mmio = {
	mmio_status, mmio_set_status, mmio_features, mmio_ack, mmio_enable_queue, mmio_kick,
};

/* Devices */

void virtio_find(struct virtio *v, unsigned device)
{
	*v = (struct virtio){ .transport = &by_pci,
			      .slot = pci_find(VENDOR, (uint16_t)(DEVICE_BASE + device)) };
	pci_write(v->slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	virtio_locate(v);
}

struct virtio virtio_find_mmio(unsigned n, unsigned device)
{
	struct virtio v = { .transport = &by_mmio, .mmio = MMIO_BASE + (uint64_t)n * MMIO_SIZE };

	CHECK_EQ(read32(v.mmio + MMIO_DEVICE), device);
	return v;
}

uint8_t virtio_status(const struct virtio *v)
{
	return v->transport->status(v);
}

void virtio_set_status(const struct virtio *v, uint8_t status)
{
	v->transport->set_status(v, status);
}

uint64_t virtio_features(const struct virtio *v)
{
	return v->transport->features(v);
}

void virtio_ack(const struct virtio *v, uint64_t features)
{
	v->transport->ack(v, features);
}

void virtio_reset(const struct virtio *v)
{
	virtio_set_status(v, 0);
	WAIT_FOR(virtio_status(v) == 0);
}

void virtio_negotiate(const struct virtio *v, uint64_t features)
{
	const uint8_t known = STATUS_ACKNOWLEDGE | STATUS_DRIVER;

	virtio_set_status(v, STATUS_ACKNOWLEDGE);
	virtio_set_status(v, known);
	virtio_ack(v, features | VIRTIO_F_VERSION_1);
	virtio_set_status(v, known | STATUS_FEATURES_OK);
	CHECK_EQ(virtio_status(v), known | STATUS_FEATURES_OK);
}

void virtio_set_up_queue(struct virtio *v, uint16_t size, uint16_t vector)
{
	struct virtio_queue *q = &v->queue;

	*q = (struct virtio_queue){
		.size = size,
		.desc = memory_alloc(sizeof(struct virtio_desc) * size, 16),
		.avail = memory_alloc(6 + 2 * (size_t)size, 2),
		.used = memory_alloc(6 + 8 * (size_t)size, 4),
	};
	v->transport->enable_queue(v, vector);
}

void virtio_start(const struct virtio *v)
{
	const uint8_t all =
		STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;

	virtio_set_status(v, all);
	CHECK_EQ(virtio_status(v), all);
}

void virtio_bring_up(struct virtio *v)
{
	virtio_reset(v);
	virtio_negotiate(v, 0);
	virtio_set_up_queue(v, 4, NO_VECTOR);
	virtio_start(v);
}

void virtio_add(struct virtio *v, unsigned first, const struct virtio_part *parts, unsigned n)
{
	struct virtio_queue *q = &v->queue;

	for (unsigned i = 0; i < n; i++) {
		unsigned flags =
			(parts[i].writable ? DESC_WRITE : 0) | (i + 1 < n ? DESC_NEXT : 0);

		q->desc[first + i] = (struct virtio_desc){
			(uint64_t)parts[i].at, parts[i].len, (uint16_t)flags,
			(uint16_t)(first + i + 1),
		};
	}
	q->avail[2 + q->added % q->size] = (uint16_t)first;
	barrier();
	q->avail[1] = ++q->added;
	barrier();
}

void virtio_kick(const struct virtio *v)
{
	v->transport->kick(v);
}

uint16_t virtio_used(const struct virtio *v)
{
	return v->queue.used[1];
}

uint32_t virtio_used_len(const struct virtio *v, uint16_t n)
{
	/* Two words of header, then id and length. */
	return ((const volatile uint32_t *)v->queue.used)[1 + 2 * (n % v->queue.size) + 1];
}

uint32_t virtio_request(struct virtio *v, const struct virtio_part *parts, unsigned n)
{
	virtio_add(v, 0, parts, n);
	virtio_kick(v);
	WAIT_FOR(virtio_used(v) == v->queue.added);
	return virtio_used_len(v, (uint16_t)(v->queue.added - 1));
}

uint32_t rng_request(struct virtio *v, void *to, uint32_t len)
{
	return virtio_request(v, &(struct virtio_part){ to, len, true }, 1);
}

void rng_check_works(struct virtio *v)
{
	uint8_t bytes[64];

	virtio_bring_up(v);
	for (unsigned i = 0; i < 3u * v->queue.size; i++) {
		memset(bytes, 0, sizeof(bytes));
		CHECK_EQ(rng_request(v, bytes, sizeof(bytes)), sizeof(bytes));
	}
	/* So many random bytes are not all zero. */
	for (unsigned i = 0; i < sizeof(bytes); i++) {
		if (bytes[i])
			return;
	}
	CHECK(!"random");
}

uint8_t blk_request(struct virtio *v, enum blk_type type, uint64_t sector, void *data, uint32_t len)
{
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} head = { type, 0, sector };
	volatile uint8_t status = 0xff;
	const struct virtio_part parts[] = {
		{ &head, sizeof(head), false },
		{ data, len, type == BLK_READ },
		{ (void *)&status, 1, true },
	};
	const struct virtio_part no_data[] = { parts[0], parts[2] };

	if (len)
		virtio_request(v, parts, COUNT(parts));
	else
		virtio_request(v, no_data, COUNT(no_data));
	return status;
}
