/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/starvation.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/range.h"

#ifndef MADV_POPULATE_WRITE	/* glibc before 2.35 */
#define MADV_POPULATE_WRITE 23
#endif

enum { SOON_MS = 1000, LATER_MS = 5000 };

/* Bytes that RAM's objects have; what else lies in its file counts too. */
static uint64_t count_allocated(const struct guest_mem *m)
{
	uint64_t sum = 0;
	struct stat st;

	for (unsigned i = 0; i < m->count; i++) {
		bool same_object = i > 0 && m->regions[i].fd_offset > 0;

		if (!same_object && fstat(m->regions[i].fd, &st) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	return sum;
}

/* The first whole pages at or after @from, offsets in @g, that its object lacks. */
static bool find_hole(const struct mem_region *g, uint64_t page, uint64_t from, uint64_t *ret_start,
		      uint64_t *ret_end)
{
	const uint64_t base = g->fd_offset;

	while (from < g->size) {
		off_t hole = lseek(g->fd, (off_t)(base + from), SEEK_HOLE), data;
		uint64_t start, end;

		if (hole < 0 || (uint64_t)hole >= base + g->size)
			return false;
		data = lseek(g->fd, hole, SEEK_DATA);
		if (data < 0 && errno != ENXIO) /* ENXIO: nothing but hole follows */
			return false;
		from = data < 0 ? g->size : min_u64((uint64_t)data - base, g->size);
		start = align_up((uint64_t)hole - base, page);
		end = align_down(from, page);
		if (start < end) {
			*ret_start = start;
			*ret_end = end;
			return true;
		}
	}
	return false;
}

static bool has_hole(const struct guest_mem *m)
{
	uint64_t start, end;

	for (unsigned i = 0; i < m->count; i++)
		if (find_hole(&m->regions[i], m->backing.page_size, 0, &start, &end))
			return true;
	return false;
}

void starvation_lift(struct starvation *s)
{
	bool kept = false;

	if (!s->guarded)
		return;
	for (unsigned i = 0; i < s->mem->count; i++) {
		const struct mem_region *g = &s->mem->regions[i];

		kept |= mprotect(g->host, g->size, PROT_READ | PROT_WRITE) < 0;
	}
	s->guarded = kept;
}

/*
 * A file system may keep blocks for root or for itself, so what it counts is not what a write gets:
 * ask for one page, which the guest may have. Its content, a hole's or by now the guest's, stays.
 */
static bool is_refused(uint8_t *host, uint64_t page)
{
	return madvise(host, page, MADV_POPULATE_WRITE) < 0 && errno == EFAULT;
}

/*
 * As far as the kernel lets a mapping be split: a hole more is one that the guest waits for. In a
 * tmpfs, which counts exactly, reading a hole takes a page too; elsewhere it does not.
 */
static void guard(struct starvation *s, bool is_tmpfs)
{
	const uint64_t page = s->mem->backing.page_size;
	const int allowed = is_tmpfs ? PROT_NONE : PROT_READ;

	starvation_lift(s);
	/* First: what comes between here and the walk must be a difference later. */
	s->allocated = count_allocated(s->mem);
	for (unsigned i = 0; i < s->mem->count; i++) {
		const struct mem_region *g = &s->mem->regions[i];
		uint64_t start, end = 0;

		while (find_hole(g, page, end, &start, &end)) {
			if (!is_tmpfs && !s->guarded && !is_refused(g->host + start, page))
				return;
			if (mprotect(g->host + start, end - start, allowed))
				return;
			s->guarded = true;
		}
	}
}

static void look(void *arg)
{
	struct starvation *s = arg;
	const struct guest_mem *m = s->mem;
	uint64_t allocated, room;
	struct statfs f;
	bool is_short;

	if (fstatfs(m->regions[0].fd, &f) < 0 || f.f_blocks == 0) /* 0: without a limit */
		return;
	room = (uint64_t)f.f_bavail * (uint64_t)f.f_frsize;
	allocated = count_allocated(m);
	if (room >= m->backing.page_size)
		starvation_lift(s);
	else if (!s->guarded || allocated != s->allocated)
		guard(s, f.f_type == TMPFS_MAGIC);
	if (allocated >= m->size && !s->guarded && !has_hole(m))
		return;
	is_short = allocated < m->size && room < m->size - allocated;
	loop_timer_set(s->loop, &s->timer,
		       clock_ns() + MS_TO_NS(is_short || s->guarded ? SOON_MS : LATER_MS));
}

void starvation_watch(struct starvation *s, const struct guest_mem *m, struct loop *l)
{
	*s = (struct starvation){ .mem = m, .loop = l, .timer = { .expired = look, .arg = s } };
	if (!m->has_pool && !m->backing.own_mount)
		loop_timer_set(l, &s->timer, clock_ns() + MS_TO_NS(SOON_MS));
}

int starvation_judge(struct starvation *s, struct err *e)
{
	int r = guest_mem_trouble(s->mem, e);
	uint64_t before = s->allocated;
	struct statfs f;

	/* RAM has all it needs of a file system that is full. */
	if (r == -ENOSPC && !has_hole(s->mem))
		r = 0;

	if (!s->guarded || r == -EFAULT)
		return r;
	/* Since the last look there may be room again, or a daemon got the page the guest wants. */
	starvation_lift(s);
	if (r && fstatfs(s->mem->regions[0].fd, &f) == 0)
		guard(s, f.f_type == TMPFS_MAGIC);
	return s->guarded && s->allocated == before ? r : -EAGAIN;
}
