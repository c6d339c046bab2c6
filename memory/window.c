/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/window.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"
#include "base/range.h"
#include "memory/hugetlb.h"

enum { BUCKETS = 256 };

/* It splits what is beneath, and is two itself when its object shrinks. */
enum { AREAS_PER_MAPPING = 3 };

struct window_object {
	dev_t dev;
	ino_t ino;
	int fd;			/* owned; for fstat, and for others to map */
	bool rw;		/* fd can be written */
	uint64_t page;		/* the size of its pages */
	uint64_t size;		/* no mapping has more than this of it, nor has it less unnoticed */
	struct window_mapping *mappings;
	struct window_object *next;
};

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

/* Puts filler over [offset, offset + len), whatever is there. 0 or -errno. */
static int cover(struct mem_window *w, uint64_t offset, uint64_t len)
{
	uint64_t cost = idle_of(w, len);
	int r = filler_cover(&w->filler, w->host, offset, len);

	if (r == 0 || !idle_take(w, cost))
		return r;
	/* The process may have no areas left, which filler needs. */
	r = filler_zeros(w->host + offset, len);
	if (r)
		w->idle -= cost;
	else
		w->loose += cost;
	return r;
}

/* --- objects --- */

static struct window_object **find_object(const struct mem_window *w, dev_t dev, ino_t ino)
{
	uint64_t hash = ((uint64_t)ino ^ (uint64_t)dev) * UINT64_C(0x9e3779b97f4a7c15);
	struct window_object **o = &w->objects[hash >> 56];

	while (*o && ((*o)->ino != ino || (*o)->dev != dev))
		o = &(*o)->next;
	return o;
}

/* A descriptor of our own of @fd's file, or -1 with errno: never one of those kept for others. */
static int keep_fd(const struct mem_window *w, int fd)
{
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (kept < 0 || (unsigned)kept < w->fds)
		return kept;
	close(kept);
	errno = EMFILE;
	return -1;
}

/* The object behind @fd with one mapping more; NULL with errno. */
static struct window_object *use_object(struct mem_window *w, struct window_mapping *m, int fd,
					const struct stat *st, uint64_t page)
{
	struct window_object **at = find_object(w, st->st_dev, st->st_ino), *o = *at;

	if (!o) {
		o = malloc(sizeof(*o));
		if (!o)
			return NULL;
		*o = (struct window_object){ .dev = st->st_dev, .ino = st->st_ino, .page = page };
		o->fd = keep_fd(w, fd);
		if (o->fd < 0) {
			free(o);
			return NULL;
		}
		*at = o;
	}
	if (o->size < (uint64_t)st->st_size)
		o->size = (uint64_t)st->st_size;
	m->next = o->mappings;
	m->link = &o->mappings;
	if (m->next)
		m->next->link = &m->next;
	o->mappings = m;
	return o;
}

/* @fd writes to the object, which may have the fd of a mapping that was read-only. */
static void keep_writable(const struct mem_window *w, struct window_object *o, int fd)
{
	int writable;

	if (o->rw)
		return;
	if (!o->mappings->next) {
		o->rw = true;
		return;
	}
	writable = keep_fd(w, fd);
	if (writable < 0)
		return;
	fd_close(&o->fd);
	o->fd = writable;
	o->rw = true;
}

static void drop_object(struct mem_window *w, struct window_mapping *m)
{
	struct window_object *o = m->object;

	*m->link = m->next;
	if (m->next)
		m->next->link = m->link;
	if (o->mappings)
		return;
	*find_object(w, o->dev, o->ino) = o->next;
	fd_close(&o->fd);
	free(o);
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

/* A mapping that shares a byte with [offset, offset + len) of the window, or NULL. */
static struct window_mapping *find(const struct mem_window *w, uint64_t offset, uint64_t len)
{
	const struct window_mapping key = { .offset = offset, .len = len };
	struct window_mapping *const *node = tfind(&key, &w->tree, compare);

	return node ? *node : NULL;
}

static struct window_mapping *any(const struct mem_window *w)
{
	return w->tree ? *(struct window_mapping **)w->tree : NULL;
}

/* Counts @m, which has an object, and keeps it. 0 or -errno. */
static int keep(struct mem_window *w, struct window_mapping *m)
{
	if (!area_budget_take(w->areas, AREAS_PER_MAPPING))
		return -ENOSPC;
	if (!tsearch(m, &w->tree, compare)) {
		area_budget_give(w->areas, AREAS_PER_MAPPING);
		return -ENOMEM;
	}
	w->count++;
	w->changes++;
	return 0;
}

/* Undoes use_object and keep. */
static void forget(struct mem_window *w, struct window_mapping *m)
{
	tdelete(m, &w->tree, compare);
	area_budget_give(w->areas, AREAS_PER_MAPPING);
	w->count--;
	w->changes++;
	w->idle -= m->idle;
	drop_object(w, m);
	free(m);
}

/* --- the window --- */

/* Of the descriptors that this process may have, those below this number are for objects. */
static unsigned fds_for_objects(void)
{
	struct rlimit l;
	uint64_t most = getrlimit(RLIMIT_NOFILE, &l) ? 0 : min_u64(l.rlim_cur, UINT32_MAX);

	return (unsigned)(most - min_u64(most / 8, WINDOW_FDS_LEFT));
}

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

	*w = (struct mem_window){ .size = size, .fds = fds_for_objects(), .filler.fd = -1 };
	if (size == 0 || size % page_size() || size > GIB(32768))
		return err_set(e, -EINVAL,
			       "a shared memory window of %s: its size must be a multiple of the "
			       "page size and at most 32T",
			       size_format(size, buf));
	w->objects = calloc(BUCKETS, sizeof(struct window_object *));
	if (!w->objects)
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
	if (!w->objects)
		return;
	while (w->count)
		forget(w, any(w));
	if (w->areas)
		area_budget_give(w->areas, filler_areas(&w->filler, w->size));
	if (w->reservation)
		munmap(w->reservation, w->reservation_size);
	filler_fini(&w->filler);
	free(w->objects);
	*w = (struct mem_window){ .filler.fd = -1 };
}

/* Memory that no one but its mappings may touch, not even KVM for the guest: memfd_secret(2). */
static bool is_secret(int fd)
{
	struct statfs s;

	return fstatfs(fd, &s) == 0 && s.f_type == SECRETMEM_MAGIC;
}

/* What can be said of @fd before it is mapped; *@ret_page is the size of its object's pages. */
static int check_object(const struct mem_window *w, int fd, const struct window_mapping *m,
			struct stat *ret_st, uint64_t *ret_page, struct err *e)
{
	const struct window_object *known;
	uint64_t page = page_size();
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -EBADF, "the mapping came without a usable fd");
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL,
			       "the fd of the mapping is not a regular file or shared memory");
	known = *find_object(w, st.st_dev, st.st_ino);
	if (!known && is_secret(fd))
		return err_set(e, -EINVAL, "the fd of the mapping is secret memory, which no guest can use");
	if (known)
		page = known->page;
	else
		hugetlb_is(fd, &page);
	if ((m->offset | m->fd_offset | m->len) & (page - 1))
		return err_set(e, -EINVAL,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64 " of file offset 0x%" PRIx64
			       " is not aligned to pages of %" PRIu64 " bytes",
			       m->offset, m->len, m->fd_offset, page);
	if (!range_ok(m->fd_offset, m->len, align_up((uint64_t)st.st_size, page)))
		return err_set(e, -EINVAL,
			       "the mapping of file offset 0x%" PRIx64 "+0x%" PRIx64
			       " is beyond the file's end, 0x%" PRIx64,
			       m->fd_offset, m->len, (uint64_t)st.st_size);
	*ret_st = st;
	*ret_page = page;
	return 0;
}

static int check_place(const struct mem_window *w, uint64_t offset, uint64_t len, struct err *e)
{
	const struct window_mapping *other;

	if (len == 0 || !range_ok(offset, len, w->size))
		return err_set(e, -EINVAL,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64
			       " is empty or not within the window of 0x%" PRIx64 " bytes",
			       offset, len, w->size);
	other = find(w, offset, len);
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
static int place_object(struct mem_window *w, const struct window_mapping *m, int fd, struct err *e)
{
	/* Huge pages are reserved, or a guest's store would find none left. */
	int reserve_none = m->object->page == page_size() ? MAP_NORESERVE : 0;
	int flags = m->rw ? MAP_SHARED : MAP_PRIVATE | reserve_none;
	void *from = mmap(NULL, m->len, PROT_READ | PROT_WRITE, flags, fd, (off_t)m->fd_offset);
	int r;

	if (from == MAP_FAILED)
		return err_sys(e, "the fd of the mapping cannot be mapped %s",
			       m->rw ? "read-write" : "read-only");
	madvise(from, m->len, MADV_DONTDUMP);
	r = area_move(from, w->host + m->offset, m->len);
	if (r == 0)
		return 0;
	err_set(e, r, "the mapping cannot be moved into the window: %s", strerror(-r));
	cover(w, m->offset, m->len); /* should mremap have got as far as unmapping what was there */
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

int window_map(struct mem_window *w, uint64_t offset, int fd, uint64_t fd_offset, uint64_t len,
	       bool rw, struct err *e)
{
	struct window_mapping *m, wanted = {
		.offset = offset, .len = len, .live = len, .fd_offset = fd_offset, .rw = rw,
	};
	struct stat st = { 0 };
	uint64_t page = 0;
	int r = check_place(w, offset, len, e);

	if (!r)
		r = check_object(w, fd, &wanted, &st, &page, e);
	if (!r)
		r = take_idle(w, &wanted, e);
	if (r)
		return r;
	m = malloc(sizeof(*m));
	if (m) {
		*m = wanted;
		m->object = use_object(w, m, fd, &st, page);
	}
	if (!m || !m->object) {
		w->idle -= wanted.idle;
		r = err_sys(e, "the window cannot keep the fd of the mapping%s", errno == EMFILE ?
			    " (the rest is for other devices; raise ulimit -n)" : "");
		free(m);
		return r;
	}
	r = keep(w, m);
	if (r) {
		w->idle -= m->idle;
		drop_object(w, m);
		free(m);
		return err_set(e, r, "the window has %u mappings, and %s", w->count, r == -ENOSPC ?
			       "this process no memory areas for more: raise vm.max_map_count" :
			       "there is no memory for more");
	}
	r = place_object(w, m, fd, e);
	if (r)
		forget(w, m);
	else if (rw)
		keep_writable(w, m->object, fd);
	return r;
}

const struct window_mapping *window_find(const struct mem_window *w, uint64_t offset)
{
	return offset < w->size ? find(w, offset, 1) : NULL;
}

int window_fd(const struct window_mapping *m)
{
	return m->object->rw ? m->object->fd : -1;
}

int window_unmap(struct mem_window *w, uint64_t offset, uint64_t len, struct err *e)
{
	struct window_mapping *m = offset < w->size ? find(w, offset, 1) : NULL;
	int r;

	if (!m || m->offset != offset || m->len != len)
		return err_set(e, -ENOENT, "0x%" PRIx64 "+0x%" PRIx64 " is not exactly one mapping",
			       offset, len);
	r = cover(w, offset, len);
	if (r)
		return err_set(e, r,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64 " cannot be taken away: %s",
			       offset, len, strerror(-r));
	forget(w, m);
	return 0;
}

int window_clear(struct mem_window *w, struct err *e)
{
	int r;

	while (w->count) {
		const struct window_mapping *m = any(w);

		r = window_unmap(w, m->offset, m->len, e);
		if (r)
			return r;
	}
	if (w->filler.fd < 0 || w->loose) {
		r = w->filler.fd < 0 ? filler_zeros(w->host, w->size) :
				       filler_cover(&w->filler, w->host, 0, w->size);
		if (r)
			return err_set(e, r, "a window cannot be emptied: %s", strerror(-r));
		w->idle -= w->loose;
		w->loose = 0;
	}
	r = filler_empty(&w->filler);
	return r ? err_set(e, r, "emptying the filler of a window: %s", strerror(-r)) : 0;
}

/* --- objects that shrink --- */

/* Puts zeros where @m has only @left bytes left. */
static int cut(struct mem_window *w, struct window_mapping *m, uint64_t left)
{
	uint64_t offset = m->offset + left, len = m->live - left;
	uint64_t cost = m->rw ? idle_of(w, len) : 0; /* read-only: it was counted with the rest */
	int r;

	if (!idle_take(w, cost))
		return cover(w, offset, len);
	r = filler_zeros(w->host + offset, len);
	if (r)
		w->idle -= cost;
	else
		m->idle += cost;
	return r;
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

	for (unsigned i = 0; i < BUCKETS && w->count; i++) {
		for (struct window_object *o = w->objects[i]; o; o = o->next) {
			struct stat st;
			int r;

			if (fstat(o->fd, &st) < 0 || (uint64_t)st.st_size >= o->size)
				continue;
			r = cut_all(w, o, (uint64_t)st.st_size, e);
			if (r < 0)
				return r;
			found += r;
		}
	}
	return found;
}

/* --- objects without room --- */

/* What a file system says it has left is not to the block what it can give: others take it, and it
 * needs some for itself. */
#define ROOM_MIN MIB(1)

static enum window_room room_of(const struct window_object *o)
{
	struct statfs f;
	struct stat st;

	/* Huge pages were reserved for the mapping. */
	if (o->page != page_size() || fstat(o->fd, &st) < 0 || fstatfs(o->fd, &f) < 0)
		return WINDOW_HAS_ROOM;
	if (!o->rw && f.f_type != TMPFS_MAGIC) /* what the guest writes is not the object's */
		return WINDOW_HAS_ROOM;
	if (f.f_blocks == 0 || (uint64_t)f.f_bavail * (uint64_t)f.f_frsize >= ROOM_MIN)
		return WINDOW_HAS_ROOM;
	return st.st_blocks * 512 < st.st_size ? WINDOW_LACKS : WINDOW_FULL;
}

enum window_room window_room(const struct mem_window *w)
{
	enum window_room least = WINDOW_HAS_ROOM;

	for (unsigned i = 0; i < BUCKETS && w->count && least != WINDOW_LACKS; i++) {
		for (const struct window_object *o = w->objects[i]; o; o = o->next) {
			enum window_room room = room_of(o);

			if (room > least)
				least = room;
		}
	}
	return least;
}
