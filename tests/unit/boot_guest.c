/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/boot_guest.h"

#include <asm/bootparam.h>
#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"

void boot_guest_init(struct boot_guest *g, uint64_t size, unsigned cpus, bool unsealed)
{
	struct mem_options o = MEM_OPTIONS_DEFAULT;

	memset(g, 0, sizeof(*g));
	if (mem_options_parse(&o, unsealed ? "memfd,seal=off" : "memfd", &g->err) < 0 ||
	    guest_mem_init(&g->mem, &o, -1, size, &g->err) < 0 ||
	    place_staging_init(&g->staging, &g->err) < 0)
		fail_msg("%s", g->err.msg);
	mem_options_fini(&o);
	g->place = (struct place){ .mem = &g->mem, .staging = &g->staging };
	desc_init(&g->desc, cpus, 46);
}

void boot_guest_fini(struct boot_guest *g)
{
	place_staging_fini(&g->staging);
	guest_mem_fini(&g->mem);
}

const uint8_t *boot_guest_at(const struct boot_guest *g, uint64_t gpa, uint64_t len)
{
	const uint8_t *p = mem_ptr(&g->mem, gpa, len);

	assert_non_null(p);
	return p;
}

uint64_t boot_guest_le(const struct boot_guest *g, uint64_t gpa, unsigned bytes)
{
	const uint8_t *p = boot_guest_at(g, gpa, bytes);
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

void image_init(struct image *i, const void *data, size_t len)
{
	i->fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(i->fd >= 0);
	assert_int_equal(fd_write_all(i->fd, data, len), 0);
	snprintf(i->path, sizeof(i->path), "/proc/self/fd/%d", i->fd);
}

void image_fini(struct image *i)
{
	fd_close(&i->fd);
}

void elf_image(uint8_t elf[ELF_SIZE])
{
	Elf64_Ehdr h = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, 1 },
		.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
		.e_entry = ELF_GPA, .e_phoff = sizeof(h), .e_ehsize = sizeof(h),
		.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
	};
	Elf64_Phdr p = {
		.p_type = PT_LOAD, .p_offset = ELF_OFFSET, .p_vaddr = 0xffffffff80000000,
		.p_paddr = ELF_GPA, .p_filesz = ELF_FILESZ, .p_memsz = ELF_MEMSZ,
	};

	memset(elf, 0, ELF_SIZE);
	memcpy(elf, &h, sizeof(h));
	memcpy(elf + sizeof(h), &p, sizeof(p));
	for (unsigned i = 0; i < ELF_FILESZ; i++)
		elf[ELF_OFFSET + i] = (uint8_t)(i + 1);
}

void elf_add_note(uint8_t elf[ELF_SIZE], uint32_t namesz, uint32_t descsz, uint64_t entry)
{
	Elf64_Nhdr n = { .n_namesz = namesz, .n_descsz = descsz, .n_type = 18 };
	Elf64_Phdr p = { .p_type = PT_NOTE, .p_offset = ELF_NOTE_OFFSET, .p_align = 4,
			 .p_filesz = sizeof(n) + 4 + 8, .p_memsz = sizeof(n) + 4 + 8 };

	elf[offsetof(Elf64_Ehdr, e_phnum)] = 2;
	memcpy(elf + sizeof(Elf64_Ehdr) + sizeof(p), &p, sizeof(p));
	memcpy(elf + ELF_NOTE_OFFSET, &n, sizeof(n));
	memcpy(elf + ELF_NOTE_OFFSET + sizeof(n), "Xen", 4);
	memcpy(elf + ELF_NOTE_OFFSET + sizeof(n) + 4, &entry, sizeof(entry));
}

size_t bzimage(uint8_t out[BZ_MAX], unsigned sects, const void *payload, size_t len)
{
	size_t code = ((sects ? sects : 4) + 1) * 512, size = code + BZ_PAYLOAD_AT + len;
	struct setup_header h = {
		.setup_sects = (uint8_t)sects, .boot_flag = 0xaa55, .jump = 0xeb | 0x6a << 8,
		.header = 0x53726448, .version = 0x020f, .loadflags = LOADED_HIGH | CAN_USE_HEAP,
		.root_flags = 1, .initrd_addr_max = 0x7fffffff, .kernel_alignment = 0x200000,
		.relocatable_kernel = 1, .xloadflags = XLF_KERNEL_64, .cmdline_size = 2047,
		.payload_offset = BZ_PAYLOAD_AT, .payload_length = (uint32_t)len,
		.pref_address = 16 << 20, .init_size = 1 << 20,
	};

	assert(size <= BZ_MAX);
	memset(out, 0, size);
	memcpy(out + 0x1f1, &h, sizeof(h));
	memset(out + code, 0x90, BZ_PAYLOAD_AT);
	memcpy(out + code + BZ_PAYLOAD_AT, payload, len);
	return size;
}
