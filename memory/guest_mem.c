/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/guest_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"
#include "base/log.h"
#include "memory/hugetlb.h"
#include "memory/numa.h"
#include "memory/prealloc.h"
#include "memory/thp.h"

int guest_mem_check_size(uint64_t size, struct err *e)
{
	char buf[24], have[24];

	if (size == 0)
		return err_set(
			e, -EINVAL,
			"guest RAM: --memory is 0; give the guest some, as in --memory 256M");
	if (size > MEM_SIZE_MAX)
		return err_set(e, -EINVAL,
			       "guest RAM: --memory %s is too large; at most %s can be mapped",
			       size_format(size, buf), size_format(MEM_SIZE_MAX, have));
	return mem_backend_check_pages(&size, 1, (uint64_t)sysconf(_SC_PAGESIZE), e);
}

static int check_limit(uint64_t size, struct err *e)
{
	struct rlimit space;
	char buf[24], have[24];

	if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY &&
	    size > space.rlim_cur)
		return err_set(
			e, -ENOMEM,
			"guest RAM: %s do not fit the limit on address space, %s (RLIMIT_AS); "
			"raise it with ulimit -v unlimited",
			size_format(size, buf), size_format(space.rlim_cur, have));
	return 0;
}

/* Where the regions lie. Numbers only. */
static void lay_out(struct guest_mem *m, uint64_t size)
{
	uint64_t low = min_u64(size, MEM_LOW_END);

	m->regions[0] = (struct mem_region){ .gpa = 0, .size = low, .fd = -1, .slot = 0 };
	m->count = 1;
	m->size = size;
	if (size > low) {
		m->regions[1] = (struct mem_region){
			.gpa = MEM_HIGH_START, .size = size - low, .fd = -1, .slot = 1
		};
		m->count = 2;
	}
}

static int create_objects(struct guest_mem *m, const struct mem_options *o, int named,
			  struct err *e)
{
	const struct mem_backend *backend = mem_backend_get(o->kind);
	bool one = backend->is_one_object(o);
	uint64_t sizes[MEM_REGIONS_MAX], at = o->offset;
	int fds[MEM_REGIONS_MAX] = { -1, -1 };
	int r;

	for (unsigned i = 0; i < m->count; i++)
		sizes[i] = m->regions[i].size;
	if (one)
		sizes[0] = m->size;
	if (o->name)
		r = mem_named_create(o, named, sizes[0], fds, &m->backing, e);
	else
		r = backend->create(o, sizes, one ? 1 : m->count, fds, &m->backing, e);
	if (r)
		return r;
	for (unsigned i = 0; i < m->count; i++) {
		struct mem_region *g = &m->regions[i];

		g->fd = one && i ? fcntl(m->regions[0].fd, F_DUPFD_CLOEXEC, 0) : fds[i];
		if (g->fd < 0)
			return err_sys(e, "guest RAM: a second fd of its object");
		g->fd_offset = one ? at : 0;
		at += g->size;
	}
	if (m->backing.page_size > (uint64_t)sysconf(_SC_PAGESIZE)) {
		m->pool_fd = hugetlb_open_pool(m->backing.page_size);
		m->has_pool = m->pool_fd >= 0;
	}
	return 0;
}

/* Address space for the region, aligned so that the object's huge pages are huge in the guest. */
static uint8_t *reserve_space(uint64_t size, uint64_t align)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), extra = align > page ? align : 0, head;
	uint8_t *base = mmap(NULL, size + extra, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	head = align_up((uintptr_t)base, align) - (uintptr_t)base;
	if (head)
		munmap(base, head);
	if (extra > head)
		munmap(base + head + size, extra - head);
	return base + head;
}

static int map_region(struct mem_region *g, const struct guest_mem *m, const struct mem_options *o,
		      struct err *e)
{
	uint64_t align = g->size >= MIB(2) ? MIB(2) : (uint64_t)sysconf(_SC_PAGESIZE);
	int flags = MAP_SHARED | MAP_FIXED | (o->reserve ? 0 : MAP_NORESERVE);
	char buf[24];
	uint8_t *host;

	align = o->align > align ? o->align : align;
	align = m->backing.page_size > align ? m->backing.page_size : align;
	host = reserve_space(g->size, align);
	if (!host)
		return err_sys(e,
			       "guest RAM: no address space for %s (see also RLIMIT_AS, ulimit -v)",
			       size_format(g->size, buf));
	if (mmap(host, g->size, PROT_READ | PROT_WRITE, flags, g->fd, (off_t)g->fd_offset) ==
	    MAP_FAILED) {
		err_sys(e, "guest RAM: %s of %s cannot be mapped", size_format(g->size, buf),
			m->backing.kind);
		munmap(host, g->size);
		return -ENOMEM;
	}
	g->host = host;
	if (!o->dump && madvise(host, g->size, MADV_DONTDUMP) < 0)
		return err_sys(
			e, "guest RAM: cannot be kept out of core files (dump=on leaves it in)");
	return numa_bind(host, g->size, o, e);
}

/* Asking for huge pages is not having them: look at the first one. */
static int measure_huge(struct guest_mem *m, const struct mem_options *o, struct err *e)
{
	struct mem_backing *b = &m->backing;
	char size[24];

	if (b->huge_size == 0)
		return 0;
	size_format(b->huge_size, size);
	if (m->regions[0].size < b->huge_size)
		snprintf(b->note, sizeof(b->note), "RAM is smaller than one huge page of %s", size);
	else if (!thp_is_huge(m->regions[0].host, b->huge_size))
		snprintf(b->note, sizeof(b->note), "the host had no free huge page of %s to give",
			 size);
	else
		return 0;
	b->huge_size = 0;
	if (o->thp == MEM_THP_ON)
		return err_set(e, -ENOMEM, "guest RAM: thp=on: %s (thp=auto goes without)",
			       b->note);
	return 0;
}

static int preallocate(const struct guest_mem *m, const struct mem_options *o, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < m->count && o->prealloc && r == 0; i++) {
		const struct mem_region *g = &m->regions[i];
		struct prealloc_range range = {
			.host = g->host, .size = g->size, .fd = g->fd, .fd_offset = g->fd_offset,
			.page_size = m->backing.page_size,
		};

		r = prealloc_range(&range, (unsigned)o->prealloc_threads, e);
	}
	return r;
}

/* Objects outside /dev/shm are bounded by nothing but the host's memory. */
static void warn_of_host_size(const struct guest_mem *m)
{
	struct sysinfo host;
	uint64_t have;
	char buf[24];

	if (sysinfo(&host) < 0)
		return;
	have = ((uint64_t)host.totalram + host.totalswap) * host.mem_unit;
	if (m->size > have)
		log_warn("guest RAM of %s is more than the host has (%" PRIu64
			 " MiB with swap): the machine ends when the guest uses more",
			 size_format(m->size, buf), have >> 20);
}

int guest_mem_init(struct guest_mem *m, const struct mem_options *o, int named, uint64_t size,
		   struct err *e)
{
	int r;

	*m = (struct guest_mem){ .pool_fd = -1 };
	r = guest_mem_check_size(size, e);
	r = r ? r : check_limit(size, e);
	if (r)
		return r;
	lay_out(m, size);
	r = create_objects(m, o, named, e);
	for (unsigned i = 0; i < m->count && r == 0; i++)
		r = map_region(&m->regions[i], m, o, e);
	r = r ? r : measure_huge(m, o, e);
	r = r ? r : preallocate(m, o, e);
	if (r) {
		if (m->backing.created)
			unlink(o->path);
		guest_mem_fini(m);
		return r;
	}
	if (o->kind != MEM_FILE)
		warn_of_host_size(m);
	m->discard = o->discard_data;
	return 0;
}

void guest_mem_fini(struct guest_mem *m)
{
	guest_mem_discard(m);
	for (unsigned i = 0; i < m->count; i++) {
		struct mem_region *g = &m->regions[i];

		if (g->host)
			munmap(g->host, g->size);
		fd_close(&g->fd);
	}
	if (m->has_pool)
		fd_close(&m->pool_fd);
	*m = (struct guest_mem){ .pool_fd = -1 };
}

void guest_mem_discard(const struct guest_mem *m)
{
	for (unsigned i = 0; i < m->count && m->discard; i++) {
		const struct mem_region *g = &m->regions[i];

		if (fallocate(g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)g->fd_offset, (off_t)g->size) == 0)
			continue;
		log_warn("guest RAM: discard-data: this file system cannot free a part of a "
			 "file");
		return;
	}
}

static const struct mem_region *find_region(const struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct mem_region *g = &m->regions[i];

		if (gpa >= g->gpa && range_ok(gpa - g->gpa, len, g->size))
			return g;
	}
	return NULL;
}

void *mem_ptr(const struct guest_mem *m, uint64_t gpa, uint64_t len)
{
	const struct mem_region *g = find_region(m, gpa, len);

	return g ? g->host + (gpa - g->gpa) : NULL;
}

int guest_mem_pread(const struct guest_mem *m, uint64_t gpa, void *buf, size_t len)
{
	const struct mem_region *g = find_region(m, gpa, len);

	if (!g)
		return -EFAULT;
	return fd_pread_all(g->fd, buf, len, (off_t)(g->fd_offset + (gpa - g->gpa)));
}

int guest_mem_trouble(const struct guest_mem *m, struct err *e)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct mem_region *g = &m->regions[i];
		struct statvfs v;
		struct stat st;

		if (fstat(g->fd, &st) == 0 && (uint64_t)st.st_size < g->fd_offset + g->size)
			return err_set(e, -EFAULT, "guest RAM: somebody who has its %s object cut it "
				       "off; --mem-backend=memfd is sealed against that",
				       m->backing.kind);
		if (!m->has_pool && fstatvfs(g->fd, &v) == 0 && v.f_blocks &&
		    (uint64_t)v.f_bavail * v.f_frsize < m->backing.page_size)
			return err_set(e, -ENOSPC, "guest RAM: the file system of its %s object is full "
				       "and the guest needs more; make it larger, use "
				       "--mem-backend=memfd, or find out before the start with "
				       "prealloc=on", m->backing.kind);
	}
	if (m->has_pool && hugetlb_is_empty(m->pool_fd))
		return err_set(e, -ENOMEM, "guest RAM: the host's pool of huge pages is empty and the "
			       "guest needs more; raise nr_hugepages, or find out before the start "
			       "with prealloc=on");
	return 0;
}
