/* SPDX-License-Identifier: Apache-2.0 */
/* A device whose daemon is started for it: who starts it hears when the daemon is to end, and a
 * first one that is of no use is the last. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/resting.h"
#include "tests/unit/vhost_user_rig.h"

/* Of the last device: what its dialer was told. */
static struct {
	unsigned asked, lost, hung, failed;
	char why[512];
	bool gone;			/* it can start nothing any more */
} told;

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	(void)ctx;
	(void)l;
	told.asked++;
	return told.gone ? err_set(e, -EPIPE, "who starts it is gone") : 0;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	(void)ctx;
	(void)l;
}

static void lost(void *ctx, struct vhost_user_link *l, bool dead)
{
	assert_ptr_equal(l, &((struct vhost_user_rig *)ctx)->dev.link);
	told.lost++;
	told.hung += !dead;
}

static bool first_failed(void *ctx, struct vhost_user_link *l, const char *why)
{
	(void)ctx;
	(void)l;
	told.failed++;
	snprintf(told.why, sizeof(told.why), "%s", why);
	return !told.gone;
}

static const struct vhost_user_dialer dialer = { .ask = ask, .forget = forget, .lost = lost,
						 .first_failed = first_failed };

static struct vhost_user_rig *running(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	memset(&told, 0, sizeof(told));
	vhost_user_link_use(&r->dev.link, &dialer, r, 0);
	return r;
}

static void hangs_in_a_stop(struct vhost_user_rig *r)
{
	r->daemon.fault = FAULT_SILENT;
	r->daemon.fault_on = VU_GET_VRING_BASE;
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(told.lost, 0);
	vhost_user_rig_deadline(r);
}

static void one_that_hangs_is_ended_and_the_reset_waits_for_it(void **state)
{
	struct vhost_user_rig *r = running(state);

	hangs_in_a_stop(r);
	assert_int_equal(told.lost, 1);
	assert_int_equal(told.hung, 1);
	assert_int_not_equal(guest_status(&r->guest), 0);
	assert_int_equal(told.asked, 0);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	assert_int_equal(told.lost, 1);
}

/* As with reconnect=off. */
static void one_that_hangs_is_ended_when_there_is_no_other(void **state)
{
	struct vhost_user_rig *r = running(state);

	vhost_user_link_fini(&r->dev.link);
	hangs_in_a_stop(r);
	assert_int_equal(told.hung, 1);
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
}

static void of_one_that_died_what_is_left_is_ended(void **state)
{
	struct vhost_user_rig *r = running(state);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(told.lost, 1);
	assert_int_equal(told.hung, 0);
}

static void one_that_no_driver_uses_is_ended_as_well(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	memset(&told, 0, sizeof(told));
	vhost_user_link_use(&r->dev.link, &dialer, r, 0);
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(told.lost, 1);
}

/* The first connection */

static struct vhost_user_rig *begun(void **state)
{
	struct vhost_user_rig *r = *state;

	memset(&told, 0, sizeof(told));
	if (vhost_user_options_parse(&r->options, "blk,exec=blkd --fd=%d", &r->e))
		fail_msg("%s", r->e.msg);
	vhost_user_device_init(&r->dev, &r->options, &r->fake.machine, &r->bus);
	vhost_user_link_begin(&r->dev.link, &dialer, r, 0);
	return r;
}

static void is_asked_for(struct vhost_user_rig *r)
{
	loop_timer_cancel(&r->fake.loop, &r->dev.link.pause);
	r->dev.link.pause.expired(r->dev.link.pause.arg);
	assert_int_equal(told.asked, 1);
}

static void the_first_is_taken_when_it_fits(void **state)
{
	struct vhost_user_rig *r = begun(state);

	is_asked_for(r);
	vhost_user_rig_answer(r);
	assert_true(r->dev.ready && !r->dev.failed);
	assert_string_equal(r->dev.where, "exec=blkd");
	assert_int_equal(told.failed, 0);
}

static void a_first_that_breaks_the_protocol_is_explained_and_the_last(void **state)
{
	struct vhost_user_rig *r = begun(state);

	is_asked_for(r);
	r->daemon.fault = FAULT_CLOSE;
	r->daemon.fault_on = VU_GET_FEATURES;
	vhost_user_rig_answer(r);
	assert_int_equal(told.failed, 1);
	assert_non_null(strstr(told.why, "blk0 (socket exec=blkd): "));
	assert_false(r->dev.ready || r->dev.failed);
	vhost_user_link_end(&r->dev.link, "that is why");
	assert_true(r->dev.failed);
	assert_string_equal(r->dev.why.msg, "that is why");
	assert_false(vhost_user_link_is_on(&r->dev.link));
	assert_int_equal(told.asked, 1);
}

static void without_who_starts_it_there_is_none(void **state)
{
	struct vhost_user_rig *r = begun(state);

	told.gone = true;
	is_asked_for(r);
	assert_true(r->dev.failed);
	assert_string_equal(r->dev.why.msg, "who starts it is gone");
}

static void a_first_that_nobody_can_explain_is_tried_again(void **state)
{
	struct vhost_user_rig *r = begun(state);

	is_asked_for(r);
	told.gone = true;
	r->daemon.fault = FAULT_CLOSE;
	r->daemon.fault_on = VU_GET_FEATURES;
	vhost_user_rig_answer(r);
	assert_int_equal(told.failed, 1);
	assert_true(is_resting(&r->dev.link));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, vhost_user_rig_setup, vhost_user_rig_teardown)
		CASE(one_that_hangs_is_ended_and_the_reset_waits_for_it),
		CASE(one_that_hangs_is_ended_when_there_is_no_other),
		CASE(of_one_that_died_what_is_left_is_ended),
		CASE(one_that_no_driver_uses_is_ended_as_well),
		CASE(the_first_is_taken_when_it_fits),
		CASE(a_first_that_breaks_the_protocol_is_explained_and_the_last),
		CASE(without_who_starts_it_there_is_none),
		CASE(a_first_that_nobody_can_explain_is_tried_again),
#undef CASE
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
