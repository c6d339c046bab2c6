/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/desc.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "devices/machine.h"
#include "devices/platform.h"
#include "devices/serial.h"
#include "vmm/layout.h"

void desc_init(struct machine_desc *d, unsigned cpus, unsigned phys_bits)
{
	*d = (struct machine_desc){
		.cpus = cpus,
		.conf1 = true,
		.pci_slots = UINT32_MAX,
		.serial = true,
		.serial_port = SERIAL_PORT,
		.serial_gsi = MACHINE_GSI_SERIAL,
		.sleep_port = PLATFORM_SLEEP_CONTROL_PORT,
		.reset_port = PLATFORM_KEYBOARD_PORT,
		.reset_value = PLATFORM_KEYBOARD_RESET,
	};
	memcpy(d->intx_gsi, pci_intx_gsi, sizeof(d->intx_gsi));
	if (phys_bits < 64 && BIT64(phys_bits) > PCI_MMIO64_BASE)
		d->mmio64_size = BIT64(phys_bits) - PCI_MMIO64_BASE;
}

int desc_memory_map(const struct machine_desc *d, const struct guest_mem *m,
		    struct desc_range ret[DESC_RANGES_MAX], struct err *e)
{
	const struct mem_region *low = &m->regions[0];
	struct desc_range ranges[DESC_RANGES_MAX];
	int n = 0;

	if (d->cpus == 0 || d->cpus > DESC_CPUS_MAX)
		return err_set(e, -EINVAL, "%u CPUs cannot be described to the guest: give 1 to %d",
			       d->cpus, DESC_CPUS_MAX);
	if (m->count == 0 || low->gpa != 0 || low->size <= LAYOUT_KERNEL_MIN)
		return err_set(e, -EINVAL, "%" PRIu64 " KiB of RAM hold the tables of the machine but no "
					   "kernel: give more with --memory", m->size >> 10);

	ranges[n++] = (struct desc_range){ 0, LAYOUT_BASE_RAM_END, DESC_RAM };
	ranges[n++] = (struct desc_range){ LAYOUT_BASE_RAM_END,
					   LAYOUT_KERNEL_MIN - LAYOUT_BASE_RAM_END, DESC_RESERVED };
	ranges[n++] = (struct desc_range){ LAYOUT_KERNEL_MIN, low->size - LAYOUT_KERNEL_MIN,
					   DESC_RAM };
	if (d->ecam)
		ranges[n++] = (struct desc_range){ PCI_ECAM_BASE, PCI_ECAM_SIZE, DESC_RESERVED };
	for (unsigned i = 1; i < m->count; i++) {
		const struct mem_region *r = &m->regions[i];

		if (range_overlaps(r->gpa, r->size, PCI_MMIO64_BASE, d->mmio64_size))
			return err_set(e, -EINVAL, "RAM up to 0x%" PRIx64 " reaches the PCI window at 0x%"
						   PRIx64 ": give less with --memory",
				       r->gpa + r->size, PCI_MMIO64_BASE);
		ranges[n++] = (struct desc_range){ r->gpa, r->size, DESC_RAM };
	}
	memcpy(ret, ranges, (size_t)n * sizeof(ranges[0]));
	return n;
}
