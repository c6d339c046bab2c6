/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listening Unix socket with a name: appears under it only when it can be connected to, takes the
 * place of a dead one, and goes with the program unless somebody else's has its name by then. The
 * path is resolved once; afterwards only the directory's fd is used.
 */
#ifndef BASE_LISTENER_H
#define BASE_LISTENER_H

#include <sys/stat.h>

#include "base/err.h"

struct listener {
	int dir;		/* O_PATH of the directory; -1 when there is nothing to remove */
	char name[256];		/* in dir */
	dev_t dev;		/* of our socket, to know it again */
	ino_t ino;
};

/*
 * Listens on @path with a non-blocking socket of @type (SOCK_STREAM, SOCK_SEQPACKET), which goes to
 * *@ret_sock. @option is what stands before the path on the command line ("--socket-path "). 0, or
 * -errno with @e: somebody listens there, or something that is no socket has the name. While there
 * is one thread: the working directory is another during the call.
 */
int listener_open(struct listener *l, int type, const char *option, const char *path,
		  int *ret_sock, struct err *e);
/* Removes the name. Works on { .dir = -1 }, twice. */
void listener_close(struct listener *l);

#endif
