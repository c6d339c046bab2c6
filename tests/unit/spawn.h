/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program under test in a process of its own, with its output in pipes. Every wait ends the test
 * when nothing comes for twenty seconds.
 */
#ifndef TESTS_UNIT_SPAWN_H
#define TESTS_UNIT_SPAWN_H

#include <sys/types.h>

enum {
	SPAWN_FD = 7,			/* number of the one fd that may be inherited */
	SPAWN_PATIENCE_MS = 20000,
};

struct spawn {
	pid_t pid;			/* 0: none runs */
	int out, err;			/* read ends; -1 */
	char out_text[8192], err_text[8192];	/* after spawn_finish */
};

#define SPAWN_NONE { .out = -1, .err = -1 }

/* Starts @program in @dir with @args (NULL at the end); fds 0 to 2 and, as SPAWN_FD, @inherit (-1:
 * none). */
void spawn_start(struct spawn *s, const char *program, const char *dir, const char *const *args,
		 int inherit);
/* Waits for its end; the exit code, or -signal. */
int spawn_finish(struct spawn *s);
/* Kills it if it still runs. Works twice. */
void spawn_fini(struct spawn *s);

#endif
