/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine has, once, for the renderers that tell the guest: vmm/acpi.h, vmm/mptable.h and
 * vmm/fdt.h. The wiring (vmm/vm.c) fills it before boot; constant afterwards.
 */
#ifndef VMM_DESC_H
#define VMM_DESC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "devices/pci.h"
#include "memory/guest_mem.h"

enum { DESC_CPUS_MAX = 64, DESC_RANGES_MAX = 8 };

struct machine_desc {
	unsigned cpus;			/* APIC ids 0 to cpus - 1, 0 boots */
	bool acpi, fdt;			/* renderers; without fdt there is an MPTable too */
	bool ecam;			/* PCI configuration space at PCI_ECAM_BASE */
	bool conf1;			/* and by ports 0xcf8/0xcfc */
	uint32_t pci_slots;		/* mask of slots that hold a device */
	bool scmi;			/* a virtio device, which only a device tree tells of */
	unsigned mmio_devices;		/* virtio-mmio: numbers 0 up to this (virtio_mmio.h) */
	uint64_t mmio64_size;		/* of the window at PCI_MMIO64_BASE; 0: there is none */
	unsigned intx_gsi[PCI_INTX_LINES];	/* line = slot & 3 for pin A */
	bool serial;			/* a 16550 */
	uint16_t serial_port;
	unsigned serial_gsi;		/* edge-triggered */
	uint16_t sleep_port;		/* ACPI sleep control; the status register is next */
	uint16_t reset_port;		/* writing reset_value resets */
	uint8_t reset_value;
};

/*
 * The machine as minivmm builds it, with @cpus CPUs whose physical addresses have @phys_bits bits:
 * serial port, PCI by conf1, no ACPI, no device tree. The caller then switches on what it wants.
 */
void desc_init(struct machine_desc *d, unsigned cpus, unsigned phys_bits);

enum desc_range_type { DESC_RAM = 1, DESC_RESERVED = 2 };	/* as in e820 and PVH's map */

struct desc_range {
	uint64_t gpa, size;
	enum desc_range_type type;
};

/*
 * The guest's memory map, ascending. Returns the number of ranges, or -EINVAL with @e when the
 * machine cannot be described: CPUs beyond DESC_CPUS_MAX, less than 1 MiB of RAM, RAM that reaches
 * the 64-bit PCI window.
 */
int desc_memory_map(const struct machine_desc *d, const struct guest_mem *m,
		    struct desc_range ret[DESC_RANGES_MAX], struct err *e);

#endif
