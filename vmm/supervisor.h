/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor: a process forked before any filter, that keeps the rights the VMM gives up.
 *
 * It connects to the daemons' sockets (only those named on the command line, by number, so that a
 * subverted VMM cannot choose a path) and passes the fds; and when the VMM dies without a goodbye,
 * SIGKILL included, it removes the named shm object and sets the terminal back. It runs under a
 * filter of its own, ends when the VMM does, and dies with nobody left to serve.
 */
#ifndef VMM_SUPERVISOR_H
#define VMM_SUPERVISOR_H

#include <sys/types.h>

#include "base/err.h"
#include "base/seccomp.h"

struct supervisor {
	int sock;		/* to the process; -1 when there is none */
	pid_t pid;
};

/* Forks it. @sockets, borrowed, are the paths it may connect to. 0 or -errno with @e. */
int supervisor_start(struct supervisor *s, const char *const *sockets, unsigned n_sockets,
		     enum seccomp_mode mode, struct err *e);
/*
 * Asks for a connection to sockets[index] and waits for it. The fd, which the caller owns, or
 * -errno with @e.
 */
int supervisor_connect(struct supervisor *s, unsigned index, struct err *e);
/* From now on the supervisor removes shm object @name if the VMM dies before supervisor_end. */
int supervisor_keep_shm(struct supervisor *s, const char *name, struct err *e);
/* Goodbye: everything was cleaned up; waits for the process to end. Works twice. */
void supervisor_end(struct supervisor *s);

#endif
