/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/range.h"
#include "devices/bus.h"

/* A device that remembers its last access and asserts the bus's promise. */
struct probe {
	struct bus_range range;
	uint64_t off, value;
	unsigned size, reads, writes;
};

static void check_access(const struct probe *p, uint64_t off, unsigned size)
{
	assert_true(size == 1 || size == 2 || size == 4 || size == 8);
	assert_true(range_ok(off, size, p->range.len));
}

static uint64_t probe_read(void *dev, uint64_t off, unsigned size)
{
	struct probe *p = dev;

	check_access(p, off, size);
	p->reads++;
	p->off = off;
	p->size = size;
	return 0x1122334455667788;
}

static void probe_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct probe *p = dev;

	check_access(p, off, size);
	p->writes++;
	p->off = off;
	p->size = size;
	p->value = value;
}

static const struct bus_ops probe_ops = { probe_read, probe_write };

static struct probe probe_at(uint64_t base, uint64_t len, const char *name)
{
	return (struct probe){ .range = { base, len, &probe_ops, NULL, name, NULL } };
}

static int add(struct bus *b, struct probe *p, struct err *e)
{
	p->range.dev = p;
	return bus_add(b, &p->range, e);
}

static void an_access_reaches_its_range_with_a_relative_offset(void **state)
{
	struct bus b = { 0 };
	struct probe p = probe_at(0x1000, 0x100, "p");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);

	bus_write(&b, 0x1010, 4, 0xcafe);

	assert_int_equal(p.off, 0x10);
	assert_int_equal(p.size, 4);
	assert_int_equal(p.value, 0xcafe);
}

static void bits_above_the_size_are_cut_off_both_ways(void **state)
{
	struct bus b = { 0 };
	struct probe p = probe_at(0, 8, "p");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);

	assert_int_equal(bus_read(&b, 0, 1), 0x88);
	assert_int_equal(bus_read(&b, 0, 2), 0x7788);
	assert_int_equal(bus_read(&b, 0, 4), 0x55667788);
	assert_true(bus_read(&b, 0, 8) == 0x1122334455667788);
	bus_write(&b, 0, 2, UINT64_MAX);
	assert_int_equal(p.value, 0xffff);
}

static void what_no_range_holds_reads_all_ones_and_is_counted(void **state)
{
	struct bus b = { 0 };
	struct probe p = probe_at(0x10, 0x10, "p");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);

	assert_int_equal(bus_read(&b, 0xf, 1), 0xff);
	assert_int_equal(bus_read(&b, 0x20, 4), 0xffffffff);
	bus_write(&b, 0x20, 1, 0);
	assert_int_equal(b.unclaimed, 3);
	assert_int_equal(p.reads + p.writes, 0);
}

static void every_size_at_every_offset_is_whole_or_nothing(void **state)
{
	struct bus b = { 0 };
	struct probe p = probe_at(0x100, 0x20, "p");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);
	for (unsigned size = 0; size <= 16; size++) {
		for (uint64_t addr = 0xf0; addr < 0x130; addr++) {
			bool legal = size == 1 || size == 2 || size == 4 || size == 8;
			bool inside = addr >= 0x100 && addr + size <= 0x120;

			p.reads = p.writes = 0;
			bus_read(&b, addr, size);
			bus_write(&b, addr, size, 0);
			assert_int_equal(p.reads, legal && inside);
			assert_int_equal(p.writes, legal && inside);
		}
	}
}

static void the_last_bytes_of_the_address_space_work(void **state)
{
	struct bus b = { 0 };
	struct probe p = probe_at(UINT64_MAX - 7, 8, "p");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);

	assert_int_equal(bus_read(&b, UINT64_MAX, 1), 0x88);
	assert_int_equal(bus_read(&b, UINT64_MAX, 2), 0xffff);
	assert_int_equal(p.reads, 1);
}

static void ranges_that_overlap_are_refused_by_both_names(void **state)
{
	static const struct {
		uint64_t base, len;
	} overlapping[] = { { 0x100, 0x10 }, { 0x0f, 0xf2 }, { 0x10f, 1 }, { 0, 0x1000 } };
	struct bus b = { 0 };
	struct probe p = probe_at(0x100, 0x10, "first");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(overlapping); i++) {
		struct probe q = probe_at(overlapping[i].base, overlapping[i].len, "second");

		assert_int_equal(add(&b, &q, &e), -EEXIST);
		assert_non_null(strstr(e.msg, "first"));
		assert_non_null(strstr(e.msg, "second"));
	}
}

static void neighbours_are_no_overlap(void **state)
{
	struct bus b = { 0 };
	struct probe p = probe_at(0x10, 0x10, "p"), below = probe_at(0, 0x10, "below"),
		     above = probe_at(0x20, 0x10, "above");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);
	assert_int_equal(add(&b, &above, &e), 0);
	assert_int_equal(add(&b, &below, &e), 0);
	bus_read(&b, 0x1f, 1);
	bus_read(&b, 0x20, 1);
	bus_read(&b, 0x0f, 1);
	bus_read(&b, 0x0f, 2);
	assert_int_equal(p.reads, 1);
	assert_int_equal(above.reads, 1);
	assert_int_equal(below.reads, 1);
}

static void empty_and_wrapping_ranges_are_refused(void **state)
{
	struct bus b = { 0 };
	struct probe empty = probe_at(5, 0, "empty"), wraps = probe_at(UINT64_MAX, 2, "wraps");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &empty, &e), -EINVAL);
	assert_int_equal(add(&b, &wraps, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "wraps"));
	assert_null(b.ranges);
}

static void a_removed_range_is_gone_also_when_it_was_hit_last(void **state)
{
	struct bus b = { 0 };
	struct probe p = probe_at(0x10, 0x10, "p"), q = probe_at(0x20, 0x10, "q");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);
	assert_int_equal(add(&b, &q, &e), 0);
	bus_read(&b, 0x10, 1);

	bus_del(&b, &p.range);
	bus_del(&b, &p.range);

	assert_int_equal(bus_read(&b, 0x10, 1), 0xff);
	assert_int_equal(p.reads, 1);
	assert_int_equal(bus_read(&b, 0x20, 1), 0x88);
}

static void overlap_finds_what_shares_a_byte(void **state)
{
	struct bus b = { 0 };
	struct probe p = probe_at(0x10, 0x10, "p");
	struct err e;

	(void)state;
	assert_int_equal(add(&b, &p, &e), 0);
	assert_ptr_equal(bus_overlap(&b, 0x1f, 1), &p.range);
	assert_ptr_equal(bus_overlap(&b, 0, 0x11), &p.range);
	assert_null(bus_overlap(&b, 0, 0x10));
	assert_null(bus_overlap(&b, 0x20, 0x10));
	assert_null(bus_overlap(&b, 0x18, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_access_reaches_its_range_with_a_relative_offset),
		cmocka_unit_test(bits_above_the_size_are_cut_off_both_ways),
		cmocka_unit_test(what_no_range_holds_reads_all_ones_and_is_counted),
		cmocka_unit_test(every_size_at_every_offset_is_whole_or_nothing),
		cmocka_unit_test(the_last_bytes_of_the_address_space_work),
		cmocka_unit_test(ranges_that_overlap_are_refused_by_both_names),
		cmocka_unit_test(neighbours_are_no_overlap),
		cmocka_unit_test(empty_and_wrapping_ranges_are_refused),
		cmocka_unit_test(a_removed_range_is_gone_also_when_it_was_hit_last),
		cmocka_unit_test(overlap_finds_what_shares_a_byte),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
