/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where everything the VMM writes before the first instruction lies in guest memory.
 *
 *	0x00500		GDT
 *	0x06000		PVH start info, module list and memory map
 *	0x07000		zero page (struct boot_params)
 *	0x08000		stack of the entry, grows down from 0x9000
 *	0x09000		identity page tables of the first 4 GiB: PML4, PDPT, four page directories
 *	0x20000		command line
 *	0x30000		setup_data: RNG seed, device tree
 *	0x9f000		end of base RAM as the guest is told; MP configuration table
 *	0x9fc00		MP floating pointer: the last KiB of 640 KiB, where kernels search for it
 *	0xe0000		ACPI: RSDP first, where kernels search for it
 *	0x100000	lowest address of a kernel; the initrd ends where RAM below 3 GiB ends
 */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#include <stdint.h>

#define LAYOUT_GDT		UINT64_C(0x500)
#define LAYOUT_PVH_INFO		UINT64_C(0x6000)
#define LAYOUT_PVH_END		UINT64_C(0x7000)
#define LAYOUT_ZERO_PAGE	UINT64_C(0x7000)
#define LAYOUT_STACK_TOP	UINT64_C(0x9000)
#define LAYOUT_PAGE_TABLES	UINT64_C(0x9000)
#define LAYOUT_CMDLINE		UINT64_C(0x20000)
#define LAYOUT_CMDLINE_END	UINT64_C(0x30000)
#define LAYOUT_SETUP_DATA	UINT64_C(0x30000)
#define LAYOUT_SETUP_DATA_END	UINT64_C(0x80000)
#define LAYOUT_BASE_RAM_END	UINT64_C(0x9f000)
#define LAYOUT_MPTABLE		UINT64_C(0x9f000)
#define LAYOUT_MP_POINTER	UINT64_C(0x9fc00)
#define LAYOUT_ACPI		UINT64_C(0xe0000)
#define LAYOUT_ACPI_END		UINT64_C(0x100000)
#define LAYOUT_KERNEL_MIN	UINT64_C(0x100000)

/* Fixed by the architecture and by KVM's interrupt controllers. */
#define LAYOUT_IOAPIC		UINT64_C(0xfec00000)
#define LAYOUT_LAPIC		UINT64_C(0xfee00000)

#endif
