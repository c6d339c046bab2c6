/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that is nothing but memory, and kernel images made in the test, for what boots one. */
#ifndef TESTS_BOOT_GUEST_H
#define TESTS_BOOT_GUEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "memory/guest_mem.h"
#include "vmm/desc.h"
#include "vmm/place.h"

struct boot_guest {
	struct guest_mem mem;
	struct place_staging staging;
	struct place place;
	struct machine_desc desc;
	struct err err;
};

/* @size bytes of memfd RAM (@unsealed: a daemon could truncate it) and a machine of @cpus CPUs. */
void boot_guest_init(struct boot_guest *g, uint64_t size, unsigned cpus, bool unsealed);
void boot_guest_fini(struct boot_guest *g);
/* What the guest sees at @gpa; fails the test when it is not RAM. */
const uint8_t *boot_guest_at(const struct boot_guest *g, uint64_t gpa, uint64_t len);
uint64_t boot_guest_le(const struct boot_guest *g, uint64_t gpa, unsigned bytes);

/* A file with a name, without a directory entry. */
struct image {
	int fd;
	char path[32];
};

void image_init(struct image *i, const void *data, size_t len);
void image_fini(struct image *i);

/* A small ELF64: a page at 2 MiB with bytes 1, 2, 3... from its entry on, then one of zeroes. */
enum {
	ELF_GPA = 2 << 20,
	ELF_OFFSET = 0x1000,
	ELF_FILESZ = 0x1000,
	ELF_MEMSZ = 0x2000,
	ELF_NOTE_OFFSET = 0x200,
	ELF_SIZE = 0x2000,
};
void elf_image(uint8_t elf[ELF_SIZE]);
/* Gives it a note segment with one note, whose header fields may lie. */
void elf_add_note(uint8_t elf[ELF_SIZE], uint32_t namesz, uint32_t descsz, uint64_t entry);

/* A bzImage: header, @sects setup sectors, some code, @len bytes of payload. Returns its size. */
enum { BZ_MAX = 256 << 10, BZ_PAYLOAD_AT = 0x400 };
size_t bzimage(uint8_t out[BZ_MAX], unsigned sects, const void *payload, size_t len);

#endif
