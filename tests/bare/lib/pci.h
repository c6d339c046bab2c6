/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space of bus 0 by both mechanisms, BARs, capabilities, MSI-X. */
#ifndef BARE_PCI_H
#define BARE_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_ECAM	UINT64_C(0xe0000000)

enum {
	PCI_SLOTS = 32,
	PCI_ID = 0x00, PCI_COMMAND = 0x04, PCI_STATUS = 0x06, PCI_CLASS = 0x08, PCI_HEADER = 0x0e,
	PCI_BAR0 = 0x10, PCI_CAPABILITIES = 0x34,
	PCI_INTERRUPT_LINE = 0x3c, PCI_INTERRUPT_PIN = 0x3d,
	PCI_COMMAND_MEMORY = 1 << 1, PCI_COMMAND_MASTER = 1 << 2, PCI_COMMAND_NO_INTX = 1 << 10,
	PCI_STATUS_INTERRUPT = 1 << 3,
	PCI_CAP_VENDOR = 0x09, PCI_CAP_MSIX = 0x11,
	PCI_MSIX_ENABLE = 1 << 15, PCI_MSIX_MASK_ALL = 1 << 14,
};

/* Configuration mechanism #1: ports. @width is 1, 2 or 4, and the access within a dword. */
uint32_t pci_read(unsigned slot, unsigned off, unsigned width);
void pci_write(unsigned slot, unsigned off, unsigned width, uint32_t value);
/* Where ECAM has it. */
static inline uint64_t pci_ecam(unsigned slot, unsigned off)
{
	return PCI_ECAM + ((uint64_t)slot << 15) + off;
}

/* Offset of the first capability @id behind @after (0: of all), or 0. */
unsigned pci_capability(unsigned slot, uint8_t id, unsigned after);
/* The slot of the first device with this vendor and device id; there must be one. */
unsigned pci_find(uint16_t vendor, uint16_t device);

/* MSI-X of a function whose table lies in the BAR at @bar. */
struct msix {
	unsigned slot, cap, count;
	uint64_t table, pending;
};

void msix_find(struct msix *x, unsigned slot, uint64_t bar);
/* Vector @n raises interrupt @irq on the boot processor. */
void msix_set(const struct msix *x, unsigned n, unsigned irq);
void msix_mask(const struct msix *x, unsigned n, bool masked);
/* Message control: any of PCI_MSIX_ENABLE and PCI_MSIX_MASK_ALL. */
void msix_control(const struct msix *x, unsigned flags);
bool msix_is_pending(const struct msix *x, unsigned n);

#endif
