/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entropy source whose messages something happens to (--vu-fault; cases.py says what), and a
 * disk that has nothing to do with it: the machine goes on, and the disk is served.
 */
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"
#include "tests/bare/lib/virtio.h"

static uint8_t bytes[512];

static void check_disk_works(void)
{
	struct virtio v;

	virtio_find(&v, VIRTIO_BLK);
	virtio_bring_up(&v);
	CHECK_EQ(blk_request(&v, BLK_READ, 3, bytes, BLK_SECTOR), 0);
	CHECK_EQ(bytes[0], 3);
}

static void check_works(void)
{
	struct virtio v;

	virtio_find(&v, VIRTIO_RNG);
	rng_check_works(&v);
	rng_check_works(&v);
	check_disk_works();
}

static void check_is_lost(void)
{
	struct virtio v;

	virtio_find(&v, VIRTIO_RNG);
	virtio_reset(&v);
	virtio_negotiate(&v, 0);
	virtio_set_up_queue(&v, 4, NO_VECTOR);
	virtio_set_status(&v, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK |
				      STATUS_DRIVER_OK);
	WAIT_FOR(virtio_status(&v) & STATUS_NEEDS_RESET);
	check_disk_works();
}

static void messages_that_are_late_are_waited_for(void)
{
	check_works();
}

static void a_request_that_was_changed_is_refused(void)
{
	check_is_lost();
}

static void a_request_with_descriptors_is_refused(void)
{
	check_is_lost();
}

static void a_request_that_comes_twice_is_answered_once_too_often(void)
{
	check_is_lost();
}

static void an_answer_that_was_changed_is_none(void)
{
	check_is_lost();
}

static void a_connection_that_was_closed_is_lost(void)
{
	check_is_lost();
}

const struct test_case test_cases[] = {
	CASE(messages_that_are_late_are_waited_for),
	CASE(a_request_that_was_changed_is_refused),
	CASE(a_request_with_descriptors_is_refused),
	CASE(a_request_that_comes_twice_is_answered_once_too_often),
	CASE(an_answer_that_was_changed_is_none),
	CASE(a_connection_that_was_closed_is_lost),
	{ NULL, NULL },
};
