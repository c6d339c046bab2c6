/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listening socket of --socket-path: appears under its name only when it can be connected to,
 * takes the place of a dead one, and goes with the program unless somebody else's has its name by
 * then. The path is resolved once; afterwards only the directory's fd is used.
 */
#ifndef VHOST_BACKENDS_LISTENER_H
#define VHOST_BACKENDS_LISTENER_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/err.h"

struct listener {
	int dir;		/* O_PATH of the directory; -1 when there is nothing to remove */
	char name[256];		/* in dir */
	dev_t dev;		/* of our socket, to know it again */
	ino_t ino;
};

/*
 * Listens on @path: the socket goes to *@ret_sock. 0, or -errno with @e: somebody listens there, or
 * something that is no socket has the name. Changes the working directory.
 */
int listener_open(struct listener *l, const char *path, int *ret_sock, struct err *e);
/* Removes the name. Works on { .dir = -1 }, twice. */
void listener_close(struct listener *l);

/* Takes over the inherited socket @fd: close-on-exec now; *@ret_listens when it is a listening one.
 * 0 or -errno with @e. */
int listener_inherit(int fd, bool *ret_listens, struct err *e);

#endif
