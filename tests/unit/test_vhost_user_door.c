/* SPDX-License-Identifier: Apache-2.0 */
/* A socket where daemons come by themselves, and the link that asks for one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/listener.h"
#include "devices/vhost_user_door.h"
#include "tests/unit/process.h"

struct house {
	char dir[64], path[96];
	struct loop loop;
	struct listener name;
	struct vhost_user_door door;
	struct vhost_user_link link;
	int got;		/* the connection that is tried, or -1 */
	unsigned tries, hopeless;
};

static void try_it(void *arg, int *sock, int *pidfd)
{
	struct house *h = arg;

	assert_int_equal(*pidfd, -1);
	fd_close(&h->got);
	h->got = fd_take(sock);
	h->tries++;
}

static void hopeless(void *arg)
{
	((struct house *)arg)->hopeless++;
}

static const struct vhost_user_link_ops ops = { .try = try_it, .hopeless = hopeless };

static int setup(void **state)
{
	struct house *h = test_calloc(1, sizeof(*h));
	struct err e;
	int sock;

	h->got = -1;
	snprintf(h->dir, sizeof(h->dir), "/tmp/minivmm-test-door-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	snprintf(h->path, sizeof(h->path), "%s/door", h->dir);
	assert_int_equal(loop_init(&h->loop, NULL, &e), 0);
	assert_int_equal(listener_open(&h->name, SOCK_STREAM, "", h->path, &sock, &e), 0);
	vhost_user_door_init(&h->door, &h->loop, &sock);
	vhost_user_link_init(&h->link, &h->loop, "blk0", &ops, h);
	vhost_user_link_begin(&h->link, &vhost_user_door_dialer, &h->door, 0);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	struct house *h = *state;

	vhost_user_link_fini(&h->link);
	vhost_user_door_fini(&h->door);
	vhost_user_door_fini(&h->door);
	listener_close(&h->name);
	fd_close(&h->name.dir);
	fd_close(&h->got);
	loop_fini(&h->loop);
	assert_int_equal(rmdir(h->dir), 0);
	test_free(h);
	return 0;
}

static void settle(struct house *h)
{
	for (int i = 0; i < 8; i++)
		loop_once(&h->loop, 0);
}

/* The pause after a loss is over at once. */
static void pause_over(struct house *h)
{
	loop_timer_cancel(&h->loop, &h->link.pause);
	h->link.pause.expired(h->link.pause.arg);
	settle(h);
}

static int come(const struct house *h)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	memcpy(a.sun_path, h->path, strlen(h->path) + 1);
	assert_int_equal(connect(sock, (struct sockaddr *)&a, sizeof(a)), 0);
	return sock;
}

/* Whether what is tried is the other end of @sock. */
static bool is_tried(const struct house *h, int sock)
{
	char byte = 0;

	assert_int_equal(write(sock, "x", 1), 1);
	return recv(h->got, &byte, 1, MSG_DONTWAIT) == 1 && byte == 'x';
}

static void it_waits_for_whoever_comes_and_takes_one(void **state)
{
	struct house *h = *state;
	autoclose int first = -1, second = -1;

	settle(h);
	assert_int_equal(h->link.state, VHOST_USER_LINK_ASKING);
	first = come(h);
	second = come(h);
	settle(h);
	assert_int_equal(h->tries, 1);
	assert_true(is_tried(h, first));
	vhost_user_link_up(&h->link, "");
	settle(h);
	assert_int_equal(h->tries, 1);

	/* Who came meanwhile is next. */
	vhost_user_link_lost(&h->link);
	pause_over(h);
	assert_int_equal(h->tries, 2);
	assert_true(is_tried(h, second));
}

static void one_that_is_turned_away_is_followed_by_another(void **state)
{
	struct house *h = *state;
	autoclose int first = -1, second = -1;

	settle(h);
	first = come(h);
	settle(h);
	fd_close(&h->got);
	vhost_user_link_failed(&h->link, "it does not fit");
	pause_over(h);
	assert_int_equal(h->link.state, VHOST_USER_LINK_ASKING);
	second = come(h);
	settle(h);
	assert_int_equal(h->tries, 2);
	assert_true(is_tried(h, second));
	assert_int_equal(h->hopeless, 0);
}

static void an_end_at_any_time_leaves_nothing(void **state)
{
	unsigned before = process_fds();

	(void)state;
	for (unsigned step = 0; step < 3; step++) {
		void *house = NULL;
		autoclose int daemon = -1;

		setup(&house);
		if (step > 0)
			settle(house);
		if (step > 1)
			daemon = come(house);
		if (step > 1)
			settle(house);
		assert_int_equal(((struct house *)house)->tries, step > 1);
		teardown(&house);
		fd_close(&daemon);
		assert_int_equal(process_fds(), before);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(it_waits_for_whoever_comes_and_takes_one),
		CASE(one_that_is_turned_away_is_followed_by_another),
		cmocka_unit_test(an_end_at_any_time_leaves_nothing),
	};

	return cmocka_run_group_tests_name("vhost_user_door", tests, NULL, NULL);
}
