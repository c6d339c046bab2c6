/* SPDX-License-Identifier: Apache-2.0 */
/* The back end library and the buffer of chains in flight: who makes it, and what the next
 * connection does with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "toy.h"

enum { SIZE = 16 };

/* The toy with a buffer for queue 0, which runs; its fd in *@ret_fd, the caller's. */
static struct toy *tracked(void **state, struct vu_inflight *ret, int *ret_fd)
{
	struct toy *f = toy_negotiated(state);

	*ret = (struct vu_inflight){ .num_queues = 1, .queue_size = SIZE };
	*ret_fd = driver_get_inflight(&f->driver, ret);
	assert_true(*ret_fd >= 0);
	assert_int_equal(driver_set_inflight(&f->driver, ret, *ret_fd), 0);
	driver_start_queue(&f->driver, 0, SIZE);
	return f;
}

static void add_and_kick(struct toy *f, unsigned n)
{
	struct driver_buf buf = { BUF, 16, true };

	for (unsigned i = 0; i < n; i++)
		driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
}

/* The front end's side of a daemon's death: the base is the used index. */
static void resume(struct toy *f, const struct vu_inflight *d, int fd)
{
	const struct driver_queue *q = &f->driver.queues[0];
	uint16_t used = ((struct ring_used *)(void *)(f->driver.ram + q->used))->idx;

	fd_close(&f->driver.sock);
	toy_connect_again(f);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	assert_int_equal(driver_set_inflight(&f->driver, d, fd), 0);
	driver_resume_queue(&f->driver, 0, used);
	driver_settle(&f->driver);
}

static void what_was_in_flight_is_served_by_the_next(void **state)
{
	struct vu_inflight d;
	autoclose int fd = -1;
	struct toy *f = tracked(state, &d, &fd);
	bool back[5] = { false };
	uint16_t head;
	uint32_t len;

	f->keep = true;
	add_and_kick(f, 4);
	assert_int_equal(f->n_kept, 4);
	/* Out of order: head 2 goes back, 0, 1 and 3 are kept. */
	f->n_kept = 3;
	backend_queue_push(f->kept_of, f->kept[2], 0);
	resume(f, &d, fd);
	assert_int_equal(f->dropped, 3);
	/* Those first and in the guest's order, then what the guest adds. */
	add_and_kick(f, 1);
	assert_int_equal(f->n_kept, 4);
	assert_int_equal(f->kept[0], 0);
	assert_int_equal(f->kept[1], 1);
	assert_int_equal(f->kept[2], 3);
	assert_int_equal(f->kept[3], 4);
	while (f->n_kept)
		backend_queue_push(f->kept_of, f->kept[--f->n_kept], 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(driver_used(&f->driver, 0, &head, &len));
		assert_true(head < 5 && !back[head]);
		back[head] = true;
	}
	assert_false(driver_used(&f->driver, 0, &head, &len));
	assert_int_equal(driver_stop_queue(&f->driver, 0), 5);
}

static void a_device_that_finishes_at_once_leaves_nothing(void **state)
{
	struct vu_inflight d;
	autoclose int fd = -1;
	struct toy *f = tracked(state, &d, &fd);
	uint16_t head;
	uint32_t len;

	for (unsigned life = 0; life < 3; life++) {
		for (unsigned i = 0; i < 20; i++)
			toy_assert_pong(f, 0);
		resume(f, &d, fd);
		assert_false(driver_used(&f->driver, 0, &head, &len));
	}
	assert_int_equal(driver_stop_queue(&f->driver, 0), 60);
}

static void a_stop_and_a_start_keep_the_buffer(void **state)
{
	struct vu_inflight d;
	autoclose int fd = -1;
	struct toy *f = tracked(state, &d, &fd);

	toy_assert_pong(f, 0);
	driver_resume_queue(&f->driver, 0, driver_stop_queue(&f->driver, 0));
	toy_assert_pong(f, 0);
	assert_int_equal(driver_stop_queue(&f->driver, 0), 2);
}

/* A guest's reset: rings begin anew, and a front end asks for a new buffer. */
static void a_reset_begins_with_a_new_buffer(void **state)
{
	struct vu_inflight d;
	autoclose int fd = -1, again = -1;
	struct toy *f = tracked(state, &d, &fd);

	toy_assert_pong(f, 0);
	toy_assert_pong(f, 0);
	driver_stop_queue(&f->driver, 0);
	again = driver_get_inflight(&f->driver, &d);
	assert_true(again >= 0);
	driver_start_queue(&f->driver, 0, SIZE);
	toy_assert_pong(f, 0);
	assert_int_equal(driver_stop_queue(&f->driver, 0), 1);
	fd_close(&again);
	fd_close(&fd);
	toy_assert_nothing_left(f);
}

static void a_buffer_does_not_change_under_a_running_queue(void **state)
{
	struct vu_inflight d, other = { .num_queues = 1, .queue_size = SIZE };
	autoclose int fd = -1;
	struct toy *f = tracked(state, &d, &fd);

	assert_int_equal(driver_set_inflight(&f->driver, &d, fd), 1);
	toy_assert_pong(f, 0);
	/* GET has no answer that says no. */
	assert_int_equal(driver_get_inflight(&f->driver, &other), -1);
}

static void a_queue_without_a_part_does_not_start(void **state)
{
	struct vu_inflight d;
	autoclose int fd = -1;
	struct toy *f = tracked(state, &d, &fd);
	struct vu_vring_addr a = { .index = 1, .desc = DRIVER_USER, .used = DRIVER_USER + 0x8000,
				   .avail = DRIVER_USER + 0x4000 };
	uint64_t index = 1;

	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_NUM, 1, SIZE), 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_VRING_KICK, &index, 8,
				    &f->driver.queues[1].kick, 1), 1);
	toy_assert_pong(f, 0);
}

static void buffers_for_queues_that_are_not_there_are_refused(void **state)
{
	static const uint16_t wrong[][2] = { { 0, 16 }, { TOY_QUEUES + 1, 16 }, { 1, 0 },
					     { 1, 32769 } };
	struct toy *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct vu_inflight d = { .num_queues = wrong[i][0], .queue_size = wrong[i][1] };

		driver_negotiate(&f->driver, UINT64_MAX);
		assert_int_equal(driver_get_inflight(&f->driver, &d), -1);
		toy_connect_again(f);
	}
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, toy_setup, toy_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_was_in_flight_is_served_by_the_next),
		CASE(a_device_that_finishes_at_once_leaves_nothing),
		CASE(a_stop_and_a_start_keep_the_buffer),
		CASE(a_reset_begins_with_a_new_buffer),
		CASE(a_buffer_does_not_change_under_a_running_queue),
		CASE(a_queue_without_a_part_does_not_start),
		CASE(buffers_for_queues_that_are_not_there_are_refused),
	};

	/* Refusals are logged as they should be; not here. */
	log_setup("test_backend_inflight", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_inflight", tests, NULL, NULL);
}
