/* SPDX-License-Identifier: Apache-2.0 */
/* Who listens has no descriptor left for who comes. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/acceptor.h"
#include "base/fd.h"
#include "tests/unit/process.h"

struct house {
	struct loop loop;
	struct acceptor door;
	struct sockaddr_un address;
	int guest;			/* who came last; -1: nobody */
};

static void somebody_comes(void *arg, int *sock)
{
	struct house *h = arg;

	acceptor_want(&h->door, false);
	h->guest = fd_take(sock);
}

static int setup(void **state)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct house *h = test_calloc(1, sizeof(*h));
	struct err e;

	h->guest = -1;
	h->address.sun_family = AF_UNIX;
	/* An abstract name: nothing to remove. */
	snprintf(h->address.sun_path + 1, sizeof(h->address.sun_path) - 1,
		 "minivmm-test-acceptor-%d", (int)getpid());
	assert_int_equal(bind(sock, (struct sockaddr *)&h->address, sizeof(h->address)), 0);
	assert_int_equal(listen(sock, 4), 0);
	assert_int_equal(loop_init(&h->loop, NULL, &e), 0);
	acceptor_init(&h->door, &h->loop, "test", &sock, somebody_comes, h);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	struct house *h = *state;

	acceptor_fini(&h->door);
	acceptor_fini(&h->door);
	loop_fini(&h->loop);
	fd_close(&h->guest);
	test_free(h);
	return 0;
}

static int come(const struct house *h)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(sock, (const struct sockaddr *)&h->address, sizeof(h->address)),
			 0);
	return sock;
}

static bool has_work(const struct house *h)
{
	return poll(&(struct pollfd){ .fd = h->loop.epoll, .events = POLLIN }, 1, 0) == 1;
}

static void one_at_a_time_when_wanted(void **state)
{
	struct house *h = *state;
	autoclose int first = come(h), second = come(h);

	assert_true(first >= 0 && second >= 0);
	assert_false(has_work(h));
	acceptor_want(&h->door, true);
	loop_once(&h->loop, 0);
	assert_true(h->guest >= 0);
	fd_close(&h->guest);
	assert_false(has_work(h));
	acceptor_want(&h->door, true);
	loop_once(&h->loop, 0);
	assert_true(h->guest >= 0);
}

static void one_whom_no_descriptor_is_left_for_costs_nothing_and_comes_later(void **state)
{
	struct house *h = *state;
	autoclose int one = come(h);
	struct rlimit before, none;

	assert_true(one >= 0);
	acceptor_want(&h->door, true);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 0, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	loop_once(&h->loop, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(h->guest, -1);
	/* The socket is ready, and is not asked again at once. */
	assert_false(has_work(h));
	while (h->guest < 0)
		loop_once(&h->loop, -1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(one_at_a_time_when_wanted),
		CASE(one_whom_no_descriptor_is_left_for_costs_nothing_and_comes_later),
	};

	return cmocka_run_group_tests_name("acceptor", tests, NULL, NULL);
}
