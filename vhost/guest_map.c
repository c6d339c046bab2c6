/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/guest_map.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/range.h"

/*
 * The granule mappings of @st's object start and end on. st_blksize is the huge page size on
 * hugetlbfs, where mmap and munmap insist on it; elsewhere rounding out further does no harm.
 */
static uint64_t granule(const struct stat *st)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), block = (uint64_t)st->st_blksize;

	return is_pow2(block) && block > page && block <= GIB(1) ? block : page;
}

static int check(const struct guest_map *m, const struct vu_mem_region *r, struct err *e)
{
	if (m->count == GUEST_MAP_REGIONS_MAX)
		return err_set(e, -ENOSPC, "more than %d memory regions", GUEST_MAP_REGIONS_MAX);
	if (!r->size || r->size > INT64_MAX ||
	    r->mmap_offset > (uint64_t)INT64_MAX - r->size - GIB(2) ||
	    r->gpa > UINT64_MAX - r->size || r->user_addr > UINT64_MAX - r->size)
		return err_set(e, -EINVAL, "memory region 0x%" PRIx64 "+0x%" PRIx64 " is empty or wraps",
			       r->gpa, r->size);
	for (unsigned i = 0; i < m->count; i++) {
		const struct vu_mem_region *o = &m->regions[i].at;

		if (range_overlaps(r->gpa, r->size, o->gpa, o->size) ||
		    range_overlaps(r->user_addr, r->size, o->user_addr, o->size))
			return err_set(e, -EEXIST, "memory region 0x%" PRIx64 "+0x%" PRIx64
				       " overlaps region 0x%" PRIx64 "+0x%" PRIx64,
				       r->gpa, r->size, o->gpa, o->size);
	}
	return 0;
}

int guest_map_add(struct guest_map *m, const struct vu_mem_region *r, int fd, struct err *e)
{
	struct guest_map_region *n = &m->regions[m->count];
	uint64_t start, end, page;
	struct stat st;
	void *base;
	int ret = check(m, r, e);

	if (ret)
		return ret;
	if (fstat(fd, &st) < 0)
		return err_sys(e, "memory region 0x%" PRIx64 ": fstat", r->gpa);
	/* Devices (DAX) report no size; mmap judges those. */
	if (S_ISREG(st.st_mode) && !range_ok(r->mmap_offset, r->size, (uint64_t)st.st_size))
		return err_set(e, -EINVAL, "memory region 0x%" PRIx64 "+0x%" PRIx64 " at offset 0x%" PRIx64
			       " does not fit its object of 0x%" PRIx64 " bytes",
			       r->gpa, r->size, r->mmap_offset, (uint64_t)st.st_size);

	page = granule(&st);
	start = align_down(r->mmap_offset, page);
	end = align_up(r->mmap_offset + r->size, page);
	base = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		    (off_t)start);
	if (base == MAP_FAILED)
		return err_sys(e, "memory region 0x%" PRIx64 "+0x%" PRIx64 ": mmap", r->gpa, r->size);
	/* Guest memory stays out of this program's core files. */
	madvise(base, end - start, MADV_DONTDUMP);

	*n = (struct guest_map_region){ .at = *r, .base = base, .base_len = end - start,
					.host = (uint8_t *)base + (r->mmap_offset - start) };
	m->count++;
	return 0;
}

int guest_map_del(struct guest_map *m, const struct vu_mem_region *r, struct err *e)
{
	for (unsigned i = 0; i < m->count; i++) {
		struct guest_map_region *n = &m->regions[i];

		if (n->at.gpa != r->gpa || n->at.size != r->size || n->at.user_addr != r->user_addr)
			continue;
		munmap(n->base, n->base_len);
		*n = m->regions[--m->count];
		m->last = 0;
		return 0;
	}
	return err_set(e, -ENOENT, "memory region 0x%" PRIx64 "+0x%" PRIx64 " is not in the table",
		       r->gpa, r->size);
}

void guest_map_clear(struct guest_map *m)
{
	for (unsigned i = 0; i < m->count; i++)
		munmap(m->regions[i].base, m->regions[i].base_len);
	m->count = 0;
	m->last = 0;
}

void *guest_map_gpa(struct guest_map *m, uint64_t gpa, uint64_t len, uint64_t *ret_len)
{
	for (unsigned i = 0; i < m->count; i++) {
		unsigned at = (m->last + i) % m->count;
		const struct guest_map_region *n = &m->regions[at];
		uint64_t off = gpa - n->at.gpa;

		if (gpa < n->at.gpa || off >= n->at.size)
			continue;
		m->last = at;
		*ret_len = min_u64(len, n->at.size - off);
		return n->host + off;
	}
	return NULL;
}

void *guest_map_gpa_all(struct guest_map *m, uint64_t gpa, uint64_t len)
{
	uint64_t got = 0;
	void *host = guest_map_gpa(m, gpa, len, &got);

	return host && got == len ? host : NULL;
}

void *guest_map_user_all(struct guest_map *m, uint64_t user_addr, uint64_t len)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct guest_map_region *n = &m->regions[i];

		if (user_addr >= n->at.user_addr &&
		    range_ok(user_addr - n->at.user_addr, len, n->at.size))
			return n->host + (user_addr - n->at.user_addr);
	}
	return NULL;
}
