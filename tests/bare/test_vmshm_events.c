/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMShm's events: three each way, with a program of the host and with another VM, which come, ring
 * and go by orders (event_sockets.py).
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/pci.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/vmshm.h"

enum {
	EVENTS = 3, VECTORS = EVENTS + 1, MANY = 20000, RESETS = 5,
	KEYBOARD = 0x64, KEYBOARD_RESET = 0xfe,
};

static struct vmshm dev;
static struct msix msix;

/* Vector v raises interrupt IRQ_FIRST + v. */
static void bring_up(void)
{
	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_get(&dev, VMSHM_NEVENTS), EVENTS);
	CHECK_EQ(vmshm_get(&dev, VMSHM_NVECTORS), VECTORS);
	irq_init();
	msix_find(&msix, dev.slot, pci_read(dev.slot, PCI_BAR0 + 4 * VMSHM_BAR_MSIX, 4) & ~15u);
	CHECK_EQ(msix.count, VECTORS);
	for (unsigned v = 0; v < VECTORS; v++) {
		msix_set(&msix, v, IRQ_FIRST + v);
		msix_mask(&msix, v, false);
	}
	msix_control(&msix, PCI_MSIX_ENABLE);
	irq_enable();
}

static uint32_t came(unsigned vector)
{
	return irq_counts[IRQ_FIRST + vector];
}

static bool has_program(void)
{
	return vmshm_get(&dev, VMSHM_STATUS) & VMSHM_S_PEER;
}

/* The boot report is asked how many exits there were. */
static void a_doorbell_stays_in_the_kernel(void)
{
	vmshm_bring_up(&dev);
	test_order("a program connects");
	for (unsigned i = 0; i < MANY; i++)
		vmshm_set(&dev, VMSHM_DOORBELL, 1);
	vmshm_set(&dev, VMSHM_DOORBELL, 2);
	vmshm_set(&dev, VMSHM_DOORBELL, EVENTS);
	vmshm_set(&dev, VMSHM_DOORBELL, 0x101);
	test_order("event 0 was rung 0 times");
	test_order("event 1 was rung 20000 times");
	test_order("event 2 was rung 1 times");
}

static void a_doorbell_moves_with_its_bar(void)
{
	uint64_t before, to = 0xd0000000;

	vmshm_bring_up(&dev);
	before = dev.regs;
	test_order("a program connects");
	pci_write(dev.slot, PCI_BAR0 + 4 * VMSHM_BAR_REGS, 4, (uint32_t)to);
	dev.regs = to;
	vmshm_set(&dev, VMSHM_DOORBELL, 0);
	test_order("event 0 was rung 1 times");
	write32(before + VMSHM_DOORBELL, 0);
	pci_write(dev.slot, PCI_COMMAND, 2, 0);
	vmshm_set(&dev, VMSHM_DOORBELL, 0);
	test_order("event 0 was rung 0 times");
}

static void a_program_interrupts_the_guest(void)
{
	bring_up();
	test_order("a program connects");
	for (unsigned v = 1; v < VECTORS; v++)
		CHECK(came(v) <= 1);
	for (unsigned i = 0; i < 10; i++) {
		uint32_t before = came(2);

		test_order("it rings event 1");
		WAIT_FOR(came(2) == before + 1);
	}
	CHECK(came(1) <= 1 && came(3) <= 1);
}

static void coming_and_going_is_vector_0(void)
{
	bring_up();
	CHECK(!has_program());
	for (unsigned i = 0; i < 10; i++) {
		uint32_t before = came(0);

		test_order("a program connects");
		WAIT_FOR(came(0) == before + 1);
		CHECK(has_program());
		test_order("the program goes");
		WAIT_FOR(came(0) == before + 2);
		CHECK(!has_program());
	}
}

static void a_program_hears_what_is_open(void)
{
	vmshm_bring_up(&dev);
	CHECK_EQ(vmshm_open(&dev, "/a"), 0);
	test_order("a program connects");
	test_order("it hears that a is open");
	CHECK_EQ(vmshm_open(&dev, "/b"), 0);
	test_order("it hears that b is open");
	vmshm_get(&dev, VMSHM_CLOSE);
	test_order("it hears that nothing is open");
}

static void another_vm_rings_comes_and_goes(void)
{
	bring_up();
	for (unsigned i = 0; i < 3; i++) {
		uint32_t before;

		test_order("another VM comes");
		before = came(3);
		test_order("the other guest rings event 2");
		WAIT_FOR(came(3) > before);
		before = came(1);
		test_order("the other guest rings event 0");
		WAIT_FOR(came(1) > before);
		test_order("the other VM goes");
	}
	CHECK(!has_program());
}

/* Each boot finds both still there. */
static void a_reset_of_the_machine_leaves_all_connected(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;
	uint32_t before;

	bring_up();
	if (!*kept) {
		test_order("a program connects");
		test_order("another VM comes");
	}
	CHECK(has_program());
	before = came(2);
	test_order("it rings event 1");
	WAIT_FOR(came(2) > before);
	before = came(3);
	test_order("the other guest rings event 2");
	WAIT_FOR(came(3) > before);
	vmshm_set(&dev, VMSHM_DOORBELL, 0);
	test_order("event 0 was rung 1 times");
	if (++*kept < RESETS) {
		outb(KEYBOARD, KEYBOARD_RESET);
		test_exit(1);
	}
}

static void what_is_no_eventfd_is_refused_and_the_next_vm_is_taken(void)
{
	uint32_t before;

	bring_up();
	test_order("another VM comes with pipes");
	test_order("it is sent away");
	test_order("another VM comes");
	before = came(1);
	test_order("the other guest rings event 0");
	WAIT_FOR(came(1) > before);
}

const struct test_case test_cases[] = {
	CASE(a_doorbell_stays_in_the_kernel),
	CASE(a_doorbell_moves_with_its_bar),
	CASE(a_program_interrupts_the_guest),
	CASE(coming_and_going_is_vector_0),
	CASE(a_program_hears_what_is_open),
	CASE(another_vm_rings_comes_and_goes),
	CASE(a_reset_of_the_machine_leaves_all_connected),
	CASE(what_is_no_eventfd_is_refused_and_the_next_vm_is_taken),
	{ NULL, NULL },
};
