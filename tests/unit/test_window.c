/* SPDX-License-Identifier: Apache-2.0 */
/* Windows: what a daemon may map, what is refused and changes nothing, and what the guest sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "memory/window.h"
#include "tests/unit/process.h"
#include "tests/unit/window_rig.h"

#ifndef SYS_memfd_secret	/* glibc before 2.34 */
#define SYS_memfd_secret 447
#endif

static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static uint32_t object_word(int fd, uint64_t page)
{
	uint32_t word = 0;

	assert_int_equal(pread(fd, &word, sizeof(word), (off_t)(page * PAGE)), sizeof(word));
	return word;
}

static void map_pages(struct mem_window *w, uint64_t at, int fd, uint64_t fd_page, uint64_t pages,
		      bool rw)
{
	struct err e;

	if (window_map(w, at * PAGE, fd, fd_page * PAGE, pages * PAGE, rw, &e))
		fail_msg("%s", e.msg);
}

static void assert_map_refused(struct mem_window *w, uint64_t offset, int fd, uint64_t fd_offset,
			       uint64_t len, bool rw, int code, const char *sentence)
{
	unsigned before = w->count;
	struct err e = { "" };
	int r = window_map(w, offset, fd, fd_offset, len, rw, &e);

	if (r != code || !strstr(e.msg, sentence))
		fail_msg("%d \"%s\" is not %d \"%s\"", r, e.msg, code, sentence);
	assert_int_equal(w->count, before);
}

/* --- what the guest sees --- */

static void a_new_window_is_zero_and_writable_everywhere(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));

	(void)state;
	for (uint64_t i = 0; i < MIB(1) / PAGE; i++) {
		assert_int_equal(*window_rig_word(&w, i), 0);
		*window_rig_word(&w, i) = 1;
	}
	window_fini(&w);
	window_fini(&w);
}

static void a_read_write_mapping_is_the_object(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int fd = window_rig_object(0x1000, 8);

	(void)state;
	map_pages(&w, 16, fd, 2, 4, true);
	assert_int_equal(*window_rig_word(&w, 15), 0);
	assert_int_equal(*window_rig_word(&w, 16), 0x1002);
	assert_int_equal(*window_rig_word(&w, 19), 0x1005);
	assert_int_equal(*window_rig_word(&w, 20), 0);
	*window_rig_word(&w, 17) = 77;
	assert_int_equal(object_word(fd, 3), 77);
	window_fini(&w);
	close(fd);
}

static void a_read_only_mapping_takes_writes_that_never_reach_the_object(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int fd = window_rig_object(0x1000, 4), reader = reopen(fd, O_RDONLY);

	(void)state;
	map_pages(&w, 0, reader, 0, 4, false);
	map_pages(&w, 8, fd, 0, 4, false);
	assert_int_equal(*window_rig_word(&w, 1), 0x1001);
	*window_rig_word(&w, 1) = 1;
	*window_rig_word(&w, 9) = 1;
	assert_int_equal(*window_rig_word(&w, 1), 1);
	assert_int_equal(object_word(fd, 1), 0x1001);
	window_fini(&w);
	close(reader);
	close(fd);
}

static void the_daemon_may_close_its_fd_after_mapping(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int fd = window_rig_object(0x1000, 2);
	struct err e;

	(void)state;
	map_pages(&w, 0, fd, 0, 2, true);
	close(fd);
	assert_int_equal(*window_rig_word(&w, 1), 0x1001);
	assert_int_equal(window_repair(&w, &e), 0);
	window_fini(&w);
}

static void unmapping_brings_zero_pages_and_leaves_the_object(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int fd = window_rig_object(0x1000, 4);
	struct err e;

	(void)state;
	map_pages(&w, 4, fd, 0, 4, true);
	assert_int_equal(window_unmap(&w, 4 * PAGE, 4 * PAGE, &e), 0);
	for (uint64_t i = 4; i < 8; i++) {
		assert_int_equal(*window_rig_word(&w, i), 0);
		*window_rig_word(&w, i) = 5;
	}
	assert_int_equal(object_word(fd, 0), 0x1000);
	assert_int_equal(w.count, 0);
	map_pages(&w, 4, fd, 0, 4, true);
	assert_int_equal(*window_rig_word(&w, 4), 0x1000);
	window_fini(&w);
	close(fd);
}

static void clearing_takes_everything_away_also_what_the_guest_wrote(void **state)
{
	struct mem_window windows[] = { window_rig_new(MIB(1)), window_rig_in_pieces(MIB(16)) };

	(void)state;
	for (unsigned s = 0; s < ARRAY_SIZE(windows); s++) {
		struct mem_window w = windows[s];
		int fd = window_rig_object(0x1000, 4);
		struct err e;

		map_pages(&w, 4, fd, 0, 4, true);
		map_pages(&w, 100, fd, 2, 1, false);
		*window_rig_word(&w, 50) = 9;
		assert_int_equal(window_clear(&w, &e), 0);
		assert_int_equal(w.count, 0);
		for (uint64_t i = 0; i < w.size / PAGE; i++)
			assert_int_equal(*window_rig_word(&w, i), 0);
		assert_int_equal(object_word(fd, 0), 0x1000);
		window_fini(&w);
		close(fd);
	}
}

static void a_large_window_cannot_fill_the_host(void **state)
{
	struct mem_window w = window_rig_new(MIB(256));
	struct stat st;

	(void)state;
	for (uint64_t i = 0; i < MIB(256) / PAGE; i++)
		*window_rig_word(&w, i) = 1;
	assert_int_equal(fstat(w.filler.fd, &st), 0);
	assert_true(st.st_blocks * 512 <= (blkcnt_t)MIB(64));
	window_fini(&w);
}

static void a_huge_window_costs_few_areas_and_is_aligned(void **state)
{
	unsigned before = process_areas();
	struct mem_window w = window_rig_new(GIB(64));

	(void)state;
	assert_true(process_areas() - before <= 1024 + 8);
	assert_int_equal((uintptr_t)w.host % GIB(1), 0);
	*window_rig_word(&w, GIB(64) / PAGE - 1) = 1;
	assert_true(w.filler.piece <= MIB(64));
	window_fini(&w);
}

/* --- what is refused --- */

static void what_a_daemon_must_not_map_is_refused_and_changes_nothing(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int fd = window_rig_object(0x1000, 8), reader = reopen(fd, O_RDONLY),
	    writer = reopen(fd, O_WRONLY);
	int path_only = reopen(fd, O_PATH), dir = open("/", O_RDONLY | O_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), event = fd_eventfd();
	uint64_t end = MIB(1);

	(void)state;
	map_pages(&w, 4, fd, 0, 4, true);
	assert_map_refused(&w, 0, -1, 0, PAGE, true, -EBADF, "without a usable fd");
	assert_map_refused(&w, 0, 9999, 0, PAGE, true, -EBADF, "without a usable fd");
	assert_map_refused(&w, 0, fd, 0, 0, true, -EINVAL, "is empty or not within");
	assert_map_refused(&w, end, fd, 0, PAGE, true, -EINVAL, "is empty or not within");
	assert_map_refused(&w, end - PAGE, fd, 0, 2 * PAGE, true, -EINVAL,
			   "is empty or not within");
	assert_map_refused(&w, UINT64_MAX - PAGE + 1, fd, 0, PAGE, true, -EINVAL,
			   "is empty or not within");
	assert_map_refused(&w, PAGE, fd, 0, UINT64_MAX - PAGE + 1, true, -EINVAL,
			   "is empty or not within");
	assert_map_refused(&w, 1, fd, 0, PAGE, true, -EINVAL, "is not aligned");
	assert_map_refused(&w, 0, fd, 1, PAGE, true, -EINVAL, "is not aligned");
	assert_map_refused(&w, 0, fd, 0, PAGE - 1, true, -EINVAL, "is not aligned");
	assert_map_refused(&w, 0, fd, 8 * PAGE, PAGE, true, -EINVAL, "beyond the file's end");
	assert_map_refused(&w, 0, fd, 7 * PAGE, 2 * PAGE, true, -EINVAL, "beyond the file's end");
	assert_map_refused(&w, 0, fd, UINT64_MAX - PAGE + 1, PAGE, true, -EINVAL,
			   "beyond the file's end");
	assert_map_refused(&w, 0, dir, 0, PAGE, true, -EINVAL, "not a regular file");
	assert_map_refused(&w, 0, null, 0, PAGE, true, -EINVAL, "not a regular file");
	assert_map_refused(&w, 0, event, 0, PAGE, true, -EINVAL, "not a regular file");
	assert_map_refused(&w, 0, reader, 0, PAGE, true, -EACCES, "cannot be mapped read-write");
	assert_map_refused(&w, 0, writer, 0, PAGE, true, -EACCES, "cannot be mapped read-write");
	assert_map_refused(&w, 0, writer, 0, PAGE, false, -EACCES, "cannot be mapped read-only");
	assert_map_refused(&w, 0, path_only, 0, PAGE, true, -EBADF, "cannot be mapped read-write");
	assert_map_refused(&w, 4 * PAGE, fd, 0, PAGE, true, -EEXIST, "overlaps");
	assert_map_refused(&w, 7 * PAGE, fd, 0, 4 * PAGE, true, -EEXIST, "overlaps");
	assert_map_refused(&w, 0, fd, 0, 5 * PAGE, true, -EEXIST, "overlaps");
	assert_map_refused(&w, 3 * PAGE, fd, 0, 8 * PAGE, true, -EEXIST, "overlaps");
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(*window_rig_word(&w, 4 + i), 0x1000 + i);
	assert_int_equal(*window_rig_word(&w, 3), 0);
	assert_int_equal(*window_rig_word(&w, 8), 0);
	window_fini(&w);
	close(fd);
	close(reader);
	close(writer);
	close(path_only);
	close(dir);
	close(null);
	close(event);
}

static void only_a_whole_mapping_can_be_unmapped(void **state)
{
	static const struct {
		uint64_t at, pages;
	} wrong[] = {
		{ 4, 3 }, { 5, 3 }, { 4, 5 }, { 3, 5 }, { 0, 1 },
		{ 4, 8 }, { 4, 0 }, { 5, 1 }, { 300, 1 },
	};
	struct mem_window w = window_rig_new(MIB(1));
	int fd = window_rig_object(0x1000, 8);
	struct err e = { "" };

	(void)state;
	map_pages(&w, 4, fd, 0, 4, true);
	map_pages(&w, 8, fd, 4, 4, true);
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(window_unmap(&w, wrong[i].at * PAGE, wrong[i].pages * PAGE, &e),
				 -ENOENT);
		assert_non_null(strstr(e.msg, "is not exactly one mapping"));
	}
	assert_int_equal(window_unmap(&w, UINT64_MAX, UINT64_MAX, &e), -ENOENT);
	assert_int_equal(w.count, 2);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(*window_rig_word(&w, 4 + i), 0x1000 + i);
	window_fini(&w);
	close(fd);
}

static void window_sizes_that_cannot_be_are_refused(void **state)
{
	struct mem_window w;
	struct err e;

	(void)state;
	assert_int_not_equal(window_init(&w, 0, UINT64_MAX, NULL, &e), 0);
	window_fini(&w);
	assert_int_not_equal(window_init(&w, PAGE + 1, UINT64_MAX, NULL, &e), 0);
	assert_int_not_equal(window_init(&w, UINT64_MAX - PAGE + 1, UINT64_MAX, NULL, &e), 0);
	window_fini(&w);
}

static void no_fd_left_to_keep_is_refused_and_changes_nothing(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int fd = window_rig_object(0x1000, 1);
	struct rlimit limit, low;
	int next = dup(fd);

	(void)state;
	close(next);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = (rlim_t)next;	/* the lowest free fd is one too many */
	setrlimit(RLIMIT_NOFILE, &low);
	assert_map_refused(&w, 0, fd, 0, PAGE, true, -EMFILE, "cannot keep the fd");
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_int_equal(*window_rig_word(&w, 0), 0);
	map_pages(&w, 0, fd, 0, 1, true);
	window_fini(&w);
	close(fd);
}

/* KVM may not, so the guest would end where it touched it. */
static void memory_that_no_guest_can_use_is_refused(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int fd = (int)syscall(SYS_memfd_secret, 0);

	(void)state;
	if (fd < 0) {
		print_message("SKIPPED: this kernel has no memfd_secret\n");
		window_fini(&w);
		skip();
	}
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_map_refused(&w, 0, fd, 0, PAGE, true, -EINVAL, "secret memory");
	window_fini(&w);
	close(fd);
}

/* What a daemon has this process keep leaves other devices enough to go on, and to come back. */
static void objects_leave_descriptors_to_everybody_else(void **state)
{
	enum { LIMIT = 256, LEFT = LIMIT / 8, ALL = 300 };
	struct mem_window w;
	struct rlimit limit, low;
	int fds[LEFT], r = 0;
	uint64_t n = 0;
	struct err e, other;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = LIMIT;
	setrlimit(RLIMIT_NOFILE, &low);
	w = window_rig_new(MIB(2));
	for (; n < ALL && !r; n += !r) {
		int fd = window_rig_object(0x1000, 2);

		r = window_map(&w, n * PAGE, fd, 0, PAGE, true, &e);
		if (r)		/* what is kept already costs no more */
			assert_int_equal(window_map(&w, n * PAGE, window_fd(window_find(&w, 0)),
						    PAGE, PAGE, true, &other), 0);
		close(fd);
	}
	assert_int_equal(r, -EMFILE);
	assert_non_null(strstr(e.msg, "raise ulimit -n"));
	for (unsigned i = 0; i < LEFT; i++)
		assert_true((fds[i] = dup(STDERR_FILENO)) >= 0);
	for (unsigned i = 0; i < LEFT; i++)
		close(fds[i]);
	assert_int_equal(window_unmap(&w, PAGE, PAGE, &e), 0);
	r = window_rig_object(0x1000, 1);
	map_pages(&w, 1, r, 0, 1, true);
	close(r);
	window_fini(&w);
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* --- objects that shrink --- */

static void a_shrunken_object_is_found_and_its_tail_covered(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int fd = window_rig_object(0x1000, 8), other = window_rig_object(0x2000, 2);
	struct err e;

	(void)state;
	map_pages(&w, 0, other, 0, 2, true);
	map_pages(&w, 4, fd, 0, 8, true);
	map_pages(&w, 16, fd, 6, 2, false);
	assert_int_equal(window_repair(&w, &e), 0);
	assert_int_equal(ftruncate(fd, 3 * PAGE + 4), 0);

	assert_int_equal(window_repair(&w, &e), 2);

	assert_int_equal(w.repairs, 2);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(*window_rig_word(&w, 4 + i), 0x1000 + i);
	for (uint64_t i = 4; i < 8; i++)
		*window_rig_word(&w, 4 + i) = 1;
	*window_rig_word(&w, 16) = 1;
	*window_rig_word(&w, 17) = 1;
	assert_int_equal(*window_rig_word(&w, 1), 0x2001);
	assert_int_equal(window_repair(&w, &e), 0);
	/* What grows again stays away until it is mapped again. */
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 0);
	assert_int_equal(window_unmap(&w, 4 * PAGE, 8 * PAGE, &e), 0);
	assert_int_equal(window_unmap(&w, 16 * PAGE, 2 * PAGE, &e), 0);
	map_pages(&w, 4, fd, 0, 8, true);
	assert_int_equal(*window_rig_word(&w, 11), 0);
	window_fini(&w);
	close(fd);
	close(other);
}

static void a_mapping_that_lost_everything_can_still_be_unmapped(void **state)
{
	struct mem_window w = window_rig_in_pieces(MIB(16));
	int fd = window_rig_object(0x1000, 8);
	struct err e;

	(void)state;
	map_pages(&w, 510, fd, 0, 4, true);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	for (uint64_t i = 510; i < 514; i++)
		*window_rig_word(&w, i) = 1;
	assert_int_equal(window_unmap(&w, 510 * PAGE, 4 * PAGE, &e), 0);
	window_fini(&w);
	close(fd);
}

/* --- many mappings --- */

static void ten_thousand_pairs_leave_no_area_and_no_fd(void **state)
{
	struct mem_window w = window_rig_in_pieces(MIB(16));
	int fd = window_rig_object(0x1000, 16);
	unsigned fds = process_fds(), areas = process_areas();
	struct err e;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t at = (i * 37) % 4000;

		map_pages(&w, at, fd, i % 12, 1 + i % 4, i % 3);
		assert_int_equal(window_unmap(&w, at * PAGE, (1 + i % 4) * PAGE, &e), 0);
	}
	assert_int_equal(w.count, 0);
	assert_int_equal(process_fds(), fds);
	assert_true(process_areas() <= areas + 2);
	window_fini(&w);
	close(fd);
}

static void ten_thousand_mappings_of_one_object_cost_one_fd(void **state)
{
	struct mem_window w = window_rig_new(MIB(128));
	int fd = window_rig_object(0x1000, 2);
	unsigned fds = process_fds();
	struct err e;

	(void)state;
	for (uint64_t i = 0; i < 10000; i++)
		map_pages(&w, 2 * i, fd, i % 2, 1, true);
	assert_int_equal(process_fds(), fds + 1);
	assert_int_equal(*window_rig_word(&w, 2 * 9999), 0x1001);
	assert_map_refused(&w, 2 * 5000 * PAGE, fd, 0, PAGE, true, -EEXIST, "overlaps");
	assert_int_equal(window_unmap(&w, 2 * 5000 * PAGE, PAGE, &e), 0);
	assert_int_equal(window_clear(&w, &e), 0);
	assert_int_equal(process_fds(), fds);
	window_fini(&w);
	close(fd);
}

static void there_is_an_end_to_the_number_of_mappings(void **state)
{
	struct mem_window w = window_rig_new(MIB(256));
	int fd = window_rig_object(0x1000, 1);

	(void)state;
	for (uint64_t i = 0; i < WINDOW_MAPPINGS_MAX; i++)
		map_pages(&w, 2 * i, fd, 0, 1, true);
	assert_map_refused(&w, (2 * WINDOW_MAPPINGS_MAX + 1) * (uint64_t)PAGE, fd, 0, PAGE, true,
			   -ENOSPC, "no room for more");
	window_fini(&w);
	close(fd);
}

#if !PROCESS_SANITIZED
static void without_an_area_left_maps_fail_and_unmaps_work(void **state)
{
	struct mem_window w;
	struct process_areas all;
	struct err e = { "" };
	int fd, map, unmap, clear;

	(void)state;
	process_areas_can_end();
	fd = window_rig_object(0x1000, 4);
	w = window_rig_new(MIB(1));
	map_pages(&w, 4, fd, 0, 4, true);
	map_pages(&w, 32, fd, 1, 2, true);
	all = process_areas_end();
	map = window_map(&w, 0, fd, 0, PAGE, true, &e);
	unmap = window_unmap(&w, 4 * PAGE, 4 * PAGE, &e);
	clear = window_clear(&w, &e);
	process_areas_go_on(&all);

	assert_int_equal(map, -ENOMEM);
	assert_int_equal(unmap, 0);
	assert_int_equal(clear, 0);
	assert_int_equal(w.count, 0);
	for (uint64_t i = 0; i < 40; i++)
		assert_int_equal(*window_rig_word(&w, i), 0);
	window_fini(&w);
	close(fd);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_window_is_zero_and_writable_everywhere),
		cmocka_unit_test(a_read_write_mapping_is_the_object),
		cmocka_unit_test(a_read_only_mapping_takes_writes_that_never_reach_the_object),
		cmocka_unit_test(the_daemon_may_close_its_fd_after_mapping),
		cmocka_unit_test(unmapping_brings_zero_pages_and_leaves_the_object),
		cmocka_unit_test(clearing_takes_everything_away_also_what_the_guest_wrote),
		cmocka_unit_test(a_large_window_cannot_fill_the_host),
		cmocka_unit_test(a_huge_window_costs_few_areas_and_is_aligned),
		cmocka_unit_test(what_a_daemon_must_not_map_is_refused_and_changes_nothing),
		cmocka_unit_test(only_a_whole_mapping_can_be_unmapped),
		cmocka_unit_test(window_sizes_that_cannot_be_are_refused),
		cmocka_unit_test(no_fd_left_to_keep_is_refused_and_changes_nothing),
		cmocka_unit_test(memory_that_no_guest_can_use_is_refused),
		cmocka_unit_test(objects_leave_descriptors_to_everybody_else),
		cmocka_unit_test(a_shrunken_object_is_found_and_its_tail_covered),
		cmocka_unit_test(a_mapping_that_lost_everything_can_still_be_unmapped),
		cmocka_unit_test(ten_thousand_pairs_leave_no_area_and_no_fd),
		cmocka_unit_test(ten_thousand_mappings_of_one_object_cost_one_fd),
		cmocka_unit_test(there_is_an_end_to_the_number_of_mappings),
#if !PROCESS_SANITIZED
		cmocka_unit_test(without_an_area_left_maps_fail_and_unmaps_work),
#endif
	};

	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
