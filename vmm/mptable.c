/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/mptable.h"

#include <assert.h>

#include "base/cursor.h"
#include "base/range.h"
#include "devices/virtio_mmio.h"
#include "vmm/checksum.h"
#include "vmm/layout.h"

/* Entry types and fields: MP specification 1.4, chapter 4. */
enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_IO_INTERRUPT, ENTRY_LOCAL_INTERRUPT };
enum { INTERRUPT_INT, INTERRUPT_NMI, INTERRUPT_SMI, INTERRUPT_EXTINT };
enum { CPU_ENABLED = 1, CPU_BOOT = 2, IOAPIC_ENABLED = 1 };
enum { FLAGS_BUS = 0, FLAGS_EDGE_HIGH = 0x5, FLAGS_LEVEL_LOW = 0xf }; /* 0: as the bus */
enum { BUS_PCI = 0, BUS_ISA = 1 };
enum {
	SPEC_1_4 = 4,
	APIC_VERSION = 0x14,
	CPU_SIGNATURE = 0x600, /* family 6; CPUID says the rest */
	CPU_FEATURES = 0x201,  /* FPU and APIC */
	IOAPIC_ID = 0,	       /* KVM's after reset; since xAPIC not in the CPUs' space */
	IOAPIC_VERSION = 0x11,
	ALL_APICS = 0xff,
};

static void put_cpus(struct cursor *c, const struct machine_desc *d)
{
	for (unsigned i = 0; i < d->cpus; i++) {
		cursor_u8(c, ENTRY_CPU);
		cursor_u8(c, (uint8_t)i);
		cursor_u8(c, APIC_VERSION);
		cursor_u8(c, i == 0 ? CPU_ENABLED | CPU_BOOT : CPU_ENABLED);
		cursor_u32(c, CPU_SIGNATURE);
		cursor_u32(c, CPU_FEATURES);
		cursor_u64(c, 0);
	}
}

static void put_bus(struct cursor *c, uint8_t id, const char name[6])
{
	cursor_u8(c, ENTRY_BUS);
	cursor_u8(c, id);
	cursor_put(c, name, 6);
}

/* Both interrupt entries have one shape. @to is a pin of @apic. */
static void put_interrupt(struct cursor *c, uint8_t entry, uint8_t type, uint16_t flags,
			  uint8_t bus, uint8_t irq, uint8_t apic, uint8_t to)
{
	cursor_u8(c, entry);
	cursor_u8(c, type);
	cursor_u16(c, flags);
	cursor_u8(c, bus);
	cursor_u8(c, irq);
	cursor_u8(c, apic);
	cursor_u8(c, to);
}

/* Pins, which devices beyond their number share. */
static unsigned mmio_interrupts(const struct machine_desc *d)
{
	return (unsigned)min_u64(d->mmio_devices, VIRTIO_MMIO_GSI_COUNT);
}

static void put_ioapic(struct cursor *c, const struct machine_desc *d)
{
	cursor_u8(c, ENTRY_IOAPIC);
	cursor_u8(c, IOAPIC_ID);
	cursor_u8(c, IOAPIC_VERSION);
	cursor_u8(c, IOAPIC_ENABLED);
	cursor_u32(c, (uint32_t)LAYOUT_IOAPIC);
	if (d->serial)
		put_interrupt(c, ENTRY_IO_INTERRUPT, INTERRUPT_INT, FLAGS_BUS, BUS_ISA,
			      (uint8_t)d->serial_gsi, IOAPIC_ID, (uint8_t)d->serial_gsi);
	for (unsigned i = 0; i < mmio_interrupts(d); i++)
		put_interrupt(c, ENTRY_IO_INTERRUPT, INTERRUPT_INT, FLAGS_EDGE_HIGH, BUS_ISA,
			      (uint8_t)virtio_mmio_gsi(i), IOAPIC_ID, (uint8_t)virtio_mmio_gsi(i));
	/* A PCI source is slot << 2 | pin, pin A is 0 (table D-1). Slot 0 is the bridge. */
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
		if (d->pci_slots & BIT64(slot))
			put_interrupt(c, ENTRY_IO_INTERRUPT, INTERRUPT_INT, FLAGS_LEVEL_LOW,
				      BUS_PCI, (uint8_t)(slot << 2), IOAPIC_ID,
				      (uint8_t)d->intx_gsi[slot % PCI_INTX_LINES]);
}

/* Header and entries; the header's length, count and checksum come last. */
static void put_table(struct cursor *c, const struct machine_desc *d)
{
	enum { AT_LENGTH = 4, AT_CHECKSUM = 7, AT_COUNT = 34 };
	unsigned pci_interrupts = (unsigned)__builtin_popcount(d->pci_slots & ~1u);
	unsigned entries = d->cpus + 2 + 1 + d->serial + mmio_interrupts(d) +
			   pci_interrupts + 2;

	cursor_put(c, "PCMP", 4);
	cursor_u16(c, 0);
	cursor_u8(c, SPEC_1_4);
	cursor_u8(c, 0);
	cursor_put(c, "MINIVMM MINIVMM     ", 8 + 12);
	cursor_u32(c, 0);
	cursor_u16(c, 0);
	cursor_u16(c, 0);
	cursor_u32(c, (uint32_t)LAYOUT_LAPIC);
	cursor_u32(c, 0);

	put_cpus(c, d);
	put_bus(c, BUS_PCI, "PCI   ");
	put_bus(c, BUS_ISA, "ISA   ");
	put_ioapic(c, d);
	put_interrupt(c, ENTRY_LOCAL_INTERRUPT, INTERRUPT_EXTINT, FLAGS_BUS, BUS_ISA, 0, 0, 0);
	put_interrupt(c, ENTRY_LOCAL_INTERRUPT, INTERRUPT_NMI, FLAGS_BUS, BUS_ISA, 0, ALL_APICS, 1);

	assert(!c->overflow);
	c->base[AT_LENGTH] = (uint8_t)c->at;
	c->base[AT_LENGTH + 1] = (uint8_t)(c->at >> 8);
	c->base[AT_COUNT] = (uint8_t)entries;
	checksum_set(c->base, c->at, AT_CHECKSUM);
}

static void put_pointer(struct cursor *c)
{
	cursor_put(c, "_MP_", 4);
	cursor_u32(c, (uint32_t)LAYOUT_MPTABLE);
	cursor_u8(c, 1); /* length in paragraphs */
	cursor_u8(c, SPEC_1_4);
	cursor_u8(c, 0);
	cursor_u8(c, 0);  /* feature 1: there is a table */
	cursor_u32(c, 0); /* feature 2: no IMCR, virtual wire mode */
	checksum_set(c->base, c->at, 10);
}

int mptable_write(const struct machine_desc *d, const struct place *p, struct err *e)
{
	uint8_t table[LAYOUT_MP_POINTER - LAYOUT_MPTABLE], pointer[16];
	struct cursor c = { .base = table, .size = sizeof(table) };
	struct cursor fp = { .base = pointer, .size = sizeof(pointer) };
	int r;

	put_table(&c, d);
	put_pointer(&fp);
	r = place_bytes(p, LAYOUT_MPTABLE, table, c.at, "the MP table", e);
	if (r == 0)
		r = place_bytes(p, LAYOUT_MP_POINTER, pointer, fp.at, "the MP table's pointer", e);
	return r;
}
