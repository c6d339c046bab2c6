/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/loader.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "vmm/layout.h"
#include "vmm/unpack.h"

/* Linux' default (Documentation/arch/x86/boot.rst, initrd_addr_max). */
#define INITRD_LIMIT UINT64_C(0x80000000)
/* Longest note segment that is searched. Linux' is some hundred bytes. */
#define NOTES_MAX KIB(64)

enum { PVH_NOTE_TYPE = 18 };	/* XEN_ELFNOTE_PHYS32_ENTRY */

static int file_open(struct loader_file *f, const char *noun, const char *path, struct err *e)
{
	/* O_NONBLOCK: a FIFO must not keep us waiting; it is refused below. */
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "%s %s cannot be opened", noun, path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s %s is not a regular file", noun, path);
	if (st.st_size == 0)
		return err_set(e, -ENODATA, "%s %s is empty", noun, path);

	*f = (struct loader_file){ .path = path, .fd = fd_take(&fd), .size = (uint64_t)st.st_size };
	return 0;
}

/* ELF */

/* One program header, whichever class. */
struct phdr {
	uint32_t type;
	uint64_t offset, paddr, filesz, memsz, align;
};

/* What of an ELF header matters. */
struct elf {
	bool is_64;
	uint64_t entry, phoff;
	unsigned phnum, phentsize;
	struct phdr phdrs[LOADER_PHDRS_MAX];
	uint64_t pvh_entry;
	bool has_pvh;
};

static int bad(const struct loader *l, struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "kernel PATH: sentence", -ENOEXEC. */
static int bad(const struct loader *l, struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return err_prefix(e, -ENOEXEC, "kernel %s: ", l->kernel.path);
}

static int elf_header(const struct loader *l, struct elf *elf, struct err *e)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf64_Ehdr h64;
		Elf32_Ehdr h32;
	} h = { 0 };
	unsigned type, machine;

	if (fd_pread_all(l->kernel.fd, &h, min_u64(sizeof(h), l->kernel.size), 0) < 0)
		return bad(l, e, "its ELF header cannot be read");
	elf->is_64 = h.ident[EI_CLASS] == ELFCLASS64;
	if (l->kernel.size < (elf->is_64 ? sizeof(h.h64) : sizeof(h.h32)))
		return bad(l, e, "it ends within its ELF header");
	if (h.ident[EI_DATA] != ELFDATA2LSB)
		return bad(l, e, "it is big-endian, and this machine is not");
	if (elf->is_64) {
		type = h.h64.e_type;
		machine = h.h64.e_machine;
		elf->entry = h.h64.e_entry;
		elf->phoff = h.h64.e_phoff;
		elf->phnum = h.h64.e_phnum;
		elf->phentsize = h.h64.e_phentsize;
	} else {
		type = h.h32.e_type;
		machine = h.h32.e_machine;
		elf->entry = h.h32.e_entry;
		elf->phoff = h.h32.e_phoff;
		elf->phnum = h.h32.e_phnum;
		elf->phentsize = h.h32.e_phentsize;
	}
	if (machine != (elf->is_64 ? EM_X86_64 : EM_386))
		return bad(l, e, "it is built for another processor (ELF machine %u): give an x86-64 "
				 "kernel", machine);
	if (type != ET_EXEC && type != ET_DYN)
		return bad(l, e, "it is not linked (ELF type %u): give vmlinux or bzImage", type);
	return 0;
}

static void phdr_read(struct phdr *p, bool is_64, const uint8_t *raw)
{
	Elf64_Phdr h64;
	Elf32_Phdr h32;

	if (is_64) {
		memcpy(&h64, raw, sizeof(h64));
		*p = (struct phdr){ h64.p_type, h64.p_offset, h64.p_paddr, h64.p_filesz,
				    h64.p_memsz, h64.p_align };
		return;
	}
	memcpy(&h32, raw, sizeof(h32));
	*p = (struct phdr){ h32.p_type, h32.p_offset, h32.p_paddr, h32.p_filesz, h32.p_memsz,
			    h32.p_align };
}

static int elf_phdrs(const struct loader *l, struct elf *elf, struct err *e)
{
	uint8_t raw[LOADER_PHDRS_MAX * sizeof(Elf64_Phdr)];
	size_t each = elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

	if (elf->phnum == 0)
		return bad(l, e, "it has no program headers, so nothing to load: give vmlinux or bzImage");
	if (elf->phnum > LOADER_PHDRS_MAX)
		return bad(l, e, "it has %u program headers, a kernel has at most %d", elf->phnum,
			   LOADER_PHDRS_MAX);
	if (elf->phentsize != each)
		return bad(l, e, "its program headers are %u bytes each instead of %zu",
			   elf->phentsize, each);
	if (!range_ok(elf->phoff, elf->phnum * each, l->kernel.size))
		return bad(l, e, "its program headers lie behind the end of the file: it is cut off");
	if (fd_pread_all(l->kernel.fd, raw, elf->phnum * each, (off_t)elf->phoff) < 0)
		return bad(l, e, "its program headers cannot be read");
	for (unsigned i = 0; i < elf->phnum; i++)
		phdr_read(&elf->phdrs[i], elf->is_64, raw + i * each);
	return 0;
}

static int elf_segment(struct loader *l, const struct phdr *p, struct err *e)
{
	const struct loader_segment *s = l->segments;

	if (!range_ok(p->offset, p->filesz, l->kernel.size))
		return bad(l, e, "a segment's file range 0x%" PRIx64 "+0x%" PRIx64 " lies behind the "
				 "end of the file: it is cut off", p->offset, p->filesz);
	if (p->filesz > p->memsz)
		return bad(l, e, "a segment has more bytes in the file (0x%" PRIx64 ") than in memory "
				 "(0x%" PRIx64 ")", p->filesz, p->memsz);
	if (p->memsz > UINT64_MAX - p->paddr)
		return bad(l, e, "a segment at 0x%" PRIx64 " of 0x%" PRIx64 " bytes wraps around the "
				 "end of memory", p->paddr, p->memsz);
	if (p->paddr < LAYOUT_KERNEL_MIN)
		return bad(l, e, "a segment loads at 0x%" PRIx64 ": below 1 MiB lie the tables of the "
				 "machine; link the kernel higher", p->paddr);
	if (range_overlaps(p->paddr, p->memsz, MEM_LOW_END, MEM_HIGH_START - MEM_LOW_END))
		return bad(l, e, "a segment at 0x%" PRIx64 " of 0x%" PRIx64 " bytes loads into the PCI "
				 "hole between 3 and 4 GiB, where no RAM is",
			   p->paddr, p->memsz);
	for (; s < l->segments + l->n_segments; s++)
		if (range_overlaps(p->paddr, p->memsz, s->gpa, s->memsz))
			return bad(l, e, "the segments at 0x%" PRIx64 " and 0x%" PRIx64 " overlap",
				   s->gpa, p->paddr);
	if (l->n_segments == LOADER_SEGMENTS_MAX)
		return bad(l, e, "it has more than %d segments to load", LOADER_SEGMENTS_MAX);

	l->segments[l->n_segments++] = (struct loader_segment){
		.gpa = p->paddr, .offset = p->offset, .filesz = p->filesz, .memsz = p->memsz,
	};
	l->start = min_u64(l->start, p->paddr);
	if (p->paddr + p->memsz > l->end)
		l->end = p->paddr + p->memsz;
	return 0;
}

/* Searches one note segment for the PVH entry. Notes are Elf64_Nhdr in both classes. */
static int elf_notes(const struct loader *l, struct elf *elf, const struct phdr *p, struct err *e)
{
	uint64_t align = p->align == 8 ? 8 : 4, size = p->filesz;
	uint8_t notes[NOTES_MAX];

	if (size > sizeof(notes) || !range_ok(p->offset, size, l->kernel.size))
		return bad(l, e, "its note segment of 0x%" PRIx64 " bytes at 0x%" PRIx64 " is too long "
				 "or lies behind the end of the file", size, p->offset);
	if (fd_pread_all(l->kernel.fd, notes, size, (off_t)p->offset) < 0)
		return bad(l, e, "its note segment cannot be read");
	for (uint64_t at = 0, name, desc; range_ok(at, sizeof(Elf64_Nhdr), size);) {
		Elf64_Nhdr n;

		memcpy(&n, notes + at, sizeof(n));
		name = at + sizeof(n);
		desc = align_up(name + n.n_namesz, align);
		if (!range_ok(name, n.n_namesz, size) || !range_ok(desc, n.n_descsz, size))
			return bad(l, e, "a note of type %u claims a name of %u and a content of %u "
					 "bytes, more than there are", n.n_type, n.n_namesz, n.n_descsz);
		at = align_up(desc + n.n_descsz, align);
		if (n.n_type != PVH_NOTE_TYPE || n.n_namesz != sizeof("Xen") ||
		    memcmp(notes + name, "Xen", sizeof("Xen")))
			continue;
		if (n.n_descsz != 4 && n.n_descsz != 8)
			return bad(l, e, "its PVH note has %u bytes instead of 4 or 8", n.n_descsz);
		elf->pvh_entry = 0;
		memcpy(&elf->pvh_entry, notes + desc, n.n_descsz);
		elf->has_pvh = true;
	}
	return 0;
}

static bool is_loaded(const struct loader *l, uint64_t gpa)
{
	for (unsigned i = 0; i < l->n_segments; i++)
		if (gpa - l->segments[i].gpa < l->segments[i].filesz && gpa >= l->segments[i].gpa)
			return true;
	return false;
}

/* Chooses between the entries, as the header of this file says. */
static int elf_entry(struct loader *l, const struct elf *elf, struct err *e)
{
	bool pvh_loaded = elf->has_pvh && is_loaded(l, elf->pvh_entry);

	if (elf->is_64 && elf->entry < MEM_HIGH_START && is_loaded(l, elf->entry) &&
	    !(elf->has_pvh && elf->pvh_entry == elf->entry)) {
		l->protocol = LOADER_LINUX64;
		l->entry = elf->entry;
		return 0;
	}
	if (pvh_loaded && elf->pvh_entry < MEM_HIGH_START) {
		l->protocol = LOADER_PVH;
		l->entry = elf->pvh_entry;
		return 0;
	}
	if (elf->has_pvh)
		return bad(l, e, "its PVH note names an entry at 0x%" PRIx64 ", which is not in any "
				 "segment below 4 GiB", elf->pvh_entry);
	if (!elf->is_64)
		return bad(l, e, "it is a 32-bit ELF without a PVH note: give a 64-bit kernel or one "
				 "built with CONFIG_PVH");
	return bad(l, e, "its entry point 0x%" PRIx64 " is not in any segment below 4 GiB", elf->entry);
}

static int elf_open(struct loader *l, struct err *e)
{
	struct elf elf = { 0 };
	int r = elf_header(l, &elf, e);

	if (r == 0)
		r = elf_phdrs(l, &elf, e);
	l->start = UINT64_MAX;
	for (unsigned i = 0; i < elf.phnum && r == 0; i++) {
		const struct phdr *p = &elf.phdrs[i];

		if (p->type == PT_LOAD && p->memsz > 0)
			r = elf_segment(l, p, e);
		else if (p->type == PT_NOTE)
			r = elf_notes(l, &elf, p, e);
	}
	if (r < 0)
		return r;
	if (l->n_segments == 0)
		return bad(l, e, "it has nothing to load: give vmlinux or bzImage");
	return elf_entry(l, &elf, e);
}

/* bzImage */

/* Where the parts of a bzImage lie in its file. */
struct bzimage {
	struct setup_header h;
	uint64_t code, code_len;	/* the protected-mode part */
	uint64_t payload;
};

static int bzimage_read(struct loader *l, struct bzimage *b, struct err *e)
{
	uint8_t first[0x290];
	unsigned header_end;

	if (l->kernel.size < sizeof(first) ||
	    fd_pread_all(l->kernel.fd, first, sizeof(first), 0) < 0)
		return bad(l, e, "it ends within its setup header");
	memcpy(&b->h, first + LOADER_HEADER_AT, sizeof(b->h));
	if (b->h.version < 0x020c || !(b->h.xloadflags & XLF_KERNEL_64))
		return bad(l, e, "it has no 64-bit entry (boot protocol %u.%u): give an x86-64 kernel, "
				 "Linux 3.8 or later", b->h.version >> 8, b->h.version & 0xff);
	/* The second byte of the jump at 0x200 says where the header ends. */
	header_end = 0x202 + (b->h.jump >> 8);
	l->header_len = (unsigned)min_u64(header_end, sizeof(first)) - LOADER_HEADER_AT;
	memcpy(l->header, first + LOADER_HEADER_AT, l->header_len);

	/* Zero means four, for compatibility with the very old. */
	b->code = (uint64_t)((b->h.setup_sects ? b->h.setup_sects : 4) + 1) * 512;
	if (b->code >= l->kernel.size)
		return bad(l, e, "its %u setup sectors reach behind the end of the file: it is cut off",
			   b->h.setup_sects);
	b->code_len = l->kernel.size - b->code;
	if (!range_ok(b->h.payload_offset, b->h.payload_length, b->code_len))
		return bad(l, e, "its payload 0x%" PRIx32 "+0x%" PRIx32 " lies behind the end of the "
				 "file: it is cut off", b->h.payload_offset, b->h.payload_length);
	b->payload = b->code + b->h.payload_offset;
	return 0;
}

/* The fallback: the file is loaded as it is, its decompressor entered 0x200 behind its start. */
static int bzimage_in_guest(struct loader *l, const struct bzimage *b, struct err *e)
{
	uint64_t gpa = LAYOUT_KERNEL_MIN, to;

	if (b->h.relocatable_kernel && b->h.pref_address > gpa)
		gpa = b->h.pref_address;
	/* It unpacks to pref_address, or where it is, whichever is higher. */
	to = b->h.pref_address > gpa ? b->h.pref_address : gpa;
	if (to >= MEM_LOW_END || b->code_len > MEM_LOW_END - to ||
	    b->h.init_size > MEM_LOW_END - to)
		return bad(l, e, "it wants to be loaded at 0x%" PRIx64 " and needs 0x%" PRIx32
				 " bytes there, which are not below 3 GiB", to, b->h.init_size);
	if (b->code_len <= 0x200)
		return bad(l, e, "it ends before its 64-bit entry: it is cut off");
	l->segments[0] = (struct loader_segment){
		.gpa = gpa, .offset = b->code, .filesz = b->code_len, .memsz = b->code_len,
	};
	l->n_segments = 1;
	l->start = gpa;
	l->end = to + (b->h.init_size > b->code_len ? b->h.init_size : b->code_len);
	l->entry = gpa + 0x200;
	l->protocol = LOADER_LINUX64;
	l->in_guest = true;
	return 0;
}

static int bzimage_open(struct loader *l, struct err *e)
{
	struct unpacked u = { .fd = -1 };
	struct loader_file packed = l->kernel;
	struct bzimage b = { 0 };
	struct err why;
	int r = bzimage_read(l, &b, e);

	if (r < 0)
		return r;
	l->cmdline_max = min_u64(b.h.cmdline_size ? b.h.cmdline_size : 255,
				 LAYOUT_CMDLINE_END - LAYOUT_CMDLINE - 1);
	l->initrd_limit = (uint64_t)b.h.initrd_addr_max + 1;
	r = unpack_payload(l->kernel.fd, b.payload, b.h.payload_length, &u, &why);
	if (r == 0) {
		l->kernel.fd = u.fd;
		l->kernel.size = u.size;
		l->packing = u.format;
		l->cached = u.cached;
		r = elf_open(l, &why);
		if (r == 0 && l->protocol == LOADER_LINUX64) {
			fd_close(&packed.fd);
			return 0;
		}
		if (r == 0)
			err_set(&why, -ENOEXEC, "what it unpacks to has no 64-bit entry");
		fd_close(&u.fd);
		l->kernel = packed;
		l->packing = NULL;
		l->cached = false;
		l->n_segments = 0;
		l->end = 0;
	}
	log_warn("kernel %s is unpacked by the guest, which takes longer: %s", l->kernel.path, why.msg);
	return bzimage_in_guest(l, &b, e);
}

/* All together */

static bool is_bzimage(const uint8_t *first)
{
	return first[0x1fe] == 0x55 && first[0x1ff] == 0xaa && !memcmp(first + 0x202, "HdrS", 4);
}

static int kernel_open(struct loader *l, const char *path, struct err *e)
{
	uint8_t first[0x206] = { 0 };
	int r = file_open(&l->kernel, "kernel", path, e);

	if (r < 0)
		return r;
	r = fd_pread_all(l->kernel.fd, first, min_u64(sizeof(first), l->kernel.size), 0);
	if (r < 0)
		return bad(l, e, "it cannot be read: %s", strerror(-r));
	if (!memcmp(first, ELFMAG, SELFMAG) &&
	    (first[EI_CLASS] == ELFCLASS64 || first[EI_CLASS] == ELFCLASS32))
		return elf_open(l, e);
	if (is_bzimage(first))
		return bzimage_open(l, e);
	return bad(l, e, "it is neither an ELF file nor a bzImage: give vmlinux or arch/x86/boot/bzImage "
			 "of a kernel build, or a distribution's /boot/vmlinuz");
}

int loader_open(struct loader *l, const char *kernel_path, const char *const *initrds,
		unsigned n_initrds, struct err *e)
{
	int r;

	*l = (struct loader){
		.kernel = { .path = kernel_path, .fd = -1 },
		.staging = { .fd = -1 },
		.cmdline_max = LOADER_CMDLINE_MAX,
		.initrd_limit = INITRD_LIMIT,
	};
	if (n_initrds > LOADER_INITRDS_MAX)
		return err_set(e, -E2BIG, "%u initrds are given, the most is %d: concatenate some",
			       n_initrds, LOADER_INITRDS_MAX);
	r = kernel_open(l, kernel_path, e);
	for (unsigned i = 0; i < n_initrds && r == 0; i++) {
		struct loader_file *f = &l->initrds[i];

		r = file_open(f, "initrd", initrds[i], e);
		if (r < 0)
			break;
		l->n_initrds++;
		if (f->size > MEM_LOW_END || l->initrd_size > MEM_LOW_END)
			return err_set(e, -EFBIG, "initrd %s is larger than the RAM below 3 GiB can be",
				       f->path);
		l->initrd_size = align_up(l->initrd_size, 4) + f->size;
	}
	if (r == 0)
		r = place_staging_init(&l->staging, e);
	return r;
}

/* Puts the initrd as high as it may be, away from what the kernel grows into. */
static int load_initrds(struct loader *l, const struct place *p, bool fresh, struct err *e)
{
	const struct mem_region *low = &p->mem->regions[0];
	uint64_t end = min_u64(low->gpa + low->size, l->initrd_limit), gpa, at = 0;
	int r = 0;

	l->initrd_gpa = 0;
	if (l->initrd_size == 0)
		return 0;
	gpa = l->initrd_size < end ? align_down(end - l->initrd_size, 4096) : 0;
	if (gpa < LAYOUT_KERNEL_MIN ||
	    range_overlaps(gpa, l->initrd_size, l->start, l->end - l->start))
		return err_set(e, -ENOSPC, "initrd %s: 0x%" PRIx64 " bytes and the kernel, which ends at 0x%"
					   PRIx64 ", do not fit the guest's RAM of %" PRIu64
					   " KiB together: give more with --memory",
			       l->initrds[0].path, l->initrd_size, l->end, p->mem->size >> 10);
	for (unsigned i = 0; i < l->n_initrds && r == 0; i++) {
		const struct loader_file *f = &l->initrds[i];
		uint64_t from = at;

		at = align_up(at, 4);
		if (at > from)
			r = place_zeroes(p, gpa + from, at - from, "the initrd's padding", e);
		if (r == 0)
			r = place_file(p, gpa + at, f->fd, 0, f->size, fresh, "the initrd", e);
		if (r < 0)
			return err_prefix(e, r, "initrd %s: ", f->path);
		at += f->size;
	}
	l->initrd_gpa = gpa;
	return r;
}

int loader_load(struct loader *l, const struct guest_mem *m, bool again, struct err *e)
{
	const struct place p = { .mem = m, .staging = &l->staging };
	/* A file backend brings the bytes of its last use. */
	bool dirty = again || !strcmp(m->backing.kind, "file");
	int r = 0;

	if (!mem_ptr(m, l->start, l->end - l->start))
		return err_set(e, -ENOSPC, "kernel %s needs memory up to 0x%" PRIx64 ", and the guest's RAM "
					   "is %" PRIu64 " KiB: give more with --memory",
			       l->kernel.path, l->end, m->size >> 10);
	for (unsigned i = 0; i < l->n_segments && r == 0; i++) {
		const struct loader_segment *s = &l->segments[i];

		r = place_file(&p, s->gpa, l->kernel.fd, s->offset, s->filesz, !again, "its segments", e);
		if (r == 0 && dirty)
			r = place_zeroes(&p, s->gpa + s->filesz, s->memsz - s->filesz,
					 "its zeroed memory", e);
	}
	if (r < 0)
		return err_prefix(e, r, "kernel %s: ", l->kernel.path);
	return load_initrds(l, &p, !again, e);
}

void loader_fini(struct loader *l)
{
	fd_close(&l->kernel.fd);
	for (unsigned i = 0; i < l->n_initrds; i++)
		fd_close(&l->initrds[i].fd);
	place_staging_fini(&l->staging);
}
