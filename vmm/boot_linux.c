/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot_linux.h"

#include <asm/bootparam.h>
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/cursor.h"
#include "vmm/fdt.h"
#include "vmm/layout.h"

enum {
	LOADER_UNDEFINED = 0xff,	/* type_of_loader: one without a number of its own */
	BOOT_PROTOCOL = 0x020f,		/* of the header we make for an ELF */
	SEED_BYTES = 32,		/* what Linux takes */
};

static_assert(sizeof(struct boot_params) == 4096, "the zero page is a page");

/* Adds one node at @gpa and links it in front of *@head, which becomes its address. */
static int add_setup_data(const struct place *p, uint64_t *head, uint64_t gpa, uint32_t type,
			  const void *data, size_t len, const char *what, struct err *e)
{
	struct setup_data node = { .next = *head, .type = type, .len = (uint32_t)len };
	int r;

	if (!range_ok(gpa, sizeof(node) + len, LAYOUT_SETUP_DATA_END))
		return err_set(e, -E2BIG, "%s is too long for its place in low memory", what);
	r = place_bytes(p, gpa, &node, sizeof(node), what, e);
	if (r == 0)
		r = place_bytes(p, gpa + sizeof(node), data, len, what, e);
	if (r == 0)
		*head = gpa;
	return r;
}

static int add_seed(const struct place *p, uint64_t *head, struct err *e)
{
	uint8_t seed[SEED_BYTES];
	int r;

	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
		return err_sys(e, "no random seed for the guest");
	r = add_setup_data(p, head, LAYOUT_SETUP_DATA, SETUP_RNG_SEED, seed, sizeof(seed),
			   "the random seed", e);
	explicit_bzero(seed, sizeof(seed));
	return r;
}

/* The device tree begins 16 bytes into a node; libfdt wants 8, and has it. */
static int add_dtb(const struct place *p, uint64_t *head, const struct machine_desc *d,
		   const struct guest_mem *m, const char *cmdline, struct err *e)
{
	uint8_t dtb[FDT_SIZE_MAX];
	int len = fdt_render(d, m, cmdline, dtb, sizeof(dtb), e);

	if (len < 0)
		return len;
	return add_setup_data(p, head, LAYOUT_SETUP_DATA + 0x1000, SETUP_DTB, dtb, (size_t)len,
			      "the device tree", e);
}

static void set_header(struct boot_params *b, const struct loader *l)
{
	struct setup_header *h = &b->hdr;

	if (l->header_len) {
		memcpy(h, l->header, min_u64(l->header_len, sizeof(*h)));
	} else {
		h->boot_flag = 0xaa55;
		h->header = 0x53726448;		/* "HdrS" */
		h->version = BOOT_PROTOCOL;
		h->loadflags = LOADED_HIGH;
		h->kernel_alignment = 0x200000;
	}
	h->type_of_loader = LOADER_UNDEFINED;
	h->loadflags |= LOADED_HIGH;
	h->loadflags &= (uint8_t)~CAN_USE_HEAP;	/* real-mode heap: nothing runs there */
	h->code32_start = (uint32_t)l->start;
	h->cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
	if (l->initrd_gpa) {
		/* The initrd ends below 3 GiB, so the ext_ fields stay 0. */
		h->ramdisk_image = (uint32_t)l->initrd_gpa;
		h->ramdisk_size = (uint32_t)l->initrd_size;
	}
}

int boot_linux_write(const struct loader *l, const struct place *p, const struct machine_desc *d,
		     const struct desc_range *map, unsigned n, const char *cmdline, struct err *e)
{
	struct boot_params b = { 0 };
	uint64_t chain = 0;
	int r;

	assert(n <= E820_MAX_ENTRIES_ZEROPAGE);
	set_header(&b, l);
	for (unsigned i = 0; i < n; i++)
		b.e820_table[i] = (struct boot_e820_entry){ .addr = map[i].gpa, .size = map[i].size,
							    .type = map[i].type };
	b.e820_entries = (uint8_t)n;
	if (d->acpi)
		b.acpi_rsdp_addr = LAYOUT_ACPI;

	r = add_seed(p, &chain, e);
	if (r == 0 && d->fdt)
		r = add_dtb(p, &chain, d, p->mem, cmdline, e);
	if (r < 0)
		return r;
	b.hdr.setup_data = chain;
	return place_bytes(p, LAYOUT_ZERO_PAGE, &b, sizeof(b), "the zero page", e);
}
