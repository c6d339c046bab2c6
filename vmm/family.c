/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/family.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

int family_adopt(void)
{
	return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) ? -errno : 0;
}

/* Puts @fd in the place @number, open over exec. @fd is not @number. */
static bool place(int fd, int number)
{
	return dup2(fd, number) == number;
}

/* In the child. What it tells of over @report is why the program cannot run. */
static _Noreturn void become(const struct family_start *s, pid_t parent, int report)
{
	/* Higher than what is put in place below. */
	int told = fcntl(report, F_DUPFD_CLOEXEC, FAMILY_FD + 1);
	int fd = s->fd < 0 ? -1 : fcntl(s->fd, F_DUPFD_CLOEXEC, FAMILY_FD + 1);
	int in = fcntl(s->in, F_DUPFD_CLOEXEC, FAMILY_FD + 1);
	int out = fcntl(s->out, F_DUPFD_CLOEXEC, FAMILY_FD + 1);
	int error;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(127);
	setsid();
	if (told >= 0 && place(in, STDIN_FILENO) && place(out, STDOUT_FILENO) &&
	    place(out, STDERR_FILENO) && (s->fd < 0 || place(fd, FAMILY_FD))) {
		fd_close_range(s->fd < 0 ? FAMILY_FD : FAMILY_FD + 1, (unsigned)told - 1);
		fd_close_range((unsigned)told + 1, UINT_MAX);
		sigprocmask(SIG_SETMASK, s->mask, NULL);
		execvp(s->words[0], s->words);
	}
	error = errno;
	if (told < 0 || fd_write_all(told, &error, sizeof(error)))
		_exit(127);
	_exit(127);
}

/* What a child that ran into a wall has said of it, or 0. */
static int heard(int report)
{
	int error;

	return fd_read_all(report, &error, sizeof(error)) == 0 ? error : 0;
}

int family_start(struct family *f, const struct family_start *s, struct err *e)
{
	pid_t parent = getpid(), pid;
	int report[2], error;

	if (pipe2(report, O_CLOEXEC))
		return err_set(e, -errno, "cannot be started: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		become(s, parent, report[1]);
	error = pid < 0 ? errno : 0;
	fd_close(&report[1]);
	if (pid > 0)
		error = heard(report[0]);
	fd_close(&report[0]);
	if (pid > 0 && error)
		waitpid(pid, NULL, 0);
	if (error)
		return err_set(e, -error, "cannot be started: %s", strerror(error));
	*f = (struct family){ .first = pid, .alive = true };
	return 0;
}

void family_reap(struct family *f)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid == 0)
			return;
		if (pid < 0) {
			f->alive = false;
			return;
		}
		if (pid != f->first)
			continue;
		f->first = 0;
		f->ended = true;
		f->status = status;
	}
}

bool family_has_failed(const struct family *f)
{
	return !f->alive || (f->ended && f->status != 0);
}

/* The parent of process @pid, a directory's name in /proc; 0 when it is gone. */
static pid_t parent_of(const char *pid)
{
	char path[64], stat[512];
	autoclose int fd = -1;
	const char *after;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%.32s/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, stat, sizeof(stat) - 1);
	if (n <= 0)
		return 0;
	stat[n] = '\0';
	/* "pid (name) state parent ...", and a name may have a ")". */
	after = strrchr(stat, ')');
	return after && strlen(after) > 4 ? (pid_t)strtol(after + 4, NULL, 10) : 0;
}

void family_signal(const struct family *f, int sig)
{
	pid_t own = getpid();
	struct dirent *entry;
	DIR *proc;

	/* Not later: the number may be another's then. */
	if (f->first > 0) {
		kill(-f->first, sig);
		kill(f->first, sig);
	}
	proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		/* A child that has ended keeps its number until this process has reaped it. */
		if (isdigit((unsigned char)entry->d_name[0]) && parent_of(entry->d_name) == own &&
		    strtol(entry->d_name, NULL, 10) != f->first)
			kill((pid_t)strtol(entry->d_name, NULL, 10), sig);
	}
	if (proc)
		closedir(proc);
}

bool family_ended_by_itself(const struct family *f)
{
	return f->ended && !(WIFSIGNALED(f->status) && WTERMSIG(f->status) == SIGKILL);
}

void family_describe(const struct family *f, char ret_words[FAMILY_WORDS_MAX])
{
	if (WIFSIGNALED(f->status))
		snprintf(ret_words, FAMILY_WORDS_MAX, "was ended by signal %d (%.24s)",
			 WTERMSIG(f->status), strsignal(WTERMSIG(f->status)));
	else
		snprintf(ret_words, FAMILY_WORDS_MAX, "ended with exit status %d",
			 WEXITSTATUS(f->status));
}
