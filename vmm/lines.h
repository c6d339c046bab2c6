/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program writes to a pipe, given out line by line with a name in front: "blk0: text". A line
 * is whole, so that one write(2) puts it between others' lines and not into them; what is too long
 * for one becomes two. Of control characters only tabs are let through: what a daemon logs may be a
 * guest's words, and a terminal obeys them.
 *
 * One thread, and nothing here waits.
 */
#ifndef VMM_LINES_H
#define VMM_LINES_H

#include <stdbool.h>
#include <stddef.h>

enum {
	LINES_TEXT_MAX = 896,
	LINES_NAME_MAX = 64,
	LINES_OUT_MAX = LINES_TEXT_MAX + LINES_NAME_MAX + 4,
};

struct lines {
	int fd;				/* of the pipe, not blocking; borrowed; -1: none */
	bool ended;			/* nobody writes to it any more */
	size_t len;			/* of what was read and not given out */
	char name[LINES_NAME_MAX];
	char text[LINES_TEXT_MAX];
};

/* Begins with @fd, what is left of another pipe being dropped. @name is copied. */
void lines_init(struct lines *l, const char *name, int fd);
/* Reads what there is, as far as there is room: once after fd was said to be readable, when
 * lines_due says no. */
void lines_read(struct lines *l);
/* Whether there is a line to be given out. */
bool lines_due(const struct lines *l);
/* Gives it out with @end behind it ("\n", at most 2 bytes); its length. Only when it is due. */
size_t lines_take(struct lines *l, const char *end, char ret_line[LINES_OUT_MAX]);

#endif
