/* SPDX-License-Identifier: Apache-2.0 */
/* What minivmm-backend gives up, and what becomes of it when it misbehaves. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "daemon.h"
#include "minivmm_config.h"

static void memory_that_vanishes_ends_it_with_a_sentence(void **state)
{
	struct daemon *f = *state;
	struct driver_buf buf = { DRIVER_DATA, 16, true };
	int sock;

	START(f, "rng", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	driver_add(&f->driver, 0, &buf, 1, 0);
	assert_int_equal(ftruncate(f->driver.ram_fd, 0), 0);
	driver_kick(&f->driver, 0);
	assert_int_equal(daemon_finish(f), 3);
	daemon_assert_sentence(f, "guest memory vanished");
}

/* The value of a line "Name:\tvalue" of /proc/PID/status. */
static unsigned long long status_of(pid_t pid, const char *name)
{
	char path[64], text[4096];
	autoclose int fd = -1;
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	at = strstr(text, name);
	assert_non_null(at);
	return strtoull(at + strlen(name) + 1, NULL, 16);
}

static void it_has_no_rights_left_when_it_serves(void **state)
{
	struct daemon *f = *state;
	int sock;

	START(f, "rng", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	/* It answers, so it serves. */
	daemon_drive(f, &sock);
	assert_int_equal(status_of(f->program.pid, "\nNoNewPrivs"), 1);
	assert_int_equal(status_of(f->program.pid, "\nCapEff"), 0);
	assert_int_equal(status_of(f->program.pid, "\nCapPrm"), 0);
	assert_int_equal(status_of(f->program.pid, "\nSeccomp"), HAVE_SECCOMP ? 2 : 0);
	daemon_stop(f, SIGTERM);
}

static void every_filter_mode_serves(void **state)
{
	static const char *const modes[] = { "kill", "log", "errno", "off" };
	struct daemon *f = *state;
	char option[32];
	int sock;

	for (size_t i = 0; i < (HAVE_SECCOMP ? ARRAY_SIZE(modes) : 0); i++) {
		snprintf(option, sizeof(option), "--seccomp=%s", modes[i]);
		START(f, "blk", "--file=disk", "--socket-path=socket", option);
		sock = daemon_connect(f->socket);
		daemon_drive(f, &sock);
		daemon_assert_disk_works(f, 's');
		assert_int_equal(status_of(f->program.pid, "\nSeccomp"), strcmp(modes[i], "off") ? 2 : 0);
		daemon_stop(f, SIGTERM);
	}
}

static void the_filter_lets_it_make_an_in_flight_buffer(void **state)
{
	struct daemon *f = *state;
	struct vu_inflight d = { .num_queues = 1, .queue_size = 16 };
	autoclose int fd = -1;
	int sock;

	START(f, "rng", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	driver_stop_queue(&f->driver, 0);
	fd = driver_get_inflight(&f->driver, &d);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK, F_SEAL_SHRINK);
	assert_int_equal(driver_set_inflight(&f->driver, &d, fd), 0);
	daemon_stop(f, SIGTERM);
}

/* Only a build that plants such a call has this case. */
#if PLANT_FORBIDDEN_CALL && HAVE_SECCOMP
static void a_forbidden_call_ends_it_by_name_with_5(void **state)
{
	struct daemon *f = *state;
	struct driver_buf buf = { DRIVER_DATA, 12345, true };
	struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN, .sector = 12345 };
	struct driver_buf blk[] = { { DRIVER_DATA, 16, false },
				    { DRIVER_DATA + 0x1000, 37 * 512, true },
				    { DRIVER_DATA + 0x100, 1, true } };
	int sock;

	START(f, "rng", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	assert_int_equal(daemon_finish(f), 5);
	daemon_assert_sentence(f, "getppid");

	unlink(f->socket);
	START(f, "blk", "--file=disk", "--socket-path=socket");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	memcpy(f->driver.ram + DRIVER_DATA, &h, sizeof(h));
	driver_add(&f->driver, 0, blk, 3, 0);
	driver_kick(&f->driver, 0);
	assert_int_equal(daemon_finish(f), 5);
	daemon_assert_sentence(f, "getppid");
	unlink(f->socket);

	/* In mode errno the call fails and the device goes on. */
	START(f, "rng", "--socket-path=socket", "--seccomp=errno");
	sock = daemon_connect(f->socket);
	daemon_drive(f, &sock);
	assert_int_equal(driver_request(&f->driver, 0, &buf, 1), 12345);
	daemon_stop(f, SIGTERM);
}
#endif

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, daemon_setup, daemon_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(memory_that_vanishes_ends_it_with_a_sentence),
		CASE(it_has_no_rights_left_when_it_serves),
		CASE(every_filter_mode_serves),
		CASE(the_filter_lets_it_make_an_in_flight_buffer),
#if PLANT_FORBIDDEN_CALL && HAVE_SECCOMP
		CASE(a_forbidden_call_ends_it_by_name_with_5),
#endif
	};

	return cmocka_run_group_tests_name("backend_sandbox", tests, NULL, NULL);
}
