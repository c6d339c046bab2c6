/* SPDX-License-Identifier: Apache-2.0 */
/* Four processors, and one device that all of them want. */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/smp.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum { CPUS = 4, ROUNDS = 60, QUEUE_IRQ = IRQ_FIRST, CALL_IRQ };

static volatile uint32_t reported[CPUS];
static volatile uint32_t go, stop;
static struct virtio rng;
static uint8_t bytes[16];

static void start_all(void (*run)(unsigned id))
{
	irq_init();
	for (unsigned id = 1; id < CPUS; id++)
		smp_start(id, run);
}

static unsigned cpuid_apic_id(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b >> 24;
}

static void report(unsigned id)
{
	CHECK_EQ(apic_id(), id);
	CHECK_EQ(cpuid_apic_id(), id);
	reported[id]++;
}

static void all_processors_start(void)
{
	CHECK_EQ(apic_id(), 0);
	start_all(report);
	WAIT_FOR(smp_done == CPUS - 1);
	for (unsigned id = 1; id < CPUS; id++)
		CHECK_EQ(reported[id], 1);
}

/* INIT stops it, SIPI starts it again. */
static void a_processor_starts_again(void)
{
	irq_init();
	for (unsigned i = 1; i <= 3; i++) {
		smp_start(1, report);
		WAIT_FOR(smp_done == i);
	}
	CHECK_EQ(reported[1], 3);
}

static void wait_for_call(unsigned id)
{
	irq_enable();
	reported[id] = 1;
	while (!stop)
		__asm__ volatile("hlt");
	irq_disable();
}

static void processors_interrupt_each_other(void)
{
	start_all(wait_for_call);
	for (unsigned id = 1; id < CPUS; id++)
		WAIT_FOR(reported[id]);
	stop = 1;
	for (unsigned id = 1; id < CPUS; id++)
		apic_command(id, CALL_IRQ);
	WAIT_FOR(smp_done == CPUS - 1);
	CHECK_EQ(irq_counts[CALL_IRQ], CPUS - 1);
}

/* Registers whose value does not depend on the others are right whatever the others do. */
static void touch_everything(unsigned id)
{
	while (!go)
		relax();
	for (unsigned i = 0; i < ROUNDS; i++) {
		write32(rng.common + FEATURE_SELECT, id + i);
		read32(rng.common + FEATURE);
		CHECK_EQ(read16(rng.common + NUM_QUEUES), 1);
		write16(rng.common + QUEUE_SELECT, (uint16_t)(i % 3));
		read64(rng.common + QUEUE_DESC);
		read8(rng.isr);
		CHECK_EQ(read32(pci_ecam(rng.slot, PCI_ID)), 0x10441af4);
		outl(0xcf8, 0x80000000 | i << 11);
		inl(0xcfc);
		write32(rng.msix.table + 12, i & 1);
		CHECK_EQ(read32(0xd0000000), 0xffffffff);
		CHECK_EQ(inb(0x64), 0);
		write16(rng.notify, 0);
	}
}

static void find_rng(void)
{
	virtio_find(&rng, VIRTIO_RNG);
	msix_set(&rng.msix, 0, CALL_IRQ);
	msix_set(&rng.msix, 1, QUEUE_IRQ);
	msix_control(&rng.msix, PCI_MSIX_ENABLE);
	virtio_negotiate(&rng, 0);
	virtio_set_up_queue(&rng, 4, 1);
	virtio_start(&rng);
}

/* While three hammer its registers, the fourth makes requests. */
static void a_device_serves_one_while_all_touch_it(void)
{
	uint32_t n = 0;

	start_all(touch_everything);
	find_rng();
	irq_enable();
	go = 1;
	while (smp_done < CPUS - 1) {
		CHECK_EQ(rng_request(&rng, bytes, sizeof(bytes)), sizeof(bytes));
		n++;
	}
	test_note_hex("requests", n);
	WAIT_FOR(irq_counts[QUEUE_IRQ] > 0);
	CHECK_EQ(virtio_status(&rng) & STATUS_NEEDS_RESET, 0);
}

static void start_and_stop(unsigned id)
{
	while (!go)
		relax();
	for (unsigned i = 0; i < ROUNDS; i++) {
		virtio_set_status(&rng, i % 4 == id ? 0 : 15);
		virtio_ack(&rng, VIRTIO_F_VERSION_1);
		virtio_set_status(&rng, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
		write16(rng.common + QUEUE_ENABLE, 1);
		write16(rng.notify, 0);
		pci_write(rng.slot, PCI_COMMAND, 2, i & 1 ? 6 : 2);
		msix_control(&rng.msix, i & 1 ? PCI_MSIX_ENABLE : 0);
	}
}

/* Drivers that disagree: whatever comes of it, the device works for one that is alone again. */
static void a_device_survives_drivers_that_disagree(void)
{
	start_all(start_and_stop);
	find_rng();
	go = 1;
	start_and_stop(0);
	WAIT_FOR(smp_done == CPUS - 1);
	pci_write(rng.slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	msix_control(&rng.msix, 0);
	virtio_bring_up(&rng);
	CHECK_EQ(rng_request(&rng, bytes, sizeof(bytes)), sizeof(bytes));
}

static void move_bar(unsigned id)
{
	while (!go)
		relax();
	for (unsigned i = 0; i < ROUNDS; i++)
		write32(pci_ecam(rng.slot, PCI_BAR0), 0xd0000000 + ((id + i) % 4 << 14));
}

static void a_bar_is_moved_by_all(void)
{
	start_all(move_bar);
	find_rng();
	go = 1;
	while (smp_done < CPUS - 1)
		read32(rng.common + DRIVER_FEATURE);
	pci_write(rng.slot, PCI_BAR0, 4, (uint32_t)rng.bar);
	virtio_reset(&rng);
	virtio_bring_up(&rng);
	CHECK_EQ(rng_request(&rng, bytes, sizeof(bytes)), sizeof(bytes));
}

/* Ends and resets that come from another processor, while the rest is where it is. */

static void spin(unsigned id)
{
	if (id == 1)
		irq_enable();		/* one that spins, one halted with interrupts off, ... */
	while (id == 1)
		relax();
	if (id == 2)
		return;
	while (!go)
		relax();
	outb(0x64, 0xfe);
	test_exit(1);
}

static void another_processor_resets(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;

	CHECK_EQ(apic_id(), 0);
	CHECK_EQ(smp_done, 0);
	if ((*kept)++ == 2)
		return;
	start_all(spin);
	find_rng();
	WAIT_FOR(smp_done == 1);
	go = 1;
	for (;;)
		rng_request(&rng, bytes, sizeof(bytes));
}

static void end_it(unsigned id)
{
	if (id == 3)
		test_power_off();
	for (;;)
		relax();
}

static void another_processor_powers_off(void)
{
	start_all(end_it);
	for (;;)
		__asm__ volatile("hlt");
}

static void crash(unsigned id)
{
	if (id == 2)
		test_triple_fault();
	for (;;)
		relax();
}

static void another_processor_crashes(void)
{
	start_all(crash);
	for (;;)
		relax();
}

const struct test_case test_cases[] = {
	CASE(all_processors_start),
	CASE(a_processor_starts_again),
	CASE(processors_interrupt_each_other),
	CASE(a_device_serves_one_while_all_touch_it),
	CASE(a_device_survives_drivers_that_disagree),
	CASE(a_bar_is_moved_by_all),
	CASE(another_processor_resets),
	CASE(another_processor_powers_off),
	CASE(another_processor_crashes),
	{ NULL, NULL },
};
