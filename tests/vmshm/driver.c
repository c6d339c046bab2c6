/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs in a guest and tries the Linux driver of VMShm: `vmshm-driver CASE`. A case ends with 0, or
 * tells what is wrong and ends with 1. What the host has to have for it, tests/linux/test_vmshm.py
 * says.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/vmshm/vmshm.h"
#include "tests/vmshm/driver.h"

static sigjmp_buf on_bus_error;

int driver_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "vmshm-driver: %s:%d: not so: %s (%s)\n", file, line, what,
		strerror(errno));
	exit(1);
}

int driver_open(int flags)
{
	return open(DRIVER_NODE, flags | O_CLOEXEC);
}

char *driver_map(int fd, size_t size, int prot, uint64_t offset)
{
	return mmap(NULL, size, prot, MAP_SHARED, fd, (off_t)offset);
}

int driver_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	return n < 0 ? -1 : 0;
}

int driver_bind(bool bind)
{
	const char *address = getenv("DEVICE");

	CHECK(address);
	return driver_write_file(bind ? "/sys/bus/pci/drivers/vmshm/bind"
				      : "/sys/bus/pci/drivers/vmshm/unbind",
				 address);
}

static void bus_error(int number)
{
	(void)number;
	siglongjmp(on_bus_error, 1);
}

bool driver_can_touch(volatile char *at)
{
	struct sigaction action = { .sa_handler = bus_error };
	struct sigaction old;
	volatile bool can = false;

	CHECK(!sigaction(SIGBUS, &action, &old));
	if (!sigsetjmp(on_bus_error, 1)) {
		*at = *at;
		can = true;
	}
	CHECK(!sigaction(SIGBUS, &old, NULL));
	return can;
}

int driver_wait(pid_t pid)
{
	int status = 0;

	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	for (const struct driver_case *c = driver_cases; argc == 2 && c->name; c++) {
		if (strcmp(c->name, argv[1]))
			continue;
		c->run();
		printf("vmshm-driver: %s: ok\n", c->name);
		return 0;
	}
	fprintf(stderr, "usage: vmshm-driver CASE\n");
	return 2;
}
