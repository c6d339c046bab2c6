/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bare/lib/vmshm.h"

#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/pci.h"

static uint64_t bar(const struct vmshm *d, unsigned n)
{
	return pci_read(d->slot, PCI_BAR0 + 4 * n, 4) & ~15u;
}

void vmshm_bring_up(struct vmshm *d)
{
	vmshm_bring_up_slot(d, pci_find(VMSHM_PCI_VENDOR, VMSHM_PCI_DEVICE));
}

void vmshm_bring_up_slot(struct vmshm *d, unsigned slot)
{
	d->slot = slot;
	pci_write(d->slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	d->regs = bar(d, VMSHM_BAR_REGS);
	d->window = bar(d, VMSHM_BAR_WINDOW);
	d->name = bar(d, VMSHM_BAR_NAME);
	d->large = bar(d, VMSHM_BAR_LARGE) | bar(d, VMSHM_BAR_LARGE + 1) << 32;
	if (d->large)
		memory_map_gib(d->large);
}

void vmshm_name(const struct vmshm *d, const char *name)
{
	uint32_t word = 0;
	unsigned i = 0;

	do {
		word |= (uint32_t)(uint8_t)name[i] << (8 * (i % 4));
		if (i % 4 == 3 || !name[i]) {
			write32(d->name + i / 4 * 4, word);
			word = 0;
		}
	} while (name[i++]);
}

uint32_t vmshm_open(const struct vmshm *d, const char *name)
{
	vmshm_name(d, name);
	return vmshm_get(d, VMSHM_OPEN);
}
