/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Has an object open, and stored to all the time, while something else happens in the guest:
 *
 *	vmshm-hold [--large] DEVICE /NAME COMMAND [ARGUMENT]..
 *	vmshm-hold --read DEVICE /NAME
 *
 * The first word of the object counts what was stored; --read prints it. Ends as COMMAND does, or
 * with 1 when the object cannot be had.
 */
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "guest/examples/object.h"

static int fail(const char *what, int rc)
{
	printf("vmshm-hold: %s: %s\n", what, strerror(-rc));
	return 1;
}

/* Until it is killed, or the window taken from under it; not longer than its parent. */
static pid_t start_storing(volatile uint64_t *count)
{
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		for (unsigned i = 0; i < 1u << 16; i++)
			++*count;
	_exit(1);
}

static int run(char **argv)
{
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		execvp(*argv, argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int hold(volatile uint64_t *count, char **argv)
{
	uint64_t first = *count;
	pid_t pid = start_storing(count);
	int code, status;

	if (pid < 0)
		return fail("fork", -errno);
	while (*count == first)
		sched_yield();
	code = run(argv);
	/* it was storing to the end */
	if (waitpid(pid, &status, WNOHANG))
		code = fail("the window", -EFAULT);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return code;
}

int main(int argc, char **argv)
{
	bool read = argc > 1 && !strcmp(argv[1], "--read");
	bool large = argc > 1 && !strcmp(argv[1], "--large");
	char **words = argv + 1 + (read || large);
	struct object obj;
	int rc;

	if (argv + argc - words < 2 + !read) {
		fprintf(stderr, "usage: vmshm-hold [--read | --large] DEVICE /NAME COMMAND..\n");
		return 2;
	}
	rc = object_open_device(&obj, words[0], words[1], large ? VMSHM_OPEN_LARGE : 0);
	if (rc)
		return fail(words[1], rc);
	if (read)
		printf("vmshm-hold: %s: %" PRIu64 "\n", words[1], *(uint64_t *)obj.mem);
	else
		rc = hold(obj.mem, words + 2);
	object_close(&obj);
	return rc;
}
