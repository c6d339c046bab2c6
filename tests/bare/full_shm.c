/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that takes RAM when it is told to and not before: Linux takes a page now and then
 * whatever runs in it. tests/linux/test_memory.py gives the orders, each a byte on the serial port,
 * and fills the host's shared memory meanwhile.
 */
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"

enum { PAGE = 4096 };

#define FIRST	(MEMORY_HEAP + (UINT64_C(24) << 20))
#define SECOND	(FIRST + (UINT64_C(80) << 20))

static void take(uint64_t from, uint64_t to)
{
	for (uint64_t gpa = from; gpa < to; gpa += PAGE)
		write64(gpa, gpa);
}

static void check_taken(uint64_t to)
{
	for (uint64_t gpa = MEMORY_HEAP; gpa < to; gpa += PAGE)
		CHECK_EQ(read64(gpa), gpa);
}

static void takes_what_it_is_told_to(void)
{
	take(MEMORY_HEAP, FIRST);
	test_order("some is taken");
	check_taken(FIRST);
	take(MEMORY_HEAP, FIRST);
	test_order("the same again");
	take(FIRST, SECOND);
	check_taken(SECOND);
	test_note("more is taken");
}

const struct test_case test_cases[] = {
	CASE(takes_what_it_is_told_to),
	{ NULL, NULL },
};
