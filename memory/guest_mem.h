/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM: nothing but shared-memory fds, always MAP_SHARED.
 *
 * RAM lies below 3 GiB and, what does not fit there, above 4 GiB. Anonymous kinds (shm without a
 * name, memfd) have one object for each region; a named shm object or a file is one object with the
 * high part at offset 3 GiB. struct guest_mem is built before the first vCPU runs and constant
 * afterwards, hence read without a lock in every thread. It owns fds and mappings.
 */
#ifndef MEMORY_GUEST_MEM_H
#define MEMORY_GUEST_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/range.h"
#include "memory/backend.h"

#define MEM_LOW_END	GIB(3)	/* RAM below ends here at the latest; then comes the PCI hole */
#define MEM_HIGH_START	GIB(4)
#define MEM_SIZE_MAX	GIB(32768)	/* a quarter of what a process can address */

enum { MEM_REGIONS_MAX = 2 };

struct mem_region {
	uint64_t gpa;		/* first guest-physical address */
	uint64_t size;		/* bytes, a multiple of page_size */
	uint8_t *host;		/* where it is mapped here; on 2 MiB when that large */
	int fd;			/* the shared object, for daemons; each region has its own fd */
	uint64_t fd_offset;	/* of this region in the object */
	uint32_t slot;		/* KVM memory slot number */
};

struct guest_mem {
	struct mem_region regions[MEM_REGIONS_MAX];
	unsigned count;
	uint64_t size;			/* of all regions */
	struct mem_backing backing;	/* what was got: kind, page size */
	bool discard;			/* free the object's blocks at the end */
	bool has_pool;			/* of hugetlb pages; their count of free ones is ... */
	int pool_fd;			/* ... here; owned */
};

/*
 * Whether any machine could have @size bytes of RAM: not 0, whole pages, not too large. 0 or
 * -EINVAL with @e.
 */
int guest_mem_check_size(uint64_t size, struct err *e);
/*
 * Allocates and maps @size bytes of RAM as @o (checked by mem_options_parse) says. With o->name it
 * is made of @named, borrowed and from shm_named_create, which gets the name here, so who is to
 * remove that (shm_named_unlink) must hold it by now, after a failure too; else -1. What can be
 * known now is said now: mount and free size of /dev/shm, huge pages, limits. Set-up, before
 * threads and filters. 0, or -errno with @e set and nothing left behind but the name.
 */
int guest_mem_init(struct guest_mem *m, const struct mem_options *o, int named, uint64_t size,
		   struct err *e);
/* Unmaps, closes; a name stays. Works on a zeroed or failed struct, twice. */
void guest_mem_fini(struct guest_mem *m);

/* discard-data: frees what the file holds of RAM; its contents are lost. Harmless without. */
void guest_mem_discard(const struct guest_mem *m);

/* Host address of [gpa, gpa + len) when one region holds all of it, else NULL. The only door from
 * a guest address to a pointer. Only before the first vCPU runs: later a daemon may have
 * truncated the object, so reads go through guest_mem_pread. */
void *mem_ptr(const struct guest_mem *m, uint64_t gpa, uint64_t len);

/* Reads RAM through its fd. 0, -EFAULT when no region holds all of it, -errno of the read. */
int guest_mem_pread(const struct guest_mem *m, uint64_t gpa, void *buf, size_t len);

/*
 * After KVM_RUN failed with EFAULT: 0 when RAM is not the cause; -EFAULT when somebody cut the
 * object off, -ENOSPC or -ENOMEM when the host has no memory left for an untouched page of RAM
 * (file system full, huge page pool empty); @e then has the sentence. Any thread whose filter
 * allows fstat, fstatfs and pread; not for a signal handler.
 */
int guest_mem_trouble(const struct guest_mem *m, struct err *e);

#endif
