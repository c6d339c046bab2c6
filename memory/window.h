/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A window: guest-physical range with one constant memory slot, whose backing is swapped beneath
 * it. VMShm's BAR1 and every VIRTIO shared memory region (VIRTIO 1.3, 2.10) are one of these.
 *
 * Theory of operation. The window owns a reserved host range that is readable and writable at every
 * moment: a hole would make KVM_RUN fail with EFAULT. What no mapping covers is filler (filler.h).
 * A new mapping, and filler that takes its place, is made elsewhere first and moved over with
 * mremap, since an mmap(MAP_FIXED) that fails has unmapped its target already. The mmu notifiers
 * make the swap atomic for vCPUs: when the call returned, no store reaches the old object any more.
 *
 * What a guest can make the window cost, beyond the objects mapped into it, is `idle`: the filler,
 * and private pages. Every page of a read-only mapping can become one, as can every page that an
 * object lost under its mapping. It is counted as if the guest had written all of them, and no
 * mapping is taken that would bring it above `idle_max`. (A window whose filler is private has no
 * more pages than its size, whatever is mapped.) Page tables come on top: 8 KiB for 2 MiB of
 * window.
 *
 * Mappings are kept in a tree (tsearch(3)) in which two that share a byte count as equal, so that
 * one look-up finds what is in the way; and with their object, whose size is asked for once for all
 * of them.
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
#include "memory/area.h"
#include "memory/filler.h"
#include "memory/window_object.h"

enum { WINDOW_MAPPINGS_MAX = 16384 };

struct window_mapping {
	uint64_t offset, len;		/* in the window */
	uint64_t live;			/* bytes still mapped: len until the object shrinks */
	uint64_t fd_offset;		/* in the object */
	uint64_t idle;			/* its part of the window's idle */
	bool rw;
	struct window_object *object;
	struct window_mapping *next, **link;	/* the object's list */
};

struct mem_window {
	uint64_t gpa;			/* where the guest sees it; the owner's */
	uint64_t size;			/* bytes, a multiple of the page size */
	uint8_t *host;			/* constant */
	unsigned slot;			/* the owner's */
	void *tree;			/* of the mappings, by place */
	unsigned count;
	uint64_t repairs;		/* mappings found cut short so far */
	uint64_t changes;		/* mappings made, taken away or cut short so far */
	uint64_t idle, idle_max;	/* bytes, see above */
	uint64_t loose;			/* of idle: private pages put where filler could not be */

	struct window_objects objects;
	struct filler filler;
	struct area_budget *areas;	/* borrowed; NULL: endless */
	uint8_t *reservation;
	uint64_t reservation_size;
};

/*
 * Set-up. Reserves @size bytes (a multiple of the page size) of filler, of which the guest can make
 * no more than @idle_max bytes of the host's memory. @areas is borrowed until window_fini. 0, or
 * with @e -E2BIG (the filler alone exceeds @idle_max), -ENOSPC (no areas left) or -errno.
 */
int window_init(struct mem_window *w, uint64_t size, uint64_t idle_max, struct area_budget *areas,
		struct err *e);
/* Unmaps all, the range too: remove the memory slot before. Works on a zeroed one, and twice. */
void window_fini(struct mem_window *w);

/*
 * Maps [fd_offset, fd_offset + len) of @fd (borrowed) at @offset. With @rw guest writes reach the
 * object; without, a page that the guest writes is its private copy until the mapping ends. Checks
 * what a daemon may have chosen (vhost-user, SHMEM_MAP): 0, or with @e and nothing changed -EINVAL
 * (empty, unaligned, beyond the window or the object, not a regular file), -EEXIST (shares a byte
 * with a mapping), -EACCES (@rw of a read-only fd), -EBADF, -E2BIG (beyond idle_max), -ENOSPC (too
 * many mappings), -EMFILE (too many objects), -errno of the system call that failed.
 */
int window_map(struct mem_window *w, uint64_t offset, int fd, uint64_t fd_offset, uint64_t len,
	       bool rw, struct err *e);

/*
 * Takes away one whole mapping. 0, or -ENOENT with @e when [offset, offset + len) is not exactly
 * one, or -errno of a system call; it is still there then, or some of it.
 */
int window_unmap(struct mem_window *w, uint64_t offset, uint64_t len, struct err *e);

/*
 * Maps [fd_offset, fd_offset + len) of @fd (borrowed) at offset 0, in the place of all that is
 * mapped; each page of the window is either as before or as after at every moment. The rest is
 * filler then, and what the guest wrote there is gone. With @populate all of it is allocated first,
 * where nobody sees it. 0; or as window_map with @e, or with @populate -EIO (the object's file
 * system does not give all the pages), and then everything is as before; but where the kernel ran
 * out of memory half-way, nothing is mapped any more.
 */
int window_replace(struct mem_window *w, int fd, uint64_t fd_offset, uint64_t len, bool rw,
		   bool populate, struct err *e);

/* The mapping that has the byte at @offset, or NULL. Valid until the window is changed. */
const struct window_mapping *window_find(const struct mem_window *w, uint64_t offset);
/* The object behind a mapping, as an fd that reads and writes, -1 when there is none. Borrowed;
 * valid until the window is changed. */
int window_fd(const struct window_mapping *m);

/*
 * Takes away every mapping and empties the filler: reset, disconnect. 0, or -errno with @e when a
 * mapping could not be taken away: it and others are still there, but nobody can reach them until
 * one takes their place; a vCPU that tries gets EFAULT.
 */
int window_clear(struct mem_window *w, struct err *e);

/*
 * Looks for objects that shrank under their mappings, and puts zeros where they have nothing any
 * more: private pages, or filler when those would exceed idle_max. What an object gains when it
 * grows again is not in the mapping, which keeps its zeros until it is unmapped; one that shrank
 * and grew between two looks is not found, and its mapping shows what it has now. Returns how many
 * mappings were cut short, or -errno with @e.
 */
int window_repair(struct mem_window *w, struct err *e);

/*
 * Whether the objects' file systems could give the guest the pages it makes them need: by a store,
 * or in a tmpfs by any access to a hole. (To one that copies on write, an object that has all its
 * blocks is no better off.) A quota is not seen.
 */
enum window_room window_room(const struct mem_window *w);

#endif
