/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that nobody answers for: the bus of addresses. */
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/pci.h"
#include "tests/bare/lib/test.h"

/* The hole below 4 GiB but for what is there: no BAR (there is no device), no HPET, no flash. */
static const uint64_t holes[] = {
	0x01000000, 0x40000000, 0xbffffff8, 0xc0000000, 0xd0000000, 0xdffffff8, 0xe0100000,
	0xfeb00000, 0xfec01000, 0xfed00000, 0xfed40000, 0xffc00000, 0xfffffff0,
};

static void unclaimed_reads_are_ones(void)
{
	for (unsigned i = 0; i < COUNT(holes); i++) {
		for (unsigned width = 1; width <= 8; width *= 2)
			CHECK_EQ(read_width(holes[i], width), ones(width));
	}
}

static void unaligned_reads_are_ones(void)
{
	for (unsigned off = 1; off < 8; off++) {
		for (unsigned width = 2; width <= 8; width *= 2)
			CHECK_EQ(read_width(0xd0000ff0 + off, width), ones(width));
	}
	/* Over the edge of a page: the processor makes two of it. */
	for (unsigned off = 1; off < 8; off++)
		CHECK_EQ(read64(0xd0000ff8 + off), UINT64_MAX);
}

static void writes_are_dropped(void)
{
	for (unsigned i = 0; i < COUNT(holes); i++) {
		for (unsigned width = 1; width <= 8; width *= 2) {
			write_width(holes[i], width, 0x0123456789abcdef);
			CHECK_EQ(read_width(holes[i], width), ones(width));
		}
	}
}

static void above_4_gib_nobody_answers_either(void)
{
	static const uint64_t high[] = { 0x100000000, 0x13ffffff8, 0x4000000000, 0x7ffffffff8 };

	for (unsigned i = 0; i < COUNT(high); i++) {
		memory_map_gib(high[i]);
		for (unsigned width = 1; width <= 8; width *= 2) {
			CHECK_EQ(read_width(high[i], width), ones(width));
			write_width(high[i], width, 0);
			CHECK_EQ(read_width(high[i], width), ones(width));
		}
	}
}

/* Instructions that read and write, move strings, or sign-extend: the processor does the rest. */
static void every_kind_of_instruction_is_served(void)
{
	uint64_t there = 0xd0000000, n = 4;
	uint32_t strings[4] = { 0 }, *to = strings, old = 5;
	int64_t extended;

	__asm__ volatile("orl $1, (%0)" : : "r"(there) : "memory", "cc");
	__asm__ volatile("xchgl %0, (%1)" : "+r"(old) : "r"(there) : "memory");
	CHECK_EQ(old, 0xffffffff);
	__asm__ volatile("movsbq (%1), %0" : "=r"(extended) : "r"(there) : "memory");
	CHECK_EQ(extended, UINT64_MAX);
	__asm__ volatile("rep movsl" : "+D"(to), "+S"(there), "+c"(n) : : "memory");
	for (unsigned i = 0; i < COUNT(strings); i++)
		CHECK_EQ(strings[i], 0xffffffff);
}

static void ram_ends_where_it_was_said_to(void)
{
	write64(MEMORY_END - 8, 0x1122334455667788);
	CHECK_EQ(read64(MEMORY_END - 8), 0x1122334455667788);
	write64(MEMORY_END, 0x1122334455667788);
	CHECK_EQ(read64(MEMORY_END), UINT64_MAX);
	/* Half in RAM, half not. */
	CHECK_EQ(read64(MEMORY_END - 4), UINT64_C(0xffffffff11223344));
}

const struct test_case test_cases[] = {
	CASE(unclaimed_reads_are_ones),
	CASE(unaligned_reads_are_ones),
	CASE(writes_are_dropped),
	CASE(above_4_gib_nobody_answers_either),
	CASE(every_kind_of_instruction_is_served),
	CASE(ram_ends_where_it_was_said_to),
	{ NULL, NULL },
};
