// SPDX-License-Identifier: Apache-2.0
/*
 * Starts a VMM and tells when its guest's init spoke: the inner clock of tests/bench/boot.
 *
 *	stopwatch ROOT LINE COMMAND [ARG]...
 *
 * Runs COMMAND in the root directory ROOT and reads its output until it holds LINE. Then prints one
 * line of JSON: the monotonic nanoseconds of start and line, the process, and KVM's counters of
 * that moment. It waits for its own stdin to end (whoever reads the processes' memory has the time)
 * and kills the command's process group. Static and small, so that what it does itself costs
 * nothing that could be taken for the VMM's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STATS "/sys/kernel/debug/kvm/"

static const char *const counters[] = { "exits", "io_exits", "mmio_exits", "halt_exits",
					"irq_exits" };

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static unsigned long long counter(const char *name)
{
	char path[64], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), STATS "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return 0;
	close(fd);
	return strtoull(text, NULL, 10);
}

static void __attribute__((noreturn)) run(const char *root, char **argv, int in, int out)
{
	setsid();
	if (chroot(root) < 0 || chdir("/") < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 ||
	    dup2(out, 2) < 0)
		_exit(126);
	execv(argv[0], argv);
	dprintf(2, "cannot execute %s\n", argv[0]);
	_exit(127);
}

/* Reads until the output holds line; 0, or -1 at its end. Keeps the last bytes for the search. */
static int wait_for_line(int fd, const char *line, char *text, size_t size)
{
	size_t have = 0;

	for (;;) {
		ssize_t n = read(fd, text + have, size - 1 - have);

		if (n <= 0)
			return -1;
		have += (size_t)n;
		text[have] = '\0';
		if (strstr(text, line))
			return 0;
		if (have > size / 2) {
			memmove(text, text + have - size / 4, size / 4);
			have = size / 4;
		}
	}
}

int main(int argc, char **argv)
{
	static char text[65536];
	unsigned long long seen[sizeof(counters) / sizeof(*counters)];
	int in[2], out[2], found;
	uint64_t start, end;
	pid_t pid;
	char byte;

	if (argc < 4 || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return 2;
	start = now_ns();
	pid = fork();
	if (pid < 0)
		return 2;
	if (pid == 0)
		run(argv[1], argv + 3, in[0], out[1]);
	close(out[1]);
	found = wait_for_line(out[0], argv[2], text, sizeof(text));
	end = now_ns();
	for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		seen[i] = counter(counters[i]);
	if (found < 0) {
		fprintf(stderr, "%s ended without the line \"%s\"; it said:\n%s\n", argv[3],
			argv[2], text);
		kill(-pid, SIGKILL);
		return 1;
	}
	printf("{\"start\": %llu, \"end\": %llu, \"pid\": %d", (unsigned long long)start,
	       (unsigned long long)end, pid);
	for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		printf(", \"%s\": %llu", counters[i], seen[i]);
	printf("}\n");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}
