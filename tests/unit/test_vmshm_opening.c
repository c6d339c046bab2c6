/* SPDX-License-Identifier: Apache-2.0 */
/* An OPEN under way: what may come between the question and the answer. */
#include "tests/unit/vmshm_rig.h"

#include <errno.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/process.h"

static bool is_open(struct vmshm_rig *r)
{
	return vmshm_rig_reg(r, VMSHM_STATUS) & VMSHM_S_OPEN;
}

/* One whose answer is not there yet: the vCPU waits. */
static void begin_open(struct vmshm_rig *r, const char *name)
{
	r->late = true;
	vmshm_rig_open(r, name);
	assert_true(fake_vcpu_waits(&r->fake));
}

/* What the vCPU that waited has read. */
static uint32_t ended(struct vmshm_rig *r)
{
	assert_false(fake_vcpu_waits(&r->fake));
	return (uint32_t)r->fake.answered;
}

static void a_read_of_open_ends_when_the_object_is_there(void **state)
{
	struct vmshm_rig *r = *state;
	unsigned wakes;

	vmshm_rig_offer(r, "obj", 0x1000, 1);
	begin_open(r, "obj");
	assert_int_equal(*vmshm_rig_word(r, 0), 0);
	wakes = r->fake.wakes;
	vmshm_rig_answer(r);
	assert_int_equal(*vmshm_rig_word(r, 0), 0x1000);
	assert_true(r->fake.wakes > wakes);
	assert_int_equal(ended(r), 0);
}

static void a_late_refusal_is_one(void **state)
{
	struct vmshm_rig *r = *state;

	begin_open(r, "obj");
	vmshm_rig_answer(r);
	assert_int_equal(ended(r), VMSHM_ENOENT);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_ERROR), VMSHM_ENOENT);
}

static void another_open_meanwhile_is_busy_at_once(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "a", 0x1000, 1);
	vmshm_rig_offer(r, "b", 0x2000, 1);
	begin_open(r, "a");
	/* The name was copied: writing another changes nothing. Hazard 9. */
	assert_int_equal(vmshm_rig_open(r, "b"), VMSHM_EBUSY);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_ERROR), VMSHM_EBUSY);
	assert_int_equal(r->asked, 1);
	vmshm_rig_answer(r);
	/* Nor before the first vCPU has its value. */
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OPEN), VMSHM_EBUSY);
	assert_int_equal(ended(r), 0);
	assert_int_equal(*vmshm_rig_word(r, 0), 0x1000);
	r->late = false;
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OPEN), 0);
	assert_int_equal(*vmshm_rig_word(r, 0), 0x2000);
}

static void a_close_meanwhile_ends_it(void **state)
{
	struct vmshm_rig *r = *state;
	unsigned fds;

	vmshm_rig_offer(r, "obj", 0x1000, 1);
	fds = process_fds();
	begin_open(r, "obj");
	assert_int_equal(vmshm_rig_reg(r, VMSHM_CLOSE), 0);
	assert_int_equal(ended(r), VMSHM_EBUSY);
	vmshm_rig_answer(r);
	assert_false(is_open(r));
	assert_int_equal(*vmshm_rig_word(r, 0), 0);
	assert_int_equal(process_fds(), fds);
}

static void a_close_meanwhile_takes_away_what_was_open_before(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "a", 0x1000, 1);
	vmshm_rig_offer(r, "b", 0x2000, 1);
	assert_int_equal(vmshm_rig_open(r, "a"), 0);
	begin_open(r, "b");
	assert_true(r->held >= 0);
	assert_int_equal(*vmshm_rig_word(r, 0), 0x1000);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_CLOSE), 0);
	assert_int_equal(*vmshm_rig_word(r, 0), 0);
	assert_int_equal(ended(r), VMSHM_EBUSY);
}

/* However often a guest opens and closes, the opener has one question of it. */
static void who_gave_up_waits_for_the_old_answer_before_it_asks_again(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "a", 0x1000, 1);
	vmshm_rig_offer(r, "b", 0x2000, 1);
	begin_open(r, "a");
	for (unsigned i = 0; i < 1000; i++) {
		vmshm_rig_reg(r, VMSHM_CLOSE);
		assert_int_equal(ended(r), VMSHM_EBUSY);
		begin_open(r, "b");
	}
	assert_int_equal(r->asked, 1);
	vmshm_rig_answer(r);
	assert_true(fake_vcpu_waits(&r->fake));
	assert_int_equal(*vmshm_rig_word(r, 0), 0);
	assert_int_equal(r->asked, 2);
	assert_string_equal(r->question.name, "b");
	vmshm_rig_answer(r);
	assert_int_equal(ended(r), 0);
	assert_int_equal(*vmshm_rig_word(r, 0), 0x2000);
}

static void answers_to_no_question_are_thrown_away(void **state)
{
	struct vmshm_rig *r = *state;
	int fd = vmshm_rig_offer(r, "obj", 0x1000, 1), given = dup(fd);
	struct vmshm_answer a = { .serial = 0, .rw = 1 };
	unsigned fds = process_fds();

	vmshm_answered(&r->dev, &a, &given);
	assert_int_equal(process_fds(), fds - 1);
	begin_open(r, "obj");
	a.serial = r->question.serial + 1;
	given = dup(fd);
	vmshm_answered(&r->dev, &a, &given);
	assert_true(fake_vcpu_waits(&r->fake));
	vmshm_rig_answer(r);
	assert_int_equal(ended(r), 0);
	vmshm_rig_answer(r);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_CLOSE), 0);
	assert_int_equal(process_fds(), fds - 1);
}

static void a_good_answer_without_an_object_is_none(void **state)
{
	struct vmshm_rig *r = *state;
	struct vmshm_answer a = { .status = VMSHM_OK, .rw = 1 };
	int none = -1;

	begin_open(r, "obj");
	a.serial = r->question.serial;
	vmshm_answered(&r->dev, &a, &none);
	assert_int_equal(ended(r), VMSHM_EBADTYPE);
	assert_false(is_open(r));
}

static void a_reset_meanwhile_ends_it(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "obj", 0x1000, 1);
	begin_open(r, "obj");
	vmshm_reset(&r->dev);
	assert_false(fake_vcpu_waits(&r->fake));
	vmshm_rig_configure(r, 4, 2, 2);
	assert_false(is_open(r));
	/* One after the reset is not taken for the one before. */
	begin_open(r, "other");
	assert_int_equal(r->asked, 1);
	vmshm_rig_answer(r);
	assert_true(fake_vcpu_waits(&r->fake));
	assert_false(is_open(r));
	vmshm_rig_answer(r);
	assert_int_equal(ended(r), VMSHM_ENOENT);
}

static void an_opener_that_is_gone_keeps_nobody_waiting(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "obj", 0x1000, 1);
	assert_int_equal(vmshm_rig_open(r, "obj"), 0);
	begin_open(r, "obj");
	vmshm_opener_gone(&r->dev);
	assert_int_equal(ended(r), VMSHM_EIO);
	vmshm_opener_gone(&r->dev);
	assert_int_equal(vmshm_rig_reg(r, VMSHM_OPEN), VMSHM_EIO);
	vmshm_reset(&r->dev);
	vmshm_rig_configure(r, 4, 2, 2);
	assert_int_equal(vmshm_rig_open(r, "obj"), VMSHM_EIO);
	assert_int_equal(r->asked, 2);
}

static void an_opener_that_cannot_be_asked_is_gone(void **state)
{
	struct vmshm_rig *r = *state;

	r->refuses = -EPIPE;
	assert_int_equal(vmshm_rig_open(r, "obj"), VMSHM_EIO);
	r->refuses = 0;
	assert_int_equal(vmshm_rig_open(r, "obj"), VMSHM_EIO);
	assert_int_equal(r->asked, 1);
}

static void a_device_that_ends_meanwhile_leaves_nothing(void **state)
{
	struct vmshm_rig *r = *state;

	vmshm_rig_offer(r, "obj", 0x1000, 1);
	begin_open(r, "obj");
	vmshm_rig_again(r);
	r->fake.until = NULL;
	r->fake.answer = NULL;
	assert_false(is_open(r));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, vmshm_rig_setup, vmshm_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_read_of_open_ends_when_the_object_is_there),
		CASE(a_late_refusal_is_one),
		CASE(another_open_meanwhile_is_busy_at_once),
		CASE(a_close_meanwhile_ends_it),
		CASE(a_close_meanwhile_takes_away_what_was_open_before),
		CASE(who_gave_up_waits_for_the_old_answer_before_it_asks_again),
		CASE(answers_to_no_question_are_thrown_away),
		CASE(a_good_answer_without_an_object_is_none),
		CASE(a_reset_meanwhile_ends_it),
		CASE(an_opener_that_is_gone_keeps_nobody_waiting),
		CASE(an_opener_that_cannot_be_asked_is_gone),
		CASE(a_device_that_ends_meanwhile_leaves_nothing),
	};

	return cmocka_run_group_tests_name("vmshm_opening", tests, NULL, NULL);
}
