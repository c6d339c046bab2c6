/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters of the 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst): the zero page and
 * the chain of setup_data: a fresh seed for the kernel's random numbers, and the device tree.
 * Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_BOOT_LINUX_H
#define VMM_BOOT_LINUX_H

#include "base/err.h"
#include "vmm/desc.h"
#include "vmm/loader.h"
#include "vmm/place.h"

/*
 * Writes zero page and setup_data. @map has @n ranges; @cmdline is already in its place and
 * repeated in the device tree. 0, or -errno with @e.
 */
int boot_linux_write(const struct loader *l, const struct place *p, const struct machine_desc *d,
		     const struct desc_range *map, unsigned n, const char *cmdline, struct err *e);

#endif
