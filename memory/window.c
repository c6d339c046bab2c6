/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/window.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/keyval.h"
#include "base/range.h"
#include "memory/window_private.h"

/* It splits what is beneath, and is two itself when its object shrinks. */
enum { AREAS_PER_MAPPING = 3 };

static uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* --- what it may cost --- */

/* Whether @len bytes of private pages were counted; false when they would be too many. */
static bool idle_take(struct mem_window *w, uint64_t len)
{
	if (!range_ok(w->idle, len, w->idle_max))
		return false;
	w->idle += len;
	return true;
}

/* Private pages in the place of private filler cost nothing. */
static uint64_t idle_of(const struct mem_window *w, uint64_t len)
{
	return w->filler.fd < 0 ? 0 : len;
}

/* Private zeros over [offset, offset + len), for which @cost was taken: it is given back, or is in
 * @part of idle. 0 or -errno. */
static int put_zeros(struct mem_window *w, uint64_t offset, uint64_t len, uint64_t cost,
		     uint64_t *part)
{
	int r = filler_zeros(w->host + offset, len);

	if (r)
		w->idle -= cost;
	else
		*part += cost;
	return r;
}

int window_cover(struct mem_window *w, uint64_t offset, uint64_t len)
{
	uint64_t cost = idle_of(w, len);
	int r = filler_cover(&w->filler, w->host, offset, len);

	if (r == 0 || !idle_take(w, cost))
		return r;
	/* The process may have no areas left, which filler needs. */
	return put_zeros(w, offset, len, cost, &w->loose);
}

/* --- the tree --- */

/* Mappings in a tree share nothing; what shares a byte with one is equal to it. */
static int compare(const void *a, const void *b)
{
	const struct window_mapping *x = a, *y = b;

	if (x->offset + x->len <= y->offset)
		return -1;
	return y->offset + y->len <= x->offset;
}

struct window_mapping *window_search(const struct mem_window *w, uint64_t offset, uint64_t len)
{
	const struct window_mapping key = { .offset = offset, .len = len };
	struct window_mapping *const *node = tfind(&key, &w->tree, compare);

	return node ? *node : NULL;
}

static struct window_mapping *find_at(const struct mem_window *w, uint64_t offset)
{
	return offset < w->size ? window_search(w, offset, 1) : NULL;
}

static struct window_mapping *any(const struct mem_window *w)
{
	return w->tree ? *(struct window_mapping **)w->tree : NULL;
}

int window_insert(struct mem_window *w, struct window_mapping *m, struct err *e)
{
	if (!tsearch(m, &w->tree, compare))
		return err_set(e, -ENOMEM, "the window has %u mappings, and there is no memory for"
			       " more", w->count);
	w->count++;
	w->changes++;
	return 0;
}

void window_dismiss(struct mem_window *w, struct window_mapping *m)
{
	area_budget_give(w->areas, AREAS_PER_MAPPING);
	w->idle -= m->idle;
	window_object_drop(&w->objects, m);
	free(m);
}

void window_forget(struct mem_window *w, struct window_mapping *m)
{
	tdelete(m, &w->tree, compare);
	w->count--;
	w->changes++;
	window_dismiss(w, m);
}

/* --- the window --- */

static int reserve(struct mem_window *w, struct err *e)
{
	uint64_t align = w->size >= GIB(1) ? GIB(1) : MIB(2), page = page_size();
	char buf[24];

	/* A page without access on either side keeps the window's areas from growing out of it. */
	w->reservation_size = w->size + align + 2 * page;
	w->reservation = mmap(NULL, w->reservation_size, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->reservation == MAP_FAILED) {
		w->reservation = NULL;
		return err_sys(e, "a shared memory window of %s: no address space",
			       size_format(w->size, buf));
	}
	w->host = (uint8_t *)align_up((uintptr_t)w->reservation + page, align);
	return 0;
}

static int fill(struct mem_window *w, uint64_t idle_max, struct area_budget *budget, struct err *e)
{
	unsigned areas;
	char buf[24];
	int r = filler_init(&w->filler, w->size, idle_max, e);

	if (r)
		return err_prefix(e, r, "a shared memory window of %s: ", size_format(w->size, buf));
	w->idle = w->filler.piece;
	w->idle_max = idle_max;
	areas = filler_areas(&w->filler, w->size);
	if (!area_budget_take(budget, areas))
		return err_set(e, -ENOSPC, "a shared memory window of %s needs %u memory areas of this"
			       " process, more than are left: raise vm.max_map_count",
			       size_format(w->size, buf), areas);
	w->areas = budget;
	r = filler_lay(&w->filler, w->host, w->size);
	return r ? err_set(e, r, "a shared memory window of %s: mapping its filler: %s",
			   size_format(w->size, buf), strerror(-r)) : 0;
}

int window_init(struct mem_window *w, uint64_t size, uint64_t idle_max, struct area_budget *areas,
		struct err *e)
{
	char buf[24];
	int r;

	*w = (struct mem_window){ .size = size, .filler.fd = -1 };
	if (size == 0 || size % page_size() || size > GIB(32768))
		return err_set(e, -EINVAL,
			       "a shared memory window of %s: its size must be a multiple of the "
			       "page size and at most 32T",
			       size_format(size, buf));
	if (window_objects_init(&w->objects))
		return err_set(e, -ENOMEM, "a shared memory window: out of memory");
	r = reserve(w, e);
	if (!r)
		r = fill(w, idle_max, areas, e);
	if (r)
		window_fini(w);
	return r;
}

void window_fini(struct mem_window *w)
{
	if (!w->objects.buckets)
		return;
	while (w->count)
		window_forget(w, any(w));
	if (w->areas)
		area_budget_give(w->areas, filler_areas(&w->filler, w->size));
	if (w->reservation)
		munmap(w->reservation, w->reservation_size);
	filler_fini(&w->filler);
	window_objects_fini(&w->objects);
	*w = (struct mem_window){ .filler.fd = -1 };
}

static int check_place(const struct mem_window *w, uint64_t offset, uint64_t len, struct err *e)
{
	const struct window_mapping *other;

	if (len == 0 || !range_ok(offset, len, w->size))
		return err_set(e, -EINVAL,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64
			       " is empty or not within the window of 0x%" PRIx64 " bytes",
			       offset, len, w->size);
	other = window_search(w, offset, len);
	if (other)
		return err_set(e, -EEXIST,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64
			       " overlaps the one at 0x%" PRIx64,
			       offset, len, other->offset);
	if (w->count == WINDOW_MAPPINGS_MAX)
		return err_set(e, -ENOSPC, "the window has %u mappings, no room for more",
			       w->count);
	return 0;
}

/* Read-only is a private copy: the guest's stray stores neither reach the object nor stop it. */
void *window_stage(const struct mem_window *w, const struct window_mapping *m, int fd,
		   int *ret_code, struct err *e)
{
	/* Huge pages are reserved, or a guest's store would find none left. */
	int reserve_none = m->object->page == page_size() ? MAP_NORESERVE : 0;
	int flags = m->rw ? MAP_SHARED : MAP_PRIVATE | reserve_none;
	void *from = mmap(area_stage(w->host + m->offset), m->len, PROT_READ | PROT_WRITE, flags,
			  fd, (off_t)m->fd_offset);

	if (from == MAP_FAILED) {
		*ret_code = err_sys(e, "the fd of the mapping cannot be mapped %s",
				    m->rw ? "read-write" : "read-only");
		return NULL;
	}
	madvise(from, m->len, MADV_DONTDUMP);
	return from;
}

static int place_object(struct mem_window *w, const struct window_mapping *m, int fd, struct err *e)
{
	int r;
	void *from = window_stage(w, m, fd, &r, e);

	if (!from)
		return r;
	r = area_move(from, w->host + m->offset, m->len);
	if (r == 0)
		return 0;
	err_set(e, r, "the mapping cannot be moved into the window: %s", strerror(-r));
	/* should mremap have got as far as unmapping what was there */
	window_cover(w, m->offset, m->len);
	return r;
}

/* Counts what the guest can make of a mapping it may not write. */
static int take_idle(struct mem_window *w, struct window_mapping *m, struct err *e)
{
	uint64_t cost = m->rw ? 0 : idle_of(w, m->len), sum;
	char part[24], whole[24], limit[24];

	if (idle_take(w, cost)) {
		m->idle = cost;
		return 0;
	}
	if (__builtin_add_overflow(w->idle, cost, &sum))
		sum = UINT64_MAX;
	return err_set(e, -E2BIG, "a read-only mapping of %s: the guest may have private copies of all of"
		       " it, with what it may have already %s of the host's memory, more than %s; allow that"
		       " with window-idle-max=", size_format(cost, part), size_format(sum, whole),
		       size_format(w->idle_max, limit));
}

int window_admit(struct mem_window *w, const struct window_mapping *wanted, int fd,
		 struct window_mapping **ret, struct err *e)
{
	struct window_mapping *m, counted = *wanted;
	struct stat st = { 0 };
	uint64_t page = 0;
	int r = window_object_check(&w->objects, fd, wanted, &st, &page, e);

	if (!r)
		r = take_idle(w, &counted, e);
	if (r)
		return r;
	if (!area_budget_take(w->areas, AREAS_PER_MAPPING)) {
		w->idle -= counted.idle;
		return err_set(e, -ENOSPC, "the window has %u mappings, and this process no memory"
			       " areas for more: raise vm.max_map_count", w->count);
	}
	m = malloc(sizeof(*m));
	if (m) {
		*m = counted;
		m->object = window_object_use(&w->objects, m, fd, &st, page);
	}
	if (!m || !m->object) {
		r = err_sys(e, "the window cannot keep the fd of the mapping%s", errno == EMFILE ?
			    " (the rest is for other devices; raise ulimit -n)" : "");
		area_budget_give(w->areas, AREAS_PER_MAPPING);
		w->idle -= counted.idle;
		free(m);
		return r;
	}
	*ret = m;
	return 0;
}

int window_map(struct mem_window *w, uint64_t offset, int fd, uint64_t fd_offset, uint64_t len,
	       bool rw, struct err *e)
{
	struct window_mapping *m, wanted = {
		.offset = offset, .len = len, .live = len, .fd_offset = fd_offset, .rw = rw,
	};
	int r = check_place(w, offset, len, e);

	if (!r)
		r = window_admit(w, &wanted, fd, &m, e);
	if (r)
		return r;
	r = window_insert(w, m, e);
	if (r) {
		window_dismiss(w, m);
		return r;
	}
	r = place_object(w, m, fd, e);
	if (r)
		window_forget(w, m);
	else if (rw)
		window_object_writable(&w->objects, m, fd);
	return r;
}

const struct window_mapping *window_find(const struct mem_window *w, uint64_t offset)
{
	return find_at(w, offset);
}

int window_fd(const struct window_mapping *m)
{
	return m->object->rw ? m->object->fd : -1;
}

int window_unmap(struct mem_window *w, uint64_t offset, uint64_t len, struct err *e)
{
	struct window_mapping *m = find_at(w, offset);
	int r;

	if (!m || m->offset != offset || m->len != len)
		return err_set(e, -ENOENT, "0x%" PRIx64 "+0x%" PRIx64 " is not exactly one mapping",
			       offset, len);
	r = window_cover(w, offset, len);
	if (r)
		return err_set(e, r,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64 " cannot be taken away: %s",
			       offset, len, strerror(-r));
	window_forget(w, m);
	return 0;
}

/* No vCPU reaches what is mapped: who tries stops the machine. Takes neither memory nor areas. */
static void lock_up(const struct mem_window *w)
{
	for (struct window_object *o = window_object_next(&w->objects, NULL); o;
	     o = window_object_next(&w->objects, o))
		for (const struct window_mapping *m = o->mappings; m; m = m->next)
			mprotect(w->host + m->offset, m->len, PROT_NONE);
}

static int take_all_away(struct mem_window *w, struct err *e)
{
	bool private = w->filler.fd < 0;
	int r;

	while (w->count && !private) {
		const struct window_mapping *m = any(w);

		r = window_unmap(w, m->offset, m->len, e);
		if (r)
			return r;
	}
	if (private || w->loose) {
		r = private ? filler_zeros(w->host, w->size) :
			      filler_cover(&w->filler, w->host, 0, w->size);
		if (r)
			return err_set(e, r, "a window cannot be emptied: %s", strerror(-r));
		w->idle -= w->loose;
		w->loose = 0;
	}
	while (w->count)
		window_forget(w, any(w));
	r = filler_empty(&w->filler);
	return r ? err_set(e, r, "emptying the filler of a window: %s", strerror(-r)) : 0;
}

int window_clear(struct mem_window *w, struct err *e)
{
	int r = take_all_away(w, e);

	if (r)
		lock_up(w);
	return r;
}

/* --- objects that shrink --- */

/* Puts zeros where @m has only @left bytes left. */
static int cut(struct mem_window *w, struct window_mapping *m, uint64_t left)
{
	uint64_t offset = m->offset + left, len = m->live - left;
	uint64_t cost = m->rw ? idle_of(w, len) : 0; /* read-only: it was counted with the rest */

	if (!idle_take(w, cost))
		return window_cover(w, offset, len);
	return put_zeros(w, offset, len, cost, &m->idle);
}

/* How many mappings of @o, which now has @size bytes, were cut short; or -errno with @e. */
static int cut_all(struct mem_window *w, struct window_object *o, uint64_t size, struct err *e)
{
	uint64_t end = align_up(size, o->page);
	int found = 0;

	for (struct window_mapping *m = o->mappings; m; m = m->next) {
		uint64_t left = end > m->fd_offset ? min_u64(end - m->fd_offset, m->live) : 0;
		int r;

		if (left == m->live)
			continue;
		r = cut(w, m, left);
		if (r)
			return err_set(e, r, "the window cannot be repaired at 0x%" PRIx64 ": %s",
				       m->offset + left, strerror(-r));
		m->live = left;
		w->repairs++;
		w->changes++;
		found++;
	}
	o->size = size;
	return found;
}

int window_repair(struct mem_window *w, struct err *e)
{
	int found = 0;

	for (struct window_object *o = window_object_next(&w->objects, NULL); o;
	     o = window_object_next(&w->objects, o)) {
		struct stat st;
		int r;

		if (fstat(o->fd, &st) < 0 || (uint64_t)st.st_size >= o->size)
			continue;
		r = cut_all(w, o, (uint64_t)st.st_size, e);
		if (r < 0)
			return r;
		found += r;
	}
	return found;
}

enum window_room window_room(const struct mem_window *w)
{
	return window_objects_room(&w->objects);
}
