/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/unit/small_shm.h"

bool small_shm_mount(void)
{
	char map[64];
	int fd;

	if (unshare(CLONE_NEWNS) < 0) {
		unsigned uid = getuid();

		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
			return false;
		fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
		snprintf(map, sizeof(map), "%u %u 1", uid, uid);
		if (fd < 0 || write(fd, map, strlen(map)) < 0)
			return false;
		close(fd);
	}
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("small", "/dev/shm", "tmpfs", 0, "size=8m,huge=never") == 0;
}

int small_shm_skip(void)
{
	fprintf(stderr, "SKIPPED: no mount namespace with a tmpfs of its own: %s\n",
		strerror(errno));
	if (!getenv("CMOCKA_MESSAGE_OUTPUT"))
		return 77;
	/* TAP's way to say 77. */
	puts("1..0 # SKIP no mount namespace with a tmpfs of its own");
	return 0;
}

int small_shm_take(uint64_t size)
{
	int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)size), 0);
	return fd;
}
