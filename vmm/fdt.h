/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as a flattened device tree, for x86 kernels built with CONFIG_OF and without ACPI.
 *
 * What such a Linux looks at (arch/x86/kernel/devicetree.c): CPUs below /cpus, whose reg is the
 * APIC id, and the local APIC, "intel,ce4100-lapic". There is no IOAPIC node: with one, Linux takes
 * only the interrupts that a node's driver asks for from it, and neither the serial port's ISA
 * driver nor PCI (found by conf1 as ever) does, so serial line and INTx would be dead. Without one
 * they come through the PIC in virtual wire mode, as the MPTable does it for one CPU. MSI needs
 * neither. Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_FDT_H
#define VMM_FDT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "memory/guest_mem.h"
#include "vmm/desc.h"

enum { FDT_SIZE_MAX = 64 << 10 };

/*
 * Renders the tree into @buf. Returns its length, or -errno with @e: -ENOTSUP when this build has
 * no libfdt, -E2BIG when @size is too small.
 */
int fdt_render(const struct machine_desc *d, const struct guest_mem *m, const char *cmdline,
	       uint8_t *buf, size_t size, struct err *e);

#endif
