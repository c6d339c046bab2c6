/* SPDX-License-Identifier: Apache-2.0 */
/* What a program writes, line by line with a name in front. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "vmm/lines.h"

struct talk {
	struct lines lines;
	int pipe[2];
	char out[4 * LINES_OUT_MAX];	/* all that was given out */
};

static struct talk talk;

static int setup(void **state)
{
	talk = (struct talk){ .out = "" };
	assert_int_equal(pipe2(talk.pipe, O_CLOEXEC | O_NONBLOCK), 0);
	lines_init(&talk.lines, "blk0", talk.pipe[0]);
	*state = &talk;
	return 0;
}

static int teardown(void **state)
{
	struct talk *t = *state;

	fd_close(&t->pipe[0]);
	fd_close(&t->pipe[1]);
	return 0;
}

static void give_out(struct talk *t, const char *end)
{
	while (lines_due(&t->lines)) {
		char line[LINES_OUT_MAX];
		size_t n = lines_take(&t->lines, end, line), len = strlen(t->out);

		assert_true(n <= sizeof(line) && len + n < sizeof(t->out));
		memcpy(t->out + len, line, n);
		t->out[len + n] = '\0';
	}
}

static void says(struct talk *t, const char *text)
{
	assert_int_equal(fd_write_all(t->pipe[1], text, strlen(text)), 0);
	lines_read(&t->lines);
	give_out(t, "\n");
}

static void ends(struct talk *t)
{
	fd_close(&t->pipe[1]);
	lines_read(&t->lines);
	give_out(t, "\n");
}

static void a_line_comes_when_it_is_whole(void **state)
{
	struct talk *t = *state;

	says(t, "one\ntw");
	assert_string_equal(t->out, "blk0: one\n");
	assert_false(lines_due(&t->lines));
	says(t, "o\n\nthree");
	assert_string_equal(t->out, "blk0: one\nblk0: two\nblk0: \n");
	ends(t);
	assert_true(t->lines.ended);
	assert_string_equal(t->out, "blk0: one\nblk0: two\nblk0: \nblk0: three\n");
}

static void nothing_is_said_of_an_end_behind_a_whole_line(void **state)
{
	struct talk *t = *state;

	says(t, "one\r\n");
	lines_read(&t->lines);
	assert_false(t->lines.ended);
	ends(t);
	assert_string_equal(t->out, "blk0: one\n");
}

static void a_terminal_gets_nothing_to_obey(void **state)
{
	struct talk *t = *state;

	says(t, "a\tb\033[2Jc\a\x7f\xc3\xa9\rd\r\n");
	assert_string_equal(t->out, "blk0: a\tb?[2Jc??\xc3\xa9?d\n");
	assert_int_equal(fd_write_all(t->pipe[1], "e\n", 2), 0);
	lines_read(&t->lines);
	give_out(t, "\r\n");
	assert_non_null(strstr(t->out, "\nblk0: e\r\n"));
}

static void what_is_too_long_for_one_line_becomes_two(void **state)
{
	char text[LINES_TEXT_MAX + 4], want[LINES_TEXT_MAX + 32];
	struct talk *t = *state;

	memset(text, 'x', LINES_TEXT_MAX);
	memcpy(text + LINES_TEXT_MAX, "y\n", 3);
	says(t, text);
	snprintf(want, sizeof(want), "blk0: %.*s\n", LINES_TEXT_MAX, text);
	assert_string_equal(t->out, want);
	lines_read(&t->lines);
	give_out(t, "\n");
	assert_string_equal(t->out + strlen(want), "blk0: y\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(a_line_comes_when_it_is_whole),
		CASE(nothing_is_said_of_an_end_behind_a_whole_line),
		CASE(a_terminal_gets_nothing_to_obey),
		CASE(what_is_too_long_for_one_line_becomes_two),
#undef CASE
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
