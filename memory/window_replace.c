/* SPDX-License-Identifier: Apache-2.0 */
/* One object in the place of another: VMShm's windows, which never have two. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/range.h"
#include "memory/window_private.h"

#ifndef MADV_POPULATE_WRITE	/* glibc before 2.35 */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* A kernel before 5.14: what is read-only is then as it is. */
static int allocate(const struct window_mapping *m, int fd)
{
	int n;

	if (!m->rw)
		return 0;
	do {
		n = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)m->fd_offset, (off_t)m->len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* A page that is not to be had is an error here, and would stop a vCPU later. */
static int populate_all(const struct window_mapping *m, void *from, int fd, struct err *e)
{
	int n, r = 0;

	do {
		n = madvise(from, m->len, m->rw ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	} while (n < 0 && (errno == EINTR || errno == EAGAIN));
	if (n < 0)
		r = errno == EINVAL ? allocate(m, fd) : -errno;
	if (r == -ENOMEM)
		return err_set(e, r, "the host has no memory for all pages of the object");
	return r ? err_set(e, -EIO, "the object's file system does not give all of its pages (is it"
			   " full?): %s", strerror(-r)) : 0;
}

/* Whether something is mapped everywhere in the window's first @len bytes. */
static bool is_whole(const struct mem_window *w, uint64_t len)
{
	return madvise(w->host, len, MADV_DONTDUMP) == 0 || errno != ENOMEM;
}

/* The last resort: rather nothing than a hole, or something of two objects. */
static int empty(struct mem_window *w, int code, struct err *e)
{
	struct window_mapping *m;

	/* Who goes there stops the machine. */
	if (window_cover(w, 0, w->size))
		mprotect(w->host, w->size, PROT_NONE);
	while ((m = window_search(w, 0, w->size)) != NULL)
		window_forget(w, m);
	return err_set(e, code, "the window cannot be changed, and is empty now: %s", strerror(-code));
}

/* Filler over what is mapped behind the first @len bytes; the objects are forgotten. */
static int drop_old(struct mem_window *w, uint64_t len)
{
	bool private = w->filler.fd < 0;
	struct window_mapping *m;
	int r = private && len < w->size ? window_cover(w, len, w->size - len) : 0;

	while (!r && (m = window_search(w, 0, w->size)) != NULL) {
		uint64_t from = m->offset < len ? len : m->offset, end = m->offset + m->len;

		if (!private && from < end)
			r = window_cover(w, from, end - from);
		if (!r)
			window_forget(w, m);
	}
	return r;
}

/* @m, which @from maps, takes the place of all others. */
static int swap(struct mem_window *w, struct window_mapping *m, void *from, struct err *e)
{
	uint64_t len = m->len;
	int r = area_move(from, w->host, len);

	if (r) {
		window_forget(w, m);
		return is_whole(w, len) ? err_set(e, r, "the mapping cannot be moved into the window:"
						  " %s", strerror(-r)) : empty(w, r, e);
	}
	r = drop_old(w, len);
	if (r) {
		window_forget(w, m);
		return empty(w, r, e);
	}
	m->offset = 0;
	filler_empty(&w->filler); /* a failure leaves the guest what it wrote there itself */
	return 0;
}

int window_replace(struct mem_window *w, int fd, uint64_t fd_offset, uint64_t len, bool rw,
		   bool populate, struct err *e)
{
	struct window_mapping *m, wanted = {
		.len = len, .live = len, .fd_offset = fd_offset, .rw = rw,
	};
	uint64_t old = w->idle - w->filler.piece - w->loose;
	void *from = NULL;
	int r;

	if (len == 0 || len > w->size)
		return err_set(e, -EINVAL, "the mapping 0x0+0x%" PRIx64 " is empty or not within the"
			       " window of 0x%" PRIx64 " bytes", len, w->size);
	/* What is there now will cost nothing any more. */
	w->idle -= old;
	r = window_admit(w, &wanted, fd, &m, e);
	w->idle += old;
	if (r)
		return r;
	from = window_stage(w, m, fd, &r, e);
	if (from && populate)
		r = populate_all(m, from, fd, e);
	/* In the tree behind the window's end, where it is in nobody's way. */
	m->offset = w->size;
	if (!r)
		r = window_insert(w, m, e);
	if (r) {
		if (from)
			munmap(from, len);
		window_dismiss(w, m);
		return r;
	}
	if (rw)
		window_object_writable(&w->objects, m, fd);
	return swap(w, m, from, e);
}
