/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keeper: the process that has the daemon of one exec= device, from its fork on. It starts the
 * command it was forked with, connects it, writes what it says line by line to standard error, and
 * sees to its end. spawner.c starts it and gives the orders.
 *
 * It is forked before the VMM has no_new_privs or a filter, and has neither itself, since a daemon
 * would inherit them and could not make its own sandbox. So it can do nothing but this: of the VMM
 * it takes orders, which are numbers, and no word or descriptor. What a subverted VMM can order is
 * that the daemon of the command line begins again or ends.
 *
 * The end of the VMM, whatever that is, is the end of the order socket: the daemon and all that
 * came of it get SIGTERM and, those who do not heed it, SIGKILL; nothing is left of it then. It has
 * a session of its own: what kills the VMM's process group does not kill who cleans up. When it is
 * killed itself, the daemon's first process goes with it (family.h).
 *
 * A connection has a daemon of its own: whatever is left of the one before is ended first. One that
 * is to listen is given a path in a directory that only this user can look into, and is connected
 * to there; some add a 0 to the path. Then the directory is removed again.
 */
#ifndef VMM_KEEPER_H
#define VMM_KEEPER_H

#include <stdint.h>

#include "base/err.h"
#include "devices/exec_command.h"

/* Of uint32_t each. */
enum keeper_order {
	/* Answered: a daemon, with its connection. Before, of the daemon that was: as STOP. */
	KEEPER_START,
	/* The connection was lost: the daemon, if it does not end by itself soon, is ended. How it
	 * ended is told on standard error. */
	KEEPER_STOP,
	/* The daemon does not answer, and may do anything to guest memory: it is ended at once. */
	KEEPER_KILL,
	/* Answered: as STOP, but how it ended is in the answer; with an empty sentence when it did
	 * not by itself. */
	KEEPER_EXPLAIN,
};

struct keeper_answer {
	int32_t error;		/* START: 0, and a connection comes along; or -errno */
	struct err why;		/* what became of the daemon, to follow the device's name */
};

struct keeper_task {
	const char *name;	/* the device's */
	const char *text;	/* the command as written, for messages */
	const struct exec_command *command;
	int sock;		/* where orders come from, SOCK_SEQPACKET */
};

/* The rest of the process; @t is borrowed by it. Closes what is not t->sock or a standard one. */
void keeper_run(const struct keeper_task *t) __attribute__((noreturn));

#endif
