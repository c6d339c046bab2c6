/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot_pvh.h"

#include <assert.h>
#include <errno.h>

#include "base/cursor.h"
#include "vmm/layout.h"

#define START_MAGIC UINT32_C(0x336ec578)

enum { START_VERSION = 1, START_SIZE = 56, MODULE_SIZE = 32 };

int boot_pvh_write(const struct loader *l, const struct place *p, const struct machine_desc *d,
		   const struct desc_range *map, unsigned n, struct err *e)
{
	uint8_t buf[LAYOUT_PVH_END - LAYOUT_PVH_INFO];
	struct cursor c = { .base = buf, .size = sizeof(buf) };
	bool initrd = l->initrd_gpa != 0;

	if (d->fdt)
		return err_set(e, -ENOTSUP, "kernel %s is entered by PVH, which cannot carry a device tree: "
					    "use --machine with ACPI or a kernel with a 64-bit entry",
			       l->kernel.path);
	cursor_u32(&c, START_MAGIC);
	cursor_u32(&c, START_VERSION);
	cursor_u32(&c, 0);			/* flags */
	cursor_u32(&c, initrd);			/* modules */
	cursor_u64(&c, initrd ? LAYOUT_PVH_INFO + START_SIZE : 0);
	cursor_u64(&c, LAYOUT_CMDLINE);
	cursor_u64(&c, d->acpi ? LAYOUT_ACPI : 0);
	cursor_u64(&c, LAYOUT_PVH_INFO + START_SIZE + MODULE_SIZE);
	cursor_u32(&c, n);
	cursor_u32(&c, 0);

	cursor_u64(&c, l->initrd_gpa);
	cursor_u64(&c, initrd ? l->initrd_size : 0);
	cursor_u64(&c, 0);			/* a module's own command line */
	cursor_u64(&c, 0);

	for (unsigned i = 0; i < n; i++) {
		cursor_u64(&c, map[i].gpa);
		cursor_u64(&c, map[i].size);
		cursor_u32(&c, map[i].type);
		cursor_u32(&c, 0);
	}
	assert(!c.overflow);
	return place_bytes(p, LAYOUT_PVH_INFO, buf, c.at, "the PVH start info", e);
}
