/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as a flattened device tree, for x86 kernels built with CONFIG_OF and without ACPI.
 *
 * What such a Linux looks at (arch/x86/kernel/devicetree.c): CPUs below /cpus, whose reg is the
 * APIC id, the local APIC, and the IOAPIC, "intel,ce4100-ioapic", whose pins are known by this tree
 * only. So the serial port is here too, for the driver that takes its interrupt from a tree
 * (CONFIG_SERIAL_OF_PLATFORM); the ISA driver's IRQ 4 would be the PIC's, which 64-bit Linux hears
 * through no pin. PCI is found by conf1 as ever, and devices interrupt by MSI-X: Linux takes INTx
 * from a tree on the 32-bit CE4100 only. A virtio SCMI device is announced by its transport, and
 * has a node of the firmware's besides, which tells of its protocols. With a tree there is no
 * MPTable (vmm/boot.c): Linux would register its local APIC twice, and warn. Set-up, or the loop
 * while no vCPU runs.
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
