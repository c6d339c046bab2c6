/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/range.h"
#include "devices/exec_command.h"

enum { WORDS_MAX = 10 };

/* @text is @words, NULL at their end, with @place in them. */
static void is(const char *text, const char *place, const char *const words[])
{
	struct exec_command c;
	struct err e = { "" };
	char **argv;
	unsigned n = 0;

	if (exec_command_parse(&c, text, &e))
		fail_msg("%s: %s", text, e.msg);
	argv = exec_command_fill(&c, place);
	for (; words[n]; n++) {
		if (!argv[n])
			fail_msg("%s: there are but %u words", text, n);
		assert_string_equal(argv[n], words[n]);
	}
	assert_null(argv[n]);
	assert_int_equal(c.count, n);
	free(argv);
	exec_command_free(&c);
	exec_command_free(&c);
}

static void refused(const char *text, const char *part)
{
	struct exec_command c;
	struct err e = { "" };

	assert_int_equal(exec_command_parse(&c, text, &e), -EINVAL);
	if (!strstr(e.msg, part))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, e.msg, part);
	exec_command_free(&c);
}

static void words_end_at_blanks_and_quotes_hold_them_together(void **state)
{
	static const struct {
		const char *text, *words[WORDS_MAX];
	} rows[] = {
		{ "a %s", { "a", "P" } },
		{ "  a \t b\n%s  ", { "a", "b", "P" } },
		{ "a 'b c' %s", { "a", "b c", "P" } },
		{ "a \"b  c\"d %s", { "a", "b  cd", "P" } },
		{ "a '' \"\" %s", { "a", "", "", "P" } },
		{ "a b\\ c\\\\ \\'\\\" %s", { "a", "b c\\", "'\"", "P" } },
		{ "a 'b\\c\"' \"d\\\"e\\\\f\\g'\" %s", { "a", "b\\c\"", "d\"e\\f\\g'", "P" } },
		{ "a $HOME * ~ ; | > %s", { "a", "$HOME", "*", "~", ";", "|", ">", "P" } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		is(rows[i].text, "P", rows[i].words);
}

static void the_place_is_put_in_wherever_it_stands(void **state)
{
	struct exec_command c;
	struct err e;

	(void)state;
	is("a --socket-path=%s", "/run/x y", (const char *const[]){ "a", "--socket-path=/run/x y", NULL });
	is("a '%s' \"%s\" b%sc%s", "/x", (const char *const[]){ "a", "/x", "/x", "b/xc/x", NULL });
	is("a --fd %d 100%% %%d", "3", (const char *const[]){ "a", "--fd", "3", "100%", "%d", NULL });
	is("sh -c 'exec a --fd=\"$1\"' sh %d", "3",
	   (const char *const[]){ "sh", "-c", "exec a --fd=\"$1\"", "sh", "3", NULL });
	/* What is put in is not looked through again. */
	is("a %s", "%s%d'\"\\", (const char *const[]){ "a", "%s%d'\"\\", NULL });
	assert_int_equal(exec_command_parse(&c, "a %d", &e), 0);
	assert_true(c.by_fd);
	exec_command_free(&c);
	assert_int_equal(exec_command_parse(&c, "a %s", &e), 0);
	assert_false(c.by_fd);
	exec_command_free(&c);
}

static void what_cannot_be_meant_is_refused(void **state)
{
	(void)state;
	refused("", "no program's name");
	refused(" \t", "no program's name");
	refused("'' %s", "no program's name");
	refused("a 'b %s", "quote ' is not closed");
	refused("a \"b %s", "quote \" is not closed");
	refused("a \"b\\\" %s", "quote \" is not closed");
	refused("a %s \\", "followed by nothing");
	refused("a", "where is the daemon to be found?");
	refused("a %%s", "where is the daemon to be found?");
	refused("a %s %d", "two ways");
	refused("a %s 50%", "another %");
	refused("a %s %i", "another %");
	refused("a %s b% c", "another %");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_end_at_blanks_and_quotes_hold_them_together),
		cmocka_unit_test(the_place_is_put_in_wherever_it_stands),
		cmocka_unit_test(what_cannot_be_meant_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
