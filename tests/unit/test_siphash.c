/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/range.h"
#include "vmm/siphash.h"

/* Key and message 0, 1, 2...; values of the authors' table for SipHash-2-4 with 128 bits. */
static void values_are_those_of_the_reference(void **state)
{
	static const struct { size_t len; uint8_t value[SIPHASH_BYTES]; } known[] = {
		{ 0, { 0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6,
		       0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93 } },
		{ 1, { 0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44,
		       0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45 } },
		{ 15, { 0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11,
			0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf, 0xc3, 0xd9 } },
	};
	uint8_t bytes[16], got[SIPHASH_BYTES];

	(void)state;
	for (uint8_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = i;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		struct siphash h;

		siphash_init(&h, bytes, 2, 4);
		siphash_final(&h, bytes, known[i].len, got);
		assert_memory_equal(got, known[i].value, sizeof(got));
	}
}

static void pieces_give_the_value_of_the_whole(void **state)
{
	uint8_t key[SIPHASH_KEY] = { 7 }, data[100], whole[SIPHASH_BYTES], pieces[SIPHASH_BYTES];
	struct siphash h;

	(void)state;
	memset(data, 0x5a, sizeof(data));
	siphash_init(&h, key, 1, 3);
	siphash_final(&h, data, sizeof(data), whole);
	siphash_init(&h, key, 1, 3);
	siphash_update(&h, data, 24);
	siphash_update(&h, data + 24, 8);
	siphash_final(&h, data + 32, sizeof(data) - 32, pieces);
	assert_memory_equal(whole, pieces, sizeof(whole));
}

static void another_key_gives_another_value(void **state)
{
	uint8_t a[SIPHASH_KEY] = { 1 }, b[SIPHASH_KEY] = { 2 };
	uint8_t va[SIPHASH_BYTES], vb[SIPHASH_BYTES];
	struct siphash h;

	(void)state;
	siphash_init(&h, a, 1, 3);
	siphash_final(&h, "kernel", 6, va);
	siphash_init(&h, b, 1, 3);
	siphash_final(&h, "kernel", 6, vb);
	assert_memory_not_equal(va, vb, sizeof(va));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_those_of_the_reference),
		cmocka_unit_test(pieces_give_the_value_of_the_whole),
		cmocka_unit_test(another_key_gives_another_value),
	};

	return cmocka_run_group_tests_name("siphash", tests, NULL, NULL);
}
