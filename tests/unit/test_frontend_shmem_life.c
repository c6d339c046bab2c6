/* SPDX-License-Identifier: Apache-2.0 */
/* SHMEM_MAP and SHMEM_UNMAP at every step of a device's life, and answers that cannot be sent. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/process.h"
#include "tests/unit/shmem.h"

static void before_the_device_is_negotiated_nothing_can_be_mapped(void **state)
{
	/* With the sizes still unknown, and with only the config missing. */
	static const uint32_t unanswered[] = { VU_SET_OWNER, VU_GET_CONFIG };

	for (size_t i = 0; i < ARRAY_SIZE(unanswered); i++) {
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = shmem_connect(state);
		f->daemon.fault = FAULT_SILENT;
		f->daemon.fault_on = unanswered[i];
		scripted_settle(&f->loop);
		assert_int_equal(shmem_map(f, 0), 1);
		assert_int_equal(shmem_unmap(f, 0), 1);
		scripted_daemon_give(&f->daemon);
		owner_connected(f);
		assert_int_equal(f->maps + f->unmaps, 0);
		assert_int_equal(shmem_map(f, 0), 0);
	}
}

/* It has answered everything, so for the daemon the device is ready. */
static void a_request_right_after_the_last_answer_is_served_when_the_owner_is_ready(void **state)
{
	struct owner *f = shmem_connect(state);

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_OWNER;
	scripted_settle(&f->loop);
	scripted_daemon_give(&f->daemon);
	shmem_send_map(f, 0, NEED_REPLY);
	shmem_send_map(f, 1, NEED_REPLY);
	shmem_back_channel_first(f);
	assert_int_equal(f->maps + f->ready, 0);
	assert_int_equal(shmem_answer(f, MAP), 0);
	assert_int_equal(shmem_answer(f, MAP), 0);
	assert_int_equal(f->ready, 1);
	assert_int_equal(f->n_mapped, 2);
}

/* The normal case: SET_VRING_ENABLE waits in the daemon until the mapping is there. */
static void a_mapping_before_the_rings_are_enabled_is_answered_while_they_wait(void **state)
{
	struct owner *f = shmem_ready(state);
	struct err e;

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_VRING_ENABLE;
	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.state, VU_STARTING);
	scripted_daemon_order(&f->daemon);
	assert_int_equal(shmem_map(f, 0), 0);
	assert_int_equal(f->daemon.n_seen, 0);
	assert_int_equal(f->started, 0);
	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 1);
	assert_int_equal(f->n_mapped, 1);
}

static struct owner *stopping(void **state)
{
	struct owner *f = shmem_running(state);

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_GET_VRING_BASE;
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.state, VU_STOPPING);
	return f;
}

static void a_mapping_made_while_stopping_ends_with_the_others(void **state)
{
	struct owner *f = stopping(state);

	assert_int_equal(shmem_map(f, 0), 0);
	assert_int_equal(shmem_map(f, 1), 0);
	assert_int_equal(shmem_unmap(f, 1), 0);
	assert_int_equal(f->n_mapped, 1);
	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->n_mapped, 0);
}

static void a_mapping_made_after_the_last_answer_of_a_stop_is_the_next_life_s(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = stopping(state);
		scripted_daemon_give(&f->daemon);
		shmem_send_map(f, 0, NEED_REPLY);
		if (first)
			shmem_back_channel_first(f);
		assert_int_equal(shmem_answer(f, MAP), 0);
		assert_int_equal(f->stopped, 1);
		assert_int_equal(f->n_mapped, 1);
	}
}

static void a_request_that_waits_goes_with_the_front_end(void **state)
{
	unsigned level[2];

	for (int held = 0; held < 2; held++) {
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = stopping(state);
		scripted_daemon_give(&f->daemon);
		if (held) {
			shmem_send_map(f, 0, NEED_REPLY);
			shmem_back_channel_first(f);
		}
		assert_true(f->frontend.back_is_held == held);
		vu_frontend_fini(&f->frontend);
		/* The memory may be anything by now. */
		memset(&f->frontend, 0, sizeof(f->frontend));
		scripted_settle(&f->loop);
		level[held] = process_fds();
		assert_int_equal(f->maps, 0);
	}
	assert_int_equal(level[1], level[0]);
}

static void after_the_end_of_the_connection_nothing_is_mapped(void **state)
{
	for (int first = 0; first < 2; first++) {
		unsigned level = process_fds();
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = shmem_running(state);
		assert_int_equal(shmem_map(f, 0), 0);
		shmem_send_map(f, 1, NEED_REPLY);
		loop_unwatch(&f->loop, &f->daemon.watch);
		vu_channel_fini(&f->daemon.channel);
		if (first)
			shmem_back_channel_first(f);
		owner_assert_lost(f, "closed");
		assert_in_range(f->maps, 1, first ? 1 : 2);
		assert_int_equal(f->n_mapped, 0);
		owner_fini(f);
		assert_in_range(process_fds(), 0, level);
	}
}

/* The daemon reads no answer any more. */
static void deafen(struct owner *f)
{
	assert_int_equal(shutdown(f->daemon.back.sock, SHUT_RD), 0);
}

static void a_mapping_whose_answer_cannot_be_sent_is_undone_and_the_connection_lost(void **state)
{
	struct owner *f = shmem_running(state);

	assert_int_equal(shmem_map(f, 0), 0);
	deafen(f);
	shmem_send_map(f, 1, NEED_REPLY);
	shmem_back_channel_first(f);
	/* Undone at once, not only with all others when the loss is told. */
	assert_int_equal(f->maps, 2);
	assert_int_equal(f->unmaps, 1);
	assert_int_equal(f->n_mapped, 1);
	assert_int_equal(f->mapped[0].shm_offset, 0);
	owner_assert_lost(f, "cannot be told that its BACKEND_SHMEM_MAP was obeyed");
	assert_false(f->lost_dead);
	assert_int_equal(f->n_mapped, 0);
}

static void an_unmapping_whose_answer_cannot_be_sent_loses_the_connection(void **state)
{
	struct owner *f = shmem_running(state);

	assert_int_equal(shmem_map(f, 0), 0);
	deafen(f);
	shmem_send_unmap(f, 0);
	owner_assert_lost(f, "cannot be told that its BACKEND_SHMEM_UNMAP was obeyed");
	assert_int_equal(f->maps, 1);
	assert_int_equal(f->unmaps, 1);
}

static void a_refusal_that_cannot_be_sent_ends_only_the_back_channel(void **state)
{
	struct owner *f = shmem_running(state);

	f->refuse_map = -EEXIST;
	deafen(f);
	shmem_send_map(f, 0, NEED_REPLY);
	scripted_settle(&f->loop);
	assert_int_equal(f->lost, 0);
	assert_int_equal(f->frontend.back.sock, -1);
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->stopped, 1);
}

/* Requests until an answer finds no room; returns how many. */
static unsigned fill_back_channel(struct owner *f)
{
	int small = 4096;
	unsigned n = 0;

	setsockopt(f->frontend.back.sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	while (!vu_channel_pending(&f->frontend.back)) {
		shmem_send_map(f, 0, NEED_REPLY);
		scripted_settle(&f->loop);
		n++;
	}
	assert_int_equal(f->n_mapped, n);
	return n;
}

static void the_main_channel_waits_until_the_answer_is_out(void **state)
{
	struct owner *f = shmem_running(state);
	unsigned n = fill_back_channel(f);

	vu_frontend_config_write(&f->frontend, 0, 4);
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.n_seen, 0);
	while (n--)
		assert_int_equal(shmem_answer(f, MAP), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.back_deadline.at, 0);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_CONFIG), 1);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->n_mapped, 0);
}

static void an_answer_that_finds_no_room_has_a_deadline(void **state)
{
	struct owner *f = shmem_running(state);
	unsigned n = fill_back_channel(f);

	assert_true(f->frontend.back_deadline.at > 0);
	f->frontend.back_deadline.expired(f->frontend.back_deadline.arg);
	assert_int_equal(f->unmaps, 1);
	assert_int_equal(f->n_mapped, n - 1);
	owner_assert_lost(f, "BACKEND_SHMEM_MAP was obeyed: it does not read its back channel");
}

static void an_answer_that_waits_for_room_and_never_gets_it_is_undone(void **state)
{
	struct owner *f = shmem_running(state);

	fill_back_channel(f);
	vu_channel_fini(&f->daemon.back);
	owner_assert_lost(f, "BACKEND_SHMEM_MAP was obeyed");
	assert_int_equal(f->unmaps, 1);
}

/* A refusal has nothing to undo, but blocks as long, and must not for ever. */
static void a_refusal_that_finds_no_room_ends_the_back_channel(void **state)
{
	struct owner *f = shmem_running(state);
	int small = 4096;

	f->refuse_map = -EEXIST;
	setsockopt(f->frontend.back.sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	while (!vu_channel_pending(&f->frontend.back)) {
		shmem_send_map(f, 0, NEED_REPLY);
		scripted_settle(&f->loop);
	}
	owner_stop(f);
	f->frontend.back_deadline.expired(f->frontend.back_deadline.arg);
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.back.sock, -1);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->lost, 0);
}

static void a_closed_back_channel_leaves_what_is_mapped(void **state)
{
	struct owner *f = shmem_running(state);

	assert_int_equal(shmem_map(f, 0), 0);
	vu_channel_fini(&f->daemon.back);
	scripted_settle(&f->loop);
	assert_int_equal(f->lost, 0);
	assert_int_equal(f->n_mapped, 1);
}

static void requests_of_all_kinds_are_answered_in_order(void **state)
{
	struct owner *f = shmem_running(state);
	uint64_t answer;

	owner_config_change(f, NEED_REPLY);
	shmem_send_map(f, 0, NEED_REPLY);
	owner_config_change(f, NEED_REPLY);
	shmem_send_unmap(f, 0);
	scripted_settle(&f->loop);
	assert_int_equal(scripted_daemon_back_answer(&f->daemon, VU_BACKEND_CONFIG_CHANGE_MSG,
						     &answer), 1);
	assert_int_equal(shmem_answer(f, MAP), 0);
	assert_int_equal(scripted_daemon_back_answer(&f->daemon, VU_BACKEND_CONFIG_CHANGE_MSG,
						     &answer), 1);
	assert_int_equal(shmem_answer(f, UNMAP), 0);
	assert_true(f->config_changed >= 1);
	owner_assert_legal(f);
}

/* As one of a large window is, which takes that long to be put together again. */
static int map_slowly(void *arg, const struct vu_shmem_map *m, int fd, struct err *e)
{
	uint64_t until = clock_ns() + MS_TO_NS(2);

	while (clock_ns() < until)
		;
	return owner_ops.shmem_map(arg, m, fd, e);
}

static void requests_that_take_long_are_not_served_in_a_row(void **state)
{
	struct owner *f = *state;
	struct vu_frontend_ops slow = owner_ops;

	slow.shmem_map = map_slowly;
	f->ops = &slow;
	shmem_running(state);
	for (uint64_t page = 0; page < 4; page++)
		shmem_send_map(f, page, NEED_REPLY);
	for (unsigned turn = 1; turn <= 4; turn++) {
		shmem_back_channel_first(f);
		assert_int_equal(f->maps, turn);
	}
	f->ops = NULL;
	owner_teardown(state);
	owner_setup(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(before_the_device_is_negotiated_nothing_can_be_mapped),
		TEST(a_request_right_after_the_last_answer_is_served_when_the_owner_is_ready),
		TEST(a_mapping_before_the_rings_are_enabled_is_answered_while_they_wait),
		TEST(a_mapping_made_while_stopping_ends_with_the_others),
		TEST(a_mapping_made_after_the_last_answer_of_a_stop_is_the_next_life_s),
		TEST(a_request_that_waits_goes_with_the_front_end),
		TEST(after_the_end_of_the_connection_nothing_is_mapped),
		TEST(a_mapping_whose_answer_cannot_be_sent_is_undone_and_the_connection_lost),
		TEST(an_unmapping_whose_answer_cannot_be_sent_loses_the_connection),
		TEST(a_refusal_that_cannot_be_sent_ends_only_the_back_channel),
		TEST(the_main_channel_waits_until_the_answer_is_out),
		TEST(an_answer_that_finds_no_room_has_a_deadline),
		TEST(an_answer_that_waits_for_room_and_never_gets_it_is_undone),
		TEST(a_refusal_that_finds_no_room_ends_the_back_channel),
		TEST(a_closed_back_channel_leaves_what_is_mapped),
		TEST(requests_of_all_kinds_are_answered_in_order),
		TEST(requests_that_take_long_are_not_served_in_a_row),
	};

	return cmocka_run_group_tests_name("frontend_shmem_life", tests, NULL, NULL);
}
