/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory regions: where they are, what a mapping shows and what it does not, and how it
 * ends. The daemon maps what the guest asks it to (shmem_protocol.h).
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/shmem.h"
#include "tests/bare/lib/smp.h"
#include "tests/bare/lib/test.h"

enum { PAGE = SHMEM_PAGE, PAUSE = 20000000 /* cycles */ };
#define MIB		UINT64_C(0x100000)
#define GIB		UINT64_C(0x40000000)
#define HIGH		(5 * GIB)	/* in SHMEM_BIG: more than 32 bits say */

static struct shmem dev;

/* Where they are */

static const struct {
	uint32_t id;
	uint64_t offset, len;
} expected[] = {
	{ SHMEM_CONTROL, 0, SHMEM_CONTROL_SIZE },
	{ SHMEM_MIDDLE, 2 * MIB, SHMEM_MIDDLE_SIZE },
	{ SHMEM_BIG, 8 * MIB, SHMEM_BIG_SIZE },
	{ SHMEM_MANY, 8 * MIB + SHMEM_BIG_SIZE, SHMEM_MANY_SIZE },
};

static void regions_are_told_with_id_length_and_place(void)
{
	shmem_find(&dev);
	CHECK_EQ(dev.count, dev.mmio ? 4 : 3);
	for (unsigned i = 0; i < dev.count; i++) {
		const struct shmem_region *r = &dev.regions[i];

		CHECK_EQ(r->id, expected[i].id);
		CHECK_EQ(r->len, expected[i].len);
		CHECK_EQ(r->offset, expected[i].offset);
		CHECK_EQ(r->at % (r->len >= 2 * MIB ? 2 * MIB : PAGE), 0);
	}
}

/* The daemon's idea of a place is the guest's, up to the last page. */
static void every_region_is_reached_to_its_last_page(void)
{
	shmem_bring_up(&dev);
	for (unsigned i = 0; i < dev.count; i++) {
		const struct shmem_region *r = &dev.regions[i];
		uint64_t last = r->at + r->len - PAGE;

		CHECK_EQ(read64(last), 0);
		CHECK(shmem_map(&dev, i, r->id, r->len - PAGE, 1, true));
		CHECK_EQ(read64(last), shmem_tag(i, 0));
		write64(last + PAGE - 8, 0x1234 + i);
		CHECK_EQ(shmem_read(&dev, i, PAGE - 8), 0x1234 + i);
	}
}

static void the_bar_is_a_power_of_two(void)
{
	enum { REG = PCI_BAR0 + 4 * SHMEM_BAR, IS_64_PREFETCHABLE = 0xc };
	uint64_t at;

	shmem_find(&dev);
	at = shmem_bar(&dev);
	CHECK_EQ(pci_read(dev.virtio.slot, REG, 4) & 0xf, IS_64_PREFETCHABLE);
	CHECK_EQ(at % (16 * GIB), 0);
	pci_write(dev.virtio.slot, PCI_COMMAND, 2, 0);
	pci_write(dev.virtio.slot, REG, 4, 0xffffffff);
	pci_write(dev.virtio.slot, REG + 4, 4, 0xffffffff);
	CHECK_EQ(pci_read(dev.virtio.slot, REG, 4), IS_64_PREFETCHABLE);
	CHECK_EQ(pci_read(dev.virtio.slot, REG + 4, 4), 0xfffffffc);
	shmem_move_bar(&dev, at);
	CHECK_EQ(shmem_bar(&dev), at);
}

static void registers_tell_of_no_other_region_by_mmio(void)
{
	static const uint32_t absent[] = { 0, 2, 6, 8, 199, 201, 254, 256, 256 + SHMEM_MIDDLE,
					   0x10000 + SHMEM_CONTROL, 0x80000000, 0xffffffff };
	uint64_t page;

	shmem_find(&dev);
	page = dev.virtio.mmio;
	for (unsigned i = 0; i < COUNT(absent); i++) {
		write32(page + MMIO_REGION_SELECT, absent[i]);
		for (unsigned off = 0; off < 16; off += 4)
			CHECK_EQ(read32(page + MMIO_REGION + off), 0xffffffff);
	}
	/* What is there is not to be written. */
	write32(page + MMIO_REGION_SELECT, SHMEM_BIG);
	for (unsigned off = 0; off < 16; off += 4)
		write32(page + MMIO_REGION + off, 0x5a5a5a5a);
	CHECK_EQ(read32(page + MMIO_REGION), (uint32_t)SHMEM_BIG_SIZE);
	CHECK_EQ(read32(page + MMIO_REGION + 4), SHMEM_BIG_SIZE >> 32);
	CHECK_EQ(read32(page + MMIO_REGION + 8), (uint32_t)shmem_at(&dev, SHMEM_BIG, 0));
	CHECK_EQ(read32(page + MMIO_REGION + 12), shmem_at(&dev, SHMEM_BIG, 0) >> 32);
}

/* What a mapping shows */

static void a_readonly_object_is_written_by_nobody(void)
{
	uint64_t at;

	shmem_bring_up(&dev);
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	for (unsigned round = 0; round < 2; round++) {
		CHECK(shmem_map(&dev, 1, SHMEM_BIG, HIGH, 4, false));
		for (unsigned i = 0; i < 4; i++) {
			CHECK_EQ(read64(at + i * PAGE), shmem_tag(1, i));
			CHECK_EQ(read64(at + i * PAGE + 8), shmem_tag(1, i));
		}
		for (unsigned off = 0; off < 3 * PAGE; off += 8)
			write64(at + off, off);
		CHECK_EQ(shmem_changed(&dev, 1, SHMEM_OBJECT_PAGES), 0);
		for (unsigned off = 0; off < 3 * PAGE; off += 8)
			CHECK_EQ(read64(at + off), off);
		CHECK_EQ(read64(at + 3 * PAGE), shmem_tag(1, 3));
		CHECK(shmem_unmap(&dev, SHMEM_BIG, HIGH, 4));
		CHECK_EQ(read64(at), 0);
		CHECK_EQ(read64(at + 8), 0);
	}
	CHECK_EQ(shmem_changed(&dev, 1, SHMEM_OBJECT_PAGES), 0);
}

/* From where the guest can tell, one object in two places is one. */
static void an_object_is_seen_in_two_places(void)
{
	uint64_t one, two;

	shmem_bring_up(&dev);
	one = shmem_at(&dev, SHMEM_MIDDLE, 0);
	two = shmem_at(&dev, SHMEM_BIG, HIGH);
	CHECK(shmem_map(&dev, 2, SHMEM_MIDDLE, 0, 1, true));
	CHECK(shmem_map(&dev, 2, SHMEM_BIG, HIGH, 1, true));
	write64(one, 77);
	CHECK_EQ(read64(two), 77);
	shmem_do(&dev, &(struct shmem_request){ .op = SHMEM_OP_WRITE, .object = 2, .value = 78 });
	CHECK_EQ(read64(one), 78);
	CHECK(shmem_unmap(&dev, SHMEM_MIDDLE, 0, 1));
	write64(one, 79);
	CHECK_EQ(read64(two), 78);
	CHECK_EQ(shmem_read(&dev, 2, 0), 78);
}

/* The host looks at what minivmm has before and after (cases.py). */
static void all_of_an_empty_window_may_be_written(void)
{
	enum { DENSE = 16 };		/* MiB that are written page by page */
	/* An odd number of pages, so that it meets every page of filler that repeats. */
	const uint64_t stride = 65 * PAGE;
	uint64_t at;

	shmem_bring_up(&dev);
	at = shmem_at(&dev, SHMEM_BIG, 0);
	test_order("measure");
	for (uint64_t off = 0; off < SHMEM_BIG_SIZE; off += stride)
		write64(at + off, off);
	for (uint64_t off = 0; off < DENSE * MIB; off += PAGE)
		write64(at + 4 * GIB + off, off);
	write64(at + SHMEM_BIG_SIZE - 8, 1);
	test_order("measure again");
	/* Mapped over it, an object is what it was. */
	CHECK(shmem_map(&dev, 0, SHMEM_BIG, 4 * GIB, 16, true));
	CHECK_EQ(shmem_changed(&dev, 0, 16), 0);
	CHECK_EQ(read64(at + 4 * GIB), shmem_tag(0, 0));
}

/* How it ends */

static void check_gone(uint64_t at)
{
	for (unsigned i = 0; i < 4; i++)
		CHECK_EQ(read64(at + i * PAGE), 0);
}

static void a_reset_of_the_device_takes_all_away(void)
{
	uint64_t at;

	shmem_bring_up(&dev);
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	for (unsigned round = 0; round < 3; round++) {
		/* There is room again: nobody has to unmap. */
		CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 4, true));
		CHECK(!shmem_map(&dev, 0, SHMEM_BIG, HIGH, 4, true));
		CHECK(shmem_map(&dev, 1, SHMEM_MIDDLE, 0, 4, true));
		CHECK_EQ(read64(at), shmem_tag(0, 0));
		write64(at + 4 * PAGE, 55);	/* filler */
		virtio_reset(&dev.virtio);
		check_gone(at);
		check_gone(shmem_at(&dev, SHMEM_MIDDLE, 0));
		CHECK_EQ(read64(at + 4 * PAGE), 0);
		write64(at, 66);
		virtio_bring_up(&dev.virtio);
		CHECK(!shmem_unmap(&dev, SHMEM_BIG, HIGH, 4));
		CHECK_EQ(shmem_changed(&dev, 0, 4), 0);
	}
}

static void a_reset_of_the_machine_takes_all_away(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;
	uint64_t at;

	shmem_find(&dev);
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	check_gone(at);
	CHECK_EQ(read64(at + 4 * PAGE), 0);
	virtio_bring_up(&dev.virtio);
	/* What it stored before is in the object, what after is not. */
	write64(at + 8, 1000);
	CHECK_EQ(shmem_changed(&dev, 0, 4), *kept ? 1 : 0);
	CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 4, true));
	CHECK_EQ(read64(at), *kept ? *kept - 1 : shmem_tag(0, 0));
	if (*kept == 3)
		return;
	write64(at, (*kept)++);
	write64(at + 4 * PAGE, 55);
	outb(0x64, 0xfe);
	test_exit(1);
}

/* Another processor stores and loads all the while */

static volatile uint64_t turns, store_at, load_at, load_expected;

static void store_and_load(unsigned id)
{
	(void)id;
	for (;;) {
		write64(store_at, turns);
		if (load_at)
			CHECK_EQ(read64(load_at), load_expected);
		turns++;
	}
}

/* Three times round: it has begun after this call and is through. */
static void let_it_turn(void)
{
	uint64_t before = turns;

	WAIT_FOR(turns >= before + 3);
}

static void start_storing(uint64_t at)
{
	store_at = at;
	irq_init();
	smp_start(1, store_and_load);
	let_it_turn();
}

static void check_stores_land(uint32_t object, uint64_t offset, bool wanted)
{
	uint64_t before = shmem_read(&dev, object, offset);

	let_it_turn();
	CHECK_EQ(shmem_read(&dev, object, offset) != before, wanted);
}

/* Once 0 is read, the object is out of its reach; and so again for the next life. */
static void a_reset_of_the_device_is_seen_by_a_processor(void)
{
	uint64_t at;

	shmem_bring_up(&dev);
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 4, true));
	start_storing(at);
	for (unsigned round = 0; round < 20; round++) {
		check_stores_land(0, 0, true);
		virtio_reset(&dev.virtio);
		let_it_turn();
		check_gone(at + PAGE);
		virtio_bring_up(&dev.virtio);
		check_stores_land(0, 0, false);
		CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 5, true));
	}
}

static void a_bar_that_moves_takes_its_mappings_along(void)
{
	uint64_t bar, other, at;

	shmem_bring_up(&dev);
	bar = shmem_bar(&dev);
	other = bar + 64 * GIB;
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 4, true));
	write64(at + 4 * PAGE, 55);
	start_storing(at);
	check_stores_land(0, 0, true);
	shmem_move_bar(&dev, other);
	shmem_locate(&dev);
	virtio_locate(&dev.virtio);
	CHECK_EQ(shmem_at(&dev, SHMEM_BIG, HIGH), at + 64 * GIB);
	check_stores_land(0, 0, false);
	CHECK_EQ(read64(at), UINT64_MAX);
	CHECK_EQ(read64(at + 64 * GIB + PAGE), shmem_tag(0, 1));
	CHECK_EQ(read64(at + 64 * GIB + 4 * PAGE), 55);
	/* Mapped and unmapped where it is now, or is not. */
	CHECK(shmem_map(&dev, 1, SHMEM_BIG, HIGH + 4 * PAGE, 4, true));
	CHECK_EQ(read64(at + 64 * GIB + 4 * PAGE), shmem_tag(1, 0));
	pci_write(dev.virtio.slot, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	CHECK_EQ(read64(at + 64 * GIB + 4 * PAGE), UINT64_MAX);
	shmem_move_bar(&dev, bar);
	check_stores_land(0, 0, true);
	CHECK_EQ(read64(at + 4 * PAGE), shmem_tag(1, 0));
	CHECK(shmem_unmap(&dev, SHMEM_BIG, HIGH, 4));
	check_stores_land(0, 0, false);
}

static void an_object_is_truncated_beneath_a_processor(void)
{
	uint64_t at;

	shmem_bring_up(&dev);
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	CHECK(shmem_map(&dev, 3, SHMEM_BIG, HIGH, 16, true));
	start_storing(at + 8 * PAGE);
	check_stores_land(3, 8 * PAGE, true);
	CHECK_EQ(read64(at + 9 * PAGE), shmem_tag(3, 9));
	shmem_do(&dev, &(struct shmem_request){ .op = SHMEM_OP_TRUNCATE, .object = 3,
						.len = 8 * PAGE });
	let_it_turn();
	for (unsigned i = 9; i < 16; i++)
		CHECK_EQ(read64(at + i * PAGE), 0);
	CHECK_EQ(read64(at + 8 * PAGE + 8), 0);
	/* The rest is what it was, and all of it is one mapping. */
	CHECK_EQ(read64(at + 7 * PAGE), shmem_tag(3, 7));
	write64(at, 88);
	CHECK_EQ(shmem_read(&dev, 3, 0), 88);
	/* The object grows: not so the mapping. */
	shmem_do(&dev, &(struct shmem_request){ .op = SHMEM_OP_TRUNCATE, .object = 3,
						.len = 16 * PAGE });
	check_stores_land(3, 8 * PAGE, false);
	CHECK(!shmem_map(&dev, 0, SHMEM_BIG, HIGH + 9 * PAGE, 1, true));
	CHECK(shmem_unmap(&dev, SHMEM_BIG, HIGH, 16));
	CHECK(shmem_map(&dev, 3, SHMEM_BIG, HIGH, 16, true));
	check_stores_land(3, 8 * PAGE, true);
}

static void the_daemon_is_killed_beneath_a_processor(void)
{
	uint64_t at;

	shmem_bring_up(&dev);
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 4, true));
	start_storing(at);
	CHECK_EQ(read64(at + PAGE), shmem_tag(0, 1));
	test_note("kill");
	WAIT_FOR(virtio_status(&dev.virtio) & STATUS_NEEDS_RESET);
	let_it_turn();
	CHECK_EQ(read64(at + PAGE), 0);
	CHECK_EQ(read64(at + 8), 0);
	write64(at + PAGE, 5);
	CHECK_EQ(read64(at + PAGE), 5);
	virtio_reset(&dev.virtio);
	CHECK_EQ(read64(at + PAGE), 0);
	let_it_turn();
}

const struct test_case test_cases[] = {
	SHMEM_CASES(regions_are_told_with_id_length_and_place),
	SHMEM_CASES(every_region_is_reached_to_its_last_page),
	CASE(the_bar_is_a_power_of_two),
	CASE(registers_tell_of_no_other_region_by_mmio),
	SHMEM_CASES(a_readonly_object_is_written_by_nobody),
	SHMEM_CASES(an_object_is_seen_in_two_places),
	SHMEM_CASES(all_of_an_empty_window_may_be_written),
	SHMEM_CASES(a_reset_of_the_device_takes_all_away),
	SHMEM_CASES(a_reset_of_the_machine_takes_all_away),
	SHMEM_CASES(a_reset_of_the_device_is_seen_by_a_processor),
	CASE(a_bar_that_moves_takes_its_mappings_along),
	SHMEM_CASES(an_object_is_truncated_beneath_a_processor),
	SHMEM_CASES(the_daemon_is_killed_beneath_a_processor),
	{ NULL, NULL },
};
