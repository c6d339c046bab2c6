/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From kernel and initrd files to bytes in guest memory and an entry point.
 *
 * loader_open looks at the files and checks all that can be known without RAM; loader_load copies,
 * at the first boot and again at every reset. The files stay open in between, so that a reload
 * needs no path (the sandbox forbids opening then). What a kernel asks for beyond memory -
 * registers, tables - is the boot protocol's: vmm/boot.h.
 *
 * Which protocol:
 * - an ELF64 whose e_entry lies in what is loaded is entered there in 64-bit mode (Linux' vmlinux
 *   and freestanding guests), unless its PVH note names the same address: then that code is 32-bit;
 * - any other ELF with a PVH note is entered by PVH;
 * - a bzImage is the ELF that its payload unpacks to, or, when that does not work, itself: it is
 *   entered at its own 64-bit entry and unpacks in the guest.
 * Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_LOADER_H
#define VMM_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "memory/guest_mem.h"
#include "vmm/place.h"

enum { LOADER_SEGMENTS_MAX = 32, LOADER_PHDRS_MAX = 64, LOADER_INITRDS_MAX = 16 };
/* A bzImage's setup header: from 0x1f1 to at most 0x290, as in the zero page. */
enum { LOADER_HEADER_AT = 0x1f1, LOADER_HEADER_MAX = 0x290 - 0x1f1 };
/* The longest command line of a kernel that does not say (Linux: 2048 with its NUL). */
enum { LOADER_CMDLINE_MAX = 2047 };

enum loader_protocol { LOADER_LINUX64, LOADER_PVH, LOADER_PROTOCOLS };

struct loader_segment {
	uint64_t gpa, offset;		/* in guest memory; in the file */
	uint64_t filesz, memsz;		/* bytes copied; bytes occupied, the rest zeroes */
};

struct loader_file {
	const char *path;		/* borrowed, for messages */
	int fd;
	uint64_t size;
};

struct loader {
	struct loader_file kernel;	/* what segments lie in: the file given or its payload */
	struct loader_file initrds[LOADER_INITRDS_MAX];
	unsigned n_initrds;
	struct place_staging staging;

	/* From loader_open. */
	enum loader_protocol protocol;
	uint64_t entry;			/* guest-physical */
	struct loader_segment segments[LOADER_SEGMENTS_MAX];
	unsigned n_segments;
	uint64_t start, end;		/* of the memory the kernel needs at its entry */
	uint64_t initrd_size;		/* of all initrds, each padded to 4 bytes */
	uint64_t initrd_limit;		/* the initrd must end below */
	uint64_t cmdline_max;		/* longest command line, without its NUL */
	uint8_t header[LOADER_HEADER_MAX];	/* of a bzImage */
	unsigned header_len;		/* 0: there is none */
	const char *packing;		/* how a bzImage was packed; NULL: not unpacked by us */
	bool cached;			/* and the cache had it */
	bool in_guest;			/* the guest unpacks the kernel itself */

	/* From loader_load. */
	uint64_t initrd_gpa;		/* 0: there is no initrd */
};

/*
 * Opens, checks, unpacks; needs no RAM. The paths are borrowed until loader_fini. 0, or -errno with
 * @e; loader_fini is legal in both cases.
 */
int loader_open(struct loader *l, const char *kernel_path, const char *const *initrds,
		unsigned n_initrds, struct err *e);
/*
 * Copies kernel and initrd. @again: this is a reset, so RAM holds the last boot and what must be
 * zero is zeroed; otherwise RAM is fresh and its kind decides. 0, or -errno with @e.
 */
int loader_load(struct loader *l, const struct guest_mem *m, bool again, struct err *e);
/* Closes what is open. Legal on a zeroed struct only after loader_open; twice is harmless. */
void loader_fini(struct loader *l);

#endif
