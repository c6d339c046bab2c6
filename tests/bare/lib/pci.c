/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bare/lib/pci.h"

#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/test.h"

enum {
	CONFIG_ADDRESS = 0xcf8, CONFIG_DATA = 0xcfc, CONFIG_ENABLE_BIT = 31,
	MSIX_CONTROL = 2, MSIX_TABLE = 4, MSIX_PENDING = 8, MSIX_COUNT_MASK = 0x7ff,
	ENTRY_SIZE = 16, ENTRY_DATA = 8, ENTRY_CONTROL = 12,
};

static uint16_t select(unsigned slot, unsigned off)
{
	outl(CONFIG_ADDRESS, 1u << CONFIG_ENABLE_BIT | slot << 11 | (off & 0xfc));
	return (uint16_t)(CONFIG_DATA + (off & 3));
}

uint32_t pci_read(unsigned slot, unsigned off, unsigned width)
{
	return port_read(select(slot, off), width);
}

void pci_write(unsigned slot, unsigned off, unsigned width, uint32_t value)
{
	uint16_t port = select(slot, off);

	if (width == 1)
		outb(port, (uint8_t)value);
	else if (width == 2)
		outw(port, (uint16_t)value);
	else
		outl(port, value);
}

unsigned pci_capability(unsigned slot, uint8_t id, unsigned after)
{
	unsigned at = pci_read(slot, after ? after + 1 : PCI_CAPABILITIES, 1);

	/* There are at most 48: a list that goes round does not hold us. */
	for (unsigned i = 0; at && i < 48; i++) {
		if (pci_read(slot, at, 1) == id)
			return at;
		at = pci_read(slot, at + 1, 1);
	}
	return 0;
}

unsigned pci_find(uint16_t vendor, uint16_t device)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		if (pci_read(slot, PCI_ID, 4) == ((uint32_t)device << 16 | vendor))
			return slot;
	}
	test_note_hex("no PCI device", device);
	test_fail(__FILE__, __LINE__, "found");
}

void msix_find(struct msix *x, unsigned slot, uint64_t bar)
{
	x->slot = slot;
	x->cap = pci_capability(slot, PCI_CAP_MSIX, 0);
	CHECK(x->cap);
	x->count = (pci_read(slot, x->cap + MSIX_CONTROL, 2) & MSIX_COUNT_MASK) + 1;
	x->table = bar + (pci_read(slot, x->cap + MSIX_TABLE, 4) & ~7u);
	x->pending = bar + (pci_read(slot, x->cap + MSIX_PENDING, 4) & ~7u);
}

void msix_set(const struct msix *x, unsigned n, unsigned irq)
{
	uint64_t entry = x->table + n * ENTRY_SIZE;

	write64(entry, msi_address());
	write32(entry + ENTRY_DATA, irq);
	write32(entry + ENTRY_CONTROL, 0);
}

void msix_mask(const struct msix *x, unsigned n, bool masked)
{
	write32(x->table + n * ENTRY_SIZE + ENTRY_CONTROL, masked);
}

void msix_control(const struct msix *x, unsigned flags)
{
	pci_write(x->slot, x->cap + MSIX_CONTROL, 2, flags);
}

bool msix_is_pending(const struct msix *x, unsigned n)
{
	return read8(x->pending + n / 8) >> (n % 8) & 1;
}
