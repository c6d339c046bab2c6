/* SPDX-License-Identifier: Apache-2.0 */
/* The socket of events=: who gets the eventfds, what he is told, what he can do to the VMM. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/listener.h"
#include "tests/unit/events_card.h"
#include "tests/unit/process.h"

static int setup(void **state)
{
	struct events_card *c = events_card_new(4);

	events_card_listen(c);
	events_card_enable(c);
	/* The first one makes its eventfd. */
	vmshm_events_state_changed(&c->events);
	events_card_run(c);
	assert_int_equal(events_card_interrupts(c, 0), 1);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	events_card_free(*state);
	return 0;
}

static void a_program_gets_the_eventfds_of_both_ways(void **state)
{
	struct events_card *c = *state;
	struct vmshm_host h;

	assert_true(events_card_connect(c, &h));
	assert_int_equal(h.events, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vmshm_host_wait(&h, i, 0), 0);
		assert_true(events_card_ring(c, i));
		assert_true(events_card_ring(c, i));
		assert_int_equal(vmshm_host_wait(&h, i, 0), 2);

		assert_int_equal(vmshm_host_ring(&h, i), 0);
		for (unsigned v = 1; v < 4; v++)
			assert_int_equal(events_card_interrupts(c, v), v == i + 1);
	}
	assert_int_equal(vmshm_host_ring(&h, 3), -EINVAL);
	assert_int_equal(vmshm_host_wait(&h, 3, 0), -EINVAL);
	vmshm_host_close(&h);
	vmshm_host_close(&h);
}

static void he_hears_what_is_open_at_once_and_at_each_change(void **state)
{
	autoclose int object = memfd_create("object", MFD_CLOEXEC);
	struct events_card *c = *state;
	struct vmshm_host h;
	struct vmshm_msg m;
	struct stat a, b;
	int fd;

	assert_true(events_card_connect(c, &h));
	assert_int_equal(events_card_news(c, &h, &m), VMSHM_MSG_CLOSED);
	assert_int_equal(vmshm_host_news(&h, 0, &m, &fd), -ETIMEDOUT);

	events_card_open(c, object, "cfg");
	assert_int_equal(vmshm_host_news(&h, 0, &m, &fd), 0);
	assert_int_equal(m.kind, VMSHM_MSG_OPEN);
	assert_string_equal(m.name, "cfg");
	assert_int_equal(m.size, 3 * 4096);
	assert_int_equal(m.offset, 4096);
	assert_int_equal(m.mapped, 2 * 4096);
	assert_int_equal(m.flags, VMSHM_MSG_RO);
	assert_int_equal(m.generation, c->news.msg.generation);
	assert_int_equal(fstat(fd, &a) | fstat(object, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	fd_close(&fd);

	events_card_open(c, -1, NULL);
	assert_int_equal(events_card_news(c, &h, &m), VMSHM_MSG_CLOSED);
	assert_int_equal(m.generation, c->news.msg.generation);
	assert_int_equal(m.name[0], 0);
	vmshm_host_close(&h);

	events_card_open(c, object, "later");
	assert_true(events_card_connect(c, &h));
	assert_int_equal(events_card_news(c, &h, &m), VMSHM_MSG_OPEN);
	assert_string_equal(m.name, "later");
	vmshm_host_close(&h);
}

static void the_guest_hears_of_coming_and_going_by_vector_0(void **state)
{
	struct events_card *c = *state;
	struct vmshm_host h;

	assert_false(vmshm_events_has_peer(&c->events));
	assert_true(events_card_connect(c, &h));
	assert_true(vmshm_events_has_peer(&c->events));
	assert_int_equal(c->changes, 1);
	assert_int_equal(events_card_interrupts(c, 0), 1);

	vmshm_host_close(&h);
	events_card_run(c);
	assert_false(vmshm_events_has_peer(&c->events));
	assert_int_equal(c->changes, 2);
	assert_int_equal(events_card_interrupts(c, 0), 1);
}

static void a_second_one_is_sent_away_and_may_come_when_the_first_has_gone(void **state)
{
	struct events_card *c = *state;
	struct vmshm_host first, second;
	struct vmshm_msg m;

	assert_true(events_card_connect(c, &first));
	assert_int_equal(events_card_news(c, &first, &m), VMSHM_MSG_CLOSED);
	for (int i = 0; i < 3; i++)
		assert_false(events_card_connect(c, &second));
	assert_int_equal(c->changes, 1);
	assert_int_equal(vmshm_host_wait(&first, 0, 0), 0);

	vmshm_host_close(&first);
	assert_true(events_card_connect(c, &second));
	vmshm_host_close(&second);
}

/* All of it before the loop looks, whatever order the kernel then tells of it in. */
static void a_program_that_crashed_can_come_again_at_once(void **state)
{
	struct events_card *c = *state;
	struct vmshm_host h, again;

	for (int i = 0; i < 10; i++) {
		assert_true(events_card_connect(c, &h));
		assert_int_equal(vmshm_host_call(&again, c->path), 0);
		vmshm_host_close(&h);
		events_card_run(c);
		assert_int_equal(vmshm_host_answer(&again, 0), 0);
		vmshm_host_close(&again);
	}
}

static void what_was_rung_while_nobody_was_there_is_found(void **state)
{
	struct events_card *c = *state;
	struct vmshm_host h;

	assert_true(events_card_ring(c, 1));
	assert_true(events_card_connect(c, &h));
	assert_int_equal(vmshm_host_wait(&h, 1, 0), 1);
	assert_int_equal(vmshm_host_wait(&h, 0, 0), 0);
	vmshm_host_close(&h);
}

static void who_does_not_read_is_told_the_last_news_when_he_does(void **state)
{
	autoclose int object = memfd_create("object", MFD_CLOEXEC);
	struct events_card *c = *state;
	struct vmshm_host h;
	struct vmshm_msg m;
	unsigned calls = 0;
	int fd;

	assert_true(events_card_connect(c, &h));
	for (unsigned i = 0; i < 10000; i++)
		events_card_open(c, i & 1 ? object : -1, "x");
	events_card_open(c, object, "last");
	assert_true(vmshm_events_has_peer(&c->events));
	assert_true(c->events.listener.behind);

	while (vmshm_host_news(&h, 0, &m, &fd) == 0) {
		fd_close(&fd);
		calls++;
		events_card_run(c);
	}
	/* What waits for him are descriptors, of which a user may have few on their way. */
	assert_in_range(calls, 2, 8);
	assert_int_equal(m.kind, VMSHM_MSG_OPEN);
	assert_string_equal(m.name, "last");
	assert_int_equal(m.generation, c->news.msg.generation);

	events_card_open(c, -1, NULL);
	assert_int_equal(events_card_news(c, &h, &m), VMSHM_MSG_CLOSED);
	vmshm_host_close(&h);
}

static void who_ends_without_having_read_is_gone(void **state)
{
	autoclose int object = memfd_create("object", MFD_CLOEXEC);
	struct events_card *c = *state;
	unsigned fds = process_fds();
	struct vmshm_host h;

	assert_true(events_card_connect(c, &h));
	for (unsigned i = 0; i < 10000; i++)
		events_card_open(c, object, "x");
	vmshm_host_close(&h);
	events_card_open(c, -1, NULL);
	events_card_run(c);
	assert_false(vmshm_events_has_peer(&c->events));
	assert_int_equal(c->changes, 2);
	assert_int_equal(process_fds(), fds);
}

static void what_a_program_sends_is_never_read(void **state)
{
	struct events_card *c = *state;
	char junk[1000] = "junk";
	unsigned sent = 0, fds;
	struct vmshm_host h;
	struct vmshm_msg m;

	assert_true(events_card_connect(c, &h));
	assert_int_equal(events_card_news(c, &h, &m), VMSHM_MSG_CLOSED);
	fds = process_fds();
	assert_int_equal(fcntl(h.sock, F_SETFL, O_NONBLOCK), 0);
	while (sent < 10000 && fd_send(h.sock, junk, sizeof(junk), h.ring, 3) > 0) {
		events_card_run(c);
		sent++;
	}
	assert_in_range(sent, 1, 9999);
	assert_int_equal(process_fds(), fds);
	assert_true(vmshm_events_has_peer(&c->events));
	assert_int_equal(shutdown(h.sock, SHUT_WR), 0);
	events_card_run(c);

	events_card_open(c, -1, NULL);
	assert_int_equal(events_card_news(c, &h, &m), VMSHM_MSG_CLOSED);
	vmshm_host_close(&h);
	events_card_run(c);
	assert_false(vmshm_events_has_peer(&c->events));
}

static void without_an_fd_to_spare_a_newcomer_waits_and_the_loop_does_not(void **state)
{
	struct events_card *c = *state;
	struct rlimit was, none;
	struct vmshm_host h;
	int r;

	assert_int_equal(vmshm_host_call(&h, c->path), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	loop_once(&c->fake.loop, 0);
	r = setrlimit(RLIMIT_NOFILE, &was);
	assert_int_equal(r, 0);
	assert_int_not_equal(c->events.listener.rest.at, 0);
	events_card_run(c);		/* nothing is ready */
	assert_false(vmshm_events_has_peer(&c->events));

	loop_timer_set(&c->fake.loop, &c->events.listener.rest, 1);
	loop_once(&c->fake.loop, 0);
	events_card_run(c);
	assert_int_equal(vmshm_host_answer(&h, 0), 0);
	vmshm_host_close(&h);
}

static void a_thousand_connections_leave_nothing(void **state)
{
	autoclose int object = memfd_create("object", MFD_CLOEXEC);
	struct events_card *c = *state;
	unsigned fds = process_fds(), calls = fake_machine_calls(&c->fake);
	struct vmshm_host h;

	for (unsigned i = 0; i < 1000; i++) {
		events_card_open(c, i & 1 ? object : -1, "x");
		assert_true(events_card_connect(c, &h));
		vmshm_host_close(&h);
		events_card_run(c);
	}
	assert_int_equal(process_fds(), fds);
	/* Nobody's coming costs the kernel's tables anything. */
	assert_int_equal(fake_machine_calls(&c->fake), calls);
}

static void a_device_without_events_tells_what_is_open(void **state)
{
	autoclose int object = memfd_create("object", MFD_CLOEXEC);
	struct events_card *c = events_card_new(0);
	struct vmshm_host h;
	struct vmshm_msg m;

	(void)state;
	events_card_listen(c);
	events_card_open(c, object, "x");
	assert_true(events_card_connect(c, &h));
	assert_int_equal(h.events, 0);
	assert_int_equal(events_card_news(c, &h, &m), VMSHM_MSG_OPEN);
	events_card_free(c);
	assert_int_equal(vmshm_host_news(&h, 0, &m, &(int){ -1 }), -ECONNRESET);
	vmshm_host_close(&h);
}

static void the_end_of_the_vm_ends_a_wait(void **state)
{
	struct events_card *c = events_card_new(2);
	struct vmshm_host h;
	struct vmshm_msg m;

	(void)state;
	events_card_listen(c);
	assert_true(events_card_connect(c, &h));
	assert_int_equal(events_card_news(c, &h, &m), VMSHM_MSG_CLOSED);
	events_card_free(c);
	assert_int_equal(vmshm_host_wait(&h, 0, -1), -ECONNRESET);
	vmshm_host_close(&h);
}

/* base/listener.c, of the type that is not the daemons'. */
static void the_socket_takes_a_dead_ones_place_and_nobody_elses(void **state)
{
	char dir[] = "/tmp/listener.XXXXXX", path[64], before[4096], after[4096];
	int first = -1, second = -1;
	struct listener a, b;
	struct err e;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(listener_open(&a, SOCK_SEQPACKET, "--x ", path, &first, &e), 0);
	assert_int_equal(listener_open(&b, SOCK_SEQPACKET, "--x ", path, &second, &e), -EADDRINUSE);
	assert_non_null(strstr(e.msg, "--x /tmp/listener."));
	/* A listener of the other type lives, too. */
	assert_int_equal(listener_open(&b, SOCK_STREAM, "--x ", path, &second, &e), -EADDRINUSE);
	fd_close(&first);
	assert_int_equal(listener_open(&b, SOCK_SEQPACKET, "--x ", path, &second, &e), 0);
	assert_non_null(getcwd(after, sizeof(after)));
	assert_string_equal(before, after);

	listener_close(&a);		/* not its own any more */
	assert_int_equal(access(path, F_OK), 0);
	listener_close(&b);
	assert_int_equal(access(path, F_OK), -1);
	fd_close(&second);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(a_program_gets_the_eventfds_of_both_ways),
		CASE(he_hears_what_is_open_at_once_and_at_each_change),
		CASE(the_guest_hears_of_coming_and_going_by_vector_0),
		CASE(a_second_one_is_sent_away_and_may_come_when_the_first_has_gone),
		CASE(a_program_that_crashed_can_come_again_at_once),
		CASE(what_was_rung_while_nobody_was_there_is_found),
		CASE(who_does_not_read_is_told_the_last_news_when_he_does),
		CASE(who_ends_without_having_read_is_gone),
		CASE(what_a_program_sends_is_never_read),
		CASE(without_an_fd_to_spare_a_newcomer_waits_and_the_loop_does_not),
		CASE(a_thousand_connections_leave_nothing),
		cmocka_unit_test(a_device_without_events_tells_what_is_open),
		cmocka_unit_test(the_end_of_the_vm_ends_a_wait),
		cmocka_unit_test(the_socket_takes_a_dead_ones_place_and_nobody_elses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
