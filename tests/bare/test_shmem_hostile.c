/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What no driver does with a window, or with the device that has it: minivmm ends none of it, and
 * what it was before, it is after.
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/shmem.h"
#include "tests/bare/lib/smp.h"
#include "tests/bare/lib/test.h"

enum {
	PAGE = SHMEM_PAGE, PMEM = 2, PMEM_SIZE = 0x200000, CPUS = 4,
	QUEUES_AT = 8 * PAGE, PATTERN = 0x5a5a5a5a,
};
#define GIB	UINT64_C(0x40000000)
#define HIGH	(5 * GIB)	/* in SHMEM_BIG */

static struct shmem dev;
static volatile bool enough;
static volatile uint64_t turns[CPUS];

static void check_it_works(void)
{
	uint64_t at;

	virtio_bring_up(&dev.virtio);
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	CHECK(shmem_map(&dev, 2, SHMEM_BIG, HIGH, 4, true));
	write64(at + 8, PATTERN);
	CHECK_EQ(shmem_read(&dev, 2, 8), PATTERN);
	CHECK_EQ(read64(at + PAGE), shmem_tag(2, 1));
	CHECK(shmem_unmap(&dev, SHMEM_BIG, HIGH, 4));
	CHECK_EQ(read64(at + PAGE), 0);
}

/* Until every other processor has been round some times more. */
static void let_them_turn(uint64_t times)
{
	for (unsigned id = 1; id < CPUS; id++) {
		uint64_t before = turns[id];

		WAIT_FOR(turns[id] - before >= times);
	}
}

static void wait_for_all(void)
{
	enough = true;
	WAIT_FOR(smp_done == CPUS - 1);
}

/* A small BAR where the machine has something else, and where it has nothing at all. */
static void a_bar_is_put_everywhere(void)
{
	const uint64_t places[] = {
		0, 0x400000, 0xc00000, PCI_ECAM, 0xfec00000, 0xfee00000, 0xffe00000,
		UINT64_C(0x1fffe00000),
		UINT64_C(1) << 38, UINT64_C(1) << 39, UINT64_C(1) << 40, UINT64_C(1) << 46,
		UINT64_C(1) << 47, UINT64_C(1) << 51, UINT64_C(1) << 52, UINT64_C(1) << 62,
		UINT64_C(1) << 63, UINT64_C(0x7fffffffffe00000), UINT64_C(0xffffffffffe00000),
		shmem_bar((shmem_find(&dev), &dev)), dev.virtio.bar / PMEM_SIZE * PMEM_SIZE,
	};
	struct shmem p = { .virtio = shmem_neighbour(&dev, PMEM, VIRTIO_PMEM) };
	unsigned taken = 0;
	uint64_t hidden = p.virtio.bar / PMEM_SIZE * PMEM_SIZE, at;

	shmem_locate(&p);
	virtio_bring_up(&p.virtio);
	at = shmem_at(&p, 0, 0);
	write64(at + PAGE, PATTERN);
	for (unsigned i = 0; i < COUNT(places); i++) {
		shmem_move_bar(&p, places[i]);
		if (places[i] >= MEMORY_END && places[i] < 512 * GIB && places[i] != PCI_ECAM) {
			memory_map_gib(places[i]);
			read64(places[i] + PAGE);
		}
		/* Over registers it hides them: it is memory, for which KVM asks nobody. Where it
		 * cannot be it has no size. */
		if (places[i] != hidden && read32(p.virtio.config + 8)) {
			CHECK_EQ(read32(p.virtio.config + 8), PMEM_SIZE);
			CHECK_EQ(read32(p.virtio.config), (uint32_t)places[i]);
			CHECK_EQ(read32(p.virtio.config + 4), places[i] >> 32);
			taken++;
		}
		shmem_move_bar(&p, at);
		CHECK_EQ(read64(at + PAGE), PATTERN);
	}
	test_note_hex("places that were taken", taken);
	CHECK(taken > 0);
	check_it_works();
}

/* A processor each: a window that comes and goes, one that moves, and stores all the while. */
static void flap(unsigned id)
{
	uint64_t at = shmem_bar(&dev), command = pci_ecam(dev.virtio.slot, PCI_COMMAND);
	uint64_t high = pci_ecam(dev.virtio.slot, PCI_BAR0 + 4 * SHMEM_BAR + 4);

	for (uint64_t n = 0; !enough; n++) {
		if (id == 1)
			write16(command, n & 1 ? PCI_COMMAND_MASTER : 6);
		else if (id == 2)
			write32(high, (uint32_t)(at >> 32) + (n & 3 ? 0 : 16));
		else
			write64(shmem_at(&dev, SHMEM_BIG, HIGH + PAGE), n);
		turns[id]++;
	}
}

static void a_window_flaps_under_stores(void)
{
	uint64_t at;

	shmem_bring_up(&dev);
	at = shmem_bar(&dev);
	CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 4, true));
	irq_init();
	for (unsigned id = 1; id < CPUS; id++)
		smp_start(id, flap);
	let_them_turn(100);
	wait_for_all();
	shmem_move_bar(&dev, at);
	CHECK_EQ(shmem_changed(&dev, 0, SHMEM_OBJECT_PAGES), shmem_changed(&dev, 0, 2));
	check_it_works();
}

/* Every step of a driver's, each processor in an order of its own. */
static void confuse(unsigned id)
{
	static const uint8_t steps[] = { 0, 1, 3, 0xb, 0xf, 0x4f, 0x8f, 0xff, 0xf, 0xf, 0, 0xf };

	for (uint64_t n = id; !enough; n += 2 * id + 1) {
		virtio_set_status(&dev.virtio, steps[n % COUNT(steps)]);
		if (n % 5 == 0)
			virtio_ack(&dev.virtio, VIRTIO_F_VERSION_1);
		if (n % 7 == 0)
			virtio_kick(&dev.virtio);
		turns[id]++;
	}
}

static void storm(const char *daemon)
{
	shmem_bring_up(&dev);
	irq_init();
	if (daemon)
		test_order(daemon);
	for (unsigned id = 1; id < CPUS; id++)
		smp_start(id, confuse);
	if (daemon) {
		spend(UINT64_C(2) << 30);
		test_note("thaw");
	}
	let_them_turn(30);
	wait_for_all();
	virtio_reset(&dev.virtio);
	check_it_works();
}

static void processors_start_and_reset_it(void)
{
	storm(NULL);
}

static void processors_start_and_reset_it_while_the_daemon_sleeps(void)
{
	storm("freeze");
}

static void registers_are_read_while_it_moves(void)
{
	uint64_t at, n = 0;

	shmem_bring_up(&dev);
	at = shmem_bar(&dev);
	irq_init();
	for (unsigned id = 1; id < CPUS - 1; id++)
		smp_start(id, flap);
	for (; turns[1] < 300 || turns[2] < 300; n++)
		virtio_status(&dev.virtio);
	enough = true;
	WAIT_FOR(smp_done == CPUS - 2);
	shmem_move_bar(&dev, at);
	check_it_works();
}

/* Uses of its memory */

/* mov $PATTERN, %eax; ret */
static const uint8_t code[] = { 0xb8, 0x5a, 0x5a, 0x5a, 0x5a, 0xc3 };

static void check_runs(uint64_t at)
{
	uint32_t value;

	for (unsigned i = 0; i < sizeof(code); i++)
		write8(at + i, code[i]);
	__asm__ volatile("call *%1" : "=a"(value) : "r"(at) : "memory");
	CHECK_EQ(value, PATTERN);
}

/* In a page of its own each: two objects side by side, and filler behind them. */
static uint64_t map_two(void)
{
	shmem_bring_up(&dev);
	CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 1, true));
	CHECK(shmem_map(&dev, 1, SHMEM_BIG, HIGH + PAGE, 1, true));
	return shmem_at(&dev, SHMEM_BIG, HIGH);
}

static void the_guest_runs_in_it(void)
{
	uint64_t at = map_two(), old = read_cr3(), back;

	check_runs(at);
	check_runs(at + PAGE - 3);
	check_runs(at + 2 * PAGE - 3);
	/* Its stack */
	__asm__ volatile("mov %%rsp, %0; mov %1, %%rsp; push %2; push %2; pop %2; mov %0, %%rsp"
			 : "=&r"(back) : "r"(at + PAGE + 8), "r"(old) : "memory");
	CHECK_EQ(read64(at + PAGE), old);
	/* Its page tables, of which one processor marks accessed and dirty. */
	memcpy((void *)at, (void *)(old & ~UINT64_C(0xfff)), PAGE);
	write_cr3(at);
	write64(at + PAGE, PATTERN);
	CHECK_EQ(read64(at + PAGE), PATTERN);
	write_cr3(old);
	CHECK_EQ(shmem_read(&dev, 1, 0), PATTERN);
}

static uint64_t add_locked(uint64_t at, uint64_t value)
{
	__asm__ volatile("lock xaddq %0, (%1)" : "+r"(value) : "r"(at) : "memory");
	return value;
}

static void check_crossing(uint64_t border)
{
	write64(border - 3, 1000);
	CHECK_EQ(read64(border - 3), 1000);
	add_locked(border - 3, UINT64_MAX << 24);
	CHECK_EQ(read64(border - 3), 1000 + (UINT64_MAX << 24));
}

static void accesses_cross_its_borders(void)
{
	uint64_t at = map_two(), end = shmem_bar(&dev) + 16 * GIB;

	check_crossing(at + PAGE);
	check_crossing(at + 2 * PAGE);
	CHECK_EQ(read64(at + PAGE - 8) >> 40, 1000);
	memory_map_gib(end - 1);
	memory_map_gib(end);
	write64(end - 3, PATTERN);
	read64(end - 3);
	end = shmem_at(&dev, SHMEM_BIG, SHMEM_BIG_SIZE);
	write64(end - 3, PATTERN);
	read64(end - 3);
	check_it_works();
}

/* No daemon has that memory: the device refuses what is not in RAM, to the driver's face. */
static void its_rings_are_in_it(void)
{
	uint64_t at = map_two() + QUEUES_AT, page;

	virtio_reset(&dev.virtio);
	virtio_negotiate(&dev.virtio, 0);
	page = dev.mmio ? dev.virtio.mmio : dev.virtio.common;
	if (dev.mmio) {
		write32(page + MMIO_QUEUE_SELECT, 0);
		write32(page + MMIO_QUEUE_SIZE, 8);
		for (unsigned off = 0; off < 0x30; off += 0x10) {
			write32(page + MMIO_QUEUE_DESC + off, (uint32_t)(at + off * 16));
			write32(page + MMIO_QUEUE_DESC + off + 4, at >> 32);
		}
		write32(page + MMIO_QUEUE_READY, 1);
		CHECK_EQ(read32(page + MMIO_QUEUE_READY), 0);
	} else {
		write16(page + QUEUE_SELECT, 0);
		write16(page + QUEUE_SIZE, 8);
		write64(page + QUEUE_DESC, at);
		write64(page + QUEUE_DRIVER, at + 0x100);
		write64(page + QUEUE_DEVICE, at + 0x200);
		write16(page + QUEUE_ENABLE, 1);
		CHECK_EQ(read16(page + QUEUE_ENABLE), 0);
	}
	CHECK(virtio_status(&dev.virtio) & STATUS_NEEDS_RESET);
	virtio_reset(&dev.virtio);
	check_it_works();
}

static void its_interrupts_go_into_it(void)
{
	uint64_t at;

	shmem_find(&dev);
	at = shmem_at(&dev, SHMEM_BIG, HIGH);
	irq_init();
	msix_set(&dev.virtio.msix, 0, IRQ_FIRST);
	write32(dev.virtio.msix.table, (uint32_t)at);
	write32(dev.virtio.msix.table + 4, at >> 32);
	msix_control(&dev.virtio.msix, PCI_MSIX_ENABLE);
	virtio_negotiate(&dev.virtio, 0);
	virtio_set_up_queue(&dev.virtio, 8, 0);
	virtio_start(&dev.virtio);
	CHECK(shmem_map(&dev, 0, SHMEM_BIG, HIGH, 4, true));
	CHECK_EQ(shmem_changed(&dev, 0, SHMEM_OBJECT_PAGES), 0);
	CHECK_EQ(irq_counts[IRQ_FIRST], 0);
}

/* When a processor waits in a hole for which there is no room, another resets the machine. */
static volatile uint64_t hole;

static void store_into_hole(unsigned id)
{
	(void)id;
	for (uint64_t off = 0; off < PMEM_SIZE; off += PAGE, turns[1]++)
		write64(hole + off, off);
}

static void a_reset_of_the_machine_ends_a_wait_for_room(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;
	uint64_t before;
	struct shmem p;

	shmem_find(&dev);
	p = (struct shmem){ .mmio = dev.mmio };
	p.virtio = shmem_neighbour(&dev, PMEM, VIRTIO_PMEM);
	shmem_locate(&p);
	virtio_bring_up(&p.virtio);
	if (*kept == 2) {
		check_it_works();
		return;
	}
	++*kept;
	hole = shmem_at(&p, 0, 0);
	irq_init();
	smp_start(1, store_into_hole);
	do {
		before = turns[1];
		spend(UINT64_C(1) << 31);
	} while (turns[1] != before);
	CHECK(turns[1] < PMEM_SIZE / PAGE);
	outb(0x64, 0xfe);
	test_exit(1);
}

const struct test_case test_cases[] = {
	CASE(a_bar_is_put_everywhere),
	CASE(a_window_flaps_under_stores),
	SHMEM_CASES(processors_start_and_reset_it),
	SHMEM_CASES(processors_start_and_reset_it_while_the_daemon_sleeps),
	CASE(registers_are_read_while_it_moves),
	SHMEM_CASES(the_guest_runs_in_it),
	CASE(accesses_cross_its_borders),
	SHMEM_CASES(its_rings_are_in_it),
	CASE(its_interrupts_go_into_it),
	SHMEM_CASES(a_reset_of_the_machine_ends_a_wait_for_room),
	{ NULL, NULL },
};
