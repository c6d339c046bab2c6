/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/range.h"
#include "devices/vmshm_name.h"
#include "guest/vmshm/vmshm_regs.h"

/* Hazard 8 of the device: what a hostile guest may write into BAR 2. */
static void names_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "/", ".", "..", "/.", "/..", "//", "//a", "a/b", "/a/b", "a/", "../a", "a/..",
		"\n", "a\tb", "a\x1f", "\x7f", "name\x7f", "/\x01",
	};
	char name[VMSHM_NAME_MAX + 1] = "as it was";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(vmshm_name_parse(bad[i], strlen(bad[i]) + 1, name), -EINVAL);
	assert_string_equal(name, "as it was");
}

static void names_are_taken_as_they_are_but_for_one_slash(void **state)
{
	static const struct { const char *given, *name; } good[] = {
		{ "a", "a" }, { "/a", "a" }, { "/...", "..." }, { ".a", ".a" }, { "..a", "..a" },
		{ "a b", "a b" }, { "~", "~" }, { "\xc3\xa4", "\xc3\xa4" }, { "/\x80\xff", "\x80\xff" },
		{ "*?[", "*?[" }, { "%s", "%s" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		char name[VMSHM_NAME_MAX + 1];

		assert_int_equal(vmshm_name_parse(good[i].given, strlen(good[i].given) + 1, name),
				 0);
		assert_string_equal(name, good[i].name);
	}
}

static void what_is_behind_the_name_is_zero(void **state)
{
	char name[VMSHM_NAME_MAX + 1], zero[VMSHM_NAME_MAX + 1] = "";
	static const char given[] = "/ab\0not of it";

	(void)state;
	memset(name, 0x5a, sizeof(name));
	assert_int_equal(vmshm_name_parse(given, sizeof(given), name), 0);
	assert_string_equal(name, "ab");
	assert_memory_equal(name + 2, zero, sizeof(name) - 2);
}

static void the_longest_name_has_255_bytes(void **state)
{
	char given[VMSHM_NAME_SIZE] = "/", name[VMSHM_NAME_MAX + 1];

	(void)state;
	memset(given + 1, 'n', VMSHM_NAME_MAX);
	assert_int_equal(vmshm_name_parse(given, sizeof(given), name), 0);
	assert_int_equal(strlen(name), VMSHM_NAME_MAX);
	given[1 + VMSHM_NAME_MAX] = 'n';
	assert_int_equal(vmshm_name_parse(given, sizeof(given), name), -EINVAL);
}

static void a_name_ends_within_the_buffer_and_within_1024_bytes(void **state)
{
	char given[2 * VMSHM_NAME_SIZE] = "", name[VMSHM_NAME_MAX + 1];

	(void)state;
	memset(given, 'n', VMSHM_NAME_SIZE);	/* its NUL is the byte after */
	assert_int_equal(vmshm_name_parse(given, sizeof(given), name), -EINVAL);
	assert_int_equal(vmshm_name_parse(given, VMSHM_NAME_SIZE, name), -EINVAL);
	assert_int_equal(vmshm_name_parse("abc", 3, name), -EINVAL);
	assert_int_equal(vmshm_name_parse("abc", 4, name), 0);
	assert_int_equal(vmshm_name_parse("abc", 0, name), -EINVAL);
}

static void a_log_shows_no_bytes_that_move_a_cursor(void **state)
{
	const char name[VMSHM_NAME_MAX + 1] = "a b\x9b\x32J\xc3\xa4~";
	char shown[VMSHM_NAME_MAX + 1], longest[VMSHM_NAME_MAX + 1];

	(void)state;
	vmshm_name_show(name, shown);
	assert_string_equal(shown, "a b?2J??~");
	memset(longest, 'n', VMSHM_NAME_MAX);
	longest[VMSHM_NAME_MAX] = 0;
	vmshm_name_show(longest, shown);
	assert_string_equal(shown, longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_that_are_none_are_refused),
		cmocka_unit_test(names_are_taken_as_they_are_but_for_one_slash),
		cmocka_unit_test(what_is_behind_the_name_is_zero),
		cmocka_unit_test(the_longest_name_has_255_bytes),
		cmocka_unit_test(a_name_ends_within_the_buffer_and_within_1024_bytes),
		cmocka_unit_test(a_log_shows_no_bytes_that_move_a_cursor),
	};

	return cmocka_run_group_tests_name("vmshm_name", tests, NULL, NULL);
}
