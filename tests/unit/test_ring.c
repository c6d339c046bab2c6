/* SPDX-License-Identifier: Apache-2.0 */
/* The ring walker against drivers that behave and drivers that do not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/range.h"
#include "tests/unit/mapped_ram.h"
#include "vhost/ring.h"

/* Where in RAM. */
enum {
	DESC = 0x1000,
	AVAIL = 0x90000,
	USED = 0xb0000,
	DATA = 0x100000
};

#define ALL (BIT64(RING_F_INDIRECT_DESC) | BIT64(RING_F_EVENT_IDX))

struct fixture {
	struct mapped_ram ram;
	struct ring ring;
	struct ring_chain chain;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	mapped_ram_init(&f->ram);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mapped_ram_fini(&f->ram);
	test_free(f);
	return 0;
}

static struct fixture *started_at(void **state, uint64_t features, uint16_t size, uint16_t base)
{
	struct fixture *f = *state;
	struct err e;

	assert_int_equal(ring_start(&f->ring, &f->ram.map, features, size, base,
				    guest_map_gpa_all(&f->ram.map, DESC, 16),
				    guest_map_gpa_all(&f->ram.map, AVAIL, 4),
				    guest_map_gpa_all(&f->ram.map, USED, 4), &e),
			 0);
	return f;
}

static struct fixture *started(void **state, uint64_t features, uint16_t size)
{
	return started_at(state, features, size, 0);
}

static struct ring_avail *avail(struct fixture *f)
{
	return (struct ring_avail *)(void *)(f->ram.guest + AVAIL);
}

static struct ring_used *used(struct fixture *f)
{
	return (struct ring_used *)(void *)(f->ram.guest + USED);
}

static void desc_at(struct fixture *f, uint64_t table, unsigned i, uint64_t addr, uint32_t len,
		    uint16_t flags, uint16_t next)
{
	struct ring_desc d = { addr, len, flags, next };

	memcpy(f->ram.guest + table + 16 * i, &d, sizeof(d));
}

static void desc(struct fixture *f, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		 uint16_t next)
{
	desc_at(f, DESC, i, addr, len, flags, next);
}

static void offer(struct fixture *f, uint16_t head)
{
	avail(f)->ring[avail(f)->idx % f->ring.size] = head;
	avail(f)->idx++;
}

/* Pops and pushes one chain. */
static void complete(struct fixture *f)
{
	desc(f, 0, DATA, 1, 0, 0);
	offer(f, 0);
	assert_true(ring_pop(&f->ring, &f->chain));
	ring_push(&f->ring, f->chain.head, 0);
}

static void assert_breaks(struct fixture *f, const char *why)
{
	assert_false(ring_pop(&f->ring, &f->chain));
	assert_true(f->ring.broken);
	if (!strstr(f->ring.why, why))
		fail_msg("\"%s\" does not say \"%s\"", f->ring.why, why);
	/* Broken stays broken, whatever is offered. */
	avail(f)->idx = f->ring.last_avail;
	desc(f, 0, DATA, 16, 0, 0);
	offer(f, 0);
	assert_false(ring_pop(&f->ring, &f->chain));
	assert_false(ring_has_avail(&f->ring));
}

static void a_chain_comes_out_as_it_was_put_in(void **state)
{
	struct fixture *f = started(state, 0, 8);

	desc(f, 3, DATA, 16, RING_DESC_F_NEXT, 5);
	desc(f, 5, DATA + 0x1000, 100, RING_DESC_F_NEXT | RING_DESC_F_WRITE, 1);
	desc(f, 1, DATA + 0x3000, 1, RING_DESC_F_WRITE, 7);
	memcpy(f->ram.guest + DATA, "0123456789abcdef", 16);
	offer(f, 3);

	assert_true(ring_pop(&f->ring, &f->chain));

	assert_int_equal(f->chain.head, 3);
	assert_int_equal(f->chain.n_out, 1);
	assert_int_equal(f->chain.n_in, 2);
	assert_int_equal(f->chain.out_len, 16);
	assert_int_equal(f->chain.in_len, 101);
	assert_memory_equal(f->chain.iov[0].iov_base, "0123456789abcdef", 16);
	assert_false(ring_pop(&f->ring, &f->chain));
	assert_false(f->ring.broken);
}

static void what_is_pushed_is_seen_by_the_driver(void **state)
{
	struct fixture *f = started(state, 0, 2);

	desc(f, 1, DATA, 8, RING_DESC_F_WRITE, 0);
	for (unsigned i = 0; i < 5; i++) {
		offer(f, 1);
		assert_true(ring_pop(&f->ring, &f->chain));
		assert_int_equal(ring_chain_write(&f->chain, 2, "xyz", 3), 3);
		ring_push(&f->ring, f->chain.head, 5 + i);
		assert_int_equal(used(f)->idx, i + 1);
		assert_int_equal(used(f)->ring[i % 2].id, 1);
		assert_int_equal(used(f)->ring[i % 2].len, 5 + i);
	}
	assert_memory_equal(f->ram.guest + DATA, "\0\0xyz\0\0\0", 8);
	assert_int_equal(f->ring.in_flight, 0);
}

static void a_buffer_may_cross_two_adjacent_regions(void **state)
{
	struct fixture *f = started(state, 0, 4);

	desc(f, 0, HALF - 3, 8, RING_DESC_F_WRITE, 0);
	offer(f, 0);

	assert_true(ring_pop(&f->ring, &f->chain));

	assert_int_equal(f->chain.n_in, 2);
	assert_int_equal(f->chain.in_len, 8);
	assert_int_equal(ring_chain_write(&f->chain, 0, "ABCDEFGHxx", 10), 8);
	assert_memory_equal(f->ram.guest + HALF - 3, "ABCDEFGH", 8);
}

static void an_indirect_table_may_follow_direct_descriptors(void **state)
{
	struct fixture *f = started(state, ALL, 4);

	desc(f, 0, DATA, 4, RING_DESC_F_NEXT, 2);
	desc(f, 2, DATA + 0x100, 3 * 16, RING_DESC_F_INDIRECT, 0);
	desc_at(f, DATA + 0x100, 0, DATA + 0x1000, 8, RING_DESC_F_NEXT, 2);
	desc_at(f, DATA + 0x100, 2, DATA + 0x2000, 16, RING_DESC_F_WRITE, 0);
	offer(f, 0);

	assert_true(ring_pop(&f->ring, &f->chain));

	assert_int_equal(f->chain.n_out, 2);
	assert_int_equal(f->chain.n_in, 1);
	assert_int_equal(f->chain.out_len, 12);
}

static void an_indirect_table_may_be_longer_than_the_queue(void **state)
{
	struct fixture *f = started(state, ALL, 2);

	for (unsigned i = 0; i < RING_SEGMENTS_MAX; i++)
		desc_at(f, DATA, i, DATA + 0x100000 + i, 1,
			i + 1 < RING_SEGMENTS_MAX ? RING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	desc(f, 0, DATA, 16 * RING_SEGMENTS_MAX, RING_DESC_F_INDIRECT, 0);
	offer(f, 0);

	assert_true(ring_pop(&f->ring, &f->chain));

	assert_int_equal(f->chain.n_out, RING_SEGMENTS_MAX);
}

static void an_indirect_table_may_cross_two_adjacent_regions_and_be_misaligned(void **state)
{
	struct fixture *f = started(state, ALL, 2);
	uint64_t table = HALF - 16;

	desc_at(f, table, 0, DATA, 1, RING_DESC_F_NEXT, 1);
	desc_at(f, table, 1, DATA, 2, 0, 0);
	desc(f, 0, table, 32, RING_DESC_F_INDIRECT, 0);
	desc_at(f, DATA + 5, 0, DATA, 7, 0, 0);
	desc(f, 1, DATA + 5, 16, RING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	offer(f, 1);

	assert_true(ring_pop(&f->ring, &f->chain));
	assert_int_equal(f->chain.out_len, 3);
	assert_true(ring_pop(&f->ring, &f->chain));
	assert_int_equal(f->chain.out_len, 7);
}

static void a_queue_of_32768_wraps(void **state)
{
	struct fixture *f = *state;

	avail(f)->idx = 65530;
	used(f)->idx = 65530;
	started_at(state, 0, RING_SIZE_MAX, 65530);
	desc(f, 32767, DATA, 8, 0, 0);
	for (unsigned i = 0; i < 12; i++) {
		offer(f, 32767);
		assert_true(ring_pop(&f->ring, &f->chain));
		ring_push(&f->ring, f->chain.head, 0);
	}
	assert_int_equal(used(f)->idx, (uint16_t)(65530 + 12));
	assert_int_equal(f->ring.last_avail, (uint16_t)(65530 + 12));
	assert_int_equal(used(f)->ring[(uint16_t)(65530 + 11) % RING_SIZE_MAX].id, 32767);
}

static void bad_sizes_and_places_are_refused_at_start(void **state)
{
	struct fixture *f = *state;
	struct err e;
	uint8_t *m = f->ram.map.regions[0].host;

	assert_int_equal(ring_start(&f->ring, &f->ram.map, 0, 0, 0, m, m, m, &e), -EINVAL);
	assert_int_equal(ring_start(&f->ring, &f->ram.map, 0, 3, 0, m, m, m, &e), -EINVAL);
	assert_int_equal(ring_start(&f->ring, &f->ram.map, 0, 65535, 0, m, m, m, &e), -EINVAL);
	assert_int_equal(ring_start(&f->ring, &f->ram.map, 0, 4, 0, m + 8, m, m, &e), -EINVAL);
	assert_int_equal(ring_start(&f->ring, &f->ram.map, 0, 4, 0, m, m + 1, m, &e), -EINVAL);
	assert_int_equal(ring_start(&f->ring, &f->ram.map, 0, 4, 0, m, m, m + 2, &e), -EINVAL);
	/* Nothing was started: nothing is there to pop. */
	assert_false(ring_pop(&f->ring, &f->chain));
	assert_false(ring_kicks_on(&f->ring));
}

static void a_loop_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, 0, 4);

	desc(f, 0, DATA, 1, RING_DESC_F_NEXT, 1);
	desc(f, 1, DATA, 1, RING_DESC_F_NEXT, 0);
	offer(f, 0);
	assert_breaks(f, "loop");

	avail(f)->idx = 0;
	started(state, ALL, 4);
	desc(f, 0, DATA, 32, RING_DESC_F_INDIRECT, 0);
	desc_at(f, DATA, 0, DATA, 1, RING_DESC_F_NEXT, 0);
	offer(f, 0);
	assert_breaks(f, "loop");
}

static void an_index_beyond_its_table_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, 0, 4);

	offer(f, 4);
	assert_breaks(f, "beyond");

	avail(f)->idx = 0;
	started(state, 0, 4);
	desc(f, 0, DATA, 1, RING_DESC_F_NEXT, 65535);
	offer(f, 0);
	assert_breaks(f, "beyond");

	avail(f)->idx = 0;
	started(state, ALL, 4);
	desc(f, 0, DATA, 16, RING_DESC_F_INDIRECT, 0);
	desc_at(f, DATA, 0, DATA, 1, RING_DESC_F_NEXT, 1);
	offer(f, 0);
	assert_breaks(f, "beyond");
}

static void an_index_that_jumps_or_goes_back_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, 0, 4);

	avail(f)->idx = 5;
	assert_breaks(f, "ahead");

	avail(f)->idx = 0;
	started(state, 0, 4);
	complete(f);
	avail(f)->idx = 0;
	assert_breaks(f, "ahead");
}

static void a_head_made_available_while_all_are_in_flight_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, 0, 2);

	desc(f, 0, DATA, 1, 0, 0);
	for (unsigned i = 0; i < 2; i++) {
		offer(f, 0);
		assert_true(ring_pop(&f->ring, &f->chain));
	}
	offer(f, 0);
	assert_breaks(f, "more chains");
}

static void a_buffer_outside_ram_breaks_the_ring(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{ RAM, 1 },	    { RAM - 1, 2 },
		{ UINT64_MAX, 1 },  { UINT64_MAX - 7, 16 },
		{ 0, UINT32_MAX },  { UINT64_C(1) << 63, 4096 },
		{ HALF, HALF + 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fixture *f = started(state, 0, 4);

		avail(f)->idx = 0;
		desc(f, 0, bad[i].addr, bad[i].len, 0, 0);
		offer(f, 0);
		assert_breaks(f, "outside guest memory");
	}
}

static void a_buffer_outside_ram_is_left_to_a_device_that_wants_it(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct fixture *f = started(state, 0, 4);

		f->ring.pass_outside = true;
		desc(f, 0, RAM - 1, first ? 2 : 1, RING_DESC_F_WRITE | RING_DESC_F_NEXT, 1);
		desc(f, 1, RAM - 1, first ? 1 : 2, RING_DESC_F_WRITE, 0);
		offer(f, 0);
		assert_true(ring_pop(&f->ring, &f->chain));
		assert_true(f->chain.outside);
		assert_ptr_equal(f->chain.last,
				 first ? guest_map_gpa_all(&f->ram.map, RAM - 1, 1) : NULL);
	}
}

static void an_indirect_table_outside_ram_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, ALL, 4);

	desc(f, 0, RAM - 8, 16, RING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	assert_breaks(f, "outside guest memory");

	started(state, ALL, 4);
	avail(f)->idx = 0;
	desc(f, 0, UINT64_MAX - 15, 32, RING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	assert_breaks(f, "indirect table");
}

static void an_empty_buffer_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, 0, 4);

	desc(f, 0, DATA, 0, 0, 0);
	offer(f, 0);
	assert_breaks(f, "length 0");
}

static void a_readable_buffer_behind_a_writable_one_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, 0, 4);

	desc(f, 0, DATA, 1, RING_DESC_F_NEXT | RING_DESC_F_WRITE, 1);
	desc(f, 1, DATA, 1, 0, 0);
	offer(f, 0);
	assert_breaks(f, "readable");
}

static void indirect_without_the_feature_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, 0, 4);

	desc(f, 0, DATA, 16, RING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	assert_breaks(f, "not negotiated");
}

static void indirect_in_indirect_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, ALL, 4);

	desc(f, 0, DATA, 16, RING_DESC_F_INDIRECT, 0);
	desc_at(f, DATA, 0, DATA, 16, RING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	assert_breaks(f, "holds an indirect");
}

static void indirect_with_next_breaks_the_ring(void **state)
{
	struct fixture *f = started(state, ALL, 4);

	desc(f, 0, DATA, 16, RING_DESC_F_INDIRECT | RING_DESC_F_NEXT, 1);
	offer(f, 0);
	assert_breaks(f, "next");
}

static void indirect_tables_of_odd_sizes_break_the_ring(void **state)
{
	static const uint32_t bad[] = { 0, 1, 15, 17, 16 * (RING_SIZE_MAX + 1), UINT32_MAX & ~15u };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fixture *f = started(state, ALL, 4);

		avail(f)->idx = 0;
		desc(f, 0, DATA, bad[i], RING_DESC_F_INDIRECT, 0);
		offer(f, 0);
		assert_breaks(f, "indirect table has");
	}
}

static void too_many_buffers_break_the_ring(void **state)
{
	struct fixture *f = started(state, 0, 2048);

	for (unsigned i = 0; i <= RING_SEGMENTS_MAX; i++)
		desc(f, i, DATA + i, 1, RING_DESC_F_NEXT, (uint16_t)(i + 1));
	offer(f, 0);
	assert_breaks(f, "more than");
}

static void a_restart_mends_a_broken_ring(void **state)
{
	struct fixture *f = started(state, 0, 4);

	avail(f)->idx = 5;
	assert_breaks(f, "ahead");
	avail(f)->idx = 0;
	started(state, 0, 4);
	complete(f);
}

static void without_event_idx_the_flag_suppresses_calls(void **state)
{
	struct fixture *f = started(state, 0, 4);

	assert_false(ring_call_due(&f->ring));
	complete(f);
	assert_true(ring_call_due(&f->ring));
	assert_false(ring_call_due(&f->ring));
	avail(f)->flags = RING_AVAIL_F_NO_INTERRUPT;
	complete(f);
	assert_false(ring_call_due(&f->ring));
}

static void with_event_idx_a_call_is_due_when_used_event_is_passed(void **state)
{
	struct fixture *f = started(state, ALL, 4);
	uint16_t *used_event = &avail(f)->ring[4];

	*used_event = 100;
	complete(f);
	/* The first is always told: nobody knows what was told before us. */
	assert_true(ring_call_due(&f->ring));
	complete(f);
	assert_false(ring_call_due(&f->ring));
	*used_event = 3;
	complete(f);
	assert_false(ring_call_due(&f->ring));
	complete(f);
	assert_true(ring_call_due(&f->ring));
	/* The flag means nothing here. */
	avail(f)->flags = RING_AVAIL_F_NO_INTERRUPT;
	*used_event = 4;
	complete(f);
	complete(f);
	assert_true(ring_call_due(&f->ring));
}

static void with_event_idx_calls_survive_the_wrap(void **state)
{
	struct fixture *f = *state;

	avail(f)->idx = 65534;
	used(f)->idx = 65534;
	started_at(state, ALL, 4, 65534);
	avail(f)->ring[4] = 65534;
	complete(f);
	assert_true(ring_call_due(&f->ring));
	avail(f)->ring[4] = 0;
	complete(f);
	assert_false(ring_call_due(&f->ring));
	complete(f);
	assert_true(ring_call_due(&f->ring));
}

static void kicks_are_switched_by_flag_or_by_avail_event(void **state)
{
	struct fixture *f = started(state, 0, 4);
	uint16_t *avail_event = (uint16_t *)(void *)&used(f)->ring[4];

	ring_kicks_off(&f->ring);
	assert_int_equal(used(f)->flags, RING_USED_F_NO_NOTIFY);
	assert_false(ring_kicks_on(&f->ring));
	assert_int_equal(used(f)->flags, 0);

	started(state, ALL, 4);
	complete(f);
	assert_int_equal(*avail_event, 0);
	assert_false(ring_kicks_on(&f->ring));
	assert_int_equal(*avail_event, 1);
	assert_int_equal(used(f)->flags, 0);
	offer(f, 0);
	assert_true(ring_kicks_on(&f->ring));
}

static void pieces_are_cut_out_where_asked(void **state)
{
	struct iovec in[] = { { (void *)0x1000, 10 },
			      { (void *)0x2000, 20 },
			      { (void *)0x3000, 30 } },
		     out[3];

	(void)state;
	assert_int_equal(ring_slice(in, 3, 0, 60, out), 3);
	assert_int_equal(ring_slice(in, 3, 10, 20, out), 1);
	assert_ptr_equal(out[0].iov_base, (void *)0x2000);
	assert_int_equal(ring_slice(in, 3, 9, 22, out), 3);
	assert_ptr_equal(out[0].iov_base, (void *)0x1009);
	assert_int_equal(out[0].iov_len, 1);
	assert_int_equal(out[2].iov_len, 1);
	assert_int_equal(ring_slice(in, 3, 60, 1, out), 0);
	assert_int_equal(ring_slice(in, 3, 59, 9, out), 1);
	assert_int_equal(out[0].iov_len, 1);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_chain_comes_out_as_it_was_put_in),
		CASE(what_is_pushed_is_seen_by_the_driver),
		CASE(a_buffer_may_cross_two_adjacent_regions),
		CASE(an_indirect_table_may_follow_direct_descriptors),
		CASE(an_indirect_table_may_be_longer_than_the_queue),
		CASE(an_indirect_table_may_cross_two_adjacent_regions_and_be_misaligned),
		CASE(a_queue_of_32768_wraps),
		CASE(bad_sizes_and_places_are_refused_at_start),
		CASE(a_loop_breaks_the_ring),
		CASE(an_index_beyond_its_table_breaks_the_ring),
		CASE(an_index_that_jumps_or_goes_back_breaks_the_ring),
		CASE(a_head_made_available_while_all_are_in_flight_breaks_the_ring),
		CASE(a_buffer_outside_ram_breaks_the_ring),
		CASE(a_buffer_outside_ram_is_left_to_a_device_that_wants_it),
		CASE(an_indirect_table_outside_ram_breaks_the_ring),
		CASE(an_empty_buffer_breaks_the_ring),
		CASE(a_readable_buffer_behind_a_writable_one_breaks_the_ring),
		CASE(indirect_without_the_feature_breaks_the_ring),
		CASE(indirect_in_indirect_breaks_the_ring),
		CASE(indirect_with_next_breaks_the_ring),
		CASE(indirect_tables_of_odd_sizes_break_the_ring),
		CASE(too_many_buffers_break_the_ring),
		CASE(a_restart_mends_a_broken_ring),
		CASE(without_event_idx_the_flag_suppresses_calls),
		CASE(with_event_idx_a_call_is_due_when_used_event_is_passed),
		CASE(with_event_idx_calls_survive_the_wrap),
		CASE(kicks_are_switched_by_flag_or_by_avail_event),
		CASE(pieces_are_cut_out_where_asked),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
