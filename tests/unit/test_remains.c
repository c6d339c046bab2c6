/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon that has ended left of a split ring. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/ram.h"
#include "vhost/remains.h"

enum { ENTRIES = 128, AVAIL = 0x1000, USED = 0x2000 };

static const struct vu_ring ring = { .enabled = true, .size = ENTRIES, .avail = AVAIL,
				     .used = USED };

struct split {
	struct guest_mem mem;
	uint16_t *avail, *used;
	struct vu_remains left;
	struct err e;
};

static struct split ring_new(void)
{
	struct split s = { .mem = ram_new("shm", MIB(1)) };

	s.avail = mem_ptr(&s.mem, AVAIL, 4096);
	s.used = mem_ptr(&s.mem, USED, 4096);
	return s;
}

/* Request number @at names @head: the driver makes it available, the device gives it back. */
static void offer(struct split *s, unsigned at, uint16_t head)
{
	s->avail[2 + at % ENTRIES] = htole16(head);
	s->avail[1] = htole16((uint16_t)(at + 1));
}

static void give_back(struct split *s, unsigned at, uint16_t head)
{
	s->used[2 + at % ENTRIES * 4] = htole16(head);
	s->used[1] = htole16((uint16_t)(at + 1));
}

static void read_well(struct split *s)
{
	if (vu_remains_read(&s->mem, &ring, &s->left, &s->e))
		fail_msg("%s", s->e.msg);
}

static void a_ring_that_nobody_used_is_at_its_beginning(void **state)
{
	struct split s = ring_new();

	(void)state;
	read_well(&s);
	assert_int_equal(s.left.used, 0);
	assert_int_equal(s.left.in_flight, 0);
	assert_true(s.left.in_order);
	guest_mem_fini(&s.mem);
}

static void requests_in_turn_go_on_at_the_used_index(void **state)
{
	struct split s = ring_new();

	(void)state;
	/* Through the wrap of the indices, and of the ring again and again. */
	for (unsigned i = 0; i < 70000; i++) {
		offer(&s, i, (uint16_t)(i * 7 % ENTRIES));
		if (i >= 5)
			give_back(&s, i - 5, (uint16_t)((i - 5) * 7 % ENTRIES));
		if (i % 97 && i < 65000)
			continue;
		read_well(&s);
		assert_int_equal(s.left.used, i >= 5 ? (uint16_t)(i - 4) : 0);
		assert_int_equal(s.left.in_flight, i >= 5 ? 5 : i + 1);
		assert_true(s.left.in_order);
	}
	guest_mem_fini(&s.mem);
}

static void a_request_that_was_overtaken_is_seen(void **state)
{
	(void)state;
	for (unsigned stuck = 0; stuck < 2 * ENTRIES; stuck++) {
		struct split s = ring_new();
		unsigned given = 0;

		/* Head `stuck` is never given back; the driver uses the others on and on. */
		for (unsigned i = 0; i < 3 * ENTRIES && i < stuck + ENTRIES - 1; i++) {
			uint16_t head = (uint16_t)(i % (ENTRIES - 1));

			offer(&s, i, i == stuck ? ENTRIES - 1 : head);
			if (i != stuck)
				give_back(&s, given++, head);
		}
		read_well(&s);
		assert_int_equal(s.left.in_flight, 1);
		assert_false(s.left.in_order);
		guest_mem_fini(&s.mem);
	}
}

/* Head 0 is never given back, and was taken so long ago that the ring does not show it. The driver
 * uses head 1 on and on, or all the others with a full queue. */
static void a_request_that_was_overtaken_long_ago_is_seen(void **state)
{
	(void)state;
	for (unsigned deep = 1; deep < ENTRIES; deep += ENTRIES - 2) {
		struct split s = ring_new();
		unsigned given = 0;

		offer(&s, 0, 0);
		for (unsigned i = 1; i < 3 * ENTRIES; i++) {
			if (i > deep) {
				give_back(&s, given, (uint16_t)(1 + given % deep));
				given++;
			}
			offer(&s, i, (uint16_t)(1 + (i - 1) % deep));
		}
		read_well(&s);
		assert_int_equal(s.left.in_flight, deep + 1);
		assert_false(s.left.in_order);
		guest_mem_fini(&s.mem);
	}
}

static void nothing_in_flight_is_in_order_however_it_was_done(void **state)
{
	struct split s = ring_new();

	(void)state;
	offer(&s, 0, 3);
	offer(&s, 1, 4);
	give_back(&s, 0, 4);
	read_well(&s);
	assert_false(s.left.in_order);
	give_back(&s, 1, 3);
	read_well(&s);
	assert_true(s.left.in_order);
	guest_mem_fini(&s.mem);
}

static void a_ring_that_is_none_is_refused(void **state)
{
	struct split s = ring_new();
	struct vu_ring away = ring;

	(void)state;
	s.avail[1] = htole16(ENTRIES + 1);
	assert_int_equal(vu_remains_read(&s.mem, &ring, &s.left, &s.e), -EPROTO);
	assert_string_equal(s.e.msg, "129 requests of 128 entries are in flight");
	s.avail[1] = htole16(1);
	away.used = MIB(1) - 4;
	assert_int_equal(vu_remains_read(&s.mem, &away, &s.left, &s.e), -EFAULT);
	away.used = GIB(8);
	assert_int_equal(vu_remains_read(&s.mem, &away, &s.left, &s.e), -EFAULT);
	/* The dead daemon cut RAM off: no signal, an error. */
	assert_int_equal(ftruncate(s.mem.regions[0].fd, 0), 0);
	assert_true(vu_remains_read(&s.mem, &ring, &s.left, &s.e) < 0);
	guest_mem_fini(&s.mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ring_that_nobody_used_is_at_its_beginning),
		cmocka_unit_test(requests_in_turn_go_on_at_the_used_index),
		cmocka_unit_test(a_request_that_was_overtaken_is_seen),
		cmocka_unit_test(a_request_that_was_overtaken_long_ago_is_seen),
		cmocka_unit_test(nothing_in_flight_is_in_order_however_it_was_done),
		cmocka_unit_test(a_ring_that_is_none_is_refused),
	};

	return cmocka_run_group_tests_name("remains", tests, NULL, NULL);
}
