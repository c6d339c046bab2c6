/* SPDX-License-Identifier: Apache-2.0 */
/* shmem-share: what one device's daemon maps, in the memory tables of other devices' daemons. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/share_rig.h"

/* What is shared */

static void a_writable_mapping_is_given_to_the_others(void **state)
{
	struct share_rig *m = share_pair(state);
	const struct scripted_seen *seen;
	struct stat given, file;

	share_map(m, &m->a, 5);
	seen = scripted_daemon_last(&m->b.daemon, VU_ADD_MEM_REG);
	assert_true(seen->region.gpa == share_home(&m->a) + 5 * PAGE);
	assert_int_equal(seen->region.size, PAGE);
	assert_int_equal(seen->region.mmap_offset, 5 * PAGE);
	assert_int_equal(fstat(m->b.daemon.region_fds[m->b.daemon.n_regions - 1], &given), 0);
	assert_int_equal(fstat(m->file, &file), 0);
	assert_int_equal(given.st_ino, file.st_ino);
	assert_string_equal(scripted_daemon_order(&m->b.daemon), "ADD_MEM_REG");
	/* Never to whom it came from. */
	assert_string_equal(scripted_daemon_order(&m->a.daemon), "");

	assert_int_equal(share_unmap(&m->a, 5), 0);
	assert_string_equal(scripted_daemon_order(&m->b.daemon), "REM_MEM_REG");
	assert_false(share_has(&m->b, &m->a, 5));
	assert_false(share_is_mapped(&m->a, 5));
}

static void without_the_key_nothing_is_ever_sent(void **state)
{
	struct share_rig *m = *state;

	share_plug(m, &m->a, OWN);
	share_plug(m, &m->b, TAKER);
	share_plug(m, &m->c, OWN);
	share_run(&m->a);
	share_run(&m->b);
	share_run(&m->c);
	share_map(m, &m->a, 0);
	share_map(m, &m->a, 1);
	assert_int_equal(share_unmap(&m->a, 0), 0);
	guest_set_status(&m->a.guest, 0);
	share_settle(&m->a);
	assert_string_equal(scripted_daemon_order(&m->b.daemon), "");
	assert_string_equal(scripted_daemon_order(&m->c.daemon), "");
}

static void a_read_only_mapping_is_not_shared(void **state)
{
	struct share_rig *m = share_pair(state);

	share_send_map(m, &m->a, 0, false);
	share_settle(&m->a);
	assert_int_equal(share_answer(&m->a, MAP), 0);
	assert_int_equal(share_unmap(&m->a, 0), 0);
	assert_string_equal(scripted_daemon_order(&m->b.daemon), "");
}

/* The object's first fd cannot be written, a later one can. */
static void what_is_given_can_be_written(void **state)
{
	struct share_rig *m = share_pair(state);
	struct vu_mmap w = { .len = PAGE };
	char path[32];
	int readonly;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->file);
	readonly = open(path, O_RDONLY | O_CLOEXEC);
	scripted_daemon_back_request(&m->a.daemon, MAP, NEED_REPLY, &w, sizeof(w), &readonly, 1);
	share_settle(&m->a);
	assert_int_equal(share_answer(&m->a, MAP), 0);
	fd_close(&readonly);
	share_map(m, &m->a, 1);
	assert_true(share_has(&m->b, &m->a, 1));
	assert_int_equal(fcntl(m->b.daemon.region_fds[m->b.daemon.n_regions - 1], F_GETFL) &
			 O_ACCMODE, O_RDWR);
}

static void a_device_without_regions_cannot_share(void **state)
{
	struct share_rig *m = *state;

	assert_int_equal(vhost_user_options_parse(&m->a.options, "rng,socket=/r,shmem-share=on",
						  &m->e), 0);
	vhost_user_device_init(&m->a.dev, &m->a.options, &m->fake.machine, &m->bus);
	assert_int_equal(vhost_user_device_connect(&m->a.dev, &m->a.sock, &m->e), 0);
	share_settle(&m->a);
	assert_int_equal(vhost_user_device_realize(&m->a.dev, &m->e), -EINVAL);
	assert_non_null(strstr(m->e.msg, "shmem-share"));
}

/* Who gets it */

static void a_daemon_that_starts_later_gets_what_there_is(void **state)
{
	struct share_rig *m = *state;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->a);
	share_map(m, &m->a, 0);
	share_map(m, &m->a, 1);
	/* Not before its driver starts it. */
	assert_int_equal(share_count(&m->b, VU_ADD_MEM_REG), 0);
	assert_true(guest_negotiate(&m->b.guest, BIT64(VIRTIO_F_VERSION_1)));
	guest_queue(&m->b.guest, 0, 4, 0);
	guest_driver_ok(&m->b.guest);
	share_settle(&m->b);
	assert_int_equal(m->b.dev.run, VHOST_USER_RUNNING);
	assert_true(share_has(&m->b, &m->a, 0) && share_has(&m->b, &m->a, 1));
	assert_int_equal(share_count(&m->b, VU_ADD_MEM_REG), 3);

	/* Stopped, it keeps them, and loses what goes; and gets nothing new. */
	guest_set_status(&m->b.guest, 0);
	share_settle(&m->b);
	assert_int_equal(share_unmap(&m->a, 0), 0);
	share_map(m, &m->a, 2);
	assert_false(share_has(&m->b, &m->a, 0) || share_has(&m->b, &m->a, 2));
	assert_true(share_has(&m->b, &m->a, 1));
	share_run(&m->b);
	assert_true(share_has(&m->b, &m->a, 1) && share_has(&m->b, &m->a, 2));
}

static void a_change_while_a_daemon_starts_reaches_it(void **state)
{
	struct share_rig *m = *state;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->a);
	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_SET_VRING_ENABLE);
	assert_true(guest_negotiate(&m->b.guest, BIT64(VIRTIO_F_VERSION_1)));
	guest_queue(&m->b.guest, 0, 4, 0);
	guest_driver_ok(&m->b.guest);
	share_settle(&m->b);
	assert_true(share_has(&m->b, &m->a, 0));
	share_map(m, &m->a, 1);
	assert_false(share_has(&m->b, &m->a, 1));
	assert_int_equal(share_unmap(&m->a, 0), -1);
	share_give_answers(&m->b);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
	assert_false(share_has(&m->b, &m->a, 0));
	assert_true(share_has(&m->b, &m->a, 1));
}

static void as_many_as_there_are_slots(void **state)
{
	struct share_rig *m = *state;

	m->b.daemon.slots = 3;		/* one is RAM's */
	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->a);
	share_run(&m->b);
	for (uint64_t i = 0; i < 5; i++)
		share_map(m, &m->a, i);
	assert_int_equal(m->b.daemon.n_regions, 3);
	assert_int_equal(m->b.dev.frontend.left_out.count, 3);
	assert_int_equal(m->b.dev.run, VHOST_USER_RUNNING);
	/* One that was left out gets the place of one that goes. */
	assert_int_equal(share_unmap(&m->a, 0), 0);
	assert_int_equal(m->b.daemon.n_regions, 3);
	assert_true(share_has(&m->b, &m->a, 1) && share_has(&m->b, &m->a, 2));
	for (uint64_t i = 1; i < 5; i++)
		assert_int_equal(share_unmap(&m->a, i), 0);
	assert_int_equal(m->b.daemon.n_regions, 1);
}

static void a_daemon_without_slots_is_left_out(void **state)
{
	struct share_rig *m = *state;

	m->b.daemon.protocol &= ~BIT64(VU_PF_CONFIGURE_MEM_SLOTS);
	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->a);
	share_run(&m->b);
	share_map(m, &m->a, 0);
	assert_int_equal(m->b.dev.frontend.left_out.count, 1);
	assert_int_equal(share_unmap(&m->a, 0), 0);
	assert_string_equal(scripted_daemon_order(&m->b.daemon), "");
}

static void a_daemon_that_refuses_is_left_out(void **state)
{
	struct share_rig *m = share_pair(state);

	m->b.daemon.fault = FAULT_REFUSE;
	m->b.daemon.fault_on = VU_ADD_MEM_REG;
	share_map(m, &m->a, 0);
	share_map(m, &m->a, 1);
	/* Neither is offered twice. */
	assert_int_equal(share_count(&m->b, VU_ADD_MEM_REG), 2);
	assert_int_equal(m->b.dev.run, VHOST_USER_RUNNING);
	assert_int_equal(m->b.dev.frontend.left_out.count, 1);
	assert_int_equal(share_unmap(&m->a, 0), 0);
	assert_int_equal(share_count(&m->b, VU_REM_MEM_REG), 0);
	assert_int_equal(share_unmap(&m->a, 1), 0);
	assert_int_equal(share_count(&m->b, VU_REM_MEM_REG), 1);
}

static void without_reply_ack_a_barrier_tells(void **state)
{
	struct share_rig *m = *state;

	m->b.daemon.protocol &= ~BIT64(VU_PF_REPLY_ACK);
	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->a);
	share_run(&m->b);
	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_GET_FEATURES);
	assert_int_equal(share_unmap(&m->a, 0), -1);
	assert_string_equal(scripted_daemon_order(&m->b.daemon),
			    "ADD_MEM_REG GET_FEATURES REM_MEM_REG GET_FEATURES");
	assert_true(share_is_mapped(&m->a, 0));
	share_give_answers(&m->b);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
}

/* Order */

static void nothing_is_given_before_the_daemon_was_answered(void **state)
{
	struct share_rig *m = share_pair(state);
	int small = 4096;
	uint64_t n = 0;

	setsockopt(m->a.dev.frontend.back.sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	while (!vu_channel_pending(&m->a.dev.frontend.back)) {
		share_send_map(m, &m->a, n++, true);
		share_settle(&m->a);
	}
	/* The last is mapped, and its answer has found no room. */
	assert_true(share_is_mapped(&m->a, n - 1));
	assert_true(share_has(&m->b, &m->a, n - 2));
	assert_false(share_has(&m->b, &m->a, n - 1));
	for (uint64_t i = 0; i < n; i++) {
		assert_int_equal(share_answer(&m->a, MAP), 0);
		share_settle(&m->a);
	}
	assert_true(share_has(&m->b, &m->a, n - 1));
}

/* It was never given to anybody, so nobody has to give it back. */
static void what_could_not_be_answered_is_not_given(void **state)
{
	struct share_rig *m = share_pair(state);

	assert_int_equal(shutdown(m->a.daemon.back.sock, SHUT_RD), 0);
	share_send_map(m, &m->a, 0, true);
	share_settle(&m->a);
	assert_true(m->a.dev.lost);
	assert_false(share_is_mapped(&m->a, 0));
	assert_string_equal(scripted_daemon_order(&m->b.daemon), "");
}

static void an_unmap_waits_until_the_others_have_let_go(void **state)
{
	struct share_rig *m = share_pair(state);

	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	assert_int_equal(share_unmap(&m->a, 0), -1);
	assert_true(share_is_mapped(&m->a, 0));
	/* Its main channel waits as well, and so do its later requests. */
	guest_set_status(&m->a.guest, 0);
	share_send_map(m, &m->a, 1, true);
	share_settle(&m->a);
	assert_string_equal(scripted_daemon_order(&m->a.daemon), "");
	assert_int_equal(share_answer(&m->a, MAP), -1);

	share_give_answers(&m->b);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
	assert_int_equal(share_answer(&m->a, MAP), 0);
	assert_false(share_is_mapped(&m->a, 0));
	assert_int_equal(guest_status(&m->a.guest), 0);
	assert_false(share_is_mapped(&m->a, 1) && m->b.daemon.n_regions > 1);
}

static void an_unmap_of_something_else_does_not_wait(void **state)
{
	struct share_rig *m = share_pair(state);

	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	assert_int_equal(share_unmap(&m->a, 1), 1);
	assert_true(share_has(&m->b, &m->a, 0));
	assert_int_equal(share_count(&m->b, VU_REM_MEM_REG), 0);
}

static void who_does_not_let_go_in_time_is_lost(void **state)
{
	struct share_rig *m = share_pair(state);

	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	assert_int_equal(share_unmap(&m->a, 0), -1);
	share_miss_the_deadline(&m->b);
	assert_true(m->b.dev.lost);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
	assert_false(share_is_mapped(&m->a, 0));
	assert_false(m->a.dev.lost);
	share_map(m, &m->a, 0);
}

static void who_ends_while_waited_for_has_let_go(void **state)
{
	struct share_rig *m = share_pair(state);

	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	assert_int_equal(share_unmap(&m->a, 0), -1);
	scripted_daemon_fini(&m->b.daemon);
	share_settle(&m->b);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
}

/* A request of the main channel is unanswered when it asks: that clock is not its own any more. */
static void who_is_kept_waiting_has_no_deadline(void **state)
{
	struct share_rig *m = *state;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->b);
	share_fall_silent_at(&m->a, VU_SET_VRING_ENABLE);
	assert_true(guest_negotiate(&m->a.guest, BIT64(VIRTIO_F_VERSION_1)));
	guest_queue(&m->a.guest, 0, 4, 0);
	guest_driver_ok(&m->a.guest);
	share_settle(&m->a);
	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	assert_int_equal(share_unmap(&m->a, 0), -1);
	share_miss_the_deadline(&m->a);
	assert_false(m->a.dev.lost);
	share_give_answers(&m->b);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
	share_miss_the_deadline(&m->a);
	assert_true(m->a.dev.lost);
}

static void who_hangs_up_while_waiting_is_waited_for_no_more(void **state)
{
	struct share_rig *m = share_pair(state);

	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	assert_int_equal(share_unmap(&m->a, 0), -1);
	vu_channel_fini(&m->a.daemon.back);
	share_settle(&m->a);
	assert_false(m->a.dev.lost);
	share_give_answers(&m->b);
	assert_true(share_is_mapped(&m->a, 0));
	guest_set_status(&m->a.guest, 0);
	share_settle(&m->a);
	assert_false(share_is_mapped(&m->a, 0));
}

/* Neither gets what the other has, so that neither waits for the other. */
static void two_that_share_unmap_at_once(void **state)
{
	struct share_rig *m = *state;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_plug(m, &m->c, GIVER);
	share_run(&m->a);
	share_run(&m->b);
	share_run(&m->c);
	share_map(m, &m->a, 0);
	share_map(m, &m->c, 0);
	assert_true(share_has(&m->b, &m->a, 0) && share_has(&m->b, &m->c, 0));
	assert_string_equal(scripted_daemon_order(&m->a.daemon), "");
	assert_string_equal(scripted_daemon_order(&m->c.daemon), "");

	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	share_send_unmap(&m->a, 0);
	share_send_unmap(&m->c, 0);
	share_settle(&m->a);
	assert_int_equal(share_answer(&m->a, UNMAP), -1);
	assert_int_equal(share_answer(&m->c, UNMAP), -1);
	share_give_answers(&m->b);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
	assert_int_equal(share_answer(&m->c, UNMAP), 0);
	assert_string_equal(scripted_daemon_order(&m->a.daemon), "");
}

/* A taker that has regions of its own reads nothing while it asks; it is answered first. */
static void a_taker_s_own_request_is_answered_first(void **state)
{
	struct share_rig *m = *state;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, OWN);
	share_run(&m->a);
	share_run(&m->b);
	share_map(m, &m->a, 0);
	share_map(m, &m->b, 7);
	assert_true(share_has(&m->b, &m->a, 0));
	assert_false(share_has(&m->a, &m->b, 7));
	/* It reads its main channel only when it has its answer. */
	loop_watch_events(&m->fake.loop, &m->b.daemon.watch, 0);
	share_send_unmap(&m->a, 0);
	share_send_unmap(&m->b, 7);
	share_settle(&m->a);
	assert_int_equal(share_answer(&m->a, UNMAP), -1);
	assert_int_equal(share_answer(&m->b, UNMAP), 0);
	loop_watch_events(&m->fake.loop, &m->b.daemon.watch, EPOLLIN);
	share_settle(&m->a);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, share_setup, share_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_writable_mapping_is_given_to_the_others),
		TEST(without_the_key_nothing_is_ever_sent),
		TEST(a_read_only_mapping_is_not_shared),
		TEST(what_is_given_can_be_written),
		TEST(a_device_without_regions_cannot_share),
		TEST(a_daemon_that_starts_later_gets_what_there_is),
		TEST(a_change_while_a_daemon_starts_reaches_it),
		TEST(as_many_as_there_are_slots),
		TEST(a_daemon_without_slots_is_left_out),
		TEST(a_daemon_that_refuses_is_left_out),
		TEST(without_reply_ack_a_barrier_tells),
		TEST(nothing_is_given_before_the_daemon_was_answered),
		TEST(what_could_not_be_answered_is_not_given),
		TEST(an_unmap_waits_until_the_others_have_let_go),
		TEST(an_unmap_of_something_else_does_not_wait),
		TEST(who_does_not_let_go_in_time_is_lost),
		TEST(who_ends_while_waited_for_has_let_go),
		TEST(who_is_kept_waiting_has_no_deadline),
		TEST(who_hangs_up_while_waiting_is_waited_for_no_more),
		TEST(two_that_share_unmap_at_once),
		TEST(a_taker_s_own_request_is_answered_first),
	};

	return cmocka_run_group_tests_name("shmem_share", tests, NULL, NULL);
}
