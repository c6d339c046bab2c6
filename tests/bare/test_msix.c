/* SPDX-License-Identifier: Apache-2.0 */
/* How an entropy source interrupts: by MSI-X, masked and not, and by INTx. */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum {
	QUEUE_IRQ = IRQ_FIRST, CONFIG_IRQ, OTHER_IRQ, LINE_IRQ,
	CONFIG_ENTRY = 0, QUEUE_ENTRY = 1,
	RNG_QUEUE = 4, RNG_GSI = 9,		/* slot 1, pin A */
	ISR_QUEUE = 1, ISR_CONFIG = 2,
};

static uint8_t bytes[16];
static struct virtio rng;

/* The device up to DRIVER_OK, with MSI-X or without, interrupts enabled. */
static void set_up(unsigned msix_flags)
{
	irq_init();
	virtio_find(&rng, VIRTIO_RNG);
	CHECK_EQ(rng.msix.count, 2);
	msix_set(&rng.msix, CONFIG_ENTRY, CONFIG_IRQ);
	msix_set(&rng.msix, QUEUE_ENTRY, QUEUE_IRQ);
	msix_control(&rng.msix, msix_flags);
	virtio_negotiate(&rng, VIRTIO_F_EVENT_IDX);
	write16(rng.common + CONFIG_VECTOR, CONFIG_ENTRY);
	virtio_set_up_queue(&rng, RNG_QUEUE, QUEUE_ENTRY);
	virtio_start(&rng);
	irq_enable();
}

/*
 * Whether the device is to interrupt for the next chain (VIRTIO 1.3, 2.7.10). By its number, not by
 * the flag: the daemon may look at the flag of a request long after it was answered.
 */
static void want_interrupt(bool wanted)
{
	const struct virtio_queue *q = &rng.queue;

	q->avail[2 + q->size] = (uint16_t)(q->added + (wanted ? 0 : 0x4000));
	barrier();
}

static void request(void)
{
	want_interrupt(true);
	CHECK_EQ(rng_request(&rng, bytes, sizeof(bytes)), sizeof(bytes));
}

static void quiet_request(void)
{
	want_interrupt(false);
	CHECK_EQ(rng_request(&rng, bytes, sizeof(bytes)), sizeof(bytes));
}

/*
 * What was signalled is delivered, if it is to be: the daemon serves one request at a time, so
 * so what it had to signal before a quiet one it has; and the kernel gets a moment.
 */
static void settle(void)
{
	quiet_request();
	for (uint64_t since = cycles(); cycles() - since < 20000000;)
		relax();
}

static void break_ring(void)
{
	rng.queue.avail[2 + rng.queue.added % RNG_QUEUE] = 77;
	barrier();
	rng.queue.avail[1] = ++rng.queue.added;
	virtio_kick(&rng);
	WAIT_FOR(virtio_status(&rng) & STATUS_NEEDS_RESET);
}

static void a_vector_is_delivered_for_each_request(void)
{
	set_up(PCI_MSIX_ENABLE);
	for (unsigned i = 1; i <= 10; i++) {
		request();
		WAIT_FOR(irq_counts[QUEUE_IRQ] == i);
	}
	CHECK_EQ(irq_counts[CONFIG_IRQ], 0);
	CHECK_EQ(read8(rng.isr), 0);
}

static void an_interrupt_wakes_a_halted_processor(void)
{
	set_up(PCI_MSIX_ENABLE);
	for (unsigned i = 1; i <= 5; i++) {
		want_interrupt(true);
		virtio_add(&rng, 0, &(struct virtio_part){ bytes, sizeof(bytes), true }, 1);
		irq_disable();
		virtio_kick(&rng);
		while (irq_counts[QUEUE_IRQ] < i)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		irq_enable();
		CHECK_EQ(virtio_used(&rng), i);
	}
}

static void without_a_vector_nothing_comes(void)
{
	irq_init();
	virtio_find(&rng, VIRTIO_RNG);
	msix_set(&rng.msix, CONFIG_ENTRY, CONFIG_IRQ);
	msix_set(&rng.msix, QUEUE_ENTRY, QUEUE_IRQ);
	msix_control(&rng.msix, PCI_MSIX_ENABLE);
	virtio_bring_up(&rng);
	irq_enable();
	request();
	settle();
	CHECK_EQ(irq_counts[QUEUE_IRQ], 0);
	/* Vectors outside the table are none. */
	write16(rng.common + CONFIG_VECTOR, 2);
	CHECK_EQ(read16(rng.common + CONFIG_VECTOR), NO_VECTOR);
}

static void a_driver_that_wants_none_gets_none(void)
{
	set_up(PCI_MSIX_ENABLE);
	request();
	WAIT_FOR(irq_counts[QUEUE_IRQ] == 1);
	for (unsigned i = 0; i < 5; i++)
		quiet_request();
	settle();
	CHECK_EQ(irq_counts[QUEUE_IRQ], 1);
}

/* Both: a mask holds at once, and what came meanwhile comes after it, at least once. */
static void check_held_back(void (*mask)(bool masked))
{
	set_up(PCI_MSIX_ENABLE);
	request();
	WAIT_FOR(irq_counts[QUEUE_IRQ] == 1);
	settle();
	mask(true);
	for (unsigned i = 0; i < 3; i++)
		request();
	settle();
	CHECK_EQ(irq_counts[QUEUE_IRQ], 1);
	mask(false);
	WAIT_FOR(irq_counts[QUEUE_IRQ] >= 2);
	settle();
	/* One; or as many as there were requests, when the kernel was slow to drop them. */
	CHECK(irq_counts[QUEUE_IRQ] <= 1 + 1 + 3);
	irq_counts[QUEUE_IRQ] = 0;
	request();
	WAIT_FOR(irq_counts[QUEUE_IRQ] == 1);
}

static void mask_vector(bool masked)
{
	msix_mask(&rng.msix, QUEUE_ENTRY, masked);
}

static void mask_function(bool masked)
{
	msix_control(&rng.msix, PCI_MSIX_ENABLE | (masked ? PCI_MSIX_MASK_ALL : 0));
}

static void a_masked_vector_waits_for_its_mask(void)
{
	check_held_back(mask_vector);
}

static void a_masked_function_holds_all_vectors_back(void)
{
	check_held_back(mask_function);
}

static void masked_from_the_start_it_waits_too(void)
{
	set_up(PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
	request();
	settle();
	CHECK_EQ(irq_counts[QUEUE_IRQ], 0);
	mask_function(false);
	WAIT_FOR(irq_counts[QUEUE_IRQ] >= 1);
}

/* The VMM's own interrupt: its pending bit is exact, and it comes once. */
static void a_pending_bit_is_set_and_cleared(void)
{
	set_up(PCI_MSIX_ENABLE);
	msix_mask(&rng.msix, CONFIG_ENTRY, true);
	CHECK(!msix_is_pending(&rng.msix, CONFIG_ENTRY));
	break_ring();
	WAIT_FOR(msix_is_pending(&rng.msix, CONFIG_ENTRY));
	CHECK(!msix_is_pending(&rng.msix, QUEUE_ENTRY));
	CHECK_EQ(irq_counts[CONFIG_IRQ], 0);
	msix_mask(&rng.msix, CONFIG_ENTRY, false);
	WAIT_FOR(irq_counts[CONFIG_IRQ] == 1);
	WAIT_FOR(!msix_is_pending(&rng.msix, CONFIG_ENTRY));
	msix_mask(&rng.msix, CONFIG_ENTRY, true);
	msix_mask(&rng.msix, CONFIG_ENTRY, false);
	CHECK_EQ(irq_counts[CONFIG_IRQ], 1);
}

static void a_device_that_needs_a_reset_says_so_by_its_config_vector(void)
{
	set_up(PCI_MSIX_ENABLE);
	break_ring();
	WAIT_FOR(irq_counts[CONFIG_IRQ] == 1);
}

/* As Linux does when it moves an interrupt to another processor. */
static void a_vector_goes_where_it_is_told(void)
{
	set_up(PCI_MSIX_ENABLE);
	request();
	WAIT_FOR(irq_counts[QUEUE_IRQ] == 1);
	mask_vector(true);
	msix_set(&rng.msix, QUEUE_ENTRY, OTHER_IRQ);
	WAIT_FOR(irq_counts[OTHER_IRQ] >= 1);		/* unmasking raises it */
	irq_counts[OTHER_IRQ] = 0;
	request();
	WAIT_FOR(irq_counts[OTHER_IRQ] == 1);
	CHECK_EQ(irq_counts[QUEUE_IRQ], 1);
	/* Without a mask: a moment later. */
	write32(rng.msix.table + 16 * QUEUE_ENTRY + 8, QUEUE_IRQ);
	while (irq_counts[QUEUE_IRQ] < 2)
		request();
}

static void a_message_to_nowhere_does_no_harm(void)
{
	static const uint64_t nowhere[] = {
		0, 0x12345678, 0xfee01000, 0xfeeff000, 0x00000001fee00000,
		0xffffff00fee00000, UINT64_MAX,
	};

	set_up(PCI_MSIX_ENABLE);
	for (unsigned i = 0; i < COUNT(nowhere); i++) {
		write64(rng.msix.table + 16 * QUEUE_ENTRY, nowhere[i]);
		request();
	}
	write64(rng.msix.table + 16 * QUEUE_ENTRY, msi_address());
	settle();
	irq_counts[QUEUE_IRQ] = 0;
	request();
	WAIT_FOR(irq_counts[QUEUE_IRQ] >= 1);
}

static void the_table_keeps_what_is_written(void)
{
	uint64_t entry;

	set_up(0);
	entry = rng.msix.table + 16 * QUEUE_ENTRY;
	write64(entry, 0x00000000fee01004);
	write64(entry + 8, 0x0000000100001234);
	CHECK_EQ(read64(entry), 0x00000000fee01004);
	CHECK_EQ(read64(entry + 8), 0x0000000100001234);
	CHECK_EQ(read32(entry + 4), 0);
	CHECK_EQ(read16(entry + 8), 0x1234);
	CHECK_EQ(read8(entry + 12), 1);
	/* No whole dword: undefined, hence ignored. */
	write16(entry + 8, 0xffff);
	write8(entry + 12, 0);
	write32(entry + 10, 0);
	CHECK_EQ(read64(entry + 8), 0x0000000100001234);
	/* Pending bits are read-only. */
	write64(rng.msix.pending, UINT64_MAX);
	CHECK_EQ(read64(rng.msix.pending), 0);
}

static void a_machine_reset_masks_every_vector(void)
{
	virtio_find(&rng, VIRTIO_RNG);
	CHECK_EQ(pci_read(rng.slot, rng.msix.cap + 2, 2), 1);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(read64(rng.msix.table + 16 * i), 0);
		CHECK_EQ(read64(rng.msix.table + 16 * i + 8), UINT64_C(1) << 32);
	}
	set_up(PCI_MSIX_ENABLE);
	request();
	WAIT_FOR(irq_counts[QUEUE_IRQ] == 1);
	if (++*(volatile uint32_t *)MEMORY_KEPT < 3)
		outb(0x64, 0xfe);
}

/*
 * INTx. A driver takes a line that interrupts once more when it is down already, as one that is
 * shared does. That is what an interpreting KVM makes of an EOI near an exit; a real one does not.
 */

static volatile uint32_t isr_seen;	/* bits, until the case has looked */
static volatile uint32_t answered;	/* interrupts that found a bit */
static volatile uint32_t ignore;	/* so many to come are not looked at */

static void read_isr(unsigned irq)
{
	uint8_t isr;

	if (irq != LINE_IRQ)
		return;
	if (ignore) {
		ignore--;
		return;
	}
	isr = read8(rng.isr);
	isr_seen |= isr;
	answered += isr != 0;
}

static void set_up_line(void)
{
	irq_hook = read_isr;
	set_up(0);
	ioapic_set(RNG_GSI, LINE_IRQ, true, false);
}

/* The line is down and stays there. */
static void check_line_is_down(void)
{
	uint32_t before;

	settle();
	before = irq_counts[LINE_IRQ];
	settle();
	CHECK_EQ(irq_counts[LINE_IRQ], before);
	CHECK_EQ(read8(rng.isr), 0);
	CHECK_EQ(pci_read(rng.slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
}

static void without_msix_the_line_is_raised_and_lowered(void)
{
	set_up_line();
	for (unsigned i = 1; i <= 5; i++) {
		request();
		WAIT_FOR(answered == i);
		CHECK_EQ(isr_seen, ISR_QUEUE);
		CHECK_EQ(pci_read(rng.slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	}
	check_line_is_down();
	CHECK_EQ(answered, 5);
	CHECK(irq_counts[LINE_IRQ] <= 2 * 5);
	CHECK_EQ(irq_counts[QUEUE_IRQ], 0);
}

/* Its level counts: until the ISR is read it comes again after every EOI. */
static void a_line_that_stays_up_interrupts_again(void)
{
	set_up_line();
	ignore = 5;
	request();
	WAIT_FOR(answered == 1);
	check_line_is_down();
	CHECK_EQ(isr_seen, ISR_QUEUE);
	CHECK(irq_counts[LINE_IRQ] >= 6 && irq_counts[LINE_IRQ] <= 7);
}

static void the_line_can_be_disabled(void)
{
	set_up_line();
	pci_write(rng.slot, PCI_COMMAND, 2,
		  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
	request();
	WAIT_FOR(pci_read(rng.slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	settle();
	CHECK_EQ(irq_counts[LINE_IRQ], 0);
	pci_write(rng.slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	WAIT_FOR(answered == 1);
	CHECK_EQ(isr_seen, ISR_QUEUE);
	check_line_is_down();
}

static void a_config_change_raises_the_line_too(void)
{
	set_up_line();
	break_ring();
	WAIT_FOR(answered == 1);
	CHECK_EQ(isr_seen, ISR_CONFIG);
}

static void a_device_reset_lowers_the_line(void)
{
	set_up_line();
	irq_disable();
	request();
	WAIT_FOR(pci_read(rng.slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	virtio_reset(&rng);
	CHECK_EQ(pci_read(rng.slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	CHECK_EQ(read8(rng.isr), 0);
	irq_enable();
	/* What the IOAPIC latched may come once; not for ever. */
	for (uint64_t since = cycles(); cycles() - since < 20000000;)
		relax();
	CHECK(irq_counts[LINE_IRQ] <= 2);
}

/* A running device is told to interrupt otherwise. */
static void interrupts_change_their_kind_while_it_runs(void)
{
	uint32_t lines;

	set_up_line();
	request();
	WAIT_FOR(answered == 1);
	check_line_is_down();
	lines = irq_counts[LINE_IRQ];
	msix_control(&rng.msix, PCI_MSIX_ENABLE);
	request();
	WAIT_FOR(irq_counts[QUEUE_IRQ] >= 1);
	settle();
	CHECK_EQ(irq_counts[LINE_IRQ], lines);
	irq_counts[QUEUE_IRQ] = 0;
	msix_control(&rng.msix, 0);
	request();
	WAIT_FOR(answered == 2);
	settle();
	CHECK_EQ(irq_counts[QUEUE_IRQ], 0);
}

const struct test_case test_cases[] = {
	CASE(a_vector_is_delivered_for_each_request),
	CASE(an_interrupt_wakes_a_halted_processor),
	CASE(without_a_vector_nothing_comes),
	CASE(a_driver_that_wants_none_gets_none),
	CASE(a_masked_vector_waits_for_its_mask),
	CASE(a_masked_function_holds_all_vectors_back),
	CASE(masked_from_the_start_it_waits_too),
	CASE(a_pending_bit_is_set_and_cleared),
	CASE(a_device_that_needs_a_reset_says_so_by_its_config_vector),
	CASE(a_vector_goes_where_it_is_told),
	CASE(a_message_to_nowhere_does_no_harm),
	CASE(the_table_keeps_what_is_written),
	CASE(a_machine_reset_masks_every_vector),
	CASE(without_msix_the_line_is_raised_and_lowered),
	CASE(a_line_that_stays_up_interrupts_again),
	CASE(the_line_can_be_disabled),
	CASE(a_config_change_raises_the_line_too),
	CASE(a_device_reset_lowers_the_line),
	CASE(interrupts_change_their_kind_while_it_runs),
	{ NULL, NULL },
};
