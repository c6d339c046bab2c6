/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's console: a driver on one side, a socket, a file or a terminal on the other. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "driver.h"
#include "vhost/backends/console.h"
#include "vhost/backends/device.h"
#include "vhost/backends/options.h"

enum {
	TO_GUEST, OF_GUEST, CONTROL_TO_GUEST, CONTROL_OF_GUEST, SECOND_TO_GUEST, SECOND_OF_GUEST,
	OUT_AT = DRIVER_DATA, IN_AT = DRIVER_DATA + 0x10000, CONTROL_AT = DRIVER_DATA + 0x20000,
	IN_LEN = 64, CONTROL_LEN = 64, BUFS = 8,
};

struct fixture {
	char dir[64], path[80];		/* of a socket or a file */
	struct options options;
	struct loop loop;
	void *dev;
	struct backend backend;
	struct driver driver;
	int end;			/* the host's; -1: none */
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/minivmm-test-console-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/end", f->dir);
	f->end = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->dev) {
		backend_fini(&f->backend);
		console_device.close(f->dev);
		loop_fini(&f->loop);
		driver_fini(&f->driver);
	}
	fd_close(&f->end);
	if (f->options.ports[0].file)
		unlink(f->path);
	/* Its sockets it has removed itself. */
	assert_int_equal(rmdir(f->dir), 0);
	test_free(f);
	return 0;
}

static void give(struct fixture *f, unsigned queue, uint64_t at, uint32_t len)
{
	struct driver_buf buf = { at, len, true };

	driver_add(&f->driver, queue, &buf, 1, 0);
	driver_kick(&f->driver, queue);
}

static struct fixture *start(void **state, const struct port_options *ports, unsigned n)
{
	struct fixture *f = *state;
	struct backend_device dev;
	struct err e = { "" };

	f->options = (struct options){ .type = OPTION_CONSOLE, .fd = -1, .n_ports = n };
	memcpy(f->options.ports, ports, n * sizeof(*ports));
	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	if (console_device.open(&f->options, &f->loop, &dev, &e))
		fail_msg("%s", e.msg);
	f->dev = dev.arg;
	driver_serve(&f->driver, &f->backend, &f->loop, &dev);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	for (unsigned i = 0; i < dev.queues; i++)
		driver_start_queue(&f->driver, i, 16);
	for (unsigned i = 0; i < BUFS; i++)
		give(f, TO_GUEST, IN_AT + i * IN_LEN, IN_LEN);
	return f;
}

static struct fixture *on_socket(void **state)
{
	struct fixture *f = *state;

	return start(state, &(struct port_options){ .socket = f->path, .console = true }, 1);
}

static int call(struct fixture *f)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->path);
	assert_int_equal(connect(sock, (struct sockaddr *)&a, sizeof(a)), 0);
	driver_settle(&f->driver);
	return sock;
}

static void print(struct fixture *f, unsigned queue, const char *text)
{
	struct driver_buf buf = { OUT_AT, (uint32_t)strlen(text), false };

	memcpy(f->driver.ram + OUT_AT, text, strlen(text));
	assert_int_equal(driver_request(&f->driver, queue, &buf, 1), 0);
}

static void assert_reads(int fd, const char *want)
{
	char have[64] = "";

	assert_int_equal(read(fd, have, sizeof(have) - 1), strlen(want));
	assert_string_equal(have, want);
}

static void assert_typed(struct fixture *f, unsigned queue, uint64_t at, const char *want)
{
	uint16_t head;

	assert_int_equal(driver_wait_used(&f->driver, queue, &head), strlen(want));
	assert_memory_equal(f->driver.ram + at, want, strlen(want));
}

static bool was_used(struct fixture *f, unsigned queue)
{
	uint16_t head;
	uint32_t len;

	driver_settle(&f->driver);
	return driver_used(&f->driver, queue, &head, &len);
}

static void both_ways_over_a_socket(void **state)
{
	struct fixture *f = on_socket(state);

	assert_int_equal(f->backend.dev.queues, 2);
	assert_false(f->driver.features & BIT64(VIRTIO_CONSOLE_F_MULTIPORT));
	f->end = call(f);
	print(f, OF_GUEST, "login: ");
	assert_reads(f->end, "login: ");
	assert_int_equal(write(f->end, "root\n", 5), 5);
	assert_typed(f, TO_GUEST, IN_AT, "root\n");
}

static void without_anybody_there_output_is_dropped(void **state)
{
	struct fixture *f = on_socket(state);

	print(f, OF_GUEST, "lost");
	f->end = call(f);
	print(f, OF_GUEST, "heard");
	assert_reads(f->end, "heard");
	fd_close(&f->end);
	driver_settle(&f->driver);
	print(f, OF_GUEST, "lost");
	f->end = call(f);
	print(f, OF_GUEST, "again");
	assert_reads(f->end, "again");
}

static void the_second_caller_waits_for_the_first_to_go(void **state)
{
	struct fixture *f = on_socket(state);
	autoclose int second = -1;

	f->end = call(f);
	second = call(f);
	print(f, OF_GUEST, "one");
	assert_reads(f->end, "one");
	fd_close(&f->end);
	driver_settle(&f->driver);
	print(f, OF_GUEST, "two");
	assert_reads(second, "two");
}

/* Stands before the C library's: whether the kernel has room to watch one more. */
static bool watches_are_full;

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *ev)
{
	if (watches_are_full && op == EPOLL_CTL_ADD) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, epoll, op, fd, ev);
}

static void a_caller_who_cannot_be_watched_at_first_is_later(void **state)
{
	struct fixture *f = on_socket(state);

	watches_are_full = true;
	f->end = call(f);
	watches_are_full = false;
	assert_int_equal(write(f->end, "hello", 5), 5);
	assert_typed(f, TO_GUEST, IN_AT, "hello");
	/* Nor is the next one lost. */
	watches_are_full = true;
	fd_close(&f->end);
	driver_settle(&f->driver);
	watches_are_full = false;
	f->end = call(f);
	assert_int_equal(write(f->end, "again", 5), 5);
	assert_typed(f, TO_GUEST, IN_AT + IN_LEN, "again");
}

static void input_waits_for_the_guest(void **state)
{
	struct fixture *f = on_socket(state);
	char text[BUFS * IN_LEN + 10];
	uint16_t head;

	memset(text, 'x', sizeof(text));
	f->end = call(f);
	assert_int_equal(write(f->end, text, sizeof(text)), sizeof(text));
	for (unsigned i = 0; i < BUFS; i++)
		assert_int_equal(driver_wait_used(&f->driver, TO_GUEST, &head), IN_LEN);
	assert_false(was_used(f, TO_GUEST));
	give(f, TO_GUEST, IN_AT, IN_LEN);
	assert_typed(f, TO_GUEST, IN_AT, "xxxxxxxxxx");
}

static void who_reads_slowly_loses_nothing(void **state)
{
	struct fixture *f = on_socket(state);
	enum { LEN = 30000 };
	struct driver_buf buf = { OUT_AT, LEN, false };
	unsigned sent = 0;
	size_t got = 0;
	bool held;

	f->end = call(f);
	do {
		memset(f->driver.ram + OUT_AT, 'a' + (int)(sent % 26), LEN);
		driver_add(&f->driver, OF_GUEST, &buf, 1, 0);
		driver_kick(&f->driver, OF_GUEST);
		sent++;
		held = !was_used(f, OF_GUEST);
	} while (!held);
	/* The one that is held back, and what waits, are in order. */
	while (got < (size_t)sent * LEN) {
		char have[4096];
		ssize_t n;

		driver_settle(&f->driver);
		n = read(f->end, have, sizeof(have));
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, got++)
			assert_int_equal(have[i], 'a' + (int)(got / LEN % 26));
	}
	assert_true(was_used(f, OF_GUEST));
}

static void the_guest_may_stop_while_output_waits(void **state)
{
	struct fixture *f = on_socket(state);
	struct driver_buf buf = { OUT_AT, 65536, false };

	f->end = call(f);
	do {
		driver_add(&f->driver, OF_GUEST, &buf, 1, 0);
		driver_kick(&f->driver, OF_GUEST);
	} while (was_used(f, OF_GUEST));
	driver_stop_queue(&f->driver, OF_GUEST);
}

static void a_file_gets_output_at_its_end(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "old\n", 4), 4);
	fd_close(&fd);
	start(state, &(struct port_options){ .file = f->path, .console = true }, 1);
	print(f, OF_GUEST, "new\n");
	f->end = open(f->path, O_RDONLY | O_CLOEXEC);
	assert_reads(f->end, "old\nnew\n");
	assert_false(was_used(f, TO_GUEST));
}

static void one_buffer_cannot_be_output_without_end(void **state)
{
	struct fixture *f = *state;
	const struct driver_buf buf = { OUT_AT, 1 << 20, false };
	const struct driver_buf bufs[] = { buf, buf, buf };
	struct stat st;

	start(state, &(struct port_options){ .file = f->path, .console = true }, 1);
	driver_request(&f->driver, OF_GUEST, bufs, ARRAY_SIZE(bufs));
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, CONSOLE_OUTPUT_MAX);
	print(f, OF_GUEST, "and on");
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, CONSOLE_OUTPUT_MAX + 6);
}

/* Opens the other end of the pseudo-terminal that this process has. */
static int open_terminal(struct fixture *f)
{
	char path[64];
	int fd = 3, end;

	while (ptsname_r(fd, path, sizeof(path)))
		assert_true(++fd < 64);
	end = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	assert_true(end >= 0);
	driver_settle(&f->driver);
	return end;
}

static void a_terminal_may_be_opened_and_closed(void **state)
{
	struct fixture *f = start(state, &(struct port_options){ .pty = true, .console = true }, 1);

	print(f, OF_GUEST, "lost");
	for (unsigned i = 0; i < 3; i++) {
		f->end = open_terminal(f);
		print(f, OF_GUEST, "raw\n");
		assert_reads(f->end, "raw\n");
		assert_int_equal(write(f->end, "line\r", 5), 5);
		assert_typed(f, TO_GUEST, IN_AT + i * IN_LEN, "line\r");
		fd_close(&f->end);
		driver_settle(&f->driver);
		print(f, OF_GUEST, "lost");
	}
}

/* ---- Several ports ---- */

static void tell(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control m = { htole32(id), htole16(event), htole16(value) };
	struct driver_buf buf = { OUT_AT, sizeof(m), false };

	memcpy(f->driver.ram + OUT_AT, &m, sizeof(m));
	driver_request(&f->driver, CONTROL_OF_GUEST, &buf, 1);
}

static void assert_told(struct fixture *f, uint32_t id, uint16_t event, uint16_t value,
			const char *text)
{
	struct virtio_console_control m;
	uint16_t head;
	uint32_t len;

	give(f, CONTROL_TO_GUEST, CONTROL_AT, CONTROL_LEN);
	len = driver_wait_used(&f->driver, CONTROL_TO_GUEST, &head);
	memcpy(&m, f->driver.ram + CONTROL_AT, sizeof(m));
	assert_int_equal(le16toh(m.event), event);
	assert_int_equal(le32toh(m.id), id);
	assert_int_equal(le16toh(m.value), value);
	assert_int_equal(len, sizeof(m) + strlen(text));
	assert_memory_equal(f->driver.ram + CONTROL_AT + sizeof(m), text, strlen(text));
}

static struct fixture *two_ports(void **state)
{
	static char name[] = "org.test";
	struct fixture *f = *state;
	const struct port_options ports[] = { { .pty = true, .console = true },
					      { .socket = f->path, .name = name } };

	start(state, ports, 2);
	assert_int_equal(f->backend.dev.queues, 6);
	assert_true(f->driver.features & BIT64(VIRTIO_CONSOLE_F_MULTIPORT));
	give(f, SECOND_TO_GUEST, IN_AT + BUFS * IN_LEN, IN_LEN);
	return f;
}

static void ports_are_told_and_opened(void **state)
{
	struct fixture *f = two_ports(state);

	tell(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_told(f, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(f, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	tell(f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_told(f, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
	assert_told(f, 0, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	tell(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	assert_told(f, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "org.test");
	assert_told(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	f->end = call(f);
	assert_told(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	print(f, SECOND_OF_GUEST, "hello");
	assert_reads(f->end, "hello");
	/* Input waits until the guest has the port open. */
	assert_int_equal(write(f->end, "early", 5), 5);
	assert_false(was_used(f, SECOND_TO_GUEST));
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_typed(f, SECOND_TO_GUEST, IN_AT + BUFS * IN_LEN, "early");
	fd_close(&f->end);
	assert_told(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
}

static void what_was_typed_for_one_who_left_is_not_the_next_one_s(void **state)
{
	struct fixture *f = two_ports(state);
	struct driver_buf stub = { OUT_AT, 3, false };

	f->end = call(f);
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(write(f->end, "first", 5), 5);
	assert_typed(f, SECOND_TO_GUEST, IN_AT + BUFS * IN_LEN, "first");
	assert_int_equal(write(f->end, "second", 6), 6);
	driver_settle(&f->driver);
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	give(f, SECOND_TO_GUEST, IN_AT + BUFS * IN_LEN, IN_LEN);
	assert_false(was_used(f, SECOND_TO_GUEST));
	assert_int_equal(write(f->end, "third", 5), 5);
	assert_typed(f, SECOND_TO_GUEST, IN_AT + BUFS * IN_LEN, "third");
	/* What no driver sends. */
	tell(f, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	tell(f, 1, 99, 1);
	driver_request(&f->driver, CONTROL_OF_GUEST, &stub, 1);
	print(f, SECOND_OF_GUEST, "lives");
	assert_reads(f->end, "lives");
}

static void a_caller_who_leaves_makes_room_though_the_guest_reads_nothing(void **state)
{
	struct fixture *f = two_ports(state);
	int second;

	f->end = call(f);
	fd_close(&f->end);
	driver_settle(&f->driver);
	second = call(f);
	print(f, SECOND_OF_GUEST, "two");
	assert_reads(second, "two");
	/* What one says before he leaves is kept for the guest. */
	assert_int_equal(write(second, "bye", 3), 3);
	fd_close(&second);
	driver_settle(&f->driver);
	f->end = call(f);
	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_typed(f, SECOND_TO_GUEST, IN_AT + BUFS * IN_LEN, "bye");
	driver_settle(&f->driver);
	print(f, SECOND_OF_GUEST, "three");
	assert_reads(f->end, "three");
}

/* What a front end does with rings that a daemon before has served, or this one before a pause. */
static void a_driver_that_goes_on_says_nothing_again(void **state)
{
	struct fixture *f = two_ports(state);
	const unsigned queues = f->backend.dev.queues;
	uint16_t base[DRIVER_QUEUES];

	tell(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	for (unsigned i = 0; i < queues; i++)
		base[i] = driver_stop_queue(&f->driver, i);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, f->driver.features), 0);
	for (unsigned i = 0; i < queues; i++)
		driver_resume_queue(&f->driver, i, base[i]);
	f->end = call(f);
	/* What had not arrived before. */
	assert_told(f, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(f, 0, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	assert_told(f, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	assert_int_equal(write(f->end, "typed", 5), 5);
	assert_typed(f, SECOND_TO_GUEST, IN_AT + BUFS * IN_LEN, "typed");
}

static void ports_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = *state;
	struct options o = { .type = OPTION_CONSOLE, .n_ports = 2 };
	struct backend_device dev;
	struct err e;

	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	o.ports[0] = (struct port_options){ .socket = f->path, .console = true };
	o.ports[1] = (struct port_options){ .file = (char[]){ "/dev/null" } };
	assert_int_equal(console_device.open(&o, &f->loop, &dev, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "/dev/null"));
	/* The first one's socket is gone with it. */
	o.ports[1] = (struct port_options){ .file = (char[]){ "/nonexistent/file" } };
	assert_int_equal(console_device.open(&o, &f->loop, &dev, &e), -ENOENT);
	loop_fini(&f->loop);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(both_ways_over_a_socket),
		CASE(without_anybody_there_output_is_dropped),
		CASE(the_second_caller_waits_for_the_first_to_go),
		CASE(a_caller_who_cannot_be_watched_at_first_is_later),
		CASE(input_waits_for_the_guest),
		CASE(who_reads_slowly_loses_nothing),
		CASE(the_guest_may_stop_while_output_waits),
		CASE(a_file_gets_output_at_its_end),
		CASE(one_buffer_cannot_be_output_without_end),
		CASE(a_terminal_may_be_opened_and_closed),
		CASE(ports_are_told_and_opened),
		CASE(what_was_typed_for_one_who_left_is_not_the_next_one_s),
		CASE(a_caller_who_leaves_makes_room_though_the_guest_reads_nothing),
		CASE(a_driver_that_goes_on_says_nothing_again),
		CASE(ports_that_cannot_be_are_refused),
	};

	log_setup("test_backend_console", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_console", tests, NULL, NULL);
}
