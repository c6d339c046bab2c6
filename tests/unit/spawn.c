/* SPDX-License-Identifier: Apache-2.0 */
#include "spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"

enum { ARGS = 12 };

/* Runs in the child: only its standard fds and, as number SPAWN_FD, @inherit go along. */
static void exec_program(const char *program, const char *dir, const char *const *args, int inherit,
			 const int out[2], const int err[2])
{
	char *argv[ARGS + 2] = { (char *)(uintptr_t)program };
	int null = open("/dev/null", O_RDONLY);

	for (unsigned i = 0; args[i] && i < ARGS; i++)
		argv[i + 1] = (char *)(uintptr_t)args[i];
	dup2(null, STDIN_FILENO);
	dup2(out[1], STDOUT_FILENO);
	dup2(err[1], STDERR_FILENO);
	if (inherit >= 0 && dup2(inherit, SPAWN_FD) < 0)
		_exit(126);
	syscall(SYS_close_range, inherit >= 0 ? SPAWN_FD + 1 : 3, ~0u, 0);
	if (chdir(dir) == 0)
		execv(program, argv);
	_exit(127);
}

void spawn_start(struct spawn *s, const char *program, const char *dir, const char *const *args,
		 int inherit)
{
	int out[2], err[2];

	fd_close(&s->out);
	fd_close(&s->err);
	s->out_text[0] = s->err_text[0] = '\0';
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0)
		exec_program(program, dir, args, inherit, out, err);
	close(out[1]);
	close(err[1]);
	s->out = out[0];
	s->err = err[0];
}

/* Appends what a pipe holds until its end. */
static void slurp(int fd, char *text, size_t room)
{
	size_t at = strlen(text);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (;;) {
		ssize_t n;

		if (poll(&p, 1, SPAWN_PATIENCE_MS) <= 0)
			fail_msg("the program neither speaks nor ends");
		n = read(fd, text + at, room - 1 - at);
		if (n <= 0)
			break;
		at += (size_t)n;
		text[at] = '\0';
	}
}

int spawn_finish(struct spawn *s)
{
	int status;

	slurp(s->out, s->out_text, sizeof(s->out_text));
	slurp(s->err, s->err_text, sizeof(s->err_text));
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	s->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void spawn_fini(struct spawn *s)
{
	if (s->pid) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	s->pid = 0;
	fd_close(&s->out);
	fd_close(&s->err);
}
