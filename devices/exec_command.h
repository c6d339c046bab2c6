/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command of exec=: a program and its arguments, taken apart without a shell.
 *
 * Words end at blanks. In '...' everything stands for itself; in "..." a backslash takes the
 * special meaning from \ and "; outside of quotes it takes it from any character. Nothing else is
 * special: no variable, no pattern, no redirection, no list of commands; who wants these starts a
 * shell (sh -c '...'). In every word, quoted or not, %s is where the daemon is to listen, %d the
 * number of its descriptor that is connected already, %% a %; a command has one of the first two.
 *
 * Legal in any thread.
 */
#ifndef DEVICES_EXEC_COMMAND_H
#define DEVICES_EXEC_COMMAND_H

#include <stdbool.h>

#include "base/err.h"

struct exec_command {
	char *text;		/* the words one behind the other, each with its NUL; owned */
	unsigned count;		/* of words, at least one */
	bool by_fd;		/* it has %d; else %s */
};

/* Takes @text apart. 0, or -EINVAL with @e, which names neither option nor device; free either
 * way. */
int exec_command_parse(struct exec_command *c, const char *text, struct err *e);
/* The words for execvp(3), @place for each %s or %d. In one block that the caller frees; NULL
 * without memory. */
char **exec_command_fill(const struct exec_command *c, const char *place);
/* Works on a zeroed struct, twice. */
void exec_command_free(struct exec_command *c);

#endif
