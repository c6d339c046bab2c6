/* SPDX-License-Identifier: Apache-2.0 */
/* One object in the place of all that a window has; when that fails, everything is as before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/range.h"
#include "memory/window.h"
#include "tests/unit/process.h"
#include "tests/unit/window_rig.h"

static void replace(struct mem_window *w, int fd, uint64_t fd_page, uint64_t pages, bool rw)
{
	struct err e;

	if (window_replace(w, fd, fd_page * PAGE, pages * PAGE, rw, true, &e))
		fail_msg("%s", e.msg);
	assert_int_equal(w->count, 1);
	assert_true(window_find(w, 0)->len == pages * PAGE);
}

static void assert_refused(struct mem_window *w, int fd, uint64_t fd_offset, uint64_t len, bool rw,
			   int code, const char *sentence)
{
	uint64_t idle = w->idle, changes = w->changes;
	const struct window_mapping *m = window_find(w, 0);
	struct err e = { "" };
	int r = window_replace(w, fd, fd_offset, len, rw, true, &e);

	if (r != code || !strstr(e.msg, sentence))
		fail_msg("%d \"%s\" is not %d \"%s\"", r, e.msg, code, sentence);
	assert_ptr_equal(window_find(w, 0), m);
	assert_true(w->idle == idle && w->changes == changes);
}

static uint32_t object_word(int fd, uint64_t page)
{
	uint32_t word = 0;

	assert_int_equal(pread(fd, &word, sizeof(word), (off_t)(page * PAGE)), sizeof(word));
	return word;
}

static void the_new_object_takes_the_place_of_the_old(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int a = window_rig_object(0x1000, 8), b = window_rig_object(0x2000, 16);

	(void)state;
	replace(&w, a, 0, 8, true);
	*window_rig_word(&w, 100) = 5;
	replace(&w, b, 4, 4, true);
	assert_int_equal(*window_rig_word(&w, 0), 0x2004);
	assert_int_equal(*window_rig_word(&w, 3), 0x2007);
	for (uint64_t i = 4; i < 256; i++)
		assert_int_equal(*window_rig_word(&w, i), 0);
	*window_rig_word(&w, 1) = 77;
	*window_rig_word(&w, 5) = 78;
	assert_int_equal(object_word(b, 5), 77);
	assert_int_equal(object_word(a, 1), 0x1001);
	assert_int_equal(object_word(a, 5), 0x1005);
	replace(&w, a, 0, 8, true);
	assert_int_equal(*window_rig_word(&w, 7), 0x1007);
	window_fini(&w);
	close(a);
	close(b);
}

static void whatever_was_mapped_gives_way(void **state)
{
	struct mem_window w = window_rig_in_pieces(MIB(8));
	int a = window_rig_object(0x1000, 16), b = window_rig_object(0x2000, 4);
	uint64_t idle = w.idle;
	struct err e;

	(void)state;
	assert_int_equal(window_map(&w, 2 * PAGE, a, 0, 8 * PAGE, false, &e), 0);
	assert_int_equal(window_map(&w, 512 * PAGE, a, 8 * PAGE, 4 * PAGE, true, &e), 0);
	*window_rig_word(&w, 900) = 5;
	replace(&w, b, 0, 4, true);
	assert_true(w.idle == idle);
	for (uint64_t i = 0; i < 2048; i++)
		assert_int_equal(*window_rig_word(&w, i), i < 4 ? 0x2000 + i : 0);
	assert_int_equal(window_clear(&w, &e), 0);
	assert_int_equal(*window_rig_word(&w, 0), 0);
	window_fini(&w);
	close(a);
	close(b);
}

static void read_only_takes_writes_that_end_with_the_mapping(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int a = window_rig_object(0x1000, 4);

	(void)state;
	replace(&w, a, 0, 4, false);
	*window_rig_word(&w, 1) = 1;
	assert_int_equal(object_word(a, 1), 0x1001);
	replace(&w, a, 0, 4, false);
	assert_int_equal(*window_rig_word(&w, 1), 0x1001);
	replace(&w, a, 0, 4, true);
	*window_rig_word(&w, 1) = 2;
	assert_int_equal(object_word(a, 1), 2);
	window_fini(&w);
	close(a);
}

static void private_copies_are_counted_for_what_is_there_then(void **state)
{
	struct mem_window w = window_rig_bounded(MIB(8), MIB(4));
	int a = window_rig_object(0x1000, 500), b = window_rig_object(0x2000, 600);

	(void)state;
	replace(&w, a, 0, 500, false);
	replace(&w, a, 0, 499, false);	/* both of them would be too much */
	assert_refused(&w, b, 0, 600 * PAGE, false, -E2BIG, "window-idle-max=");
	assert_int_equal(*window_rig_word(&w, 498), 0x1000 + 498);
	replace(&w, b, 0, 600, true);
	assert_int_equal(*window_rig_word(&w, 599), 0x2000 + 599);
	window_fini(&w);
	close(a);
	close(b);
}

static void what_cannot_be_leaves_the_old_where_it_is(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int a = window_rig_object(0x1000, 4), big = window_rig_object(0x2000, 300), pipes[2];
	struct rlimit limit, low;
	int next;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	replace(&w, a, 0, 4, true);
	*window_rig_word(&w, 10) = 9;
	assert_refused(&w, big, 0, 257 * PAGE, true, -EINVAL, "not within the window");
	assert_refused(&w, big, 0, 0, true, -EINVAL, "empty");
	assert_refused(&w, big, 300 * PAGE, PAGE, true, -EINVAL, "beyond the file's end");
	assert_refused(&w, big, 100, PAGE, true, -EINVAL, "not aligned");
	assert_refused(&w, pipes[0], 0, PAGE, true, -EINVAL, "not a regular file");
	assert_refused(&w, -1, 0, PAGE, true, -EBADF, "without a usable fd");
	next = dup(a);
	close(next);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = (rlim_t)next;
	setrlimit(RLIMIT_NOFILE, &low);
	assert_refused(&w, big, 0, PAGE, true, -EMFILE, "cannot keep the fd");
	setrlimit(RLIMIT_NOFILE, &limit);
	*window_rig_word(&w, 3) = 33;
	assert_int_equal(object_word(a, 3), 33);
	assert_int_equal(*window_rig_word(&w, 10), 9);
	window_fini(&w);
	close(a);
	close(big);
	close(pipes[0]);
	close(pipes[1]);
}

static void an_object_that_was_cut_off_gives_way_too(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int a = window_rig_object(0x1000, 8), b = window_rig_object(0x2000, 8);
	struct err e;

	(void)state;
	replace(&w, a, 0, 8, true);
	assert_int_equal(ftruncate(a, 2 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	replace(&w, b, 0, 8, true);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(*window_rig_word(&w, i), 0x2000 + i);
	assert_int_equal(ftruncate(b, PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	assert_int_equal(*window_rig_word(&w, 1), 0);
	window_fini(&w);
	close(a);
	close(b);
}

static void ten_thousand_of_them_leave_no_area_and_no_fd(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int objects[2] = { window_rig_object(0x1000, 4), window_rig_object(0x2000, 9) };
	unsigned fds, areas;
	struct err e;

	(void)state;
	replace(&w, objects[0], 0, 4, true);
	fds = process_fds();
	areas = process_areas();
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(window_replace(&w, objects[i % 2], 0, (1 + i % 4) * (uint64_t)PAGE,
						i % 3, i % 5, &e), 0);
	assert_int_equal(process_fds(), fds);
	assert_true(process_areas() <= areas + 2);
	window_fini(&w);
	close(objects[0]);
	close(objects[1]);
}

#if !PROCESS_SANITIZED
static void without_an_area_left_the_old_stays(void **state)
{
	struct mem_window w;
	struct process_areas all;
	struct err e = { "" };
	uint32_t old;
	int a, b, r;

	(void)state;
	process_areas_can_end();
	a = window_rig_object(0x1000, 4);
	b = window_rig_object(0x2000, 2);
	w = window_rig_new(MIB(1));
	replace(&w, a, 0, 4, true);
	all = process_areas_end();
	r = window_replace(&w, b, 0, 2 * PAGE, true, false, &e);
	old = *window_rig_word(&w, 3);
	process_areas_go_on(&all);

	assert_int_equal(r, -ENOMEM);
	assert_int_equal(old, 0x1003);
	assert_int_equal(w.count, 1);
	replace(&w, b, 0, 2, true);
	window_fini(&w);
	close(a);
	close(b);
}

static void what_cannot_be_taken_away_is_out_of_reach(void **state)
{
	struct process_areas all;
	struct mem_window w;
	struct err e = { "" };
	void *last;
	int a, r, clear, reached, pipes[2];

	(void)state;
	process_areas_can_end();
	a = window_rig_object(0x1000, 4);
	w = window_rig_new(MIB(1));
	assert_int_equal(pipe(pipes), 0);
	replace(&w, a, 0, 4, true);
	all = process_areas_end();
	/* The kernel allows one more than it does. */
	last = mmap(NULL, PAGE, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	clear = window_clear(&w, &e);
	r = (int)write(pipes[1], (const void *)window_rig_word(&w, 3), sizeof(uint32_t));
	reached = r < 0 ? -errno : r;
	munmap(last, PAGE);
	process_areas_go_on(&all);

	assert_int_equal(clear, -ENOMEM);
	assert_int_equal(reached, -EFAULT);
	assert_int_equal(window_clear(&w, &e), 0);
	assert_int_equal(*window_rig_word(&w, 3), 0);
	close(pipes[0]);
	close(pipes[1]);
	window_fini(&w);
	close(a);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_new_object_takes_the_place_of_the_old),
		cmocka_unit_test(whatever_was_mapped_gives_way),
		cmocka_unit_test(read_only_takes_writes_that_end_with_the_mapping),
		cmocka_unit_test(private_copies_are_counted_for_what_is_there_then),
		cmocka_unit_test(what_cannot_be_leaves_the_old_where_it_is),
		cmocka_unit_test(an_object_that_was_cut_off_gives_way_too),
		cmocka_unit_test(ten_thousand_of_them_leave_no_area_and_no_fd),
#if !PROCESS_SANITIZED
		cmocka_unit_test(without_an_area_left_the_old_stays),
		cmocka_unit_test(what_cannot_be_taken_away_is_out_of_reach),
#endif
	};

	return cmocka_run_group_tests_name("window_replace", tests, NULL, NULL);
}
