/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space, both ways into it, and BARs: entropy source in slot 1, disk in slot 2. */
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

enum { BAR_SIZE = 0x4000, RNG_SLOT = 1, BLK_SLOT = 2, FREE_SLOT = 3, FREE_BAR = 0xd0000000 };

static uint8_t entropy[64];

static bool answers(uint64_t bar)
{
	return read16(bar + NUM_QUEUES) == 1;
}

static void set_command(unsigned slot, uint32_t value)
{
	pci_write(slot, PCI_COMMAND, 2, value);
}

static void find_rng(struct virtio *v)
{
	virtio_find(v, VIRTIO_RNG);
	CHECK_EQ(v->slot, RNG_SLOT);
	CHECK(answers(v->bar));
}

/* Config space */

static void both_mechanisms_give_the_same_bytes(void)
{
	for (unsigned slot = 0; slot <= FREE_SLOT; slot++) {
		for (unsigned width = 1; width <= 4; width *= 2) {
			for (unsigned off = 0; off < 256; off += width)
				CHECK_EQ(read_width(pci_ecam(slot, off), width),
					 pci_read(slot, off, width));
		}
	}
}

static void a_write_by_one_is_read_by_the_other(void)
{
	pci_write(RNG_SLOT, PCI_INTERRUPT_LINE, 1, 0x5a);
	CHECK_EQ(read8(pci_ecam(RNG_SLOT, PCI_INTERRUPT_LINE)), 0x5a);
	write8(pci_ecam(RNG_SLOT, PCI_INTERRUPT_LINE), 0xa5);
	CHECK_EQ(pci_read(RNG_SLOT, PCI_INTERRUPT_LINE, 1), 0xa5);
	write16(pci_ecam(RNG_SLOT, PCI_COMMAND), PCI_COMMAND_MEMORY);
	CHECK_EQ(pci_read(RNG_SLOT, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
}

static void absent_functions_read_ones(void)
{
	for (unsigned slot = FREE_SLOT; slot < PCI_SLOTS; slot++) {
		CHECK_EQ(pci_read(slot, PCI_ID, 4), 0xffffffff);
		CHECK_EQ(read32(pci_ecam(slot, PCI_ID)), 0xffffffff);
	}
	for (unsigned function = 1; function < 8; function++) {
		outl(0xcf8, 1u << 31 | RNG_SLOT << 11 | function << 8);
		CHECK_EQ(inl(0xcfc), 0xffffffff);
		CHECK_EQ(read32(pci_ecam(RNG_SLOT, function << 12)), 0xffffffff);
	}
	outl(0xcf8, 1u << 31 | 1 << 16 | RNG_SLOT << 11);	/* bus 1 */
	CHECK_EQ(inl(0xcfc), 0xffffffff);
	outl(0xcf8, RNG_SLOT << 11);				/* not enabled */
	CHECK_EQ(inl(0xcfc), 0xffffffff);
}

static void ecam_takes_any_width_and_no_more_than_a_function(void)
{
	uint64_t id = read32(pci_ecam(RNG_SLOT, 0)), command = read32(pci_ecam(RNG_SLOT, 4));

	CHECK_EQ(read64(pci_ecam(RNG_SLOT, 0)), command << 32 | id);
	CHECK_EQ(read16(pci_ecam(RNG_SLOT, 1)), id >> 8 & 0xffff);
	/* Extended configuration space: no capability there. */
	CHECK_EQ(read32(pci_ecam(RNG_SLOT, 0x100)), 0);
	CHECK_EQ(read32(pci_ecam(RNG_SLOT, 0xffc)), 0);
	CHECK_EQ(read64(pci_ecam(PCI_SLOTS - 1, 0x7ff8)), UINT64_MAX);
	CHECK_EQ(read32(pci_ecam(PCI_SLOTS, 0)), UINT32_MAX);
}

/* Without ACPI there is nobody to tell where ECAM is: it is not there. */
static void no_ecam_without_acpi(void)
{
	CHECK_EQ(read32(pci_ecam(0, 0)), 0xffffffff);
	CHECK(pci_read(0, PCI_ID, 4) != 0xffffffff);
	CHECK(pci_read(RNG_SLOT, PCI_ID, 4) != 0xffffffff);
}

static void power_on_state(void)
{
	CHECK_EQ(pci_read(0, PCI_CLASS, 4) >> 8, 0x060000);
	for (unsigned slot = RNG_SLOT; slot <= BLK_SLOT; slot++) {
		uint32_t bar = pci_read(slot, PCI_BAR0, 4);

		CHECK_EQ(pci_read(slot, PCI_ID, 2), 0x1af4);
		CHECK_EQ(pci_read(slot, PCI_COMMAND, 2), 0);
		CHECK_EQ(pci_read(slot, PCI_HEADER, 1), 0);
		CHECK_EQ(pci_read(slot, PCI_INTERRUPT_PIN, 1), 1);
		CHECK(bar >= 0xc0000000 && bar < 0xe0000000 && bar % BAR_SIZE == 0);
		CHECK_EQ(read32(bar), 0xffffffff);
	}
}

static void read_only_bytes_stay(void)
{
	for (unsigned off = 0; off < 0x100; off += 4) {
		uint32_t before = pci_read(0, off, 4);

		if (off == 0x0c)	/* cache line size is writable */
			continue;
		pci_write(0, off, 4, 0xffffffff);
		CHECK_EQ(pci_read(0, off, 4), before);
		pci_write(0, off, 4, 0);
		CHECK_EQ(pci_read(0, off, 4), before);
	}
	for (unsigned off = 0; off < PCI_COMMAND; off++) {
		uint32_t before = pci_read(RNG_SLOT, off, 1);

		pci_write(RNG_SLOT, off, 1, ~before);
		CHECK_EQ(pci_read(RNG_SLOT, off, 1), before);
	}
	set_command(RNG_SLOT, 0xffff);
	CHECK_EQ(pci_read(RNG_SLOT, PCI_COMMAND, 2),
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_NO_INTX);
	for (unsigned off = PCI_BAR0 + 4; off < 0x28; off += 4) {
		pci_write(RNG_SLOT, off, 4, 0xffffffff);
		CHECK_EQ(pci_read(RNG_SLOT, off, 4), 0);
	}
}

static void capabilities_end_and_point_into_the_bar(void)
{
	for (unsigned slot = RNG_SLOT; slot <= BLK_SLOT; slot++) {
		unsigned n = 0;

		CHECK(pci_read(slot, PCI_STATUS, 2) & 1 << 4);
		for (unsigned at = pci_read(slot, PCI_CAPABILITIES, 1); at;
		     at = pci_read(slot, at + 1, 1)) {
			CHECK(at >= 0x40 && at % 4 == 0);
			CHECK(++n < 48);
			if (pci_read(slot, at, 1) != PCI_CAP_VENDOR)
				continue;
			CHECK(pci_read(slot, at + 4, 1) == 0);
			CHECK(pci_read(slot, at + 8, 4) +
				      (uint64_t)pci_read(slot, at + 12, 4) <=
			      BAR_SIZE);
		}
		CHECK(n >= 5);
	}
}

/* BARs */

static void a_bar_tells_its_size(void)
{
	uint32_t home = pci_read(RNG_SLOT, PCI_BAR0, 4);
	struct virtio v;

	pci_write(RNG_SLOT, PCI_BAR0, 4, 0xffffffff);
	CHECK_EQ(pci_read(RNG_SLOT, PCI_BAR0, 4), 0x100000000 - BAR_SIZE);
	pci_write(RNG_SLOT, PCI_BAR0, 4, 0);
	CHECK_EQ(pci_read(RNG_SLOT, PCI_BAR0, 4), 0);
	pci_write(RNG_SLOT, PCI_BAR0, 4, home);
	CHECK_EQ(pci_read(RNG_SLOT, PCI_BAR0, 4), home);
	find_rng(&v);
	CHECK_EQ(v.bar, home);
}

/* What Linux does at boot, without turning decoding off. */
static void a_bar_sized_while_it_decodes_stays(void)
{
	struct virtio v;

	find_rng(&v);
	pci_write(RNG_SLOT, PCI_BAR0, 4, 0xffffffff);
	CHECK(answers(v.bar));
	CHECK_EQ(read32(0xffffc000), 0xffffffff);
	pci_write(RNG_SLOT, PCI_BAR0, 4, (uint32_t)v.bar);
	CHECK(answers(v.bar));
}

static void memory_off_is_all_ones(void)
{
	struct virtio v;

	find_rng(&v);
	set_command(RNG_SLOT, PCI_COMMAND_MASTER);
	for (unsigned off = 0; off < BAR_SIZE; off += 0x100) {
		for (unsigned width = 1; width <= 8; width *= 2)
			CHECK_EQ(read_width(v.bar + off, width), ones(width));
	}
	write8(v.common + DEVICE_STATUS, STATUS_ACKNOWLEDGE);
	set_command(RNG_SLOT, PCI_COMMAND_MEMORY);
	CHECK(answers(v.bar));
	CHECK_EQ(virtio_status(&v), 0);
}

static void a_moved_bar_is_reached_where_it_is(void)
{
	struct virtio v;
	uint64_t home;

	find_rng(&v);
	home = v.bar;
	for (uint32_t to = FREE_BAR; to < FREE_BAR + 4 * BAR_SIZE; to += BAR_SIZE) {
		pci_write(RNG_SLOT, PCI_BAR0, 4, to);
		CHECK(answers(to));
		CHECK_EQ(read16(home + NUM_QUEUES), 0xffff);
		virtio_locate(&v);
		virtio_bring_up(&v);
		CHECK_EQ(rng_request(&v, entropy, sizeof(entropy)), sizeof(entropy));
		home = to;
	}
}

/* The doorbell follows a device that is running. */
static void a_bar_moves_under_a_running_device(void)
{
	struct virtio v;

	find_rng(&v);
	virtio_bring_up(&v);
	CHECK_EQ(rng_request(&v, entropy, sizeof(entropy)), sizeof(entropy));
	for (uint32_t to = FREE_BAR; to < FREE_BAR + 4 * BAR_SIZE; to += BAR_SIZE) {
		v.queue.doorbell = to + (v.queue.doorbell - v.bar);
		v.bar = to;
		pci_write(RNG_SLOT, PCI_BAR0, 4, to);
		CHECK_EQ(rng_request(&v, entropy, sizeof(entropy)), sizeof(entropy));
	}
	set_command(RNG_SLOT, PCI_COMMAND_MASTER);
	virtio_add(&v, 0, &(struct virtio_part){ entropy, 8, true }, 1);
	virtio_kick(&v);			/* nobody hears it */
	set_command(RNG_SLOT, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	virtio_kick(&v);
	WAIT_FOR(virtio_used(&v) == v.queue.added);
}

/* BARs begin and end with pages, and the processor makes two of an access over a page's edge. */
static void an_access_across_the_edge_of_a_bar_is_two(void)
{
	struct virtio v;

	find_rng(&v);
	pci_write(RNG_SLOT, PCI_BAR0, 4, FREE_BAR);
	for (unsigned off = 1; off < 8; off++) {
		CHECK_EQ(read64(FREE_BAR - off) & ones(off), ones(off));
		CHECK_EQ(read64(FREE_BAR + BAR_SIZE - off) >> 8 * off, ones(8 - off));
	}
	CHECK_EQ(read64(FREE_BAR + BAR_SIZE - 4), UINT64_C(0xffffffff00000000));
	CHECK_EQ(read16(FREE_BAR + BAR_SIZE), 0xffff);
}

static void of_two_bars_at_one_place_the_first_stays(void)
{
	struct virtio rng, blk;
	uint64_t blk_home;

	find_rng(&rng);
	virtio_find(&blk, VIRTIO_BLK);
	blk_home = blk.bar;
	/* The disk is told to decode where the entropy source is. */
	pci_write(BLK_SLOT, PCI_BAR0, 4, (uint32_t)rng.bar);
	virtio_bring_up(&rng);
	CHECK_EQ(rng_request(&rng, entropy, sizeof(entropy)), sizeof(entropy));
	/* The source leaves: the disk follows. */
	virtio_reset(&rng);
	pci_write(RNG_SLOT, PCI_BAR0, 4, FREE_BAR);
	CHECK_EQ(read32(rng.bar + 0x800), 128);		/* the disk's sectors */
	CHECK_EQ(read32(blk_home + 0x800), 0xffffffff);
	CHECK(answers(FREE_BAR));
}

/* On RAM, on ECAM, on the local APIC, across the window's end: it stays where it was. */
static void a_bar_put_where_it_cannot_be_does_nothing(void)
{
	static const uint32_t places[] = {
		0x00000000, 0x00400000, 0xe0000000, 0xfec00000, 0xfee00000, 0xfffc0000, 0xbfffc000,
	};
	struct virtio v;

	find_rng(&v);
	for (unsigned i = 0; i < COUNT(places); i++) {
		pci_write(RNG_SLOT, PCI_BAR0, 4, places[i]);
		CHECK_EQ(pci_read(RNG_SLOT, PCI_BAR0, 4), places[i]);
		CHECK(answers(v.bar));
	}
	pci_write(RNG_SLOT, PCI_BAR0, 4, (uint32_t)v.bar);
	CHECK(answers(v.bar));
}

/* A reset puts everything back: BAR at home, COMMAND 0. */
static void reset_brings_bars_home(void)
{
	volatile uint32_t *kept = (volatile uint32_t *)MEMORY_KEPT;

	power_on_state();
	if (*kept) {
		CHECK_EQ(pci_read(RNG_SLOT, PCI_BAR0, 4), *kept);
		CHECK_EQ(pci_read(0, 0x0c, 1), 0);
		return;
	}
	*kept = pci_read(RNG_SLOT, PCI_BAR0, 4);
	pci_write(0, 0x0c, 1, 0x10);
	pci_write(RNG_SLOT, PCI_BAR0, 4, FREE_BAR);
	set_command(RNG_SLOT, 0xffff);
	pci_write(RNG_SLOT, PCI_INTERRUPT_LINE, 1, 0x77);
	CHECK(answers(FREE_BAR));
	outb(0x64, 0xfe);
}

const struct test_case test_cases[] = {
	CASE(both_mechanisms_give_the_same_bytes),
	CASE(a_write_by_one_is_read_by_the_other),
	CASE(absent_functions_read_ones),
	CASE(ecam_takes_any_width_and_no_more_than_a_function),
	CASE(no_ecam_without_acpi),
	CASE(power_on_state),
	CASE(read_only_bytes_stay),
	CASE(capabilities_end_and_point_into_the_bar),
	CASE(a_bar_tells_its_size),
	CASE(a_bar_sized_while_it_decodes_stays),
	CASE(memory_off_is_all_ones),
	CASE(a_moved_bar_is_reached_where_it_is),
	CASE(a_bar_moves_under_a_running_device),
	CASE(an_access_across_the_edge_of_a_bar_is_two),
	CASE(of_two_bars_at_one_place_the_first_stays),
	CASE(a_bar_put_where_it_cannot_be_does_nothing),
	CASE(reset_brings_bars_home),
	{ NULL, NULL },
};
