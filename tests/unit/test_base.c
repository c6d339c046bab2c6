/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/keyval.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/range.h"

static void sizes_need_a_unit(void **state)
{
	static const struct {
		const char *text;
		int result;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0, 0 },
		{ "4096B", 0, 4096 },
		{ "512K", 0, KIB(512) },
		{ "256M", 0, MIB(256) },
		{ "256MiB", 0, MIB(256) },
		{ "3G", 0, GIB(3) },
		{ "0x10k", 0, KIB(16) },
		{ "256", -EINVAL },
		{ "", -EINVAL },
		{ "-1M", -EINVAL },
		{ "M", -EINVAL },
		{ "1X", -EINVAL },
		{ "1 M", -EINVAL },
		{ " 1M", -EINVAL },
		{ "1.5G", -EINVAL },
		{ "99999999999999999999G", -ERANGE },
		{ "17179869184G", -ERANGE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err e = { "" };
		uint64_t bytes = 77;

		assert_int_equal(size_parse("--memory", cases[i].text, &bytes, &e),
				 cases[i].result);
		assert_int_equal(bytes, cases[i].result ? 77 : cases[i].bytes);
		assert_int_equal(e.msg[0] != '\0', cases[i].result != 0);
	}
}

static void a_size_is_written_with_its_largest_exact_unit(void **state)
{
	char buf[24];

	(void)state;
	assert_string_equal(size_format(MIB(256), buf), "256M");
	assert_string_equal(size_format(4097, buf), "4097B");
	assert_string_equal(size_format(0, buf), "0B");
	assert_string_equal(size_format(GIB(4), buf), "4G");
}

struct sample {
	bool first;
	char *path;
	bool on, on_given;
	uint64_t count, size;
	int color;
	struct keyval_list also;
};

static const char *const colors[] = { "red", "green", NULL };

static const struct keyval sample_table[] = {
	{ .key = "path", .type = KEYVAL_STRING, .offset = offsetof(struct sample, path) },
	{ .key = "on",
	  .type = KEYVAL_BOOL,
	  .offset = offsetof(struct sample, on),
	  .given = offsetof(struct sample, on_given) },
	{ .key = "count",
	  .type = KEYVAL_UINT,
	  .offset = offsetof(struct sample, count),
	  .min = 1,
	  .max = 9 },
	{ .key = "size", .type = KEYVAL_SIZE, .offset = offsetof(struct sample, size) },
	{ .key = "color",
	  .type = KEYVAL_ENUM,
	  .offset = offsetof(struct sample, color),
	  .words = colors },
	{ .key = "also", .type = KEYVAL_LIST, .offset = offsetof(struct sample, also) },
	{ .key = "never", .type = KEYVAL_REFUSED, .help = "there is no such thing; use on" },
	{ NULL },
};

static void an_option_value_is_a_word_and_keys(void **state)
{
	struct sample s = { 0 };
	struct err e = { "" };

	(void)state;
	assert_int_equal(keyval_parse("--sample", "/a,,b,on,count=0x3,size=4K,color=green", "path",
				      sample_table, &s, &e),
			 0);
	assert_string_equal(s.path, "/a,b");
	assert_true(s.on);
	assert_true(s.on_given);
	assert_int_equal(s.count, 3);
	assert_int_equal(s.size, 4096);
	assert_int_equal(s.color, 1);
	keyval_free(sample_table, &s);
	assert_null(s.path);
}

static void a_list_has_all_values_in_the_order_given(void **state)
{
	struct sample s = { 0 };
	struct err e = { "" };

	(void)state;
	assert_int_equal(keyval_parse("--sample", "also=b,on,also=a,,c=d,also=b", NULL, sample_table,
				      &s, &e),
			 0);
	assert_int_equal(s.also.count, 3);
	assert_string_equal(s.also.items[0], "b");
	assert_string_equal(s.also.items[1], "a,c=d");
	assert_string_equal(s.also.items[2], "b");
	assert_true(s.on);
	keyval_free(sample_table, &s);
	assert_null(s.also.items);
	assert_int_equal(s.also.count, 0);
	keyval_free(sample_table, &s);
}

static void a_bad_option_value_is_named_with_the_way_out(void **state)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "x,", "--sample: there is nothing between two commas or at an end" },
		{ "x,,", NULL },
		{ "x,color=blue", "--sample: color: blue is none of red, green" },
		{ "x,color=", "--sample: color needs a value" },
		{ "x,on=maybe", "--sample: on: maybe is neither on nor off" },
		{ "x,count=10", "--sample: count: 10 is outside 1 to 9" },
		{ "x,count=1x", "--sample: count: 1x is not a number from 1 to 9" },
		{ "x,size=5", "--sample: size: 5 is not a size: write a number with a unit, as in "
			      "512K, 256M or 4G" },
		{ "x,on,on=off", "--sample: on is given twice" },
		{ "x,path=y", "--sample: path is given twice" },
		{ "x,size", "--sample: size needs a value, as in size=..." },
		{ "x,what=1", "--sample: \"what\" is not a key of this option; known are path, on, "
			      "count, size, color, also" },
		{ "x,also=1,also=2", NULL },
		{ "x,also", "--sample: also needs a value, as in also=..." },
		{ "x,also=1,also=", "--sample: also needs a value" },
		{ "x,never=1", "--sample: never: there is no such thing; use on" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sample s = { 0 };
		struct err e = { "" };
		int r = keyval_parse("--sample", cases[i].text, "path", sample_table, &s, &e);

		assert_int_equal(r, cases[i].sentence ? -EINVAL : 0);
		assert_string_equal(e.msg, cases[i].sentence ? cases[i].sentence : "");
		keyval_free(sample_table, &s);
	}
}

static void ranges_never_overflow(void **state)
{
	(void)state;
	assert_true(range_ok(0, 10, 10));
	assert_false(range_ok(1, 10, 10));
	assert_false(range_ok(UINT64_MAX, 2, 10));
	assert_false(range_ok(2, UINT64_MAX, 10));
	assert_true(range_ok(10, 0, 10));
	assert_true(range_overlaps(0, 10, 9, 1));
	assert_false(range_overlaps(0, 10, 10, 1));
	assert_false(range_overlaps(5, 0, 0, 10));
	assert_true(range_overlaps(UINT64_MAX - 4, 5, UINT64_MAX, 1));
}

static void a_cursor_stops_at_the_end_and_says_so(void **state)
{
	uint8_t buf[4] = { 0 };
	struct cursor c = { .base = buf, .size = sizeof(buf) };

	(void)state;
	cursor_u16(&c, 0x1234);
	assert_false(c.overflow);
	cursor_u32(&c, 0xffffffff);
	assert_true(c.overflow);
	assert_int_equal(buf[0], 0x34);
	assert_int_equal(buf[1], 0x12);
}

static void errors_carry_the_sentence_and_the_code(void **state)
{
	struct err e = { "" };

	(void)state;
	errno = ENOENT;
	assert_int_equal(err_sys(&e, "disk %s", "x"), -ENOENT);
	assert_string_equal(e.msg, "disk x: No such file or directory");
	assert_int_equal(err_prefix(&e, -ENOENT, "blk0: "), -ENOENT);
	assert_string_equal(e.msg, "blk0: disk x: No such file or directory");
}

static void fds_travel_and_surplus_ones_are_closed(void **state)
{
	int pair[2], fds[FD_PASS_MAX], got[FD_PASS_MAX];
	char byte;
	size_t n;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fds[i] = fd_eventfd();
	assert_int_equal(fd_send(pair[0], "x", 1, fds, 3), 1);
	assert_int_equal(fd_recv(pair[1], &byte, 1, got, &n), 1);
	assert_int_equal(n, 3);
	fd_signal(fds[1]);
	assert_int_equal(fd_drain(got[1]), 1);
	assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	for (size_t i = 0; i < n; i++)
		fd_close(&got[i]);
	assert_int_equal(fd_send(pair[0], "x", 1, fds, FD_PASS_MAX + 1), -EINVAL);
	for (size_t i = 0; i < FD_PASS_MAX; i++)
		fd_close(&fds[i]);
	fd_close(&pair[0]);
	assert_int_equal(fd_recv(pair[1], &byte, 1, got, &n), 0);
	fd_close(&pair[1]);
}

struct loop_fixture {
	struct loop loop;
	int fds[2];
	struct loop_watch watch[2];
	struct loop_timer timer[2];
	struct loop_job job;
	char order[16];
	bool unwatch_other, mute_other, repost;
};

static void note(struct loop_fixture *f, char c)
{
	size_t n = strlen(f->order);

	if (n + 1 < sizeof(f->order))
		f->order[n] = c;
}

static void on_a(void *arg, uint32_t events)
{
	struct loop_fixture *f = arg;

	(void)events;
	fd_drain(f->fds[0]);
	note(f, 'a');
	if (f->mute_other)
		loop_watch_events(&f->loop, &f->watch[1], 0);
	if (f->unwatch_other)
		loop_unwatch(&f->loop, &f->watch[1]);
}

static void on_b(void *arg, uint32_t events)
{
	struct loop_fixture *f = arg;

	(void)events;
	fd_drain(f->fds[1]);
	note(f, 'b');
	if (f->unwatch_other)
		loop_unwatch(&f->loop, &f->watch[0]);
}

static void on_t0(void *arg)
{
	note(arg, '0');
}

static void on_t1(void *arg)
{
	note(arg, '1');
}

static void on_job(void *arg)
{
	struct loop_fixture *f = arg;

	note(f, 'j');
	if (f->repost) {
		f->repost = false;
		loop_post(&f->loop, &f->job);
	}
}

static int loop_setup(void **state)
{
	struct loop_fixture *f = calloc(1, sizeof(*f));
	struct err e;

	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	for (int i = 0; i < 2; i++) {
		f->fds[i] = fd_eventfd();
		f->watch[i] = (struct loop_watch){ f->fds[i], EPOLLIN, i ? on_b : on_a, f };
		assert_int_equal(loop_watch(&f->loop, &f->watch[i], &e), 0);
		f->timer[i] = (struct loop_timer){ .expired = i ? on_t1 : on_t0, .arg = f };
	}
	f->job = (struct loop_job){ .run = on_job, .arg = f };
	*state = f;
	return 0;
}

static int loop_teardown(void **state)
{
	struct loop_fixture *f = *state;

	loop_fini(&f->loop);
	loop_fini(&f->loop);
	fd_close(&f->fds[0]);
	fd_close(&f->fds[1]);
	free(f);
	return 0;
}

static void a_watch_taken_away_in_a_batch_is_not_called(void **state)
{
	struct loop_fixture *f = *state;

	f->unwatch_other = true;
	fd_signal(f->fds[0]);
	fd_signal(f->fds[1]);
	assert_true(loop_once(&f->loop, 0));
	assert_int_equal(strlen(f->order), 1);
}

static void what_is_not_waited_for_any_more_is_not_told(void **state)
{
	struct loop_fixture *f = *state;

	f->mute_other = true;
	fd_signal(f->fds[0]);
	fd_signal(f->fds[1]);
	assert_true(loop_once(&f->loop, 0));
	assert_true(loop_once(&f->loop, 0));
	assert_string_equal(f->order, "a");
	loop_watch_events(&f->loop, &f->watch[1], EPOLLIN);
	assert_true(loop_once(&f->loop, 0));
	assert_string_equal(f->order, "ab");
}

static void timers_expire_in_order_and_only_once(void **state)
{
	struct loop_fixture *f = *state;

	loop_timer_set(&f->loop, &f->timer[0], 2);
	loop_timer_set(&f->loop, &f->timer[1], 1);
	assert_true(loop_once(&f->loop, -1));
	assert_true(loop_once(&f->loop, 0));
	assert_string_equal(f->order, "10");
	loop_timer_set(&f->loop, &f->timer[0], 1);
	loop_timer_cancel(&f->loop, &f->timer[0]);
	loop_timer_cancel(&f->loop, &f->timer[0]);
	assert_true(loop_once(&f->loop, 0));
	assert_string_equal(f->order, "10");
}

static void a_job_posted_twice_runs_once_and_may_post_itself(void **state)
{
	struct loop_fixture *f = *state;

	f->repost = true;
	loop_post(&f->loop, &f->job);
	loop_post(&f->loop, &f->job);
	assert_true(loop_once(&f->loop, -1));
	assert_string_equal(f->order, "jj");
	loop_post(&f->loop, &f->job);
	loop_cancel(&f->loop, &f->job);
	assert_true(loop_once(&f->loop, 0));
	assert_string_equal(f->order, "jj");
}

static void stop_ends_the_loop_once(void **state)
{
	struct loop_fixture *f = *state;

	loop_stop(&f->loop);
	loop_run(&f->loop);
	assert_true(loop_once(&f->loop, 0));
}

/* Makes close_range what it is to a host or a container that does not know it. */
static bool forbid_close_range(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In a process of its own, whose descriptors may go. */
static void close_some(bool forbidden)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		bool ok = !forbidden || forbid_close_range();

		for (int fd = 20; fd <= 24; fd++)
			ok = ok && dup2(STDERR_FILENO, fd) == fd;
		fd_close_range(21, 22);
		for (int fd = 20; fd <= 24; fd++)
			ok = ok && (fcntl(fd, F_GETFD) >= 0) == (fd != 21 && fd != 22);
		fd_close_range(24, UINT_MAX);
		ok = ok && fcntl(23, F_GETFD) >= 0 && fcntl(24, F_GETFD) < 0;
		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_range_of_fds_is_closed_and_no_other(void **state)
{
	(void)state;
	close_some(false);
}

static void a_range_of_fds_is_closed_where_the_host_cannot_at_once(void **state)
{
	(void)state;
	close_some(true);
}

static void log_levels_have_names(void **state)
{
	(void)state;
	assert_int_equal(log_level_parse("error"), LOG_ERROR);
	assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
	assert_int_equal(log_level_parse("loud"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_need_a_unit),
		cmocka_unit_test(a_size_is_written_with_its_largest_exact_unit),
		cmocka_unit_test(an_option_value_is_a_word_and_keys),
		cmocka_unit_test(a_list_has_all_values_in_the_order_given),
		cmocka_unit_test(a_bad_option_value_is_named_with_the_way_out),
		cmocka_unit_test(ranges_never_overflow),
		cmocka_unit_test(a_cursor_stops_at_the_end_and_says_so),
		cmocka_unit_test(errors_carry_the_sentence_and_the_code),
		cmocka_unit_test(fds_travel_and_surplus_ones_are_closed),
		cmocka_unit_test_setup_teardown(a_watch_taken_away_in_a_batch_is_not_called,
						loop_setup, loop_teardown),
		cmocka_unit_test_setup_teardown(what_is_not_waited_for_any_more_is_not_told,
						loop_setup, loop_teardown),
		cmocka_unit_test_setup_teardown(timers_expire_in_order_and_only_once, loop_setup,
						loop_teardown),
		cmocka_unit_test_setup_teardown(a_job_posted_twice_runs_once_and_may_post_itself,
						loop_setup, loop_teardown),
		cmocka_unit_test_setup_teardown(stop_ends_the_loop_once, loop_setup, loop_teardown),
		cmocka_unit_test(a_range_of_fds_is_closed_and_no_other),
		cmocka_unit_test(a_range_of_fds_is_closed_where_the_host_cannot_at_once),
		cmocka_unit_test(log_levels_have_names),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
