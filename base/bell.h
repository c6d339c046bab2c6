/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals eventfds that others hold, too, and never waits.
 *
 * A write to an eventfd that is full waits unless its open file says that it does not, and who
 * shares the file may fill it and take that back at any moment. Only the kernel's own signals never
 * wait: one comes with the end of an asynchronous read, so a bell reads nothing from an empty file.
 */
#ifndef BASE_BELL_H
#define BASE_BELL_H

#include <stdbool.h>

struct bell {
	unsigned long context;	/* of io_setup(2); 0: none */
	int file;		/* an empty memfd, owned */
};

/* Set-up, in the process that rings, before any filter. False where the kernel has no asynchronous
 * reads to give: then bell_ring writes. Outside the process's memory it takes one of the host's
 * fs.aio-max-nr for each read that can be under way. */
bool bell_init(struct bell *b);
/* Works on a zeroed struct, twice. */
void bell_fini(struct bell *b);

/* Any thread, a filtered one included (io_submit of 1, io_getevents of at least 0). Adds 1 to what
 * @eventfd holds; a full one stays full. */
void bell_ring(const struct bell *b, int eventfd);

#endif
