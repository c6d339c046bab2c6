/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where pictures of the screen go: one PNG file that always is the latest, or a directory with one
 * file after the other. A file appears under its name when it is whole.
 *
 * In the loop, and what opens in set-up. The directory is found once; afterwards only its fd is
 * used.
 */
#ifndef VHOST_DISPLAY_PICTURES_H
#define VHOST_DISPLAY_PICTURES_H

#include <stdint.h>

#include "base/err.h"
#include "vhost/display/screen.h"

enum { PICTURES_NAME_MAX = 250 };

struct pictures {
	int dir;
	const char *path;		/* as the user wrote it, for messages; borrowed */
	const char *name;		/* in dir, of path; NULL: they are numbered */
	unsigned keep;			/* so many numbered ones, the latest */
	uint64_t written;		/* the last one's number, the first is 1 */
};

#define PICTURES_NONE { .dir = -1 }

/* To @file, or to numbered files of the directory @dir; one is NULL. @keep: of the second, at least
 * 1. 0 or -errno with @e. */
int pictures_open(struct pictures *p, const char *file, const char *dir, unsigned keep,
		  struct err *e);
/* Of @s, which shows something. 0; or -errno with @e, and what was there is there still. */
int pictures_write(struct pictures *p, const struct screen *s, struct err *e);
/* Works twice. */
void pictures_close(struct pictures *p);

#endif
