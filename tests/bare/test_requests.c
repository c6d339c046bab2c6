/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that daemons serve: an entropy source in slot 1, a disk in slot 2. Doorbells of every
 * kind, resets of what is under way, rings that no driver writes.
 */
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum {
	KNOWN = STATUS_ACKNOWLEDGE | STATUS_DRIVER, AGREED = KNOWN | STATUS_FEATURES_OK,
	RNG_QUEUE = 4, BLK_SECTORS = 128, BAR_SIZE = 0x4000,
	PAUSE = 20000000,	/* cycles */
};

static uint8_t bytes[512];

static struct virtio found(unsigned device)
{
	struct virtio v;

	virtio_find(&v, device);
	return v;
}

static void the_entropy_source_answers(void)
{
	struct virtio v = found(VIRTIO_RNG);

	rng_check_works(&v);
}

static void the_disk_is_read_and_written(void)
{
	struct virtio v = found(VIRTIO_BLK);

	CHECK_EQ(read64(v.config), BLK_SECTORS);
	virtio_bring_up(&v);
	for (unsigned sector = 0; sector < BLK_SECTORS; sector += 42) {
		CHECK_EQ(blk_request(&v, BLK_READ, sector, bytes, BLK_SECTOR), 0);
		CHECK_EQ(bytes[0], sector);
		CHECK_EQ(bytes[511], sector);
	}
	memset(bytes, 0xc3, BLK_SECTOR);
	CHECK_EQ(blk_request(&v, BLK_WRITE, 5, bytes, BLK_SECTOR), 0);
	CHECK_EQ(blk_request(&v, BLK_FLUSH, 0, NULL, 0), 0);
	memset(bytes, 0, BLK_SECTOR);
	CHECK_EQ(blk_request(&v, BLK_READ, 5, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[0], 0xc3);
	CHECK_EQ(bytes[511], 0xc3);
}

static void the_disk_ends_where_it_ends(void)
{
	struct virtio v = found(VIRTIO_BLK);

	virtio_bring_up(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, BLK_SECTORS, bytes, BLK_SECTOR), 1);
	CHECK_EQ(blk_request(&v, BLK_WRITE, UINT64_MAX, bytes, BLK_SECTOR), 1);
	CHECK_EQ(blk_request(&v, (enum blk_type)77, 0, bytes, BLK_SECTOR), 2);
	CHECK_EQ(blk_request(&v, BLK_READ, BLK_SECTORS - 1, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[0], BLK_SECTORS - 1);
}

static void a_kick_before_driver_ok_is_not_lost(void)
{
	struct virtio v = found(VIRTIO_RNG);

	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, RNG_QUEUE, NO_VECTOR);
	virtio_add(&v, 0, &(struct virtio_part){ bytes, 16, true }, 1);
	virtio_kick(&v);
	virtio_start(&v);
	WAIT_FOR(virtio_used(&v) == 1);
}

static void a_doorbell_is_rung_by_any_width(void)
{
	struct virtio v = found(VIRTIO_RNG);

	virtio_bring_up(&v);
	for (unsigned width = 1; width <= 8; width *= 2) {
		virtio_add(&v, 0, &(struct virtio_part){ bytes, 16, true }, 1);
		write_width(v.queue.doorbell, width, 0);
		WAIT_FOR(virtio_used(&v) == v.queue.added);
	}
	/* What is written is of no matter; what is read neither. */
	virtio_add(&v, 0, &(struct virtio_part){ bytes, 16, true }, 1);
	CHECK_EQ(read32(v.queue.doorbell), 0);
	write16(v.queue.doorbell, 0xabcd);
	WAIT_FOR(virtio_used(&v) == v.queue.added);
}

/* A driver that knows no BAR: VIRTIO 1.3, 4.1.4.9. */

static void window_at(const struct virtio *v, uint64_t reg, unsigned width)
{
	pci_write(v->slot, v->pci_cfg + 4, 1, 0);
	pci_write(v->slot, v->pci_cfg + 8, 4, (uint32_t)(reg - v->bar));
	pci_write(v->slot, v->pci_cfg + 12, 4, width);
}

static void the_window_in_config_space_reaches_the_bar(void)
{
	struct virtio v = found(VIRTIO_RNG);
	unsigned data = v.pci_cfg + 16;

	virtio_bring_up(&v);
	pci_write(v.slot, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	window_at(&v, v.common + DEVICE_STATUS, 1);
	CHECK_EQ(pci_read(v.slot, data, 1), AGREED | STATUS_DRIVER_OK);
	virtio_add(&v, 0, &(struct virtio_part){ bytes, 16, true }, 1);
	window_at(&v, v.queue.doorbell, 2);
	pci_write(v.slot, data, 2, 0);
	WAIT_FOR(virtio_used(&v) == 1);
	/* Rung twice with one value. */
	virtio_add(&v, 0, &(struct virtio_part){ bytes, 16, true }, 1);
	pci_write(v.slot, data, 2, 0);
	WAIT_FOR(virtio_used(&v) == 2);
	window_at(&v, v.common + DEVICE_STATUS, 1);
	pci_write(v.slot, data, 1, 0);
	WAIT_FOR(pci_read(v.slot, data, 1) == 0);
}

static void a_wrong_window_reaches_nothing(void)
{
	static const uint32_t lengths[] = { 0, 3, 5, 8, 0x80000000, 0xffffffff };
	struct virtio v = found(VIRTIO_RNG);
	unsigned data = v.pci_cfg + 16;

	for (unsigned i = 0; i < COUNT(lengths); i++) {
		window_at(&v, v.common + DEVICE_STATUS, lengths[i]);
		pci_write(v.slot, data, 4, STATUS_ACKNOWLEDGE);
		CHECK_EQ(virtio_status(&v), 0);
	}
	window_at(&v, v.bar + BAR_SIZE - 2, 4);
	pci_read(v.slot, data, 4);
	pci_write(v.slot, data, 4, 0xffffffff);
	window_at(&v, v.bar + 0xfffffffc, 4);
	pci_write(v.slot, data, 4, 0xffffffff);
	window_at(&v, v.common + DEVICE_STATUS, 1);
	pci_write(v.slot, v.pci_cfg + 4, 1, 5);		/* another BAR */
	pci_write(v.slot, data, 1, STATUS_ACKNOWLEDGE);
	CHECK_EQ(virtio_status(&v), 0);
	rng_check_works(&v);
}

/* Resets of what is under way */

/* The source has no byte to give: all four requests are with the daemon. */
static void a_reset_takes_back_requests_that_wait(void)
{
	struct virtio v = found(VIRTIO_RNG);
	static uint8_t mine[RNG_QUEUE][16];

	virtio_bring_up(&v);
	for (unsigned i = 0; i < RNG_QUEUE; i++)
		virtio_add(&v, i, &(struct virtio_part){ mine[i], sizeof(mine[i]), true }, 1);
	virtio_kick(&v);
	spend(PAUSE);
	virtio_reset(&v);
	CHECK_EQ(virtio_used(&v), 0);
	test_note("feed");
	virtio_bring_up(&v);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
	CHECK_EQ(bytes[0], 'x');
	CHECK_EQ(bytes[15], 'x');
	for (unsigned i = 0; i < RNG_QUEUE; i++)
		CHECK_EQ(mine[i][0], 0);
}

enum { READS = 8, PARTS = 3 };

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} heads[READS];
static uint8_t sectors[READS][BLK_SECTOR], statuses[READS];

static void read_many(struct virtio *v)
{
	for (unsigned i = 0; i < READS; i++) {
		const struct virtio_part parts[PARTS] = {
			{ &heads[i], sizeof(heads[i]), false },
			{ sectors[i], BLK_SECTOR, true },
			{ &statuses[i], 1, true },
		};

		heads[i].sector = i + 1;
		virtio_add(v, i * PARTS, parts, PARTS);
		virtio_kick(v);
	}
}

/* Once 0 is read, nobody writes into what was given. */
static void a_reset_ends_reads_that_are_under_way(void)
{
	struct virtio v = found(VIRTIO_BLK);

	for (unsigned round = 0; round < 8; round++) {
		uint16_t used;

		virtio_negotiate(&v, 0);
		virtio_set_up_queue(&v, 32, NO_VECTOR);
		virtio_start(&v);
		read_many(&v);
		virtio_reset(&v);
		used = virtio_used(&v);
		memset(sectors, 0xee, sizeof(sectors));
		spend(PAUSE);
		for (unsigned i = 0; i < READS; i++)
			CHECK_EQ(sectors[i][0], 0xee);
		CHECK_EQ(virtio_used(&v), used);
	}
	virtio_bring_up(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 3, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[0], 3);
}

static void a_write_that_was_answered_outlives_a_machine_reset(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;
	struct virtio v = found(VIRTIO_BLK);

	CHECK_EQ(virtio_status(&v), 0);
	CHECK_EQ(read16(v.common + QUEUE_ENABLE), 0);
	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, 32, NO_VECTOR);
	virtio_start(&v);
	if (*kept < 3) {
		memset(bytes, (int)(0xa0 + *kept), BLK_SECTOR);
		CHECK_EQ(blk_request(&v, BLK_WRITE, 10 + *kept, bytes, BLK_SECTOR), 0);
		++*kept;
		read_many(&v);
		outb(0x64, 0xfe);
	}
	for (unsigned i = 0; i < 3; i++) {
		CHECK_EQ(blk_request(&v, BLK_READ, 10 + i, bytes, BLK_SECTOR), 0);
		CHECK_EQ(bytes[0], 0xa0 + i);
	}
}

/* Rings that no driver writes: the daemon stops, the device says so and works after a reset. */

static void check_breaks(struct virtio *v)
{
	virtio_kick(v);
	WAIT_FOR(virtio_status(v) & STATUS_NEEDS_RESET);
	rng_check_works(v);
}

static void a_broken_ring_needs_a_reset(void)
{
	struct virtio v = found(VIRTIO_RNG);

	virtio_bring_up(&v);
	virtio_add(&v, 0, &(struct virtio_part){ (void *)0xfee00000, 16, true }, 1);
	check_breaks(&v);
	virtio_bring_up(&v);
	virtio_add(&v, 0, &(struct virtio_part){ (void *)(MEMORY_END - 8), 16, true }, 1);
	check_breaks(&v);
	virtio_bring_up(&v);
	virtio_add(&v, 0, &(struct virtio_part){ bytes, 16, true }, 1);
	v.queue.desc[0].flags |= DESC_NEXT;		/* a chain without end */
	v.queue.desc[0].next = 0;
	check_breaks(&v);
	virtio_bring_up(&v);
	v.queue.avail[2] = 77;				/* a head behind the table */
	v.queue.avail[1] = 1;
	check_breaks(&v);
	virtio_bring_up(&v);
	v.queue.avail[1] = 1000;			/* more than there is room for */
	check_breaks(&v);
}

const struct test_case test_cases[] = {
	CASE(the_entropy_source_answers),
	CASE(the_disk_is_read_and_written),
	CASE(the_disk_ends_where_it_ends),
	CASE(a_kick_before_driver_ok_is_not_lost),
	CASE(a_doorbell_is_rung_by_any_width),
	CASE(the_window_in_config_space_reaches_the_bar),
	CASE(a_wrong_window_reaches_nothing),
	CASE(a_reset_takes_back_requests_that_wait),
	CASE(a_reset_ends_reads_that_are_under_way),
	CASE(a_write_that_was_answered_outlives_a_machine_reset),
	CASE(a_broken_ring_needs_a_reset),
	{ NULL, NULL },
};
