/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A window: guest-physical range with one constant memory slot, whose backing is swapped beneath
 * it. VMShm's BAR1 and every VIRTIO shared memory region (VIRTIO 1.3, 2.10) are one of these.
 *
 * Theory of operation. The window owns a reserved host range that is readable and writable at every
 * moment: a hole would make KVM_RUN fail with EFAULT. What no mapping covers is filler: private
 * zero pages for a small window; for a large one a single object of a few MiB mapped again and
 * again, so that a guest that writes everywhere cannot fill the host's memory (it reads its own
 * garbage there). A new mapping, and filler that takes its place, is made elsewhere first and moved
 * over with mremap, since an mmap(MAP_FIXED) that fails has unmapped its target already. The mmu
 * notifiers make the swap atomic for vCPUs: when the call returned, no store reaches the old object
 * any more.
 *
 * The caller gives host and size to the machine as a memory slot; gpa and slot are the caller's
 * notes. A window never gets behind mem_ptr, nor into a daemon's memory table, but for what its
 * owner shares (shared.h). Everything here is legal in the loop only.
 */
#ifndef MEMORY_WINDOW_H
#define MEMORY_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* A process has 65,530 areas by default, a mapping costs two. */
enum { WINDOW_MAPPINGS_MAX = 16384 };

struct window_object;

struct window_mapping {
	uint64_t offset, len;		/* in the window */
	uint64_t live;			/* bytes still mapped: len until the object shrinks */
	uint64_t fd_offset;		/* in the object */
	bool rw;
	struct window_object *object;
};

struct mem_window {
	uint64_t gpa;			/* where the guest sees it; the owner's */
	uint64_t size;			/* bytes, a multiple of the page size */
	uint8_t *host;			/* constant */
	unsigned slot;			/* the owner's */
	struct window_mapping *mappings;	/* sorted by offset */
	unsigned count, room;
	uint64_t repairs;		/* mappings found cut short so far */

	struct window_object **objects;	/* by inode: one fd each, however many mappings */
	int filler;			/* memfd of filler_size, -1 for private zero pages */
	uint64_t filler_size;
	uint8_t *reservation;
	uint64_t reservation_size;
};

/* Reserves @size bytes (a multiple of the page size) of filler. Set-up. 0, or -errno with @e. */
int window_init(struct mem_window *w, uint64_t size, struct err *e);
/* Unmaps all, the range too: remove the memory slot before. Works on a zeroed one, and twice. */
void window_fini(struct mem_window *w);

/*
 * Maps [fd_offset, fd_offset + len) of @fd (borrowed) at @offset. With @rw guest writes reach the
 * object; without they go to private pages. Checks what a daemon may have chosen (vhost-user,
 * SHMEM_MAP): 0, or with @e and nothing changed -EINVAL (empty, unaligned, beyond the window or the
 * object, not a regular file), -EEXIST (shares a byte with a mapping), -EACCES (@rw of a read-only
 * fd), -EBADF, -ENOSPC (too many mappings), -errno of the system call that failed.
 */
int window_map(struct mem_window *w, uint64_t offset, int fd, uint64_t fd_offset, uint64_t len,
	       bool rw, struct err *e);

/*
 * Takes away one whole mapping. 0, or -ENOENT with @e when [offset, offset + len) is not exactly
 * one, or -errno of a system call; it is still there then.
 */
int window_unmap(struct mem_window *w, uint64_t offset, uint64_t len, struct err *e);

/* The mapping that begins at @offset, or NULL; valid until the next map or unmap. */
const struct window_mapping *window_find(const struct mem_window *w, uint64_t offset);
/* The object behind a mapping, as an fd that reads and writes, -1 when there is none. Borrowed;
 * valid until the next map or unmap. */
int window_fd(const struct window_mapping *m);

/*
 * Takes away every mapping and empties the filler: reset, disconnect. 0, or -errno with @e when a
 * mapping could not be taken away: it and those behind it are still there.
 */
int window_clear(struct mem_window *w, struct err *e);

/*
 * After KVM_RUN failed with EFAULT: puts filler where objects shrank under their mappings. Returns
 * how many it found (0: this window is not the cause), or -errno with @e.
 */
int window_repair(struct mem_window *w, struct err *e);

#endif
