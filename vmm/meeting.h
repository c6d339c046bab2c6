/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a daemon that was started is met: a path in a directory of its own, which nobody but this
 * user can look into, for as long as it takes to connect. One thread; nothing here waits.
 */
#ifndef VMM_MEETING_H
#define VMM_MEETING_H

#include <stdbool.h>

#include "base/err.h"

struct meeting {
	char dir[88];		/* "": there is none */
	char path[104];		/* where the daemon is to listen */
	int watch;		/* readable when a name may have appeared in dir; -1 */
	bool named;		/* there is something at the path, which does not listen yet */
};

#define MEETING_NONE { .watch = -1 }

/* Makes the directory: in XDG_RUNTIME_DIR, and in /tmp where there is none. 0 or -errno with @e. */
int meeting_begin(struct meeting *m, struct err *e);
/* After m->watch was said to be readable. */
void meeting_look(struct meeting *m);
/* Connects to who listens there, or where a 0 follows the path, as some daemons have it that could
 * serve several devices. The socket, which the caller owns, or -errno: nobody does, yet. */
int meeting_connect(struct meeting *m);
/* Removes the directory with all that is in it, and says on the log when it cannot. Works twice. */
void meeting_end(struct meeting *m);

#endif
