/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects behind a window's mappings (memory/window.h): files and shared memory that daemons
 * handed over. Of each there is one descriptor, found by device and inode, however many mappings it
 * has.
 *
 * Legal in the loop only.
 */
#ifndef MEMORY_WINDOW_OBJECT_H
#define MEMORY_WINDOW_OBJECT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

/* Objects leave so many of the file descriptors that this process may have, or an eighth of them,
 * to everybody else. */
enum { WINDOW_FDS_LEFT = 128 };

enum window_room {
	WINDOW_HAS_ROOM,
	WINDOW_FULL,	/* a file system is full, whose objects have all their blocks */
	WINDOW_LACKS,	/* a file system is full, and an object of its lacks blocks */
};

struct window_mapping;

struct window_object {
	dev_t dev;
	ino_t ino;
	int fd;			/* owned; for fstat, and for others to map */
	bool rw;		/* fd can be written */
	uint64_t page;		/* the size of its pages */
	uint64_t size;		/* no mapping has more than this of it, nor has it less unnoticed */
	struct window_mapping *mappings;
	struct window_object *next;	/* in its bucket */
};

struct window_objects {
	struct window_object **buckets;	/* NULL: not initialised */
	unsigned fds;			/* each fd is below it */
};

/* Set-up. 0 or -ENOMEM. */
int window_objects_init(struct window_objects *t);
/* When no mapping is left. Works on a zeroed one, and twice. */
void window_objects_fini(struct window_objects *t);

/*
 * What can be said of @fd before it is mapped as @m says (offset, len, fd_offset are read). 0, with
 * fstat's answer and the size of the object's pages in *@ret_st and *@ret_page; -EBADF or -EINVAL
 * with @e.
 */
int window_object_check(const struct window_objects *t, int fd, const struct window_mapping *m,
			struct stat *ret_st, uint64_t *ret_page, struct err *e);
/* The object behind @fd (borrowed), which was checked, with the mapping @m more. NULL with errno:
 * EMFILE when no descriptor is left for it. */
struct window_object *window_object_use(struct window_objects *t, struct window_mapping *m, int fd,
					const struct stat *st, uint64_t page);
/* @fd (borrowed) can write the object of @m: it has such a descriptor from now on, if there is one
 * left. */
void window_object_writable(const struct window_objects *t, const struct window_mapping *m, int fd);
/* The object of @m has it no more; one without mappings is gone. */
void window_object_drop(struct window_objects *t, struct window_mapping *m);

/* The one after @o, in no order; the first after NULL. NULL when there is no more. */
struct window_object *window_object_next(const struct window_objects *t,
					 const struct window_object *o);
/* What there is for the worst off of all; see window_room. */
enum window_room window_objects_room(const struct window_objects *t);

#endif
