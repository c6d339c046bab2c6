/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMShm device, and a guest, who shares the objects, or what goes on around them that means harm.
 * Objects are as in test_vmshm.c.
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/pci.h"
#include "tests/bare/lib/smp.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"
#include "tests/bare/lib/vmshm.h"

enum {
	PAGES = 8, ROUNDS = 200, FLOOD = 2000, STEPS = 6000, NAME_SIZE_LARGE = 1 << 20,
	KEYBOARD = 0x64, KEYBOARD_RESET = 0xfe,
};

static struct vmshm dev;
static volatile bool enough, began;
static volatile uint32_t result;	/* of the other processor's OPEN */

static uint32_t tag_of(char object, unsigned page)
{
	return (uint32_t)object << 16 | page;
}

static bool is_open(void)
{
	return vmshm_get(&dev, VMSHM_STATUS) & VMSHM_S_OPEN;
}

static void check_works(void)
{
	vmshm_get(&dev, VMSHM_CLOSE);
	CHECK_EQ(vmshm_open(&dev, "b"), 0);
	for (unsigned i = 0; i < PAGES; i++)
		CHECK_EQ(read32(vmshm_word(&dev, i)), tag_of('b', i));
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
}

static void start(void (*run)(unsigned id))
{
	irq_init();
	smp_start(1, run);
	WAIT_FOR(began);
}

static void stop(void)
{
	enough = true;
	WAIT_FOR(smp_done == 1);
}

/* --- what it may be called, and what it is --- */

static void accesses_of_other_sizes_open_and_close_nothing(void)
{
	static const uint8_t widths[] = { 1, 2, 8 };

	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	for (unsigned at = 0; at < VMSHM_MAGIC; at++) {
		for (unsigned i = 0; i < COUNT(widths); i++)
			read_width(dev.regs + at, widths[i]);
		if (at != VMSHM_OPEN && at != VMSHM_CLOSE)
			read32(dev.regs + at);
		write32(dev.regs + at, 1);
	}
	CHECK(is_open());
	CHECK_EQ(vmshm_get(&dev, VMSHM_STATUS) >> VMSHM_S_GENERATION, 1);
	CHECK_EQ(read32(vmshm_word(&dev, 7)), tag_of('a', 7));
}

/* Of a host whose rules are too kind. */
static void what_is_no_object_is_not_opened(void)
{
	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "link"), VMSHM_EBADTYPE);
	CHECK_EQ(vmshm_open(&dev, "fifo"), VMSHM_EBADTYPE);
	CHECK_EQ(vmshm_open(&dev, "socket"), VMSHM_EBADTYPE);
	CHECK_EQ(vmshm_open(&dev, "directory"), VMSHM_EBADTYPE);
	CHECK_EQ(vmshm_open(&dev, "directory/a"), VMSHM_EBADNAME);
	CHECK_EQ(vmshm_open(&dev, "empty"), VMSHM_EEMPTY);
	CHECK(!is_open());
	check_works();
}

static void its_own_memory_has_no_name(void)
{
	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "ram"), VMSHM_ENOENT);
	CHECK(!is_open());
	check_works();
}

static void a_name_of_a_mebibyte_is_read_no_further_than_one_of_1024(void)
{
	vmshm_bring_up(&dev);
	CHECK(pci_read(dev.slot, PCI_BAR0 + 4 * VMSHM_BAR_NAME, 4) % NAME_SIZE_LARGE == 0);
	for (unsigned i = 0; i < 2048; i += 4)
		write32(dev.name + i, 0x61616161);
	for (unsigned i = NAME_SIZE_LARGE - 64; i < NAME_SIZE_LARGE; i += 4)
		write32(dev.name + i, 0x62626262);
	CHECK_EQ(vmshm_get(&dev, VMSHM_OPEN), VMSHM_EBADNAME);
	CHECK_EQ(read8(dev.name + NAME_SIZE_LARGE - 1), 0x62);
	check_works();
}

static void rename_it(unsigned id)
{
	(void)id;
	for (unsigned i = 0; !enough; i++) {
		vmshm_name(&dev, i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "../b");
		began = true;
	}
}

/* What is opened is one of the names that it had. Often it is none: until one was. */
static void its_name_changes_while_it_is_opened(void)
{
	unsigned opened = 0;

	vmshm_bring_up(&dev);
	vmshm_name(&dev, "a");
	start(rename_it);
	for (unsigned i = 0; i < ROUNDS || !opened; i++) {
		uint32_t r = vmshm_get(&dev, VMSHM_OPEN), word = read32(vmshm_word(&dev, 1));

		CHECK(r == VMSHM_OK || r == VMSHM_ENOENT || r == VMSHM_EBADNAME);
		if (r == VMSHM_OK)
			CHECK(word == tag_of('a', 1) || word == tag_of('b', 1));
		opened += r == VMSHM_OK;
		vmshm_get(&dev, VMSHM_CLOSE);
	}
	stop();
	check_works();
}

/* The log has a line of each kind (cases.py counts them), and no byte that a terminal obeys. */
static void a_flood_of_refusals_is_a_line_of_the_log_each(void)
{
	vmshm_bring_up(&dev);
	for (unsigned i = 0; i < FLOOD; i++) {
		CHECK_EQ(vmshm_open(&dev, i % 2 ? "-\x9b" "2J" : "-a"), VMSHM_ENOENT);
		CHECK_EQ(vmshm_open(&dev, "a/b"), VMSHM_EBADNAME);
		CHECK_EQ(vmshm_open(&dev, "link"), VMSHM_EBADTYPE);
	}
}

/* --- what others do --- */

static void store(unsigned id)
{
	(void)id;
	while (!enough) {
		for (unsigned i = 0; i < PAGES; i++)
			write32(vmshm_word(&dev, i) + 8, i);
		began = true;
	}
}

/* He truncates, enlarges, empties and replaces it, in no order. */
static void a_sharer_does_with_an_object_whatever_he_can(void)
{
	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	start(store);
	test_order("vandalise object a");
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t r = vmshm_open(&dev, "a");

		CHECK(r == VMSHM_OK || r == VMSHM_EEMPTY || r == VMSHM_EIO || r == VMSHM_ENOENT ||
		      r == VMSHM_EBADTYPE);
		write32(vmshm_word(&dev, i % VMSHM_WINDOW_PAGES), i);
		if (i % 4 == 0)
			CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	}
	test_order("leave object a alone");
	stop();
	check_works();
}

static void another_has_what_is_exclusive(void)
{
	vmshm_bring_up(&dev);
	test_order("another has object a");
	CHECK_EQ(vmshm_open(&dev, "a"), VMSHM_EBUSY);
	CHECK_EQ(vmshm_open(&dev, "b"), 0);
	test_order("another has it no more");
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	test_order("another cannot have object a");
	test_order("another has object b");
	test_order("another has it no more");
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	test_order("another has object a");
}

/* The object has 2 MiB, its file system 1. */
static void a_full_file_system_is_an_error_or_a_wait(void)
{
	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "full"), 0);
	write32(vmshm_word(&dev, 5), 5);
	vmshm_set(&dev, VMSHM_OFFSET_LO, VMSHM_WINDOW_SIZE);
	CHECK_EQ(vmshm_get(&dev, VMSHM_OPEN), VMSHM_EIO);
	CHECK_EQ(vmshm_get(&dev, VMSHM_ERROR), VMSHM_EIO);
	CHECK_EQ(read32(vmshm_word(&dev, 5)), 5);
	vmshm_set(&dev, VMSHM_FLAGS, VMSHM_OPEN_LARGE);
	CHECK_EQ(vmshm_get(&dev, VMSHM_OPEN), 0);
	CHECK_EQ(read32(dev.large + 5 * VMSHM_PAGE), 5);
	test_order("make room later");
	write32(dev.large + VMSHM_WINDOW_SIZE, 6);
	CHECK_EQ(read32(dev.large + VMSHM_WINDOW_SIZE), 6);
}

/* --- what the guest can do around it --- */

/* A load with a VEX prefix, which KVM does not emulate: there must be memory at every moment. */
static uint32_t read_vex(uint64_t gpa)
{
	uint32_t v;

	__asm__ volatile("andnl (%1), %2, %0" : "=r"(v) : "r"(gpa), "r"(0) : "memory", "cc");
	return v;
}

static bool has_vex(void)
{
	uint32_t a = 7, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b & 1 << 3;
}

static void load_by_vex(unsigned id)
{
	(void)id;
	while (!enough) {
		for (unsigned i = 0; i < PAGES; i++) {
			uint32_t word = read_vex(vmshm_word(&dev, i));

			CHECK(word == 0 || word == tag_of('a', i) || word == tag_of('b', i));
		}
		began = true;
	}
}

static void at_no_moment_is_there_a_hole(void)
{
	if (!has_vex()) {
		test_note("this processor has no BMI1");
		return;
	}
	vmshm_bring_up(&dev);
	start(load_by_vex);
	for (unsigned i = 0; i < ROUNDS; i++) {
		CHECK_EQ(vmshm_open(&dev, i % 2 ? "a" : "b"), 0);
		if (i % 3 == 0)
			CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	}
	stop();
	check_works();
}

static void open_and_close(unsigned id)
{
	const struct vmshm d = dev;

	(void)id;
	while (!enough) {
		vmshm_get(&d, VMSHM_OPEN);
		began = true;
		vmshm_get(&d, VMSHM_CLOSE);
	}
}

static void put(unsigned bar, uint64_t at)
{
	pci_write(dev.slot, PCI_BAR0 + 4 * bar, 4, (uint32_t)at);
}

static void bars_are_moved_and_switched_off_while_it_is_opened(void)
{
	vmshm_bring_up(&dev);
	vmshm_name(&dev, "a");
	start(open_and_close);
	for (unsigned i = 0; i < ROUNDS; i++) {
		pci_write(dev.slot, PCI_COMMAND, 2, i % 2 ? PCI_COMMAND_MEMORY : 0);
		put(VMSHM_BAR_WINDOW, dev.window + (i % 5) * VMSHM_WINDOW_SIZE);
		put(VMSHM_BAR_REGS, i % 7 ? dev.regs : dev.window);
		put(VMSHM_BAR_WINDOW, i % 3 ? dev.window : 0);
		put(VMSHM_BAR_NAME, i % 4 ? dev.name : dev.regs);
	}
	stop();
	pci_write(dev.slot, PCI_COMMAND, 2, 0);
	put(VMSHM_BAR_REGS, dev.regs);
	put(VMSHM_BAR_WINDOW, dev.window);
	put(VMSHM_BAR_NAME, dev.name);
	pci_write(dev.slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	check_works();
}

static uint32_t next(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33);
}

/* Where there may be a BAR, or something else. */
static uint32_t place_of(uint64_t *seed)
{
	const uint32_t places[] = { 0, 0x100000, 0xfee00000, 0xffffff00, (uint32_t)dev.regs,
				    (uint32_t)dev.window, (uint32_t)dev.name };
	uint32_t n = next(seed) % (2 * COUNT(places));

	return n < COUNT(places) ? places[n] : 0xc0000000 + next(seed) % 64 * VMSHM_WINDOW_SIZE;
}

static void do_anything(uint64_t *seed)
{
	const uint64_t bars[] = { dev.regs, dev.regs, dev.regs, dev.name, dev.window, dev.large,
				  0xc0000000 };
	uint64_t at = bars[next(seed) % COUNT(bars)] + next(seed) % 0x100;
	unsigned width = 1u << next(seed) % 4;

	if (next(seed) % 4 == 0)
		at &= ~UINT64_C(0x1f);
	switch (next(seed) % 16) {
	case 0:
		put(next(seed) % 6, place_of(seed));
		break;
	case 1:
		pci_write(dev.slot, next(seed) % 0x40 & ~3u, 4, next(seed));
		break;
	case 2:
	case 3:
		pci_write(dev.slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
		break;
	case 4:
	case 5:
		vmshm_name(&dev, next(seed) % 2 ? "a" : "b");
		break;
	case 6:
	case 7:
	case 8:
		write_width(at, width, next(seed));
		break;
	default:
		read_width(at, width);
	}
}

static void do_anything_all_the_time(unsigned id)
{
	uint64_t seed = id;

	began = true;
	while (!enough)
		do_anything(&seed);
}

static void two_processors_do_anything_in_any_order(void)
{
	struct vmshm before;
	uint64_t seed = 77;

	vmshm_bring_up(&dev);
	before = dev;
	start(do_anything_all_the_time);
	for (unsigned i = 0; i < STEPS; i++)
		do_anything(&seed);
	stop();
	pci_write(dev.slot, PCI_COMMAND, 2, 0);
	put(VMSHM_BAR_REGS, before.regs);
	put(VMSHM_BAR_WINDOW, before.window);
	put(VMSHM_BAR_NAME, before.name);
	put(VMSHM_BAR_MSIX, 0);
	put(VMSHM_BAR_LARGE, (uint32_t)before.large);
	put(VMSHM_BAR_LARGE + 1, (uint32_t)(before.large >> 32));
	pci_write(dev.slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	vmshm_set(&dev, VMSHM_FLAGS, 0);
	vmshm_set(&dev, VMSHM_OFFSET_LO, 0);
	vmshm_set(&dev, VMSHM_OFFSET_HI, 0);
	vmshm_get(&dev, VMSHM_CLOSE);
	CHECK_EQ(vmshm_open(&dev, "b"), 0);
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
	CHECK_EQ(read32(vmshm_word(&dev, 0)), 0);
}

/* No daemon has it, nor does the VMM translate addresses in it. */
static void the_window_is_not_given_to_a_device(void)
{
	struct virtio v;

	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "a"), 0);
	virtio_find(&v, VIRTIO_RNG);
	virtio_bring_up(&v);
	virtio_add(&v, 0, &(struct virtio_part){ (void *)dev.window, 64, true }, 1);
	virtio_kick(&v);
	WAIT_FOR(virtio_status(&v) & STATUS_NEEDS_RESET);
	CHECK_EQ(read32(vmshm_word(&dev, 0)), tag_of('a', 0));
	virtio_reset(&v);
	check_works();
}

/* More of the host's memory than window-idle-max= is not to be had by writing where nothing is. */
static void an_empty_window_costs_what_it_may(void)
{
	vmshm_bring_up(&dev);
	test_order("measure");
	for (uint64_t at = 0; at < 256 << 20; at += VMSHM_PAGE)
		write8(dev.large + at, 1);
	test_order("measure again");
}

/* --- the supervisor --- */

static void open_once(unsigned id)
{
	(void)id;
	began = true;
	result = vmshm_open(&dev, "a");
}

/* It does not answer: the other processor is, or will be, in its read of OPEN, and no more can be
 * known without one's own. */
static void let_one_wait(void)
{
	vmshm_bring_up(&dev);
	test_order("stop the supervisor");
	start(open_once);
	spend(1 << 24);
	CHECK_EQ(smp_done, 0);
}

static void the_supervisor_is_killed_while_one_waits(void)
{
	let_one_wait();
	test_order("kill the supervisor");
	WAIT_FOR(smp_done == 1);
	CHECK_EQ(result, VMSHM_EIO);
	CHECK_EQ(vmshm_open(&dev, "a"), VMSHM_EIO);
	CHECK_EQ(vmshm_get(&dev, VMSHM_CLOSE), 0);
}

static void a_close_ends_a_wait_for_the_supervisor(void)
{
	let_one_wait();
	WAIT_FOR(vmshm_get(&dev, VMSHM_CLOSE) == 0 && smp_done == 1);
	CHECK_EQ(result, VMSHM_EBUSY);
	test_order("let the supervisor go on");
	check_works();
}

static void a_reset_ends_a_wait_for_the_supervisor(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;

	if (!*kept) {
		*kept = 1;
		let_one_wait();
		outb(KEYBOARD, KEYBOARD_RESET);
		test_exit(1);
	}
	vmshm_bring_up(&dev);
	test_order("let the supervisor go on");
	CHECK(!is_open());
	check_works();
}

static void the_machine_is_ended_while_one_waits(void)
{
	let_one_wait();
	test_order("end without the supervisor");
}

const struct test_case test_cases[] = {
	CASE(accesses_of_other_sizes_open_and_close_nothing),
	CASE(what_is_no_object_is_not_opened),
	CASE(its_own_memory_has_no_name),
	CASE(a_name_of_a_mebibyte_is_read_no_further_than_one_of_1024),
	CASE(its_name_changes_while_it_is_opened),
	CASE(a_flood_of_refusals_is_a_line_of_the_log_each),
	CASE(a_sharer_does_with_an_object_whatever_he_can),
	CASE(another_has_what_is_exclusive),
	CASE(a_full_file_system_is_an_error_or_a_wait),
	CASE(at_no_moment_is_there_a_hole),
	CASE(bars_are_moved_and_switched_off_while_it_is_opened),
	CASE(two_processors_do_anything_in_any_order),
	CASE(the_window_is_not_given_to_a_device),
	CASE(an_empty_window_costs_what_it_may),
	CASE(the_supervisor_is_killed_while_one_waits),
	CASE(a_close_ends_a_wait_for_the_supervisor),
	CASE(a_reset_ends_a_wait_for_the_supervisor),
	CASE(the_machine_is_ended_while_one_waits),
	{ NULL, NULL },
};
