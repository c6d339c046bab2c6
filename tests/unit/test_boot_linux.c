/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest finds at its first instruction: boot_setup with both protocols. */
#include <asm/bootparam.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "minivmm_config.h"
#include "tests/unit/boot_guest.h"
#include "vmm/boot.h"
#include "vmm/layout.h"
#include "vmm/loader.h"

struct fixture {
	struct boot_guest g;
	struct loader l;
	struct image kernel, initrd;
	struct boot_regs regs;
	_Alignas(8) uint8_t elf[ELF_SIZE];
	uint8_t bz[BZ_MAX];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	boot_guest_init(&f->g, GIB(5), 2, true);
	elf_image(f->elf);
	f->l = (struct loader){ .kernel.fd = -1, .staging.fd = -1 };
	f->kernel.fd = f->initrd.fd = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loader_fini(&f->l);
	image_fini(&f->kernel);
	image_fini(&f->initrd);
	boot_guest_fini(&f->g);
	free(f);
	return 0;
}

static void assert_ok(struct fixture *f, int r)
{
	if (r < 0)
		fail_msg("%s", f->g.err.msg);
}

static void load(struct fixture *f, const void *kernel, size_t len, const char *initrd)
{
	const char *paths[] = { f->initrd.path };

	image_init(&f->kernel, kernel, len);
	if (initrd)
		image_init(&f->initrd, initrd, strlen(initrd));
	assert_ok(f, loader_open(&f->l, f->kernel.path, paths, initrd ? 1 : 0, &f->g.err));
	assert_ok(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));
}

static int boot(struct fixture *f, const char *cmdline)
{
	return boot_setup(&f->l, &f->g.mem, &f->g.desc, cmdline, &f->regs, &f->g.err);
}

static struct boot_params zero_page(const struct fixture *f)
{
	struct boot_params b;

	memcpy(&b, boot_guest_at(&f->g, f->regs.rsi, sizeof(b)), sizeof(b));
	return b;
}

/* Registers */

static void linux_is_entered_in_long_mode(void **state)
{
	struct fixture *f = *state;

	load(f, f->elf, ELF_SIZE, NULL);
	assert_ok(f, boot(f, ""));
	assert_int_equal(f->regs.rip, ELF_GPA);
	assert_int_equal(f->regs.cr0 & 0x80000001, 0x80000001);
	assert_int_equal(f->regs.cr4, 0x20);
	assert_int_equal(f->regs.efer, 0x500);
	assert_int_equal(f->regs.rflags, 2);
	assert_int_equal(f->regs.code.selector, 0x10);
	assert_int_equal(f->regs.data.selector, 0x18);
	assert_true(f->regs.code.l && !f->regs.code.db);
}

/* Walks the page tables as the CPU does. */
static uint64_t translate(const struct fixture *f, uint64_t va)
{
	uint64_t e = f->regs.cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		e = boot_guest_le(&f->g, (e & ~UINT64_C(0xfff)) + 8 * (va >> shift & 511), 8);
		assert_int_equal(e & 3, 3);
	}
	assert_true(e & 0x80);
	return (e & ~UINT64_C(0x1fffff)) + (va & 0x1fffff);
}

static void the_first_four_gib_are_mapped_one_to_one(void **state)
{
	static const uint64_t addresses[] = { 0, 0x1234, ELF_GPA, GIB(1) - 1, GIB(1), GIB(3),
					      0xfee00000, GIB(4) - 1 };
	struct fixture *f = *state;

	load(f, f->elf, ELF_SIZE, NULL);
	assert_ok(f, boot(f, ""));
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++)
		assert_int_equal(translate(f, addresses[i]), addresses[i]);
}

static void the_gdt_says_what_the_registers_say(void **state)
{
	struct fixture *f = *state;
	uint64_t at;

	load(f, f->elf, ELF_SIZE, NULL);
	assert_ok(f, boot(f, ""));
	at = f->regs.gdt_base;
	assert_int_equal(boot_guest_le(&f->g, at, 8), 0);
	assert_int_equal(boot_guest_le(&f->g, at + 0x10, 8), 0x00af9b000000ffff);
	assert_int_equal(boot_guest_le(&f->g, at + 0x18, 8), 0x00cf93000000ffff);
	assert_int_equal(boot_guest_le(&f->g, at + 0x20, 8), 0x00008b0000000067);
	assert_int_equal(f->regs.gdt_limit, 0x2f);
}

/* The zero page */

static void an_elf_gets_a_header_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct boot_params b;

	load(f, f->elf, ELF_SIZE, "initrd");
	assert_ok(f, boot(f, "console=ttyS0"));
	b = zero_page(f);
	assert_int_equal(b.hdr.header, 0x53726448);
	assert_int_equal(b.hdr.boot_flag, 0xaa55);
	assert_int_equal(b.hdr.type_of_loader, 0xff);
	assert_int_equal(b.sentinel, 0);
	assert_int_equal(b.hdr.ramdisk_image, f->l.initrd_gpa);
	assert_int_equal(b.hdr.ramdisk_size, 6);
	assert_memory_equal(boot_guest_at(&f->g, b.hdr.ramdisk_image, 6), "initrd", 6);
	assert_string_equal((const char *)boot_guest_at(&f->g, b.hdr.cmd_line_ptr, 2048),
			    "console=ttyS0");
}

static void a_bzimage_brings_its_header(void **state)
{
	static const uint8_t payload[64] = "BZh9";
	struct fixture *f = *state;
	struct boot_params b;

	load(f, f->bz, bzimage(f->bz, 4, payload, sizeof(payload)), NULL);
	assert_ok(f, boot(f, ""));
	b = zero_page(f);
	assert_int_equal(b.hdr.version, 0x020f);
	assert_int_equal(b.hdr.root_flags, 1);
	assert_int_equal(b.hdr.type_of_loader, 0xff);
	assert_int_equal(b.hdr.loadflags & (LOADED_HIGH | CAN_USE_HEAP), LOADED_HIGH);
	assert_int_equal(b.hdr.code32_start, 16 << 20);
	assert_int_equal(b.hdr.ramdisk_image, 0);
	assert_int_equal(f->regs.rip, (16 << 20) + 0x200);
}

static void the_memory_map_is_ascending_and_leaves_tables_and_hole_out(void **state)
{
	struct fixture *f = *state;
	struct boot_params b;
	uint64_t ram = 0, end = 0;

	f->g.desc.ecam = true;
	load(f, f->elf, ELF_SIZE, NULL);
	assert_ok(f, boot(f, ""));
	b = zero_page(f);
	for (int i = 0; i < b.e820_entries; i++) {
		uint64_t at = b.e820_table[i].addr, size = b.e820_table[i].size;

		assert_true(at >= end);
		end = at + size;
		if (b.e820_table[i].type != 1)
			continue;
		ram += size;
		assert_non_null(mem_ptr(&f->g.mem, at, size));
		assert_false(range_overlaps(at, size, LAYOUT_MPTABLE,
					    LAYOUT_KERNEL_MIN - LAYOUT_MPTABLE));
		assert_false(range_overlaps(at, size, PCI_ECAM_BASE, PCI_ECAM_SIZE));
	}
	assert_int_equal(ram, GIB(5) - (LAYOUT_KERNEL_MIN - LAYOUT_BASE_RAM_END));
}

/* The content of the setup_data node of @type, and its length; NULL when there is none. */
static const uint8_t *setup_data(const struct fixture *f, uint32_t type, uint32_t *ret_len)
{
	struct boot_params b = zero_page(f);

	for (uint64_t at = b.hdr.setup_data; at; at = boot_guest_le(&f->g, at, 8)) {
		*ret_len = (uint32_t)boot_guest_le(&f->g, at + 12, 4);
		assert_true(at >= LAYOUT_SETUP_DATA && at + 16 + *ret_len <= LAYOUT_SETUP_DATA_END);
		if (boot_guest_le(&f->g, at + 8, 4) == type)
			return boot_guest_at(&f->g, at + 16, *ret_len);
	}
	return NULL;
}

static void every_boot_gets_a_seed_of_its_own(void **state)
{
	struct fixture *f = *state;
	uint8_t first[32], zero[32] = { 0 };
	const uint8_t *seed;
	uint32_t len = 0;

	load(f, f->elf, ELF_SIZE, NULL);
	assert_ok(f, boot(f, ""));
	seed = setup_data(f, SETUP_RNG_SEED, &len);
	assert_non_null(seed);
	assert_int_equal(len, sizeof(first));
	memcpy(first, seed, sizeof(first));
	assert_memory_not_equal(first, zero, sizeof(zero));
	assert_ok(f, boot(f, ""));
	assert_memory_not_equal(setup_data(f, SETUP_RNG_SEED, &len), first, sizeof(first));
}

static void a_device_tree_comes_beside_the_seed(void **state)
{
	struct fixture *f = *state;
	uint32_t len = 0;

	f->g.desc.fdt = true;
	load(f, f->elf, ELF_SIZE, NULL);
#if HAVE_FDT
	const uint8_t *dtb;

	assert_ok(f, boot(f, ""));
	dtb = setup_data(f, SETUP_DTB, &len);
	assert_non_null(dtb);
	assert_memory_equal(dtb, "\xd0\x0d\xfe\xed", 4);
	assert_non_null(setup_data(f, SETUP_RNG_SEED, &len));
	f->g.desc.fdt = false;
	assert_ok(f, boot(f, ""));
	assert_null(setup_data(f, SETUP_DTB, &len));
#else
	(void)len;
	assert_int_equal(boot(f, ""), -ENOTSUP);
#endif
}

static void acpi_is_pointed_at_when_it_is_there(void **state)
{
	struct fixture *f = *state;

	load(f, f->elf, ELF_SIZE, NULL);
	assert_ok(f, boot(f, ""));
	assert_int_equal(zero_page(f).acpi_rsdp_addr, 0);
	f->g.desc.acpi = true;
	assert_ok(f, boot(f, ""));
	assert_memory_equal(boot_guest_at(&f->g, zero_page(f).acpi_rsdp_addr, 8), "RSD PTR ", 8);
}

static void nothing_of_the_last_boot_stays_in_the_zero_page(void **state)
{
	struct fixture *f = *state;
	struct boot_params b;

	load(f, f->elf, ELF_SIZE, NULL);
	memset(mem_ptr(&f->g.mem, LAYOUT_ZERO_PAGE, 4096), 0xff, 4096);
	assert_ok(f, boot(f, ""));
	b = zero_page(f);
	assert_int_equal(b.efi_info.efi_loader_signature, 0);
	assert_int_equal(b.hdr.ramdisk_size, 0);
	assert_int_equal(b.eddbuf_entries, 0);
}

/* The command line */

static void a_command_line_of_the_longest_length_fits_and_one_more_does_not(void **state)
{
	struct fixture *f = *state;
	char line[LOADER_CMDLINE_MAX + 2];
	const char *seen;

	load(f, f->elf, ELF_SIZE, NULL);
	memset(mem_ptr(&f->g.mem, LAYOUT_CMDLINE, 4096), 'z', 4096);
	memset(line, 'a', sizeof(line));
	line[LOADER_CMDLINE_MAX] = '\0';
	assert_ok(f, boot(f, line));
	seen = (const char *)boot_guest_at(&f->g, LAYOUT_CMDLINE, LOADER_CMDLINE_MAX + 1);
	assert_int_equal(strnlen(seen, LOADER_CMDLINE_MAX + 1), LOADER_CMDLINE_MAX);

	line[LOADER_CMDLINE_MAX] = 'a';
	line[LOADER_CMDLINE_MAX + 1] = '\0';
	assert_int_equal(boot(f, line), -E2BIG);
	assert_non_null(strstr(f->g.err.msg, "2048"));
	assert_non_null(strstr(f->g.err.msg, "2047"));
	assert_null(strstr(f->g.err.msg, "MMIO"));
	/* Not all of it is the user's. */
	f->g.desc.mmio_devices = 1;
	assert_int_equal(boot(f, line), -E2BIG);
	assert_non_null(strstr(f->g.err.msg, "2048 bytes with what announces the devices by MMIO"));
}

static void a_bzimage_says_how_long_its_command_line_may_be(void **state)
{
	static const uint8_t payload[64] = "BZh9";
	struct fixture *f = *state;
	size_t len = bzimage(f->bz, 4, payload, sizeof(payload));

	((struct setup_header *)(f->bz + 0x1f1))->cmdline_size = 3;
	load(f, f->bz, len, NULL);
	assert_ok(f, boot(f, "abc"));
	assert_int_equal(boot(f, "abcd"), -E2BIG);
}

/* PVH */

static void pvh_is_entered_in_flat_32_bit_mode_with_start_info(void **state)
{
	struct fixture *f = *state;
	uint64_t info, module, map, cmdline;

	f->g.desc.acpi = true;
	elf_add_note(f->elf, 4, 4, ELF_GPA);
	load(f, f->elf, ELF_SIZE, "initrd");
	assert_ok(f, boot(f, "hello"));
	assert_int_equal(f->regs.rip, ELF_GPA);
	assert_int_equal(f->regs.cr0, 0x11);
	assert_int_equal(f->regs.cr4, 0);
	assert_int_equal(f->regs.efer, 0);
	assert_true(f->regs.code.db && !f->regs.code.l);

	info = f->regs.rbx;
	assert_int_equal(boot_guest_le(&f->g, info, 4), 0x336ec578);
	assert_int_equal(boot_guest_le(&f->g, info + 4, 4), 1);
	assert_int_equal(boot_guest_le(&f->g, info + 12, 4), 1);
	module = boot_guest_le(&f->g, info + 16, 8);
	assert_int_equal(boot_guest_le(&f->g, module, 8), f->l.initrd_gpa);
	assert_int_equal(boot_guest_le(&f->g, module + 8, 8), 6);
	cmdline = boot_guest_le(&f->g, info + 24, 8);
	assert_string_equal((const char *)boot_guest_at(&f->g, cmdline, 6), "hello");
	assert_int_equal(boot_guest_le(&f->g, info + 32, 8), LAYOUT_ACPI);
	map = boot_guest_le(&f->g, info + 40, 8);
	assert_int_equal(boot_guest_le(&f->g, info + 48, 4), 4);
	assert_int_equal(boot_guest_le(&f->g, map + 8, 8), LAYOUT_BASE_RAM_END);
	assert_int_equal(boot_guest_le(&f->g, map + 16, 4), 1);
}

static void pvh_without_initrd_has_no_module(void **state)
{
	struct fixture *f = *state;

	elf_add_note(f->elf, 4, 4, ELF_GPA);
	load(f, f->elf, ELF_SIZE, NULL);
	assert_ok(f, boot(f, ""));
	assert_int_equal(boot_guest_le(&f->g, f->regs.rbx + 12, 4), 0);
	assert_int_equal(boot_guest_le(&f->g, f->regs.rbx + 16, 8), 0);
	assert_int_equal(boot_guest_le(&f->g, f->regs.rbx + 32, 8), 0);
}

static void pvh_cannot_carry_a_device_tree_and_says_so(void **state)
{
	struct fixture *f = *state;

	f->g.desc.fdt = true;
	elf_add_note(f->elf, 4, 4, ELF_GPA);
	load(f, f->elf, ELF_SIZE, NULL);
	assert_int_equal(boot(f, ""), -ENOTSUP);
	assert_non_null(strstr(f->g.err.msg, "PVH"));
}

/* Machines that cannot be described */

static void too_many_cpus_are_refused(void **state)
{
	struct fixture *f = *state;

	load(f, f->elf, ELF_SIZE, NULL);
	f->g.desc.cpus = DESC_CPUS_MAX;
	assert_ok(f, boot(f, ""));
	f->g.desc.cpus = DESC_CPUS_MAX + 1;
	assert_int_equal(boot(f, ""), -EINVAL);
	f->g.desc.cpus = 0;
	assert_int_equal(boot(f, ""), -EINVAL);
}

static void ram_that_reaches_the_64_bit_pci_window_is_refused(void **state)
{
	struct fixture *f = *state;
	uint64_t size = f->g.mem.regions[1].size;

	load(f, f->elf, ELF_SIZE, NULL);
	f->g.mem.regions[1].size = PCI_MMIO64_BASE - GIB(4);
	assert_ok(f, boot(f, ""));
	f->g.mem.regions[1].size++;
	assert_int_equal(boot(f, ""), -EINVAL);
	f->g.mem.regions[1].size = size;
}

static void ram_truncated_by_a_daemon_is_an_error_and_no_signal(void **state)
{
	struct fixture *f = *state;

	load(f, f->elf, ELF_SIZE, NULL);
	assert_ok(f, boot(f, ""));
	assert_int_equal(ftruncate(f->g.mem.regions[0].fd, 0), 0);
	assert_int_equal(boot(f, ""), -EFAULT);
	assert_non_null(strstr(f->g.err.msg, "truncated"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(linux_is_entered_in_long_mode),
		T(the_first_four_gib_are_mapped_one_to_one),
		T(the_gdt_says_what_the_registers_say),
		T(an_elf_gets_a_header_of_its_own),
		T(a_bzimage_brings_its_header),
		T(the_memory_map_is_ascending_and_leaves_tables_and_hole_out),
		T(every_boot_gets_a_seed_of_its_own),
		T(a_device_tree_comes_beside_the_seed),
		T(acpi_is_pointed_at_when_it_is_there),
		T(nothing_of_the_last_boot_stays_in_the_zero_page),
		T(a_command_line_of_the_longest_length_fits_and_one_more_does_not),
		T(a_bzimage_says_how_long_its_command_line_may_be),
		T(pvh_is_entered_in_flat_32_bit_mode_with_start_info),
		T(pvh_without_initrd_has_no_module),
		T(pvh_cannot_carry_a_device_tree_and_says_so),
		T(too_many_cpus_are_refused),
		T(ram_that_reaches_the_64_bit_pci_window_is_refused),
		T(ram_truncated_by_a_daemon_is_an_error_and_no_signal),
#undef T
	};

	log_setup("test_boot_linux", LOG_ERROR);
	return cmocka_run_group_tests_name("boot_linux", tests, NULL, NULL);
}
