/* SPDX-License-Identifier: Apache-2.0 */
/* virtio by MMIO: a disk is device 0 on pin 16, an entropy source device 1 on pin 17. */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum {
	KNOWN = STATUS_ACKNOWLEDGE | STATUS_DRIVER, AGREED = KNOWN | STATUS_FEATURES_OK,
	RUNNING = AGREED | STATUS_DRIVER_OK,
	DISK = 0, SOURCE = 1, DISK_PIN = 16, SOURCE_PIN = 17,
	DISK_IRQ = IRQ_FIRST, SOURCE_IRQ, SECTORS = 128, QUEUE_MAX = 256, RNG_QUEUE = 4,
	PAUSE = 300000000,	/* cycles */
};

static uint8_t bytes[512];

static void check_disk_works(struct virtio *v)
{
	virtio_bring_up(v);
	for (uint8_t i = 0; i < 3 * RNG_QUEUE; i++) {
		CHECK_EQ(blk_request(v, BLK_READ, i, bytes, BLK_SECTOR), 0);
		CHECK_EQ(bytes[0], i);
		CHECK_EQ(bytes[511], i);
	}
}

/* Registers */

static void each_page_says_what_it_is(void)
{
	for (unsigned n = 0; n < 2; n++) {
		uint64_t page = MMIO_BASE + n * MMIO_SIZE;

		/* Twice: nothing of it is writable. */
		for (unsigned i = 0; i < 2; i++) {
			CHECK_EQ(read32(page + MMIO_MAGIC), 0x74726976);
			CHECK_EQ(read32(page + MMIO_VERSION), 2);
			CHECK_EQ(read32(page + MMIO_DEVICE), n ? VIRTIO_RNG : VIRTIO_BLK);
			CHECK_EQ(read32(page + MMIO_VENDOR), 0x4d564d4d);
			for (unsigned off = 0; off < MMIO_FEATURES_SELECT; off += 4)
				write32(page + off, 0xffffffff);
		}
	}
	CHECK_EQ(read32(MMIO_BASE + 2 * MMIO_SIZE), 0xffffffff);
	CHECK_EQ(read32(MMIO_BASE - 4), 0xffffffff);
}

static void status_goes_up_to_driver_ok_and_down_to_0(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	CHECK_EQ(virtio_status(&v), 0);
	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, RNG_QUEUE, 0);
	virtio_start(&v);
	virtio_set_status(&v, 0);
	CHECK_EQ(virtio_status(&v), 0);
	virtio_set_status(&v, STATUS_ACKNOWLEDGE | STATUS_FAILED);
	CHECK_EQ(virtio_status(&v), STATUS_ACKNOWLEDGE | STATUS_FAILED);
	virtio_set_status(&v, 0);
	CHECK_EQ(virtio_status(&v), 0);
}

/* Only 0 resets: not what has nothing in its lowest byte. */
static void a_status_above_8_bits_is_no_reset(void)
{
	static const uint32_t values[] = { 0x100, 0x10000, 0x80000000, 0xffffff00 };
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_bring_up(&v);
	for (unsigned i = 0; i < COUNT(values); i++) {
		write32(v.mmio + MMIO_STATUS, values[i]);
		CHECK_EQ(read32(v.mmio + MMIO_STATUS), RUNNING);
	}
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
}

static void features_that_were_not_offered_are_refused(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);
	uint64_t offered = virtio_features(&v);

	CHECK(offered & VIRTIO_F_VERSION_1);
	for (unsigned bit = 0; bit < 64; bit++) {
		if (offered >> bit & 1)
			continue;
		virtio_set_status(&v, KNOWN);
		virtio_ack(&v, VIRTIO_F_VERSION_1 | UINT64_C(1) << bit);
		virtio_set_status(&v, AGREED);
		CHECK_EQ(virtio_status(&v), KNOWN);
		virtio_reset(&v);
	}
	virtio_set_status(&v, KNOWN);
	virtio_ack(&v, offered & ~VIRTIO_F_VERSION_1);
	virtio_set_status(&v, AGREED);
	CHECK_EQ(virtio_status(&v), KNOWN);
	rng_check_works(&v);
}

static void there_are_two_feature_words(void)
{
	static const uint32_t beyond[] = { 2, 3, 32, 0x80000000, 0xffffffff };
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_set_status(&v, KNOWN);
	virtio_ack(&v, VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < COUNT(beyond); i++) {
		write32(v.mmio + MMIO_FEATURES_SELECT, beyond[i]);
		CHECK_EQ(read32(v.mmio + MMIO_FEATURES), 0);
		write32(v.mmio + MMIO_DRIVER_FEATURES_SELECT, beyond[i]);
		write32(v.mmio + MMIO_DRIVER_FEATURES, 0xffffffff);
	}
	virtio_set_status(&v, AGREED);
	CHECK_EQ(virtio_status(&v), AGREED);
	rng_check_works(&v);
}

static void a_queue_that_is_not_there_reads_0(void)
{
	static const uint32_t beyond[] = { 1, 63, 64, 0x10000, 0x80000000, 0xffffffff };
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_negotiate(&v, 0);
	for (unsigned i = 0; i < COUNT(beyond); i++) {
		write32(v.mmio + MMIO_QUEUE_SELECT, beyond[i]);
		CHECK_EQ(read32(v.mmio + MMIO_QUEUE_SIZE_MAX), 0);
		for (unsigned off = MMIO_QUEUE_DESC; off <= MMIO_QUEUE_DEVICE + 4; off += 4)
			write32(v.mmio + off, 0x500000);
		write32(v.mmio + MMIO_QUEUE_SIZE, RNG_QUEUE);
		write32(v.mmio + MMIO_QUEUE_READY, 1);
		CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 0);
		write32(v.mmio + MMIO_QUEUE_NOTIFY, beyond[i]);
	}
	CHECK_EQ(virtio_status(&v), AGREED);
	rng_check_works(&v);
}

static void there_is_no_shared_memory_region(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	for (uint32_t n = 0; n < 3; n++) {
		write32(v.mmio + MMIO_REGION_SELECT, n);
		for (unsigned off = 0; off < 16; off += 4)
			CHECK_EQ(read32(v.mmio + MMIO_REGION + off), 0xffffffff);
	}
}

/* Queues */

static void a_queue_is_taken_back_before_driver_ok(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, 2, 0);
	for (unsigned off = MMIO_QUEUE_DESC; off <= MMIO_QUEUE_DEVICE + 4; off += 4)
		write32(v.mmio + off, 0x12345678);	/* enabled: keeps what it has */
	write32(v.mmio + MMIO_QUEUE_SIZE, 3);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 1);
	write32(v.mmio + MMIO_QUEUE_READY, 0);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 0);
	write32(v.mmio + MMIO_QUEUE_READY, 1);		/* as it was */
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 1);
	write32(v.mmio + MMIO_QUEUE_READY, 0);
	virtio_set_up_queue(&v, RNG_QUEUE, 0);
	virtio_start(&v);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
	CHECK_EQ(virtio_status(&v), RUNNING);
}

static void a_running_queue_keeps_its_registers(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_bring_up(&v);
	for (unsigned off = MMIO_QUEUE_DESC; off <= MMIO_QUEUE_DEVICE + 4; off += 4)
		write32(v.mmio + off, 0x12345678);
	write32(v.mmio + MMIO_QUEUE_SIZE, 3);
	write32(v.mmio + MMIO_QUEUE_READY, 0);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 1);
	write32(v.mmio + MMIO_QUEUE_READY, 1);
	virtio_ack(&v, 0);
	for (unsigned i = 0; i < 2 * RNG_QUEUE; i++)
		CHECK_EQ(rng_request(&v, bytes, 16), 16);
	CHECK_EQ(virtio_status(&v), RUNNING);
}

static void a_queue_that_starts_late_does_not_start(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_negotiate(&v, 0);
	virtio_start(&v);
	write32(v.mmio + MMIO_QUEUE_SIZE, RNG_QUEUE);
	write32(v.mmio + MMIO_QUEUE_DESC, 0x500000);
	write32(v.mmio + MMIO_QUEUE_DRIVER, 0x501000);
	write32(v.mmio + MMIO_QUEUE_DEVICE, 0x502000);
	write32(v.mmio + MMIO_QUEUE_READY, 1);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 0);
	write32(v.mmio + MMIO_QUEUE_NOTIFY, 0);
	rng_check_works(&v);
}

struct bad_queue {
	uint32_t size;
	uint64_t desc, driver, device;
};

static void write_address(const struct virtio *v, unsigned off, uint64_t address)
{
	write32(v->mmio + off, (uint32_t)address);
	write32(v->mmio + off + 4, (uint32_t)(address >> 32));
}

static void enable_bad_queue(const struct virtio *v, const struct bad_queue *bad)
{
	virtio_negotiate(v, 0);
	write32(v->mmio + MMIO_QUEUE_SELECT, 0);
	write32(v->mmio + MMIO_QUEUE_SIZE, bad->size);
	write_address(v, MMIO_QUEUE_DESC, bad->desc);
	write_address(v, MMIO_QUEUE_DRIVER, bad->driver);
	write_address(v, MMIO_QUEUE_DEVICE, bad->device);
	write32(v->mmio + MMIO_QUEUE_READY, 1);
	CHECK_EQ(read32(v->mmio + MMIO_QUEUE_READY), 0);
	CHECK_EQ(virtio_status(v), AGREED | STATUS_NEEDS_RESET);
	/* Going on regardless does nothing. */
	virtio_set_status(v, RUNNING);
	write32(v->mmio + MMIO_QUEUE_NOTIFY, 0);
	CHECK(virtio_status(v) & STATUS_NEEDS_RESET);
	virtio_set_status(v, 0);
	CHECK_EQ(virtio_status(v), 0);
}

static void a_bad_queue_is_refused(void)
{
	static const struct bad_queue bad[] = {
		{ 0, 0x500000, 0x501000, 0x502000 },
		{ 3, 0x500000, 0x501000, 0x502000 },
		{ 2 * QUEUE_MAX, 0x500000, 0x501000, 0x502000 },
		{ 0x10004, 0x500000, 0x501000, 0x502000 },	/* its low half would do */
		{ 0xffffffff, 0x500000, 0x501000, 0x502000 },
		{ RNG_QUEUE, 0x500008, 0x501000, 0x502000 },	/* misaligned */
		{ RNG_QUEUE, 0x500000, 0x501001, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0x501000, 0x502002 },
		{ RNG_QUEUE, 0, 0x501000, 0x502000 },
		{ RNG_QUEUE, MEMORY_END, 0x501000, 0x502000 },	/* no RAM */
		{ RNG_QUEUE, 0x100500000, 0x501000, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0xfffffffffffffffe, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0x501000, MMIO_BASE },
	};
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	irq_init();
	ioapic_set(SOURCE_PIN, SOURCE_IRQ, false, false);
	irq_enable();
	for (unsigned i = 0; i < COUNT(bad); i++)
		enable_bad_queue(&v, &bad[i]);
	/* Before DRIVER_OK nobody is interrupted (2.1.2). */
	CHECK_EQ(irq_counts[SOURCE_IRQ], 0);
	rng_check_works(&v);
}

/* Config space */

static void config_space_reads_the_same_in_any_pieces(void)
{
	struct virtio v = virtio_find_mmio(DISK, VIRTIO_BLK);
	uint64_t config = v.mmio + MMIO_CONFIG;
	uint32_t generation = read32(v.mmio + MMIO_GENERATION);

	for (unsigned width = 2; width <= 8; width *= 2) {
		for (unsigned off = 0; off < 0x60 - width; off++) {
			uint64_t whole = read_width(config + off, width);

			for (unsigned i = 0; i < width; i++)
				CHECK_EQ(read8(config + off + i), whole >> 8 * i & 0xff);
		}
	}
	for (unsigned off = 0; off < 0x100; off++)
		write8(config + off, 0xff);
	CHECK_EQ(read64(config), SECTORS);
	CHECK_EQ(read32(v.mmio + MMIO_GENERATION), generation);
}

/* Every access there is */

static bool is_word(unsigned off, unsigned width)
{
	return width == 4 && off % 4 == 0;
}

static void only_aligned_words_are_registers(void)
{
	static const uint64_t values[] = { 0, UINT64_MAX, 0x0000000100000001 };
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, RNG_QUEUE, 0);
	for (unsigned width = 1; width <= 8; width *= 2) {
		for (unsigned off = 0; off < MMIO_CONFIG; off++) {
			if (is_word(off, width))
				continue;
			CHECK_EQ(read_width(v.mmio + off, width), 0);
			for (unsigned i = 0; i < COUNT(values); i++)
				write_width(v.mmio + off, width, values[i]);
		}
	}
	CHECK_EQ(virtio_status(&v), AGREED);
	CHECK_EQ(read32(v.mmio + MMIO_QUEUE_READY), 1);
	virtio_start(&v);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
	/* Nor is a doorbell rung by any of them, once the daemon does not look by itself. */
	spend(PAUSE);
	virtio_add(&v, 0, &(struct virtio_part){ bytes, 16, true }, 1);
	write8(v.mmio + MMIO_QUEUE_NOTIFY, 0);
	write16(v.mmio + MMIO_QUEUE_NOTIFY, 0);
	write64(v.mmio + MMIO_QUEUE_NOTIFY, 0);
	write32(v.mmio + MMIO_QUEUE_NOTIFY, 1);
	write32(v.mmio + MMIO_QUEUE_NOTIFY, 0x10000);
	spend(PAUSE);
	CHECK_EQ(virtio_used(&v), 1);
	virtio_kick(&v);
	WAIT_FOR(virtio_used(&v) == 2);
}

static void sweep_reads(const struct virtio *v)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		/* The last ones reach into the next device's page. */
		for (unsigned off = 0; off < MMIO_SIZE; off++)
			read_width(v->mmio + off, width);
	}
}

/* All registers; of config space, a sample. */
static void sweep_writes(const struct virtio *v, uint64_t value)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		for (unsigned off = 0; off < MMIO_SIZE; off += off < 0x180 ? 1 : 61)
			write_width(v->mmio + off, width, value);
	}
}

static void every_width_is_read_at_every_offset(void)
{
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	sweep_reads(&v);
	rng_check_works(&v);
}

static void every_width_is_read_at_every_offset_of_a_running_disk(void)
{
	struct virtio v = virtio_find_mmio(DISK, VIRTIO_BLK);

	virtio_bring_up(&v);
	sweep_reads(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 7, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[511], 7);
}

static void every_width_is_written_everywhere(void)
{
	static const uint64_t values[] = { 0, UINT64_MAX, 0x5a5a5a5a5a5a5a5a, 0x0000000100000001 };
	struct virtio v = virtio_find_mmio(SOURCE, VIRTIO_RNG);

	for (unsigned i = 0; i < COUNT(values); i++)
		sweep_writes(&v, values[i]);
	rng_check_works(&v);
}

static void every_width_is_written_everywhere_of_a_running_disk(void)
{
	static const uint64_t values[] = { UINT64_MAX, 0x5a5a5a5a5a5a5a5a, 0 };
	struct virtio v = virtio_find_mmio(DISK, VIRTIO_BLK);

	for (unsigned i = 0; i < COUNT(values); i++) {
		virtio_bring_up(&v);
		sweep_writes(&v, values[i]);
	}
	check_disk_works(&v);
}

const struct test_case test_cases[] = {
	CASE(each_page_says_what_it_is),
	CASE(status_goes_up_to_driver_ok_and_down_to_0),
	CASE(a_status_above_8_bits_is_no_reset),
	CASE(features_that_were_not_offered_are_refused),
	CASE(there_are_two_feature_words),
	CASE(a_queue_that_is_not_there_reads_0),
	CASE(there_is_no_shared_memory_region),
	CASE(a_queue_is_taken_back_before_driver_ok),
	CASE(a_running_queue_keeps_its_registers),
	CASE(a_queue_that_starts_late_does_not_start),
	CASE(a_bad_queue_is_refused),
	CASE(config_space_reads_the_same_in_any_pieces),
	CASE(only_aligned_words_are_registers),
	CASE(every_width_is_read_at_every_offset),
	CASE(every_width_is_read_at_every_offset_of_a_running_disk),
	CASE(every_width_is_written_everywhere),
	CASE(every_width_is_written_everywhere_of_a_running_disk),
	{ NULL, NULL },
};
