// SPDX-License-Identifier: Apache-2.0
/*
 * Starts a VMM and tells when its guest's init spoke: the inner clock of tests/bench/boot and
 * tests/bench/shmem.
 *
 *	stopwatch ROOT LINES COMMAND [ARG]...
 *
 * Runs COMMAND in the root directory ROOT and reads its output until it holds LINES, one after the
 * other. Then prints one line of JSON: the monotonic nanoseconds of the start, of each line and of
 * the last, the process, and KVM's counters of that moment. It waits for its own stdin to end
 * (whoever reads the processes' memory has the time) and kills the command's process group. Static
 * and small, so that what it does itself costs nothing that could be taken for the VMM's.
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

enum { LINES_MAX = 8 };

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

/* What was read and not searched yet. */
struct output {
	int fd;
	size_t have;
	char text[65536];
};

/* Reads until the output holds @line and drops what is up to its end; 0, or -1 when the output
 * ends. Keeps the last bytes for the search. */
static int wait_for_line(struct output *o, const char *line)
{
	const size_t kept = sizeof(o->text) / 4;
	const char *found;

	while (!(found = strstr(o->text, line))) {
		ssize_t n;

		if (o->have > sizeof(o->text) / 2) {
			memmove(o->text, o->text + o->have - kept, kept);
			o->have = kept;
			o->text[kept] = '\0';
		}
		n = read(o->fd, o->text + o->have, sizeof(o->text) - 1 - o->have);
		if (n <= 0)
			return -1;
		o->have += (size_t)n;
		o->text[o->have] = '\0';
	}
	found += strlen(line);
	o->have -= (size_t)(found - o->text);
	memmove(o->text, found, o->have + 1);
	return 0;
}

/* Waits for the @lines, which it takes apart; how many there were, or -1 at the output's end. */
static int wait_for_lines(struct output *o, char *lines, uint64_t at[LINES_MAX])
{
	int n = 0;

	for (char *line = strtok(lines, "\n"); line && n < LINES_MAX; line = strtok(NULL, "\n")) {
		if (wait_for_line(o, line) < 0)
			return -1;
		at[n++] = now_ns();
	}
	return n;
}

int main(int argc, char **argv)
{
	static struct output output;
	unsigned long long seen[sizeof(counters) / sizeof(*counters)];
	uint64_t start, at[LINES_MAX] = { 0 };
	int in[2], out[2], found;
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
	output.fd = out[0];
	found = wait_for_lines(&output, argv[2], at);
	for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		seen[i] = counter(counters[i]);
	if (found <= 0) {
		fprintf(stderr, "%s ended without all lines; it said:\n%s\n", argv[3], output.text);
		kill(-pid, SIGKILL);
		return 1;
	}
	printf("{\"start\": %llu, \"end\": %llu, \"pid\": %d", (unsigned long long)start,
	       (unsigned long long)at[found - 1], pid);
	for (int i = 0; i < found; i++)
		printf("%s%llu", i ? ", " : ", \"lines\": [", (unsigned long long)at[i]);
	printf("]");
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
