/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"
#include "memory/shm.h"
#include "memory/shm_named.h"
#include "memory/thp.h"

int mem_backend_check_pages(const uint64_t *sizes, unsigned count, uint64_t page, struct err *e)
{
	char size[24], unit[24];

	for (unsigned i = 0; i < count; i++) {
		if (sizes[i] % page)
			return err_set(
				e, -EINVAL,
				"guest RAM: %s is not a multiple of %s, the page size of what "
				"holds it; give --memory a size that is",
				size_format(sizes[i], size), size_format(page, unit));
	}
	return 0;
}

int mem_backend_check_fsize(uint64_t size, struct err *e)
{
	struct rlimit limit;
	char need[24], have[24];

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
	    size <= limit.rlim_cur)
		return 0;
	return err_set(e, -EFBIG,
		       "guest RAM: an object of %s is larger than the limit on files, %s "
		       "(RLIMIT_FSIZE); raise it with ulimit -f unlimited",
		       size_format(size, need), size_format(limit.rlim_cur, have));
}

static bool always_one(const struct mem_options *o)
{
	(void)o;
	return true;
}

static bool never_one(const struct mem_options *o)
{
	(void)o;
	return false;
}

static bool one_when_named(const struct mem_options *o)
{
	return o->name != NULL;
}

static uint64_t sum(const uint64_t *sizes, unsigned count)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < count; i++)
		total += sizes[i];
	return total;
}

int mem_named_create(const struct mem_options *o, int named, uint64_t size, int *ret_fd,
		     struct mem_backing *b, struct err *e)
{
	autoclose int fd = fcntl(named, F_DUPFD_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return err_sys(e, "guest RAM: a second fd of its object");
	r = mem_backend_check_fsize(size, e);
	r = r ? r : shm_object_set_size(fd, size, size, e);
	r = r ? r : shm_named_link(fd, o->name, e);
	if (r)
		return r;
	b->kind = "shm (named)";
	b->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	*ret_fd = fd_take(&fd);
	return 0;
}

/* In a private huge tmpfs; *ret_fall_back when it cannot and need not be, the reason in @b. */
static int create_huge(const struct mem_options *o, const uint64_t *sizes, unsigned count,
		       int *ret_fds, struct mem_backing *b, bool *ret_fall_back, struct err *e)
{
	int r = thp_create(sizes, count, ret_fds, &b->huge_size, e);

	if (r == 0) {
		b->kind = "shm (private huge tmpfs)";
		b->own_mount = true;
		return 0;
	}
	if (o->thp == MEM_THP_ON)
		return err_prefix(
			e, r, "guest RAM: thp=on is not possible here (thp=auto goes without): ");
	snprintf(b->note, sizeof(b->note), "%s", e->msg);
	*ret_fall_back = true;
	return 0;
}

static int shm_create(const struct mem_options *o, const uint64_t *sizes, unsigned count,
		      int *ret_fds, struct mem_backing *b, struct err *e)
{
	uint64_t total = sum(sizes, count);
	bool fall_back = o->thp == MEM_THP_OFF;
	int r = 0;

	b->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	for (unsigned i = 0; i < count && r == 0; i++)
		r = mem_backend_check_fsize(sizes[i], e);
	if (r == 0 && !fall_back)
		r = create_huge(o, sizes, count, ret_fds, b, &fall_back, e);
	if (r || !fall_back)
		return r;
	b->kind = "shm";
	for (unsigned i = 0; i < count; i++)
		ret_fds[i] = -1;
	for (unsigned i = 0; i < count && r == 0; i++)
		r = shm_object_create(sizes[i], i ? 0 : total, &ret_fds[i], e);
	for (unsigned i = 0; r && i < count; i++)
		fd_close(&ret_fds[i]);
	return r;
}

static const struct mem_backend backends[] = {
	[MEM_SHM] = { .is_one_object = one_when_named, .create = shm_create },
	[MEM_MEMFD] = { .is_one_object = never_one, .create = mem_memfd_create },
	[MEM_FILE] = { .is_one_object = always_one, .create = mem_file_create },
};

const struct mem_backend *mem_backend_get(enum mem_kind kind)
{
	return &backends[kind];
}
