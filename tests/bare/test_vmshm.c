/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMShm: the guest opens objects of the host. Of those, "a" and "b" have 8 pages, "big" has 300;
 * page i of each begins with the word that tag_of gives. The host looks into them, and changes
 * them, when it is told to by orders (shared_objects.py).
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/pci.h"
#include "tests/bare/lib/smp.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/vmshm.h"

enum {
	PAGES = 8, BIG_PAGES = 300,
	ROUNDS = 50, TURNS = 100, RACES = 2000,
	OPENS = 100000,
	KEYBOARD = 0x64, KEYBOARD_RESET = 0xfe,
};

static struct vmshm dev;
static volatile bool enough;
static volatile uint64_t turns;		/* of the other processor */

static uint32_t tag_of(char object, unsigned page)
{
	return (uint32_t)object << 16 | page;
}

static uint32_t state(void)
{
	return vmshm_get(&dev, VMSHM_STATUS) & 0xffff;
}

static void check_shows(char object, unsigned pages)
{
	for (unsigned i = 0; i < VMSHM_WINDOW_PAGES; i++)
		CHECK_EQ(read32(vmshm_word(&dev, i)), i < pages ? tag_of(object, i) : 0);
}

static void both_sides_see_what_the_other_stores(void)
{
	vmshm_bring_up(&dev);
	check_shows(0, 0);
	CHECK_EQ(vmshm_open(&dev, "/a"), 0);
	CHECK_EQ(state(), VMSHM_S_OPEN);
	CHECK_EQ(vmshm_get(&dev, VMSHM_SIZE_LO), PAGES * VMSHM_PAGE);
	CHECK_EQ(vmshm_get(&dev, VMSHM_MAPPED_LO), PAGES * VMSHM_PAGE);
	check_shows('a', PAGES);
	write32(vmshm_word(&dev, 3), 0x12345678);
	test_order("object a page 3 is 12345678");
	test_order("object a page 4 becomes 77");
	CHECK_EQ(read32(vmshm_word(&dev, 4)), 0x77);
}

/* What its driver did: CLOSE first, then an OPEN that fails, and one that does not, twice. */
static void the_script_of_version_0_1_passes(void)
{
	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	CHECK(vmshm_open(&dev, "/not there") != 0);
	CHECK(vmshm_open(&dev, "/not allowed") != 0);
	CHECK_EQ(vmshm_open(&dev, "/big"), 0);
	check_shows('g', VMSHM_WINDOW_PAGES);
	CHECK_EQ(vmshm_get(&dev, VMSHM_OPEN), 0);
	write32(vmshm_word(&dev, 255), 5);
	test_order("object big page 255 is 5");
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	check_shows(0, 0);
}

static void another_object_takes_the_place_or_nothing_changes(void)
{
	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	write32(vmshm_word(&dev, 100), 1);
	CHECK_EQ(vmshm_open(&dev, "not there"), VMSHM_ENOENT);
	CHECK_EQ(vmshm_open(&dev, ".."), VMSHM_EBADNAME);
	CHECK_EQ(vmshm_open(&dev, "/a/b"), VMSHM_EBADNAME);
	CHECK_EQ(vmshm_get(&dev, VMSHM_ERROR), VMSHM_EBADNAME);
	CHECK_EQ(read32(vmshm_word(&dev, 7)), tag_of('a', 7));
	CHECK_EQ(read32(vmshm_word(&dev, 100)), 1);
	CHECK_EQ(vmshm_open(&dev, "b"), 0);
	check_shows('b', PAGES);
	write32(vmshm_word(&dev, 0), 9);
	test_order("object b page 0 is 9");
	vmshm_set(&dev, VMSHM_OFFSET_LO, 299 * VMSHM_PAGE);
	CHECK_EQ(vmshm_open(&dev, "big"), 0);
	CHECK_EQ(read32(vmshm_word(&dev, 0)), tag_of('g', 299));
	CHECK_EQ(vmshm_get(&dev, VMSHM_MAPPED_LO), VMSHM_PAGE);
}

static void a_read_only_object_is_not_written(void)
{
	vmshm_bring_up(&dev);
	vmshm_set(&dev, VMSHM_FLAGS, VMSHM_OPEN_RO);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	CHECK_EQ(state(), VMSHM_S_OPEN | VMSHM_S_RO);
	check_shows('a', PAGES);
	for (unsigned i = 0; i < PAGES; i++)
		write32(vmshm_word(&dev, i), 1);
	test_order("object a page 0 is 610000");
	test_order("object a page 7 is 610007");
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	check_shows('a', PAGES);
}

static void a_large_window_has_all_of_a_larger_object(void)
{
	vmshm_bring_up(&dev);
	CHECK(dev.large);
	vmshm_set(&dev, VMSHM_FLAGS, VMSHM_OPEN_LARGE | VMSHM_OPEN_WHOLE);
	CHECK_EQ(vmshm_open(&dev, "big"), 0);
	CHECK_EQ(state(), VMSHM_S_OPEN | VMSHM_S_LARGE);
	for (uint64_t i = 0; i < BIG_PAGES; i++)
		CHECK_EQ(read32(dev.large + i * VMSHM_PAGE), tag_of('g', (unsigned)i));
	write32(dev.large + 299 * VMSHM_PAGE, 3);
	test_order("object big page 299 is 3");
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	CHECK_EQ(read32(dev.large + 299 * VMSHM_PAGE), 0);
}

static void the_window_follows_its_bar(void)
{
	uint64_t to;

	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	to = dev.window + 16 * VMSHM_WINDOW_SIZE;
	pci_write(dev.slot, PCI_BAR0 + 4 * VMSHM_BAR_WINDOW, 4, (uint32_t)to);
	CHECK_EQ(read32(dev.window), 0xffffffff);
	dev.window = to;
	check_shows('a', PAGES);
	write32(to, 6);
	test_order("object a page 0 is 6");
}

/* --- another processor stores all the time --- */

static void store(unsigned id)
{
	(void)id;
	while (!enough) {
		turns++;
		for (unsigned i = 0; i < PAGES; i++)
			write32(vmshm_word(&dev, i) + 8, (uint32_t)turns);
	}
}

static void wait_for_turns(void)
{
	uint64_t before = turns;

	WAIT_FOR(turns - before >= TURNS);
}

static void start_storing(void)
{
	vmshm_bring_up(&dev);
	irq_init();
	smp_start(1, store);
}

static void stop_storing(void)
{
	enough = true;
	WAIT_FOR(smp_done == 1);
}

/* What is stored after CLOSE was read does not reach the object. */
static void after_a_close_nothing_reaches_the_object(void)
{
	start_storing();
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t before = turns;

		CHECK_EQ(vmshm_open(&dev, "a"), 0);
		wait_for_turns();
		CHECK(read32(vmshm_word(&dev, 0) + 8) > before);
		CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
		test_order("remember object a");
		wait_for_turns();
		test_order("object a is as remembered");
	}
	stop_storing();
}

static void after_another_open_nothing_reaches_the_object(void)
{
	start_storing();
	for (unsigned i = 0; i < ROUNDS; i++) {
		CHECK_EQ(vmshm_open(&dev, "a"), 0);
		wait_for_turns();
		CHECK_EQ(vmshm_open(&dev, "b"), 0);
		test_order("remember object a");
		wait_for_turns();
		test_order("object a is as remembered");
	}
	stop_storing();
}

static void an_object_is_truncated_beneath_a_processor(void)
{
	unsigned generation;

	start_storing();
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	wait_for_turns();
	generation = vmshm_get(&dev, VMSHM_STATUS) >> VMSHM_S_GENERATION;
	test_order("object a has 1 page");
	WAIT_FOR(state() == (VMSHM_S_OPEN | VMSHM_S_TRUNCATED));
	CHECK_EQ(vmshm_get(&dev, VMSHM_STATUS) >> VMSHM_S_GENERATION, generation + 1);
	CHECK_EQ(vmshm_get(&dev, VMSHM_MAPPED_LO), VMSHM_PAGE);
	wait_for_turns();
	CHECK_EQ(read32(vmshm_word(&dev, 0)), tag_of('a', 0));
	CHECK_EQ(read32(vmshm_word(&dev, 1)), 0);
	CHECK_EQ(vmshm_open(&dev, "b"), 0);
	CHECK_EQ(state(), VMSHM_S_OPEN);
	wait_for_turns();
	stop_storing();
}

/* --- and opens and closes --- */

static void open_and_close(unsigned id)
{
	(void)id;
	while (!enough) {
		uint32_t r = vmshm_get(&dev, VMSHM_OPEN);

		CHECK(r == VMSHM_OK || r == VMSHM_EBUSY);
		CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
		turns++;
	}
}

static void processors_open_and_close_against_each_other(void)
{
	vmshm_bring_up(&dev);
	vmshm_name(&dev, "b");
	irq_init();
	test_order("note what is open");
	smp_start(1, open_and_close);
	for (unsigned i = 0; i < RACES || !turns; i++) {
		uint32_t r = vmshm_open(&dev, i % 2 ? "b" : "a");

		CHECK(r == VMSHM_OK || r == VMSHM_EBUSY);
	}
	stop_storing();
	CHECK_EQ(vmshm_open(&dev, "b"), 0);
	check_shows('b', PAGES);
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	test_order("compare what is open");
}

static void a_hundred_thousand_opens_leave_nothing(void)
{
	vmshm_bring_up(&dev);
	vmshm_name(&dev, "a");
	test_order("note what is open");
	for (unsigned i = 0; i < OPENS; i++) {
		CHECK_EQ(vmshm_get(&dev, VMSHM_OPEN), 0);
		CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	}
	test_order("compare what is open");
}

/* --- reset --- */

static void a_reset_of_the_machine_closes(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;

	vmshm_bring_up(&dev);
	if (!*kept) {
		*kept = 1;
		vmshm_set(&dev, VMSHM_OFFSET_LO, VMSHM_PAGE);
		CHECK_EQ(vmshm_open(&dev, "a"), 0);
		vmshm_set(&dev, VMSHM_FLAGS, VMSHM_OPEN_RO);
		outb(KEYBOARD, KEYBOARD_RESET);
		test_exit(1);
	}
	CHECK_EQ(state(), 0);
	CHECK_EQ(vmshm_get(&dev, VMSHM_FLAGS), 0);
	CHECK_EQ(read32(dev.name), 0);
	check_shows(0, 0);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	check_shows('a', PAGES);
}

static volatile bool waits;

static void open_for_ever(unsigned id)
{
	(void)id;
	for (;;) {
		waits = true;
		vmshm_get(&dev, VMSHM_OPEN);
	}
}

static void a_reset_of_the_machine_ends_an_open_under_way(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;

	vmshm_bring_up(&dev);
	irq_init();
	if (++*kept <= ROUNDS) {
		vmshm_name(&dev, "a");
		smp_start(1, open_for_ever);
		WAIT_FOR(waits);
		spend(*kept << 14);
		outb(KEYBOARD, KEYBOARD_RESET);
		test_exit(1);
	}
	CHECK_EQ(state(), 0);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	check_shows('a', PAGES);
}

const struct test_case test_cases[] = {
	CASE(both_sides_see_what_the_other_stores),
	CASE(the_script_of_version_0_1_passes),
	CASE(another_object_takes_the_place_or_nothing_changes),
	CASE(a_read_only_object_is_not_written),
	CASE(a_large_window_has_all_of_a_larger_object),
	CASE(the_window_follows_its_bar),
	CASE(after_a_close_nothing_reaches_the_object),
	CASE(after_another_open_nothing_reaches_the_object),
	CASE(an_object_is_truncated_beneath_a_processor),
	CASE(processors_open_and_close_against_each_other),
	CASE(a_hundred_thousand_opens_leave_nothing),
	CASE(a_reset_of_the_machine_closes),
	CASE(a_reset_of_the_machine_ends_an_open_under_way),
	{ NULL, NULL },
};
