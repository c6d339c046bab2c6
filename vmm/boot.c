/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/cursor.h"
#include "vmm/acpi.h"
#include "vmm/boot_linux.h"
#include "vmm/boot_pvh.h"
#include "vmm/layout.h"
#include "vmm/mptable.h"
#include "vmm/place.h"

/* Intel SDM volume 3, 2.5, 4.5 and 3.4.5. */
#define CR0_PE	    UINT64_C(0x1)
#define CR0_ET	    UINT64_C(0x10)
#define CR0_PG	    UINT64_C(0x80000000)
#define CR4_PAE	    UINT64_C(0x20)
#define EFER_LME    UINT64_C(0x100)
#define EFER_LMA    UINT64_C(0x400)
#define PTE_PRESENT UINT64_C(0x1)
#define PTE_WRITE   UINT64_C(0x2)
#define PTE_LARGE   UINT64_C(0x80)
#define RFLAGS_ONE  UINT64_C(0x2)

enum { SEGMENT_CODE = 0xb, SEGMENT_DATA = 0x3, SEGMENT_BUSY_TSS = 0xb };
/* Linux' boot protocol asks for these two selectors (__BOOT_CS, __BOOT_DS). */
enum { SELECTOR_CODE = 0x10, SELECTOR_DATA = 0x18, SELECTOR_TSS = 0x20, GDT_SIZE = 0x30 };

static uint64_t descriptor(const struct boot_segment *s)
{
	uint64_t limit = s->g ? s->limit >> 12 : s->limit, base = s->base;

	return (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)s->type << 40 |
	       (uint64_t)s->s << 44 | UINT64_C(1) << 47 | (limit >> 16 & 0xf) << 48 |
	       (uint64_t)s->l << 53 | (uint64_t)s->db << 54 | (uint64_t)s->g << 55 |
	       base >> 24 << 56;
}

/* The upper half of a long-mode TSS descriptor is zero, as its base is. */
static int write_gdt(const struct place *p, const struct boot_regs *r, struct err *e)
{
	const struct boot_segment *all[] = { &r->code, &r->data, &r->tss };
	uint64_t gdt[GDT_SIZE / 8] = { 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		gdt[all[i]->selector / 8] = htole64(descriptor(all[i]));
	return place_bytes(p, LAYOUT_GDT, gdt, sizeof(gdt), "the descriptor table", e);
}

/* Identity for 4 GiB by 2 MiB pages: kernel, tables and, for freestanding guests, MMIO. */
static int write_page_tables(const struct place *p, struct err *e)
{
	enum { ENTRIES = 512, DIRECTORIES = 4 };
	const uint64_t table = PTE_PRESENT | PTE_WRITE;
	uint64_t tables[2 + DIRECTORIES][ENTRIES] = { 0 };

	tables[0][0] = htole64((LAYOUT_PAGE_TABLES + 4096) | table);
	for (uint64_t i = 0; i < DIRECTORIES; i++)
		tables[1][i] = htole64((LAYOUT_PAGE_TABLES + (2 + i) * 4096) | table);
	for (uint64_t i = 0; i < DIRECTORIES * ENTRIES; i++)
		tables[2 + i / ENTRIES][i % ENTRIES] = htole64(i * MIB(2) | table | PTE_LARGE);
	return place_bytes(p, LAYOUT_PAGE_TABLES, tables, sizeof(tables), "the page tables", e);
}

static void set_segments(struct boot_regs *r, bool long_mode)
{
	r->code = (struct boot_segment){ .limit = UINT32_MAX,
					 .selector = SELECTOR_CODE,
					 .type = SEGMENT_CODE,
					 .s = true,
					 .l = long_mode,
					 .db = !long_mode,
					 .g = true };
	r->data = (struct boot_segment){ .limit = UINT32_MAX,
					 .selector = SELECTOR_DATA,
					 .type = SEGMENT_DATA,
					 .s = true,
					 .db = true,
					 .g = true };
	r->tss = (struct boot_segment){ .limit = 0x67,
					.selector = SELECTOR_TSS,
					.type = SEGMENT_BUSY_TSS };
	r->gdt_base = LAYOUT_GDT;
	r->gdt_limit = GDT_SIZE - 1;
	r->rflags = RFLAGS_ONE;
}

static int enter_linux64(const struct loader *l, const struct place *p, struct boot_regs *r,
			 struct err *e)
{
	set_segments(r, true);
	r->cr0 = CR0_PE | CR0_ET | CR0_PG;
	r->cr3 = LAYOUT_PAGE_TABLES;
	r->cr4 = CR4_PAE;
	r->efer = EFER_LME | EFER_LMA;
	r->rip = l->entry;
	r->rsp = LAYOUT_STACK_TOP;
	r->rsi = LAYOUT_ZERO_PAGE;
	return write_page_tables(p, e);
}

/* Xen's x86/HVM direct boot ABI: 32-bit flat, no paging, start info in ebx. */
static void enter_pvh(const struct loader *l, struct boot_regs *r)
{
	set_segments(r, false);
	r->cr0 = CR0_PE | CR0_ET;
	r->rip = l->entry;
	r->rsp = LAYOUT_STACK_TOP;
	r->rbx = LAYOUT_PVH_INFO;
}

static int write_cmdline(const struct loader *l, const struct place *p,
			 const struct machine_desc *d, const char *cmdline, struct err *e)
{
	size_t len = strlen(cmdline);

	if (len > l->cmdline_max)
		return err_set(e, -E2BIG,
			       "the command line has %zu bytes%s, kernel %s takes at most %" PRIu64
			       ": shorten --cmdline or --append",
			       len, d->mmio_devices && !d->fdt ?
			       " with what announces the devices by MMIO" : "",
			       l->kernel.path, l->cmdline_max);
	return place_bytes(p, LAYOUT_CMDLINE, cmdline, len + 1, "the command line", e);
}

/* The tables that say what the machine has. A device tree goes with Linux' parameters instead, and
 * alone. */
static int write_tables(const struct place *p, const struct machine_desc *d, struct err *e)
{
	int r = d->fdt ? 0 : mptable_write(d, p, e);

	if (r == 0 && d->acpi)
		r = acpi_write(d, p, e);
	return r;
}

int boot_setup(const struct loader *l, const struct guest_mem *m, const struct machine_desc *d,
	       const char *cmdline, struct boot_regs *ret, struct err *e)
{
	const struct place p = { .mem = m, .staging = &l->staging };
	struct desc_range map[DESC_RANGES_MAX];
	struct boot_regs regs = { 0 };
	int n = desc_memory_map(d, m, map, e), r;

	if (n < 0)
		return n;
	r = write_cmdline(l, &p, d, cmdline, e);
	if (r == 0)
		r = write_tables(&p, d, e);
	if (r < 0)
		return r;
	switch (l->protocol) {
	case LOADER_LINUX64:
		r = enter_linux64(l, &p, &regs, e);
		if (r == 0)
			r = boot_linux_write(l, &p, d, map, (unsigned)n, cmdline, e);
		break;
	case LOADER_PVH:
		enter_pvh(l, &regs);
		r = boot_pvh_write(l, &p, d, map, (unsigned)n, e);
		break;
	case LOADER_PROTOCOLS:
		r = -EINVAL;
		break;
	}
	if (r == 0)
		r = write_gdt(&p, &regs, e);
	if (r == 0)
		*ret = regs;
	return r;
}
