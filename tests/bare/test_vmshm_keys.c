/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keys of --vmshm do to the device that the guest finds. Objects are those of test_vmshm.c:
 * page i of "big" begins with the word 'g' << 16 | i.
 */
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/pci.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/vmshm.h"

enum {
	OTHER_VENDOR = 0x1af5, OTHER_DEVICE = 0x0001,
	BIG_PAGES = 300, GROWN_PAGES = 400,
	LARGE_GIB = 64,
};

static uint32_t word_of_big(unsigned page)
{
	return (uint32_t)'g' << 16 | page;
}

/* The device of the bare --vmshm, with another id, is before the one that may open something. */
static void two_devices_open_what_each_may(void)
{
	struct vmshm none, some;

	vmshm_bring_up_slot(&none, pci_find(OTHER_VENDOR, OTHER_DEVICE));
	vmshm_bring_up(&some);
	CHECK(none.slot != some.slot && none.window != some.window);
	CHECK_EQ(vmshm_open(&none, "/big"), VMSHM_ENOENT);
	CHECK_EQ(vmshm_open(&some, "/big"), 0);
	CHECK_EQ(read32(vmshm_word(&some, 255)), word_of_big(255));
	CHECK_EQ(read32(vmshm_word(&none, 255)), 0);
	write32(vmshm_word(&none, 255), 1);
	CHECK_EQ(vmshm_get(&none, VMSHM_CLOSE), 0);
	CHECK_EQ(vmshm_get(&none, VMSHM_STATUS), 0);
	CHECK_EQ(vmshm_get(&some, VMSHM_STATUS) & 0xffff, VMSHM_S_OPEN);
	test_order("object big page 255 is 6700ff");
	CHECK_EQ(vmshm_get(&some, VMSHM_CLOSE), 0);
}

/* It is there, and allowed; but it is another user's than the one who is asked for. */
static void objects_of_others_than_the_owner_look_absent(void)
{
	struct vmshm d;

	vmshm_bring_up(&d);
	CHECK_EQ(vmshm_open(&d, "/big"), VMSHM_ENOENT);
	CHECK_EQ(vmshm_open(&d, "/not there"), VMSHM_ENOENT);
}

static void a_window_of_64_gib_is_above_ram_and_works(void)
{
	struct vmshm d;
	uint32_t low;

	vmshm_bring_up(&d);
	CHECK_EQ(vmshm_get(&d, VMSHM_WINDOW_LO), 0);
	CHECK_EQ(vmshm_get(&d, VMSHM_WINDOW_HI), LARGE_GIB / 4);
	CHECK(pci_read(d.slot, PCI_BAR0 + 4 * (VMSHM_BAR_LARGE + 1), 4) > 0);
	low = pci_read(d.slot, PCI_BAR0 + 4 * VMSHM_BAR_LARGE, 4);
	CHECK_EQ((low & ~15u) % (2u << 20), 0);
	vmshm_set(&d, VMSHM_FLAGS, VMSHM_OPEN_LARGE | VMSHM_OPEN_WHOLE);
	CHECK_EQ(vmshm_open(&d, "/big"), 0);
	for (unsigned i = 0; i < BIG_PAGES; i++)
		CHECK_EQ(read32(d.large + (uint64_t)i * VMSHM_PAGE), word_of_big(i));
	CHECK_EQ(read32(d.large + (uint64_t)BIG_PAGES * VMSHM_PAGE), 0);
	write32(d.large, 1);
	test_order("object big page 0 is 1");
}

/* Grown by the host, the object has holes. */
static void open_grown(struct vmshm *d)
{
	vmshm_bring_up(d);
	test_order("object big has 400 pages");
	vmshm_set(d, VMSHM_FLAGS, VMSHM_OPEN_LARGE);
	CHECK_EQ(vmshm_open(d, "/big"), 0);
	CHECK_EQ(vmshm_get(d, VMSHM_MAPPED_LO), GROWN_PAGES * VMSHM_PAGE);
}

static void with_prealloc_an_object_is_whole_when_it_is_open(void)
{
	struct vmshm d;

	open_grown(&d);
	test_order("object big lacks 0 pages");
}

static void without_prealloc_pages_come_when_they_are_written(void)
{
	struct vmshm d;

	open_grown(&d);
	test_order("object big lacks 100 pages");
	write32(d.large + (uint64_t)(GROWN_PAGES - 1) * VMSHM_PAGE, 1);
	test_order("object big lacks 99 pages");
}

/* The windows and a doorbell, whatever tells a guest of its devices. */
static void check_device(void)
{
	struct vmshm d;

	vmshm_bring_up(&d);
	CHECK_EQ(vmshm_open(&d, "/big"), 0);
	CHECK_EQ(read32(vmshm_word(&d, 7)), word_of_big(7));
	vmshm_set(&d, VMSHM_FLAGS, VMSHM_OPEN_LARGE | VMSHM_OPEN_WHOLE);
	CHECK_EQ(vmshm_open(&d, "/big"), 0);
	CHECK_EQ(read32(d.large + 299ull * VMSHM_PAGE), word_of_big(299));
	CHECK_EQ(read32(vmshm_word(&d, 7)), 0);
	CHECK_EQ(vmshm_get(&d, VMSHM_NEVENTS), 1);
	vmshm_set(&d, VMSHM_DOORBELL, 0);
	CHECK_EQ(vmshm_get(&d, VMSHM_CLOSE), 0);
}

const struct test_case test_cases[] = {
	CASE(two_devices_open_what_each_may),
	CASE(objects_of_others_than_the_owner_look_absent),
	CASE(a_window_of_64_gib_is_above_ram_and_works),
	CASE(with_prealloc_an_object_is_whole_when_it_is_open),
	CASE(without_prealloc_pages_come_when_they_are_written),
	{ "it_works_on_a_machine_with_acpi", check_device },
	{ "it_works_on_a_machine_with_mptable", check_device },
	{ "it_works_on_a_machine_with_fdt", check_device },
	{ NULL, NULL },
};
