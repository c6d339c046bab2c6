/* SPDX-License-Identifier: Apache-2.0 */
/* Rings that are started, but enabled and disabled later; and what is said when all are. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/owner.h"

/* Two rings, the second of which is idle. */
static void begin(struct owner *f)
{
	struct err e;

	for (unsigned i = 0; i < OWNER_RINGS; i++)
		owner_latch(f, i, i);
	f->frontend.n_rings = OWNER_RINGS;
	f->frontend.rings[1].idle = true;
	f->in_call = true;
	if (vu_frontend_start(&f->frontend, VERSION_1, &e))
		fail_msg("%s", e.msg);
	f->in_call = false;
}

static void turn(struct owner *f, bool idle)
{
	f->frontend.rings[1].idle = idle;
	f->in_call = true;
	vu_frontend_switch(&f->frontend);
	f->in_call = false;
}

static struct owner *with_an_idle_ring(void **state, uint64_t protocol)
{
	struct owner *f = owner_ready(state, protocol);

	scripted_daemon_order(&f->daemon);
	begin(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 1);
	for (unsigned i = 0; i < OWNER_RINGS; i++)
		fd_drain(f->kick[i]);
	return f;
}

static void an_idle_ring_is_started_and_not_enabled(void **state)
{
	struct owner *f = with_an_idle_ring(state, GOOD);

	assert_string_equal(scripted_daemon_order(&f->daemon),
			    "SET_FEATURES ADD_MEM_REG ADD_MEM_REG " RING " " RING
			    " SET_VRING_ENABLE");
	assert_true(f->daemon.rings[0].enabled);
	assert_true(f->daemon.rings[1].started);
	assert_false(f->daemon.rings[1].enabled);
}

static void it_is_switched_on_and_off(void **state)
{
	struct owner *f = with_an_idle_ring(state, GOOD);

	scripted_daemon_order(&f->daemon);
	turn(f, false);
	scripted_settle(&f->loop);
	assert_string_equal(scripted_daemon_order(&f->daemon), "SET_VRING_ENABLE");
	assert_true(f->daemon.rings[1].enabled);
	assert_int_equal(f->switched, 1);
	/* What the guest kicked meanwhile may be forgotten by now. */
	assert_int_equal(fd_drain(f->kick[1]), 1);
	assert_int_equal(fd_drain(f->kick[0]), 0);

	turn(f, true);
	scripted_settle(&f->loop);
	assert_true(f->daemon.rings[0].enabled);
	assert_false(f->daemon.rings[1].enabled);
	assert_int_equal(f->switched, 2);
	assert_int_equal(fd_drain(f->kick[1]), 0);
	owner_assert_legal(f);
}

static void without_reply_ack_a_barrier_tells_that_it_is(void **state)
{
	struct owner *f = with_an_idle_ring(state, BIT64(VU_PF_CONFIG));

	scripted_daemon_order(&f->daemon);
	turn(f, false);
	scripted_settle(&f->loop);

	assert_string_equal(scripted_daemon_order(&f->daemon), "SET_VRING_ENABLE GET_FEATURES");
	assert_int_equal(f->switched, 1);
}

static void to_what_it_is_already_nothing_is_sent(void **state)
{
	struct owner *f = with_an_idle_ring(state, GOOD);

	scripted_daemon_order(&f->daemon);
	turn(f, true);
	scripted_settle(&f->loop);

	assert_string_equal(scripted_daemon_order(&f->daemon), "");
	assert_int_equal(f->switched, 1);
}

static void a_switch_while_it_starts_comes_after_the_start(void **state)
{
	struct owner *f = owner_ready(state, GOOD);

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_VRING_ENABLE;
	begin(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.state, VU_STARTING);
	turn(f, false);
	scripted_settle(&f->loop);
	assert_int_equal(f->switched, 0);
	assert_false(f->daemon.rings[1].enabled);

	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 1);
	assert_int_equal(f->switched, 1);
	assert_true(f->daemon.rings[1].enabled);
}

static void two_switches_at_a_time_are_told_once_as_the_last_one_was(void **state)
{
	struct owner *f = with_an_idle_ring(state, GOOD);

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_VRING_ENABLE;
	turn(f, false);
	scripted_settle(&f->loop);
	turn(f, true);
	scripted_settle(&f->loop);
	assert_int_equal(f->switched, 0);

	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->switched, 1);
	assert_false(f->daemon.rings[1].enabled);
}

static void a_stop_takes_a_switch_back(void **state)
{
	struct owner *f = with_an_idle_ring(state, GOOD);

	turn(f, false);
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->switched, 0);
	assert_false(f->daemon.rings[1].enabled);

	/* The next life begins as it is told to. */
	begin(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 2);
	assert_false(f->daemon.rings[1].enabled);
	turn(f, false);
	scripted_settle(&f->loop);
	assert_true(f->daemon.rings[1].enabled);
}

static void a_stop_while_it_is_switched_ends_both(void **state)
{
	struct owner *f = with_an_idle_ring(state, GOOD);

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_VRING_ENABLE;
	turn(f, false);
	scripted_settle(&f->loop);
	owner_stop(f);
	scripted_settle(&f->loop);
	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);

	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->switched, 0);
	assert_int_equal(f->lost, 0);
	owner_assert_legal(f);
}

static void a_daemon_that_refuses_is_lost(void **state)
{
	struct owner *f = with_an_idle_ring(state, GOOD);

	f->daemon.fault = FAULT_REFUSE;
	f->daemon.fault_on = VU_SET_VRING_ENABLE;
	turn(f, false);
	scripted_settle(&f->loop);

	owner_assert_lost(f, "refused SET_VRING_ENABLE");
	assert_int_equal(f->switched, 0);
	/* And nothing is sent any more. */
	turn(f, true);
	scripted_settle(&f->loop);
}

static void an_interface_is_announced_once_by_a_daemon_that_can(void **state)
{
	struct owner *f = owner_ready(state, GOOD | BIT64(VU_PF_RARP));

	f->frontend.rarp = 0x060504030252;
	begin(f);
	scripted_settle(&f->loop);
	assert_int_equal(scripted_daemon_last(&f->daemon, VU_SEND_RARP)->u64, 0x060504030252);
	owner_stop(f);
	scripted_settle(&f->loop);
	begin(f);
	scripted_settle(&f->loop);

	assert_int_equal(f->started, 2);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SEND_RARP), 1);
	owner_assert_legal(f);
}

static void and_by_no_other(void **state)
{
	struct owner *f = owner_ready(state, GOOD);

	f->frontend.rarp = 0x060504030252;
	begin(f);
	scripted_settle(&f->loop);

	assert_int_equal(f->started, 1);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SEND_RARP), 0);
	owner_assert_legal(f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, owner_setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_idle_ring_is_started_and_not_enabled),
		TEST(it_is_switched_on_and_off),
		TEST(without_reply_ack_a_barrier_tells_that_it_is),
		TEST(to_what_it_is_already_nothing_is_sent),
		TEST(a_switch_while_it_starts_comes_after_the_start),
		TEST(two_switches_at_a_time_are_told_once_as_the_last_one_was),
		TEST(a_stop_takes_a_switch_back),
		TEST(a_stop_while_it_is_switched_ends_both),
		TEST(a_daemon_that_refuses_is_lost),
		TEST(an_interface_is_announced_once_by_a_daemon_that_can),
		TEST(and_by_no_other),
	};

	return cmocka_run_group_tests_name("frontend_switch", tests, NULL, NULL);
}
