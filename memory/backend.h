/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where guest RAM comes from: one row of operations for each of shm, memfd and file. A backend
 * makes shared-memory objects of given sizes; guest_mem.c lays them out and maps them. Set-up only.
 */
#ifndef MEMORY_BACKEND_H
#define MEMORY_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "memory/mem_options.h"

/* What a backend got, for the boot report and the daemons' alignment. */
struct mem_backing {
	/* "shm", "shm (private huge tmpfs)", "shm (named)", "memfd", "memfd (hugetlb)", "file",
	 * "file (hugetlb)" */
	const char *kind;
	uint64_t page_size;	/* offsets and sizes are multiples; 4 KiB but for hugetlb */
	uint64_t huge_size;	/* of pages RAM was measured to get beyond page_size; else 0 */
	char note[512];		/* why thp=auto got no huge pages; empty for nothing to say */
	bool created;		/* the file did not exist before */
	bool own_mount;		/* the objects' file system is theirs alone and has room for all */
};

struct mem_backend {
	/* Whether all of RAM is one object, the high part at offset 3 GiB. */
	bool (*is_one_object)(const struct mem_options *o);
	/*
	 * Makes @count objects of @sizes bytes (multiples of the base page). Fills @b, whose fields
	 * are zero, and @ret_fds, the caller's. 0, or -errno with @e, nothing left behind and
	 * outputs free of owned things.
	 */
	int (*create)(const struct mem_options *o, const uint64_t *sizes, unsigned count,
		      int *ret_fds, struct mem_backing *b, struct err *e);
};

/* The row of @kind. */
const struct mem_backend *mem_backend_get(enum mem_kind kind);

/* The rows' functions, each in the file of its name. */
int mem_memfd_create(const struct mem_options *o, const uint64_t *sizes, unsigned count,
		     int *ret_fds, struct mem_backing *b, struct err *e);
int mem_file_create(const struct mem_options *o, const uint64_t *sizes, unsigned count,
		    int *ret_fds, struct mem_backing *b, struct err *e);

/*
 * In the place of the row's create for a shm object with a name: makes all of RAM, @size bytes, of
 * @named, borrowed and from shm_named_create, and then links o->name to it. 0 with *@ret_fd the
 * caller's and @b filled, or -errno with @e; -EEXIST when the name is taken.
 */
int mem_named_create(const struct mem_options *o, int named, uint64_t size, int *ret_fd,
		     struct mem_backing *b, struct err *e);

/* For backends: whether every size is a multiple of @page. 0 or -EINVAL with @e. */
int mem_backend_check_pages(const uint64_t *sizes, unsigned count, uint64_t page, struct err *e);
/* For backends: whether RLIMIT_FSIZE allows an object of @size; else ftruncate raises SIGXFSZ. */
int mem_backend_check_fsize(uint64_t size, struct err *e);

#endif
