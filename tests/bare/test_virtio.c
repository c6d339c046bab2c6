/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of virtio devices: an entropy source in slot 1, a disk in slot 2. */
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum {
	KNOWN = STATUS_ACKNOWLEDGE | STATUS_DRIVER, AGREED = KNOWN | STATUS_FEATURES_OK,
	RNG_QUEUE = 4, BLK_SECTORS = 128, BAR_SIZE = 0x4000,
};

static uint8_t bytes[512];

static struct virtio found(unsigned device)
{
	struct virtio v;

	virtio_find(&v, device);
	return v;
}

/* Status and features */

static void status_goes_up_to_driver_ok_and_down_to_0(void)
{
	struct virtio v = found(VIRTIO_RNG);

	CHECK_EQ(virtio_status(&v), 0);
	virtio_set_status(&v, STATUS_ACKNOWLEDGE);
	CHECK_EQ(virtio_status(&v), STATUS_ACKNOWLEDGE);
	virtio_set_status(&v, KNOWN);
	CHECK_EQ(virtio_status(&v), KNOWN);
	virtio_ack(&v, VIRTIO_F_VERSION_1);
	virtio_set_status(&v, AGREED);
	CHECK_EQ(virtio_status(&v), AGREED);
	virtio_set_up_queue(&v, RNG_QUEUE, NO_VECTOR);
	virtio_start(&v);
	virtio_set_status(&v, 0);
	WAIT_FOR(virtio_status(&v) == 0);
	virtio_set_status(&v, STATUS_ACKNOWLEDGE | STATUS_FAILED);
	CHECK_EQ(virtio_status(&v), STATUS_ACKNOWLEDGE | STATUS_FAILED);
	virtio_set_status(&v, 0);
	CHECK_EQ(virtio_status(&v), 0);
}

static void features_that_were_not_offered_are_refused(void)
{
	struct virtio v = found(VIRTIO_RNG);
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
	rng_check_works(&v);
}

static void version_1_is_not_optional(void)
{
	struct virtio v = found(VIRTIO_RNG);

	virtio_set_status(&v, KNOWN);
	virtio_ack(&v, 0);
	virtio_set_status(&v, AGREED);
	CHECK_EQ(virtio_status(&v), KNOWN);
	/* Second thoughts are allowed. */
	virtio_ack(&v, VIRTIO_F_VERSION_1);
	virtio_set_status(&v, AGREED);
	CHECK_EQ(virtio_status(&v), AGREED);
}

static void features_are_fixed_once_they_are_agreed(void)
{
	struct virtio v = found(VIRTIO_RNG);

	virtio_negotiate(&v, 0);
	virtio_ack(&v, 0);
	write32(v.common + DRIVER_FEATURE_SELECT, 1);
	CHECK_EQ(read32(v.common + DRIVER_FEATURE), 1);
}

static void there_are_two_feature_words(void)
{
	static const uint32_t beyond[] = { 2, 3, 0x80000000, 0xffffffff };
	struct virtio v = found(VIRTIO_RNG);

	for (unsigned i = 0; i < COUNT(beyond); i++) {
		write32(v.common + FEATURE_SELECT, beyond[i]);
		CHECK_EQ(read32(v.common + FEATURE), 0);
		write32(v.common + DRIVER_FEATURE_SELECT, beyond[i]);
		write32(v.common + DRIVER_FEATURE, 0xffffffff);
		CHECK_EQ(read32(v.common + DRIVER_FEATURE), 0);
	}
	rng_check_works(&v);
}

static void driver_ok_needs_features_ok(void)
{
	struct virtio v = found(VIRTIO_RNG);

	virtio_set_status(&v, KNOWN | STATUS_DRIVER_OK);
	CHECK_EQ(virtio_status(&v), KNOWN);
	rng_check_works(&v);
}

static void a_status_bit_is_not_cleared(void)
{
	struct virtio v = found(VIRTIO_RNG);

	virtio_bring_up(&v);
	virtio_set_status(&v, AGREED);
	CHECK_EQ(virtio_status(&v), AGREED | STATUS_DRIVER_OK);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
}

/* Queue registers */

static void an_enabled_queue_keeps_its_registers(void)
{
	static const uint8_t latched[] = { QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE };
	struct virtio v = found(VIRTIO_RNG);

	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, RNG_QUEUE, NO_VECTOR);
	for (unsigned i = 0; i < COUNT(latched); i++) {
		uint64_t before = read64(v.common + latched[i]);

		write64(v.common + latched[i], 0x1234567890);
		write32(v.common + latched[i], 0x500000);
		write8(v.common + latched[i] + 7, 0xff);
		CHECK_EQ(read64(v.common + latched[i]), before);
	}
	write16(v.common + QUEUE_SIZE, 2);
	CHECK_EQ(read16(v.common + QUEUE_SIZE), RNG_QUEUE);
	write16(v.common + QUEUE_ENABLE, 0);
	CHECK_EQ(read16(v.common + QUEUE_ENABLE), 1);
	virtio_start(&v);
	write64(v.common + QUEUE_DESC, 0x500000);
	write16(v.common + QUEUE_VECTOR, 1);
	CHECK_EQ(read16(v.common + QUEUE_VECTOR), NO_VECTOR);
	CHECK_EQ(rng_request(&v, bytes, 16), 16);
}

static void a_queue_that_is_not_there_reads_0(void)
{
	static const uint16_t beyond[] = { 1, 2, 63, 64, 0x7fff, 0x8000, 0xffff };
	struct virtio v = found(VIRTIO_RNG);

	CHECK_EQ(read16(v.common + NUM_QUEUES), 1);
	virtio_negotiate(&v, 0);
	for (unsigned i = 0; i < COUNT(beyond); i++) {
		write16(v.common + QUEUE_SELECT, beyond[i]);
		CHECK_EQ(read16(v.common + QUEUE_SELECT), beyond[i]);
		for (unsigned off = QUEUE_SIZE; off < COMMON_SIZE; off += 2) {
			write16(v.common + off, 1);
			CHECK_EQ(read16(v.common + off), 0);
		}
		write16(v.notify + beyond[i] * v.notify_multiplier % 0x1000, beyond[i]);
	}
	CHECK_EQ(virtio_status(&v), AGREED);
	rng_check_works(&v);
}

static void a_register_is_written_in_any_pieces(void)
{
	struct virtio v = found(VIRTIO_RNG);
	const uint64_t value = 0x0011223344556677;

	virtio_negotiate(&v, 0);
	for (unsigned width = 1; width <= 8; width *= 2) {
		write64(v.common + QUEUE_DESC, UINT64_MAX);
		for (unsigned off = 0; off < 8; off += width)
			write_width(v.common + QUEUE_DESC + off, width, value >> 8 * off);
		CHECK_EQ(read64(v.common + QUEUE_DESC), value);
		for (unsigned off = 0; off < 8; off += width)
			CHECK_EQ(read_width(v.common + QUEUE_DESC + off, width),
				 value >> 8 * off & ones(width));
	}
}

struct bad_queue {
	uint16_t size;
	uint64_t desc, driver, device;
};

static void enable_bad_queue(const struct virtio *v, const struct bad_queue *bad)
{
	virtio_negotiate(v, 0);
	write16(v->common + QUEUE_SELECT, 0);
	write16(v->common + QUEUE_SIZE, bad->size);
	write64(v->common + QUEUE_DESC, bad->desc);
	write64(v->common + QUEUE_DRIVER, bad->driver);
	write64(v->common + QUEUE_DEVICE, bad->device);
	write16(v->common + QUEUE_ENABLE, 1);
	CHECK_EQ(read16(v->common + QUEUE_ENABLE), 0);
	CHECK_EQ(virtio_status(v), AGREED | STATUS_NEEDS_RESET);
	/* Going on regardless does nothing. */
	virtio_set_status(v, AGREED | STATUS_DRIVER_OK);
	write16(v->notify, 0);
	CHECK(virtio_status(v) & STATUS_NEEDS_RESET);
	virtio_reset(v);
}

static void a_bad_queue_is_refused(void)
{
	static const struct bad_queue bad[] = {
		{ 0, 0x500000, 0x501000, 0x502000 },
		{ 3, 0x500000, 0x501000, 0x502000 },
		{ 2 * RNG_QUEUE, 0x500000, 0x501000, 0x502000 },
		{ 0xffff, 0x500000, 0x501000, 0x502000 },
		{ RNG_QUEUE, 0x500008, 0x501000, 0x502000 },	/* misaligned */
		{ RNG_QUEUE, 0x500000, 0x501001, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0x501000, 0x502002 },
		{ RNG_QUEUE, 0, 0x501000, 0x502000 },
		{ RNG_QUEUE, MEMORY_END, 0x501000, 0x502000 },	/* no RAM */
		{ RNG_QUEUE, MEMORY_END - 32, 0x501000, 0x502000 },
		{ RNG_QUEUE, 0xfffffffffffffff0, 0x501000, 0x502000 },
		{ RNG_QUEUE, 0x500000, MEMORY_END - 2, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0xfffffffffffffffe, 0x502000 },
		{ RNG_QUEUE, 0x500000, 0x501000, 0xfee00000 },
		{ RNG_QUEUE, 0x500000, 0x501000, 0xfffffffffffffffc },
	};
	struct virtio v = found(VIRTIO_RNG);

	for (unsigned i = 0; i < COUNT(bad); i++)
		enable_bad_queue(&v, &bad[i]);
	rng_check_works(&v);
}

static void a_reset_forgets_everything(void)
{
	struct virtio v = found(VIRTIO_RNG);

	rng_check_works(&v);
	write16(v.common + CONFIG_VECTOR, 1);
	virtio_reset(&v);
	CHECK_EQ(read32(v.common + FEATURE_SELECT), 0);
	CHECK_EQ(read32(v.common + DRIVER_FEATURE), 0);
	CHECK_EQ(read16(v.common + CONFIG_VECTOR), NO_VECTOR);
	CHECK_EQ(read16(v.common + QUEUE_SELECT), 0);
	CHECK_EQ(read16(v.common + QUEUE_SIZE), RNG_QUEUE);
	CHECK_EQ(read16(v.common + QUEUE_VECTOR), NO_VECTOR);
	CHECK_EQ(read16(v.common + QUEUE_ENABLE), 0);
	CHECK_EQ(read64(v.common + QUEUE_DESC), 0);
	rng_check_works(&v);
}

static void config_space_reads_the_same_in_any_pieces(void)
{
	struct virtio v = found(VIRTIO_BLK);
	uint8_t generation = read8(v.common + CONFIG_GENERATION);

	for (unsigned width = 2; width <= 8; width *= 2) {
		for (unsigned off = 0; off < 0x60 - width; off++) {
			uint64_t whole = read_width(v.config + off, width);

			for (unsigned i = 0; i < width; i++)
				CHECK_EQ(read8(v.config + off + i), whole >> 8 * i & 0xff);
		}
	}
	for (unsigned off = 0; off < 0x100; off++)
		write8(v.config + off, 0xff);
	CHECK_EQ(read64(v.config), BLK_SECTORS);
	CHECK_EQ(read8(v.common + CONFIG_GENERATION), generation);
}

/* Every access there is */

static void sweep_reads(const struct virtio *v)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		for (unsigned off = 0; off < BAR_SIZE; off++)
			read_width(v->bar + off, width);
	}
}

/* All registers; of what lies between, a sample. */
static void sweep_writes(const struct virtio *v, uint64_t value)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		for (unsigned off = 0; off < BAR_SIZE; off += off % 0x400 < 0x40 ? 1 : 61)
			write_width(v->bar + off, width, value);
	}
}

static void every_width_is_read_at_every_offset(void)
{
	struct virtio v = found(VIRTIO_RNG);

	sweep_reads(&v);
	rng_check_works(&v);
}

static void every_width_is_read_at_every_offset_of_a_running_disk(void)
{
	struct virtio v = found(VIRTIO_BLK);

	virtio_bring_up(&v);
	sweep_reads(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 7, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[511], 7);
}

static void every_width_is_written_everywhere(void)
{
	static const uint64_t values[] = { 0, UINT64_MAX, 0x5a5a5a5a5a5a5a5a, 0x0000000100000001 };
	struct virtio v = found(VIRTIO_RNG);

	for (unsigned i = 0; i < COUNT(values); i++)
		sweep_writes(&v, values[i]);
	virtio_reset(&v);
	msix_control(&v.msix, 0);
	rng_check_works(&v);
}

static void every_width_is_written_everywhere_of_a_running_disk(void)
{
	static const uint64_t values[] = { UINT64_MAX, 0x5a5a5a5a5a5a5a5a, 0 };
	struct virtio v = found(VIRTIO_BLK);

	for (unsigned i = 0; i < COUNT(values); i++) {
		virtio_bring_up(&v);
		sweep_writes(&v, values[i]);
	}
	virtio_bring_up(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 9, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[0], 9);
}

const struct test_case test_cases[] = {
	CASE(status_goes_up_to_driver_ok_and_down_to_0),
	CASE(features_that_were_not_offered_are_refused),
	CASE(version_1_is_not_optional),
	CASE(features_are_fixed_once_they_are_agreed),
	CASE(there_are_two_feature_words),
	CASE(driver_ok_needs_features_ok),
	CASE(a_status_bit_is_not_cleared),
	CASE(an_enabled_queue_keeps_its_registers),
	CASE(a_queue_that_is_not_there_reads_0),
	CASE(a_register_is_written_in_any_pieces),
	CASE(a_bad_queue_is_refused),
	CASE(a_reset_forgets_everything),
	CASE(every_width_is_read_at_every_offset),
	CASE(every_width_is_read_at_every_offset_of_a_running_disk),
	CASE(every_width_is_written_everywhere),
	CASE(every_width_is_written_everywhere_of_a_running_disk),
	CASE(config_space_reads_the_same_in_any_pieces),
	{ NULL, NULL },
};
