/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/window.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keyval.h"
#include "base/range.h"
#include "memory/hugetlb.h"

enum { BUCKETS = 256, FILLER_PIECES = 1024 };

#define SMALL_WINDOW	MIB(4)	/* up to here filler is private pages */
#define FILLER_MIN	MIB(2)

struct window_object {
	dev_t dev;
	ino_t ino;
	int fd;			/* owned; for fstat, and for others to map */
	bool rw;		/* fd can be written */
	unsigned users;		/* mappings */
	struct window_object *next;
};

static uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* --- filler --- */

/* At most FILLER_PIECES areas, each of a power of two: pieces start on their own multiples. */
static uint64_t choose_filler_size(uint64_t size)
{
	uint64_t filler = FILLER_MIN;

	while (size / filler > FILLER_PIECES)
		filler *= 2;
	return filler;
}

/* Filler for [offset, offset + len), which lies in one piece; @fixed NULL: anywhere. */
static void *map_filler(const struct mem_window *w, void *fixed, uint64_t offset, uint64_t len)
{
	int flags = fixed ? MAP_FIXED : 0;
	void *at;

	if (w->filler < 0)
		at = mmap(fixed, len, PROT_READ | PROT_WRITE,
			  flags | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	else
		at = mmap(fixed, len, PROT_READ | PROT_WRITE, flags | MAP_SHARED, w->filler,
			  (off_t)(offset % w->filler_size));
	if (at != MAP_FAILED)
		madvise(at, len, MADV_DONTDUMP);	/* a failure only makes a core larger */
	return at;
}

/* Up to the end of the piece of filler that @offset lies in, at most @len. */
static uint64_t piece_len(const struct mem_window *w, uint64_t offset, uint64_t len)
{
	return w->filler < 0 ? len : min_u64(len, w->filler_size - offset % w->filler_size);
}

/* Moves [from, from + len), one area, over the window at @offset. 0, or -errno, @from unmapped. */
static int move_over(struct mem_window *w, void *from, uint64_t offset, uint64_t len)
{
	int r;

	if (mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, w->host + offset) != MAP_FAILED)
		return 0;
	r = -errno;
	munmap(from, len);
	return r;
}

static int cover_piece(struct mem_window *w, uint64_t offset, uint64_t len)
{
	void *from = map_filler(w, NULL, offset, len);

	return from == MAP_FAILED ? -errno : move_over(w, from, offset, len);
}

/* Puts filler over [offset, offset + len), whatever is there. */
static int cover(struct mem_window *w, uint64_t offset, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		uint64_t piece = piece_len(w, offset + done, len - done);

		if (cover_piece(w, offset + done, piece))
			break;
		done += piece;
	}
	if (done == len)
		return 0;
	/*
	 * The process has no area left to work with elsewhere. One area of private pages straight
	 * over the rest needs none, since it takes the place of one or more.
	 */
	if (mmap(w->host + offset + done, len - done, PROT_READ | PROT_WRITE,
		 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return -errno;
	madvise(w->host + offset + done, len - done, MADV_DONTDUMP);
	return 0;
}

/* --- objects --- */

static struct window_object **find_object(struct mem_window *w, const struct stat *st)
{
	uint64_t hash =
		((uint64_t)st->st_ino ^ (uint64_t)st->st_dev) * UINT64_C(0x9e3779b97f4a7c15);
	struct window_object **o = &w->objects[hash >> 56];

	while (*o && ((*o)->ino != st->st_ino || (*o)->dev != st->st_dev))
		o = &(*o)->next;
	return o;
}

/* The object behind @fd with one user more; NULL with errno. */
static struct window_object *use_object(struct mem_window *w, int fd, const struct stat *st)
{
	struct window_object **at = find_object(w, st), *o = *at;

	if (!o) {
		o = malloc(sizeof(*o));
		if (!o)
			return NULL;
		*o = (struct window_object){ .dev = st->st_dev, .ino = st->st_ino };
		o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (o->fd < 0) {
			free(o);
			return NULL;
		}
		*at = o;
	}
	o->users++;
	return o;
}

/* @fd writes to the object, which may have the fd of a mapping that was read-only. */
static void keep_writable(struct window_object *o, int fd)
{
	int writable;

	if (o->rw)
		return;
	if (o->users == 1) {
		o->rw = true;
		return;
	}
	writable = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (writable < 0)
		return;
	fd_close(&o->fd);
	o->fd = writable;
	o->rw = true;
}

static void drop_object(struct mem_window *w, struct window_object *o)
{
	struct stat st = { .st_dev = o->dev, .st_ino = o->ino };

	if (--o->users)
		return;
	*find_object(w, &st) = o->next;
	fd_close(&o->fd);
	free(o);
}

/* --- the sorted list --- */

/* Index of the first mapping that ends behind @offset. */
static unsigned find_index(const struct mem_window *w, uint64_t offset)
{
	unsigned low = 0, high = w->count;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (w->mappings[mid].offset + w->mappings[mid].len <= offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int make_room(struct mem_window *w)
{
	unsigned room = w->room ? 2 * w->room : 16;
	struct window_mapping *grown;

	if (w->count < w->room)
		return 0;
	if (w->count == WINDOW_MAPPINGS_MAX)
		return -ENOSPC;
	grown = realloc(w->mappings, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	w->mappings = grown;
	w->room = room;
	return 0;
}

static void insert_at(struct mem_window *w, unsigned i, const struct window_mapping *m)
{
	memmove(&w->mappings[i + 1], &w->mappings[i], (w->count - i) * sizeof(*m));
	w->mappings[i] = *m;
	w->count++;
}

static void remove_at(struct mem_window *w, unsigned i)
{
	drop_object(w, w->mappings[i].object);
	w->count--;
	memmove(&w->mappings[i], &w->mappings[i + 1], (w->count - i) * sizeof(w->mappings[0]));
}

/* --- the window --- */

int window_init(struct mem_window *w, uint64_t size, struct err *e)
{
	uint64_t align = size >= GIB(1) ? GIB(1) : MIB(2), page = page_size();
	char buf[24];

	*w = (struct mem_window){ .size = size, .filler = -1 };
	if (size == 0 || size % page || size > GIB(32768))
		return err_set(e, -EINVAL,
			       "a shared memory window of %s: its size must be a multiple of the "
			       "page size and at most 32T",
			       size_format(size, buf));
	w->objects = calloc(BUCKETS, sizeof(struct window_object *));
	if (!w->objects)
		return err_set(e, -ENOMEM, "a shared memory window: out of memory");
	/* A page without access on either side keeps the window's areas from growing out of it. */
	w->reservation_size = size + align + 2 * page;
	w->reservation = mmap(NULL, w->reservation_size, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->reservation == MAP_FAILED) {
		w->reservation = NULL;
		err_sys(e, "a shared memory window of %s: no address space",
			size_format(size, buf));
		goto fail;
	}
	w->host = (uint8_t *)align_up((uintptr_t)w->reservation + page, align);
	if (size > SMALL_WINDOW) {
		w->filler_size = choose_filler_size(size);
		w->filler = memfd_create("minivmm-filler", MFD_CLOEXEC);
		if (w->filler < 0 || ftruncate(w->filler, (off_t)w->filler_size) < 0) {
			err_sys(e, "a shared memory window of %s: its filler",
				size_format(size, buf));
			goto fail;
		}
	}
	for (uint64_t at = 0, len; at < size; at += len) {
		len = piece_len(w, at, size - at);
		if (map_filler(w, w->host + at, at, len) == MAP_FAILED) {
			err_sys(e, "a shared memory window of %s: mapping its filler",
				size_format(size, buf));
			goto fail;
		}
	}
	return 0;
fail:
	window_fini(w);
	return -ENOMEM;
}

void window_fini(struct mem_window *w)
{
	if (!w->objects)
		return;
	for (unsigned i = 0; i < w->count; i++)
		drop_object(w, w->mappings[i].object);
	if (w->reservation)
		munmap(w->reservation, w->reservation_size);
	fd_close(&w->filler);
	free(w->mappings);
	free(w->objects);
	*w = (struct mem_window){ .filler = -1 };
}

/* What can be said of @fd before it is mapped. */
static int check_object(int fd, uint64_t offset, uint64_t fd_offset, uint64_t len,
			struct stat *ret_st, struct err *e)
{
	uint64_t page = page_size();
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -EBADF, "the mapping came without a usable fd");
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL,
			       "the fd of the mapping is not a regular file or shared memory");
	hugetlb_is(fd, &page);
	if ((offset | fd_offset | len) & (page - 1))
		return err_set(e, -EINVAL,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64 " of file offset 0x%" PRIx64
			       " is not aligned to pages of %" PRIu64 " bytes",
			       offset, len, fd_offset, page);
	if (!range_ok(fd_offset, len, align_up((uint64_t)st.st_size, page)))
		return err_set(e, -EINVAL,
			       "the mapping of file offset 0x%" PRIx64 "+0x%" PRIx64
			       " is beyond the file's end, 0x%" PRIx64,
			       fd_offset, len, (uint64_t)st.st_size);
	*ret_st = st;
	return 0;
}

static int check_place(const struct mem_window *w, uint64_t offset, uint64_t len, struct err *e)
{
	unsigned i;

	if (len == 0 || !range_ok(offset, len, w->size))
		return err_set(e, -EINVAL,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64
			       " is empty or not within the window of 0x%" PRIx64 " bytes",
			       offset, len, w->size);
	i = find_index(w, offset);
	if (i < w->count && w->mappings[i].offset < offset + len)
		return err_set(e, -EEXIST,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64
			       " overlaps the one at 0x%" PRIx64,
			       offset, len, w->mappings[i].offset);
	return 0;
}

/* Read-only is a private copy: the guest's stray stores neither reach the object nor stop it. */
static int place_object(struct mem_window *w, const struct window_mapping *m, int fd, struct err *e)
{
	int flags = m->rw ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE;
	void *from = mmap(NULL, m->len, PROT_READ | PROT_WRITE, flags, fd, (off_t)m->fd_offset);
	int r;

	if (from == MAP_FAILED)
		return err_sys(e, "the fd of the mapping cannot be mapped %s",
			       m->rw ? "read-write" : "read-only");
	madvise(from, m->len, MADV_DONTDUMP);
	r = move_over(w, from, m->offset, m->len);
	if (r == 0)
		return 0;
	err_set(e, r, "the mapping cannot be moved into the window: %s", strerror(-r));
	cover(w, m->offset, m->len); /* should mremap have got as far as unmapping what was there */
	return r;
}

int window_map(struct mem_window *w, uint64_t offset, int fd, uint64_t fd_offset, uint64_t len,
	       bool rw, struct err *e)
{
	struct window_mapping m = {
		.offset = offset, .len = len, .live = len, .fd_offset = fd_offset, .rw = rw,
	};
	struct stat st = { 0 };
	int r = check_place(w, offset, len, e);

	r = r ? r : check_object(fd, offset, fd_offset, len, &st, e);
	if (r)
		return r;
	r = make_room(w);
	if (r)
		return err_set(e, r, "the window has %u mappings, no room for more", w->count);
	m.object = use_object(w, fd, &st);
	if (!m.object)
		return err_sys(e, "the window cannot keep the fd of the mapping");
	r = place_object(w, &m, fd, e);
	if (r) {
		drop_object(w, m.object);
		return r;
	}
	if (rw)
		keep_writable(m.object, fd);
	insert_at(w, find_index(w, offset), &m);
	return 0;
}

const struct window_mapping *window_find(const struct mem_window *w, uint64_t offset)
{
	unsigned i = find_index(w, offset);

	return i < w->count && w->mappings[i].offset == offset ? &w->mappings[i] : NULL;
}

int window_fd(const struct window_mapping *m)
{
	return m->object->rw ? m->object->fd : -1;
}

int window_unmap(struct mem_window *w, uint64_t offset, uint64_t len, struct err *e)
{
	unsigned i = find_index(w, offset);
	int r;

	if (i == w->count || w->mappings[i].offset != offset || w->mappings[i].len != len)
		return err_set(e, -ENOENT, "0x%" PRIx64 "+0x%" PRIx64 " is not exactly one mapping",
			       offset, len);
	r = cover(w, offset, len);
	if (r)
		return err_set(e, r,
			       "the mapping 0x%" PRIx64 "+0x%" PRIx64 " cannot be taken away: %s",
			       offset, len, strerror(-r));
	remove_at(w, i);
	return 0;
}

int window_clear(struct mem_window *w, struct err *e)
{
	int r;

	while (w->count) {
		const struct window_mapping *last = &w->mappings[w->count - 1];

		r = window_unmap(w, last->offset, last->len, e);
		if (r)
			return r;
	}
	if (w->filler >= 0) {
		if (fallocate(w->filler, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			      (off_t)w->filler_size) < 0)
			return err_sys(e, "emptying the filler of a window");
		return 0;
	}
	r = cover(w, 0, w->size);
	return r ? err_set(e, r, "a window cannot be emptied: %s", strerror(-r)) : 0;
}

/* Bytes of @m that its object still has. */
static uint64_t bytes_left(const struct window_mapping *m)
{
	uint64_t page = page_size(), size;
	struct stat st;

	if (fstat(m->object->fd, &st) < 0)
		return m->live;
	size = align_up((uint64_t)st.st_size, page);
	return size > m->fd_offset ? min_u64(size - m->fd_offset, m->live) : 0;
}

int window_repair(struct mem_window *w, struct err *e)
{
	int found = 0;

	for (unsigned i = 0; i < w->count; i++) {
		struct window_mapping *m = &w->mappings[i];
		uint64_t left = bytes_left(m);
		int r;

		if (left == m->live)
			continue;
		r = cover(w, m->offset + left, m->live - left);
		if (r)
			return err_set(e, r, "the window cannot be repaired at 0x%" PRIx64 ": %s",
				       m->offset + left, strerror(-r));
		m->live = left;
		found++;
	}
	w->repairs += (uint64_t)found;
	return found;
}
