/* SPDX-License-Identifier: Apache-2.0 */
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "tests/unit/boot_guest.h"
#include "tests/unit/process.h"
#include "vmm/loader.h"

struct fixture {
	struct boot_guest g;
	struct loader l;
	struct image kernel;
	_Alignas(8) uint8_t elf[ELF_SIZE];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	boot_guest_init(&f->g, MIB(64), 1, true);
	elf_image(f->elf);
	f->l = (struct loader){ .kernel.fd = -1, .staging.fd = -1 };
	f->kernel.fd = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loader_fini(&f->l);
	image_fini(&f->kernel);
	boot_guest_fini(&f->g);
	free(f);
	return 0;
}

static int open_bytes(struct fixture *f, const void *data, size_t len)
{
	loader_fini(&f->l);
	image_fini(&f->kernel);
	image_init(&f->kernel, data, len);
	return loader_open(&f->l, f->kernel.path, NULL, 0, &f->g.err);
}

static int open_elf(struct fixture *f)
{
	return open_bytes(f, f->elf, ELF_SIZE);
}

static void assert_said(const struct fixture *f, const char *part)
{
	if (!strstr(f->g.err.msg, part))
		fail_msg("\"%s\" does not say \"%s\"", f->g.err.msg, part);
}

static void assert_opens(struct fixture *f, int r)
{
	if (r < 0)
		fail_msg("%s", f->g.err.msg);
}

static void assert_filled(const uint8_t *p, uint8_t value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], value);
}

static Elf64_Phdr *phdr(struct fixture *f)
{
	return (Elf64_Phdr *)(f->elf + sizeof(Elf64_Ehdr));
}

static Elf64_Ehdr *ehdr(struct fixture *f)
{
	return (Elf64_Ehdr *)f->elf;
}

/* What loads */

static void elf_goes_to_its_physical_address(void **state)
{
	struct fixture *f = *state;

	assert_opens(f, open_elf(f));
	assert_opens(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));

	assert_int_equal(f->l.protocol, LOADER_LINUX64);
	assert_int_equal(f->l.entry, ELF_GPA);
	assert_int_equal(f->l.end, ELF_GPA + ELF_MEMSZ);
	assert_memory_equal(boot_guest_at(&f->g, ELF_GPA, ELF_FILESZ), f->elf + ELF_OFFSET,
			    ELF_FILESZ);
}

static void a_reset_restores_the_segment_and_clears_what_must_be_zero(void **state)
{
	struct fixture *f = *state;
	uint8_t *ram = mem_ptr(&f->g.mem, ELF_GPA, ELF_MEMSZ + 1);

	assert_opens(f, open_elf(f));
	assert_opens(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));
	memset(ram, 0xaa, ELF_MEMSZ + 1);
	assert_opens(f, loader_load(&f->l, &f->g.mem, true, &f->g.err));

	assert_memory_equal(ram, f->elf + ELF_OFFSET, ELF_FILESZ);
	assert_filled(ram + ELF_FILESZ, 0, ELF_MEMSZ - ELF_FILESZ);
	assert_int_equal(ram[ELF_MEMSZ], 0xaa);
}

static void ram_from_a_file_is_cleared_at_the_first_boot_too(void **state)
{
	struct fixture *f = *state;
	uint8_t *ram = mem_ptr(&f->g.mem, ELF_GPA, ELF_MEMSZ);

	memset(ram, 0xaa, ELF_MEMSZ);
	f->g.mem.backing.kind = "file";
	assert_opens(f, open_elf(f));
	assert_opens(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));

	assert_filled(ram + ELF_FILESZ, 0, ELF_MEMSZ - ELF_FILESZ);
}

static void large_pages_are_filled_through_the_mapping(void **state)
{
	struct fixture *f = *state;

	f->g.mem.backing.page_size = MIB(2);
	assert_opens(f, open_elf(f));
	assert_opens(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));

	assert_memory_equal(boot_guest_at(&f->g, ELF_GPA, ELF_FILESZ), f->elf + ELF_OFFSET,
			    ELF_FILESZ);
}

static void elf64_with_a_pvh_note_is_entered_at_its_64_bit_entry(void **state)
{
	struct fixture *f = *state;

	elf_add_note(f->elf, 4, 8, ELF_GPA + 16);
	assert_opens(f, open_elf(f));

	assert_int_equal(f->l.protocol, LOADER_LINUX64);
	assert_int_equal(f->l.entry, ELF_GPA);
}

static void elf64_whose_entry_is_the_pvh_entry_is_32_bit_code(void **state)
{
	struct fixture *f = *state;

	elf_add_note(f->elf, 4, 4, ELF_GPA);
	assert_opens(f, open_elf(f));

	assert_int_equal(f->l.protocol, LOADER_PVH);
}

static void elf64_with_a_virtual_entry_is_entered_by_pvh(void **state)
{
	struct fixture *f = *state;

	elf_add_note(f->elf, 4, 8, ELF_GPA + 32);
	ehdr(f)->e_entry = 0xffffffff80000000;
	assert_opens(f, open_elf(f));

	assert_int_equal(f->l.protocol, LOADER_PVH);
	assert_int_equal(f->l.entry, ELF_GPA + 32);
}

static void make_elf32(uint8_t elf[ELF_SIZE], uint32_t pvh_entry)
{
	Elf32_Ehdr h = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB, 1 },
		.e_type = ET_EXEC, .e_machine = EM_386, .e_entry = ELF_GPA, .e_phoff = sizeof(h),
		.e_phentsize = sizeof(Elf32_Phdr), .e_phnum = pvh_entry ? 2 : 1,
	};
	Elf32_Phdr p[] = {
		{ .p_type = PT_LOAD, .p_offset = ELF_OFFSET, .p_paddr = ELF_GPA,
		  .p_filesz = ELF_FILESZ, .p_memsz = ELF_MEMSZ },
		{ .p_type = PT_NOTE, .p_offset = ELF_NOTE_OFFSET, .p_filesz = 20, .p_memsz = 20 },
	};
	uint32_t note[] = { 4, 4, 18, 0x006e6558, pvh_entry };

	memcpy(elf, &h, sizeof(h));
	memcpy(elf + sizeof(h), p, sizeof(p));
	memcpy(elf + ELF_NOTE_OFFSET, note, sizeof(note));
}

static void elf32_with_a_pvh_note_is_entered_by_pvh(void **state)
{
	struct fixture *f = *state;

	make_elf32(f->elf, ELF_GPA + 8);
	assert_opens(f, open_elf(f));
	assert_opens(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));

	assert_int_equal(f->l.protocol, LOADER_PVH);
	assert_int_equal(f->l.entry, ELF_GPA + 8);
	assert_memory_equal(boot_guest_at(&f->g, ELF_GPA, ELF_FILESZ), f->elf + ELF_OFFSET,
			    ELF_FILESZ);
}

static void elf32_without_a_pvh_note_is_refused(void **state)
{
	struct fixture *f = *state;

	make_elf32(f->elf, 0);
	assert_int_equal(open_elf(f), -ENOEXEC);
	assert_said(f, "CONFIG_PVH");
}

static void a_pvh_note_behind_another_in_a_segment_of_8_byte_alignment_is_found(void **state)
{
	struct fixture *f = *state;
	uint64_t entry = ELF_GPA + 64;
	/* The first ends at 20, so the second begins at 24. */
	uint32_t notes[] = { 4, 4, 5, 0x00554e47, 0, 0, 4, 8, 18, 0x006e6558, 0, 0 };

	elf_add_note(f->elf, 4, 8, 0);
	phdr(f)[1].p_align = 8;
	phdr(f)[1].p_filesz = sizeof(notes);
	memcpy(&notes[10], &entry, sizeof(entry));
	memcpy(f->elf + ELF_NOTE_OFFSET, notes, sizeof(notes));
	ehdr(f)->e_entry = 0;
	assert_opens(f, open_elf(f));
	assert_int_equal(f->l.entry, entry);
}

/* What does not */

static void bad_offset(struct fixture *f) { phdr(f)->p_offset = ELF_SIZE + 1; }
static void bad_offset_wraps(struct fixture *f) { phdr(f)->p_offset = UINT64_MAX - 1; }
static void bad_filesz(struct fixture *f) { phdr(f)->p_memsz = ELF_FILESZ - 1; }
static void bad_filesz_eof(struct fixture *f) { phdr(f)->p_filesz = ELF_FILESZ + 1; }
static void bad_gap(struct fixture *f) { phdr(f)->p_paddr = GIB(3); }
static void bad_gap_tail(struct fixture *f) { phdr(f)->p_paddr = GIB(3) - 0x1000; }
static void bad_low(struct fixture *f) { phdr(f)->p_paddr = MIB(1) - 1; }
static void bad_zero(struct fixture *f) { phdr(f)->p_paddr = 0; }
static void bad_wrap(struct fixture *f) { phdr(f)->p_paddr = UINT64_MAX - 0x1000; }
static void bad_memsz_wrap(struct fixture *f) { phdr(f)->p_memsz = UINT64_MAX; }
static void bad_phnum(struct fixture *f) { ehdr(f)->e_phnum = 0xffff; }
static void bad_no_phdr(struct fixture *f) { ehdr(f)->e_phnum = 0; }
static void bad_phoff(struct fixture *f) { ehdr(f)->e_phoff = UINT64_MAX - 8; }
static void bad_phentsize(struct fixture *f) { ehdr(f)->e_phentsize = 1; }
static void bad_nothing(struct fixture *f) { phdr(f)->p_type = PT_NULL; }
static void bad_machine(struct fixture *f) { ehdr(f)->e_machine = EM_AARCH64; }
static void bad_endian(struct fixture *f) { ehdr(f)->e_ident[EI_DATA] = ELFDATA2MSB; }
static void bad_type(struct fixture *f) { ehdr(f)->e_type = ET_REL; }
static void bad_entry(struct fixture *f) { ehdr(f)->e_entry = ELF_GPA + ELF_FILESZ; }
static void bad_note_name(struct fixture *f) { elf_add_note(f->elf, UINT32_MAX, 8, ELF_GPA); }
static void bad_note_desc(struct fixture *f) { elf_add_note(f->elf, 4, UINT32_MAX, ELF_GPA); }
static void bad_note_desc_2(struct fixture *f) { elf_add_note(f->elf, 4, 2, ELF_GPA); }
static void bad_note_entry(struct fixture *f)
{
	elf_add_note(f->elf, 4, 8, UINT64_MAX);
	ehdr(f)->e_entry = 0;
}
static void bad_note_long(struct fixture *f)
{
	elf_add_note(f->elf, 4, 8, ELF_GPA);
	phdr(f)[1].p_filesz = UINT64_MAX;
}
static void bad_overlap(struct fixture *f)
{
	ehdr(f)->e_phnum = 2;
	phdr(f)[1] = phdr(f)[0];
	phdr(f)[1].p_paddr += ELF_MEMSZ - 1;
}

static void every_malformed_elf_gets_its_sentence(void **state)
{
	static const struct { void (*spoil)(struct fixture *f); const char *said; } cases[] = {
		{ bad_offset, "cut off" }, { bad_offset_wraps, "cut off" },
		{ bad_filesz, "more bytes in the file" }, { bad_filesz_eof, "cut off" },
		{ bad_gap, "PCI hole" }, { bad_gap_tail, "PCI hole" },
		{ bad_low, "below 1 MiB" }, { bad_zero, "below 1 MiB" },
		{ bad_wrap, "wraps" }, { bad_memsz_wrap, "wraps" },
		{ bad_phnum, "65535 program headers" }, { bad_no_phdr, "no program headers" },
		{ bad_phoff, "cut off" }, { bad_phentsize, "1 bytes each" },
		{ bad_nothing, "nothing to load" }, { bad_machine, "another processor" },
		{ bad_endian, "big-endian" }, { bad_type, "not linked" },
		{ bad_entry, "not in any segment" }, { bad_note_name, "more than there are" },
		{ bad_note_desc, "more than there are" }, { bad_note_desc_2, "2 bytes instead" },
		{ bad_note_entry, "PVH note names an entry" }, { bad_note_long, "note segment" },
		{ bad_overlap, "overlap" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		elf_image(f->elf);
		cases[i].spoil(f);
		if (open_elf(f) != -ENOEXEC)
			fail_msg("the one that should say \"%s\" was accepted", cases[i].said);
		assert_said(f, cases[i].said);
		assert_said(f, f->kernel.path);
	}
}

static void every_cut_of_an_elf_is_refused(void **state)
{
	struct fixture *f = *state;

	for (size_t len = 1; len < ELF_SIZE; len += len < 0x200 ? 1 : 509)
		assert_int_equal(open_bytes(f, f->elf, len), -ENOEXEC);
}

static void what_is_no_kernel_is_refused_with_advice(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(open_bytes(f, "#!/bin/sh\n", 10), -ENOEXEC);
	assert_said(f, "neither an ELF file nor a bzImage");
	assert_int_equal(open_bytes(f, "", 0), -ENODATA);
	assert_said(f, "empty");
	assert_int_equal(loader_open(&f->l, "/dev/null", NULL, 0, &f->g.err), -EINVAL);
	assert_said(f, "not a regular file");
	assert_int_equal(loader_open(&f->l, "/", NULL, 0, &f->g.err), -EINVAL);
	assert_int_equal(loader_open(&f->l, "/nonexistent/vmlinux", NULL, 0, &f->g.err), -ENOENT);
	assert_said(f, "/nonexistent/vmlinux");
}

static void a_kernel_beyond_ram_is_refused(void **state)
{
	struct fixture *f = *state;

	phdr(f)->p_paddr = ehdr(f)->e_entry = MIB(64) - 0x1000;
	assert_opens(f, open_elf(f));
	assert_int_equal(loader_load(&f->l, &f->g.mem, false, &f->g.err), -ENOSPC);
	assert_said(f, "--memory");
}

static void a_shrunken_kernel_file_is_an_error_at_reset(void **state)
{
	struct fixture *f = *state;

	assert_opens(f, open_elf(f));
	assert_opens(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));
	assert_int_equal(ftruncate(f->kernel.fd, ELF_OFFSET + 8), 0);
	assert_int_equal(loader_load(&f->l, &f->g.mem, true, &f->g.err), -ENODATA);
	assert_said(f, "became shorter");
}

static void ram_truncated_by_a_daemon_is_an_error_and_no_signal(void **state)
{
	struct fixture *f = *state;

	assert_opens(f, open_elf(f));
	assert_opens(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));
	assert_int_equal(ftruncate(f->g.mem.regions[0].fd, 0), 0);
	assert_int_equal(loader_load(&f->l, &f->g.mem, true, &f->g.err), -EFAULT);
	assert_said(f, "truncated");
}

/* A generator with a fixed seed: a failure repeats. */
static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void a_damaged_header_loads_within_ram_or_gets_a_sentence(void **state)
{
	struct fixture *f = *state;
	uint32_t seed = 16;

	elf_add_note(f->elf, 4, 8, ELF_GPA + 16);
	for (int i = 0; i < 3000; i++) {
		uint8_t copy[ELF_SIZE];

		memcpy(copy, f->elf, sizeof(copy));
		for (int n = 0; n < 3; n++)
			copy[16 + next_random(&seed) % 0x210] = (uint8_t)next_random(&seed);
		f->g.err.msg[0] = '\0';
		if (open_bytes(f, copy, sizeof(copy)) < 0 ||
		    loader_load(&f->l, &f->g.mem, true, &f->g.err) < 0)
			assert_true(f->g.err.msg[0] != '\0');
		else
			assert_non_null(mem_ptr(&f->g.mem, f->l.entry, 1));
	}
}

/* initrd */

static int open_with_initrds(struct fixture *f, struct image *images, unsigned n)
{
	const char *paths[LOADER_INITRDS_MAX + 1];

	for (unsigned i = 0; i < n; i++)
		paths[i] = images[i].path;
	loader_fini(&f->l);
	image_fini(&f->kernel);
	image_init(&f->kernel, f->elf, ELF_SIZE);
	return loader_open(&f->l, f->kernel.path, paths, n, &f->g.err);
}

static void initrds_follow_each_other_at_multiples_of_four(void **state)
{
	struct fixture *f = *state;
	struct image images[3];
	uint8_t *ram;

	image_init(&images[0], "abcde", 5);
	image_init(&images[1], "fgh", 3);
	image_init(&images[2], "ij", 2);
	assert_opens(f, open_with_initrds(f, images, 3));
	memset(mem_ptr(&f->g.mem, MIB(63), MIB(1)), 0xaa, MIB(1));
	assert_opens(f, loader_load(&f->l, &f->g.mem, true, &f->g.err));

	assert_int_equal(f->l.initrd_size, 14);
	assert_int_equal(f->l.initrd_gpa % 4096, 0);
	ram = mem_ptr(&f->g.mem, f->l.initrd_gpa, 14);
	assert_non_null(ram);
	assert_memory_equal(ram, "abcde\0\0\0fgh\0ij", 14);
	for (int i = 0; i < 3; i++)
		image_fini(&images[i]);
}

static void an_initrd_larger_than_ram_is_refused(void **state)
{
	struct fixture *f = *state;
	struct image i;

	image_init(&i, "x", 1);
	assert_int_equal(ftruncate(i.fd, (off_t)MIB(64)), 0);
	assert_opens(f, open_with_initrds(f, &i, 1));
	assert_int_equal(loader_load(&f->l, &f->g.mem, false, &f->g.err), -ENOSPC);
	assert_said(f, "--memory");
	assert_said(f, i.path);

	/* It fits RAM but not beside the kernel. */
	assert_int_equal(ftruncate(i.fd, (off_t)MIB(62)), 0);
	assert_opens(f, open_with_initrds(f, &i, 1));
	assert_int_equal(loader_load(&f->l, &f->g.mem, false, &f->g.err), -ENOSPC);

	assert_int_equal(ftruncate(i.fd, (off_t)MIB(61)), 0);
	assert_opens(f, open_with_initrds(f, &i, 1));
	assert_opens(f, loader_load(&f->l, &f->g.mem, false, &f->g.err));
	assert_true(f->l.initrd_gpa >= f->l.end);

	assert_int_equal(ftruncate(i.fd, (off_t)GIB(5)), 0);
	assert_int_equal(open_with_initrds(f, &i, 1), -EFBIG);
	image_fini(&i);
}

static void an_initrd_that_cannot_be_read_is_named(void **state)
{
	struct fixture *f = *state;
	const char *paths[] = { "/nonexistent/initrd" };

	image_init(&f->kernel, f->elf, ELF_SIZE);
	assert_int_equal(loader_open(&f->l, f->kernel.path, paths, 1, &f->g.err), -ENOENT);
	assert_said(f, "/nonexistent/initrd");
}

static void too_many_initrds_are_refused(void **state)
{
	struct fixture *f = *state;
	struct image images[LOADER_INITRDS_MAX + 1];

	image_init(&images[0], "x", 1);
	for (unsigned i = 1; i <= LOADER_INITRDS_MAX; i++)
		images[i] = images[0];
	assert_int_equal(open_with_initrds(f, images, LOADER_INITRDS_MAX + 1), -E2BIG);
	assert_opens(f, open_with_initrds(f, images, LOADER_INITRDS_MAX));
	image_fini(&images[0]);
}

static void no_fd_is_left_whether_it_opens_or_not(void **state)
{
	struct fixture *f = *state;
	struct image i;
	unsigned before;

	image_init(&i, "x", 1);
	image_init(&f->kernel, f->elf, ELF_SIZE);
	before = process_fds();
	assert_opens(f, open_with_initrds(f, &i, 1));
	assert_true(process_fds() > before);
	loader_fini(&f->l);
	loader_fini(&f->l);
	assert_int_equal(process_fds(), before);
	assert_int_equal(ftruncate(i.fd, (off_t)GIB(5)), 0);
	assert_true(open_with_initrds(f, &i, 1) < 0);
	loader_fini(&f->l);
	assert_int_equal(process_fds(), before);
	image_fini(&i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(elf_goes_to_its_physical_address),
		T(a_reset_restores_the_segment_and_clears_what_must_be_zero),
		T(ram_from_a_file_is_cleared_at_the_first_boot_too),
		T(large_pages_are_filled_through_the_mapping),
		T(elf64_with_a_pvh_note_is_entered_at_its_64_bit_entry),
		T(elf64_whose_entry_is_the_pvh_entry_is_32_bit_code),
		T(elf64_with_a_virtual_entry_is_entered_by_pvh),
		T(elf32_with_a_pvh_note_is_entered_by_pvh),
		T(elf32_without_a_pvh_note_is_refused),
		T(a_pvh_note_behind_another_in_a_segment_of_8_byte_alignment_is_found),
		T(every_malformed_elf_gets_its_sentence),
		T(every_cut_of_an_elf_is_refused),
		T(what_is_no_kernel_is_refused_with_advice),
		T(a_kernel_beyond_ram_is_refused),
		T(a_shrunken_kernel_file_is_an_error_at_reset),
		T(ram_truncated_by_a_daemon_is_an_error_and_no_signal),
		T(a_damaged_header_loads_within_ram_or_gets_a_sentence),
		T(initrds_follow_each_other_at_multiples_of_four),
		T(an_initrd_larger_than_ram_is_refused),
		T(an_initrd_that_cannot_be_read_is_named),
		T(too_many_initrds_are_refused),
		T(no_fd_is_left_whether_it_opens_or_not),
#undef T
	};

	log_setup("test_loader", LOG_ERROR);
	return cmocka_run_group_tests_name("loader", tests, NULL, NULL);
}
