/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters of Xen's PVH boot ABI (xen/include/public/arch-x86/hvm/start_info.h): start info, the
 * initrd as its one module, memory map, ACPI's address. It has no place for a seed or a device
 * tree. Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_BOOT_PVH_H
#define VMM_BOOT_PVH_H

#include "base/err.h"
#include "vmm/desc.h"
#include "vmm/loader.h"
#include "vmm/place.h"

/* Writes it all at LAYOUT_PVH_INFO. 0, or -errno with @e: -ENOTSUP when @d wants a device tree. */
int boot_pvh_write(const struct loader *l, const struct place *p, const struct machine_desc *d,
		   const struct desc_range *map, unsigned n, struct err *e);

#endif
