/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"

int daemon_setup(void **state)
{
	struct daemon *f = test_calloc(1, sizeof(*f));
	int fd;

	snprintf(f->dir, sizeof(f->dir), "/tmp/minivmm-test-program-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->disk, sizeof(f->disk), "%s/disk", f->dir);
	snprintf(f->socket, sizeof(f->socket), "%s/socket", f->dir);
	fd = open(f->disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, DISK), 0);
	close(fd);
	f->watch = inotify_init1(IN_CLOEXEC);
	assert_true(inotify_add_watch(f->watch, f->dir, IN_MOVED_TO) >= 0);
	f->program = (struct spawn)SPAWN_NONE;
	*state = f;
	return 0;
}

int daemon_teardown(void **state)
{
	struct daemon *f = *state;

	if (f->driving)
		driver_fini(&f->driver);
	spawn_fini(&f->program);
	fd_close(&f->watch);
	unlink(f->disk);
	unlink(f->socket);
	rmdir(f->dir);
	test_free(f);
	return 0;
}

void daemon_start(struct daemon *f, const char *const *args, int inherit)
{
	spawn_start(&f->program, MINIVMM_BACKEND, f->dir, args, inherit);
}

int daemon_finish(struct daemon *f)
{
	return spawn_finish(&f->program);
}

void daemon_assert_sentence(const struct daemon *f, const char *words)
{
	const char *end = strchr(f->program.err_text, '\n');

	if (!strstr(f->program.err_text, words))
		fail_msg("\"%s\" does not say \"%s\"", f->program.err_text, words);
	assert_true(end && end[1] == '\0');
	assert_string_equal(f->program.out_text, "");
}

bool daemon_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

void daemon_wait_for_socket(struct daemon *f)
{
	char events[4096];
	struct pollfd p = { .fd = f->watch, .events = POLLIN };

	if (poll(&p, 1, SPAWN_PATIENCE_MS) <= 0)
		fail_msg("no socket appeared");
	assert_true(read(f->watch, events, sizeof(events)) > 0);
}

int daemon_connect(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return sock;
}

void daemon_drive(struct daemon *f, int *sock)
{
	if (f->driving)
		driver_reconnect(&f->driver, sock);
	else
		driver_init(&f->driver, sock, NULL);
	f->driving = true;
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, 0, 16);
}

uint8_t daemon_blk_request(struct daemon *f, uint32_t type, uint64_t sector, uint32_t len)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	struct driver_buf bufs[] = { { DRIVER_DATA, 16, false },
				     { DRIVER_DATA + 0x1000, len, type == VIRTIO_BLK_T_IN },
				     { DRIVER_DATA + 0x100, 1, true } };

	memcpy(f->driver.ram + DRIVER_DATA, &h, sizeof(h));
	driver_request(&f->driver, 0, bufs, 3);
	return f->driver.ram[DRIVER_DATA + 0x100];
}

void daemon_assert_disk_works(struct daemon *f, char letter)
{
	uint8_t *data = f->driver.ram + DRIVER_DATA + 0x1000;
	autoclose int fd = open(f->disk, O_RDONLY | O_CLOEXEC);
	uint8_t got[512];

	memset(data, letter, 512);
	assert_int_equal(daemon_blk_request(f, VIRTIO_BLK_T_OUT, 5, 512), VIRTIO_BLK_S_OK);
	memset(data, 0, 512);
	assert_int_equal(daemon_blk_request(f, VIRTIO_BLK_T_IN, 5, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(data[511], letter);
	assert_int_equal(pread(fd, got, 512, 5 * 512), 512);
	assert_memory_equal(got, data, 512);
}

void daemon_stop(struct daemon *f, int signal)
{
	kill(f->program.pid, signal);
	assert_int_equal(daemon_finish(f), 0);
	assert_string_equal(f->program.err_text, "");
	assert_false(daemon_exists(f->socket));
}
