/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that was started, and every process that came of it, wherever it has gone: whoever
 * loses his parent becomes a child of this process, which is their subreaper, so that what is below
 * it is the family. One family a process, and no other children.
 *
 * The program's first process dies with this one (PR_SET_PDEATHSIG); the others only by
 * family_signal.
 *
 * One thread. SIGCHLD is not ignored.
 */
#ifndef VMM_FAMILY_H
#define VMM_FAMILY_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

enum { FAMILY_FD = 3, FAMILY_WORDS_MAX = 64 };

struct family {
	pid_t first;		/* the program's first process until it has ended; else 0 */
	bool alive;		/* there is a process of it, as far as is known */
	bool ended;		/* the first process has ended, with ... */
	int status;		/* ... this, as waitpid has it */
};

#define FAMILY_NONE { .first = 0 }

/* What a program is started with. */
struct family_start {
	char *const *words;	/* as execvp takes them */
	int in;			/* standard input */
	int out;		/* standard output and error */
	int fd;			/* becomes its descriptor FAMILY_FD; -1: it has none */
	const sigset_t *mask;	/* its signal mask */
};

/* Once a process, before the first start: it becomes the subreaper. 0 or -errno. */
int family_adopt(void);
/* Starts a program, in a session of its own, when the family before is gone. Nothing else is
 * inherited but environment and working directory. 0, or -errno with @e ("cannot be started: ..."):
 * then nobody is left. */
int family_start(struct family *f, const struct family_start *s, struct err *e);
/* Looks who has ended; never waits. SIGCHLD says when to. */
void family_reap(struct family *f);
/* Whether it cannot be used any more, as of the last look: the program failed, or nobody is left. A
 * first process that ends well, and leaves others, went to the background. */
bool family_has_failed(const struct family *f);
/* Sends @sig to the first process's group, and to every child of this process. Of SIGKILL, what is
 * further below comes up, and needs another, with each that ends. */
void family_signal(const struct family *f, int sig);
/* Whether the first process ended by anything but SIGKILL. */
bool family_ended_by_itself(const struct family *f);
/* How the first process ended, as "ended with exit status 1" or "was ended by signal 9 (Killed)". */
void family_describe(const struct family *f, char ret_words[FAMILY_WORDS_MAX]);

#endif
