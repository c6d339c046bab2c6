/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest can make a window cost beyond the objects mapped into it: never more than its bound,
 * whatever is written where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/range.h"
#include "memory/window.h"
#include "tests/unit/process.h"
#include "tests/unit/window_rig.h"

/* What the test itself needs while it measures, above all under a sanitizer: page tables are not in
 * Pss, its data is. */
#define SLACK MIB(2)

static int map(struct mem_window *w, uint64_t at, int fd, uint64_t pages, bool rw, struct err *e)
{
	return window_map(w, at * PAGE, fd, 0, pages * PAGE, rw, e);
}

static void map_pages(struct mem_window *w, uint64_t at, int fd, uint64_t pages, bool rw)
{
	struct err e;

	if (map(w, at, fd, pages, rw, &e))
		fail_msg("%s", e.msg);
}

static void unmap_pages(struct mem_window *w, uint64_t at, uint64_t pages)
{
	struct err e;

	if (window_unmap(w, at * PAGE, pages * PAGE, &e))
		fail_msg("%s", e.msg);
}

static void write_pages(struct mem_window *w, uint64_t at, uint64_t pages)
{
	for (uint64_t i = at; i < at + pages; i++)
		*window_rig_word(w, i) = 0x6a6a6a6a;
}

static void assert_zeros(struct mem_window *w, uint64_t at, uint64_t pages)
{
	for (uint64_t i = at; i < at + pages; i++)
		assert_int_equal(*window_rig_word(w, i), 0);
}

static void assert_too_much(struct mem_window *w, uint64_t at, int fd, uint64_t pages)
{
	uint64_t idle = w->idle;
	struct err e = { "" };

	assert_int_equal(map(w, at, fd, pages, false, &e), -E2BIG);
	assert_non_null(strstr(e.msg, "window-idle-max="));
	assert_int_equal(w->idle, idle);
	assert_null(window_find(w, at * PAGE));
}

/* --- filler --- */

static void all_of_an_unmapped_window_costs_no_more_than_the_bound(void **state)
{
	static const struct {
		uint64_t size, most;
	} cases[] = {
		{ GIB(8), MIB(8) }, { GIB(1), MIB(1) }, { MIB(4), MIB(4) }, { MIB(4), MIB(1) },
		{ MIB(3), KIB(64) },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mem_window w = window_rig_bounded(cases[i].size, cases[i].most);
		uint64_t before = process_memory(), after;
		struct err e;

		assert_true(w.idle <= cases[i].most);
		write_pages(&w, 0, cases[i].size / PAGE);
		after = process_memory();
		if (after > before + cases[i].most + SLACK)
			fail_msg("case %u costs %u KiB", i, (unsigned)((after - before) >> 10));
		assert_int_equal(window_clear(&w, &e), 0);
		assert_zeros(&w, 0, MIB(1) / PAGE);
		window_fini(&w);
	}
}

static void filler_is_in_as_many_pieces_as_the_bound_asks_for(void **state)
{
	struct mem_window w = window_rig_bounded(GIB(64), GIB(4));

	(void)state;
	assert_int_equal(w.filler.piece, MIB(64));
	window_fini(&w);
	w = window_rig_bounded(GIB(64), MIB(16));
	assert_int_equal(w.filler.piece, MIB(16));
	window_fini(&w);
}

static void a_window_whose_filler_alone_is_too_much_is_refused(void **state)
{
	struct mem_window w;
	struct err e = { "" };

	(void)state;
	assert_int_equal(window_init(&w, GIB(64), MIB(8) - PAGE, NULL, &e), -E2BIG);
	assert_string_equal(e.msg, "a shared memory window of 64G: what lies where nothing is mapped takes 8M"
			    " of the host's memory, more than 8188K; allow that with window-idle-max=");
	window_fini(&w);
	assert_int_equal(window_init(&w, MIB(1), 0, NULL, &e), -E2BIG);
	assert_int_equal(window_init(&w, PAGE, PAGE - 1, NULL, &e), -E2BIG);
}

/* --- read-only mappings --- */

static void what_the_guest_writes_into_read_only_mappings_is_bounded(void **state)
{
	enum { PAGES = 1024, TIMES = 4 };
	struct mem_window w = window_rig_bounded(MIB(64), MIB(2) + TIMES * PAGES * PAGE);
	int fd = window_rig_object(0x1000, PAGES);
	uint64_t before;

	(void)state;
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(pwrite(fd, "object", 6, (off_t)(i * PAGE)), 6);
	before = process_memory();
	for (uint64_t i = 0; i < TIMES; i++)
		map_pages(&w, 2 * i * PAGES, fd, PAGES, false);
	assert_int_equal(w.idle, w.idle_max);
	assert_too_much(&w, 2 * TIMES * PAGES, fd, 1);
	write_pages(&w, 0, MIB(64) / PAGE);
	assert_true(process_memory() <= before + w.idle_max + SLACK);
	assert_memory_equal(w.host + MIB(60), w.host, 4);

	unmap_pages(&w, 0, PAGES);
	map_pages(&w, 2 * TIMES * PAGES, fd, 1, false);
	assert_too_much(&w, 0, fd, PAGES);
	unmap_pages(&w, 2 * TIMES * PAGES, 1);
	map_pages(&w, 0, fd, PAGES, false);
	assert_memory_equal(w.host, "object", 6);
	window_fini(&w);
	close(fd);
}

static void what_may_be_written_costs_nothing(void **state)
{
	struct mem_window w = window_rig_bounded(MIB(64), MIB(2));
	int fd = window_rig_object(0x1000, 8);

	(void)state;
	assert_too_much(&w, 0, fd, 1);
	map_pages(&w, 0, fd, 8, true);
	map_pages(&w, 8, fd, 8, true);
	assert_int_equal(w.idle, MIB(2));
	window_fini(&w);
	close(fd);
}

static void what_is_refused_or_cleared_gives_back_what_it_took(void **state)
{
	struct mem_window w = window_rig_bounded(MIB(64), MIB(3));
	int fd = window_rig_object(0x1000, 8), event[2];
	struct err e;

	(void)state;
	assert_int_equal(pipe(event), 0);
	map_pages(&w, 0, fd, 8, false);
	assert_int_equal(map(&w, 4, fd, 8, false, &e), -EEXIST);
	assert_int_equal(map(&w, 8, event[0], 8, false, &e), -EINVAL);
	assert_int_equal(map(&w, 8, fd, 9, false, &e), -EINVAL);
	assert_int_equal(w.idle, MIB(2) + 8 * PAGE);
	assert_int_equal(window_clear(&w, &e), 0);
	assert_int_equal(w.idle, MIB(2));
	window_fini(&w);
	close(event[0]);
	close(event[1]);
	close(fd);
}

static void in_a_small_window_read_only_mappings_cost_nothing_more(void **state)
{
	struct mem_window w = window_rig_bounded(MIB(2), MIB(2));
	int fd = window_rig_object(0x1000, 512);
	uint64_t before = process_memory();

	(void)state;
	write_pages(&w, 0, 512);
	map_pages(&w, 0, fd, 512, false);
	write_pages(&w, 0, 512);
	assert_int_equal(w.idle, MIB(2));
	assert_true(process_memory() <= before + MIB(2) + SLACK);
	window_fini(&w);
	close(fd);
}

/* --- objects that shrink --- */

static void a_cut_mapping_has_zeros_and_not_what_the_guest_wrote_elsewhere(void **state)
{
	struct mem_window w = window_rig_bounded(MIB(64), MIB(2) + 6 * PAGE);
	int fd = window_rig_object(0x1000, 8);
	struct err e;

	(void)state;
	map_pages(&w, 0, fd, 8, true);
	write_pages(&w, 8, MIB(64) / PAGE - 8);
	assert_int_equal(ftruncate(fd, 6 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	assert_int_equal(w.idle, MIB(2) + 2 * PAGE);
	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	assert_int_equal(w.idle, MIB(2) + 6 * PAGE);
	assert_zeros(&w, 2, 6);
	assert_int_equal(*window_rig_word(&w, 1), 0x1001);
	write_pages(&w, 2, 6);
	/* Beyond the bound there is filler, and the guest finds in it what it wrote there. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	assert_int_equal(w.idle, MIB(2) + 6 * PAGE);
	assert_int_equal(*window_rig_word(&w, 0), 0x6a6a6a6a);
	unmap_pages(&w, 0, 8);
	assert_int_equal(w.idle, MIB(2));
	window_fini(&w);
	close(fd);
}

static void a_cut_read_only_mapping_costs_nothing_more(void **state)
{
	struct mem_window w = window_rig_bounded(MIB(64), MIB(2) + 8 * PAGE);
	int fd = window_rig_object(0x1000, 8);
	struct err e;

	(void)state;
	map_pages(&w, 0, fd, 8, false);
	write_pages(&w, 0, MIB(64) / PAGE);
	assert_int_equal(ftruncate(fd, 3 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	assert_zeros(&w, 3, 5);
	assert_int_equal(w.idle, MIB(2) + 8 * PAGE);
	unmap_pages(&w, 0, 8);
	assert_int_equal(w.idle, MIB(2));
	window_fini(&w);
	close(fd);
}

/* What it has again is not what was mapped. */
static void an_object_that_grows_again_does_not_come_back(void **state)
{
	struct mem_window w = window_rig_bounded(MIB(64), MIB(3));
	int fd = window_rig_object(0x1000, 8);
	struct err e;

	(void)state;
	map_pages(&w, 0, fd, 8, true);
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 0);
	write_pages(&w, 0, 8);
	assert_int_equal(pread(fd, w.host + 16 * PAGE, 4, 4 * PAGE), 4);
	assert_zeros(&w, 16, 1);
	/* Nor does its second end go unnoticed, and what is mapped now is all of it. */
	map_pages(&w, 32, fd, 8, true);
	write_pages(&w, 39, 1);
	assert_int_equal(pread(fd, w.host + 16 * PAGE, 4, 7 * PAGE), 4);
	assert_int_equal(*window_rig_word(&w, 16), 0x6a6a6a6a);
	assert_int_equal(ftruncate(fd, 3 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 2);
	assert_zeros(&w, 35, 5);
	window_fini(&w);
	close(fd);
}

static void one_that_shrank_and_grew_between_two_looks_shows_what_it_has(void **state)
{
	struct mem_window w = window_rig_bounded(MIB(64), MIB(3));
	int fd = window_rig_object(0x1000, 8);
	struct err e;

	(void)state;
	map_pages(&w, 0, fd, 8, true);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 0);
	assert_zeros(&w, 0, 8);
	write_pages(&w, 7, 1);
	assert_int_equal(pread(fd, w.host + 16 * PAGE, 4, 7 * PAGE), 4);
	assert_int_equal(*window_rig_word(&w, 16), 0x6a6a6a6a);
	window_fini(&w);
	close(fd);
}

/* --- areas --- */

static void windows_leave_the_process_areas_of_its_own(void **state)
{
	struct area_budget b = { .limit = 2 * 16 + 7 };
	struct mem_window w[3];
	int fd = window_rig_object(0x1000, 8);
	struct err e = { "" };

	(void)state;
	assert_int_equal(window_init(&w[0], GIB(1), GIB(1), &b, &e), 0);
	assert_int_equal(window_init(&w[1], GIB(1), GIB(1), &b, &e), 0);
	assert_int_equal(window_init(&w[2], GIB(1), GIB(1), &b, &e), -ENOSPC);
	assert_non_null(strstr(e.msg, "vm.max_map_count"));
	window_fini(&w[2]);
	map_pages(&w[0], 0, fd, 8, true);
	map_pages(&w[1], 0, fd, 8, true);
	assert_int_equal(map(&w[0], 16, fd, 8, true, &e), -ENOSPC);
	assert_non_null(strstr(e.msg, "vm.max_map_count"));
	assert_int_equal(w[0].count, 1);
	assert_int_equal(*window_rig_word(&w[0], 16), 0);
	unmap_pages(&w[1], 0, 8);
	map_pages(&w[0], 16, fd, 8, true);
	assert_int_equal(window_clear(&w[0], &e), 0);
	assert_int_equal(b.taken, 2 * 16);
	window_fini(&w[0]);
	window_fini(&w[1]);
	assert_int_equal(b.taken, 0);
	close(fd);
}

static void the_budget_leaves_room_for_everything_else(void **state)
{
	struct area_budget b;

	(void)state;
	area_budget_init(&b);
	assert_true(b.limit >= 3 * 16384 + 8192);
	assert_int_equal(b.taken, 0);
	assert_true(area_budget_take(&b, b.limit));
	assert_false(area_budget_take(&b, 1));
	area_budget_give(&b, b.limit);
	assert_int_equal(b.taken, 0);
}

#if !PROCESS_SANITIZED
static void private_pages_in_the_place_of_filler_are_counted(void **state)
{
	struct mem_window w;
	struct process_areas all;
	struct err e = { "" }, gone;
	int fd, first, second;

	(void)state;
	process_areas_can_end();
	fd = window_rig_object(0x1000, 16);
	w = window_rig_bounded(MIB(64), MIB(2) + 8 * PAGE);
	map_pages(&w, 0, fd, 8, true);
	map_pages(&w, 32, fd, 8, true);
	all = process_areas_end();
	first = window_unmap(&w, 0, 8 * PAGE, &gone);
	second = window_unmap(&w, 32 * PAGE, 8 * PAGE, &e);
	process_areas_go_on(&all);

	assert_int_equal(first, 0);
	assert_int_equal(second, -ENOMEM);
	assert_int_equal(w.idle, w.idle_max);
	assert_int_equal(w.count, 1);
	assert_int_equal(*window_rig_word(&w, 32), 0x1000);
	assert_int_equal(window_clear(&w, &e), 0);
	assert_int_equal(w.idle, MIB(2));
	write_pages(&w, 0, 1);
	assert_int_equal(*window_rig_word(&w, 512), 0x6a6a6a6a);
	window_fini(&w);
	close(fd);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_of_an_unmapped_window_costs_no_more_than_the_bound),
		cmocka_unit_test(filler_is_in_as_many_pieces_as_the_bound_asks_for),
		cmocka_unit_test(a_window_whose_filler_alone_is_too_much_is_refused),
		cmocka_unit_test(what_the_guest_writes_into_read_only_mappings_is_bounded),
		cmocka_unit_test(what_may_be_written_costs_nothing),
		cmocka_unit_test(what_is_refused_or_cleared_gives_back_what_it_took),
		cmocka_unit_test(in_a_small_window_read_only_mappings_cost_nothing_more),
		cmocka_unit_test(a_cut_mapping_has_zeros_and_not_what_the_guest_wrote_elsewhere),
		cmocka_unit_test(a_cut_read_only_mapping_costs_nothing_more),
		cmocka_unit_test(an_object_that_grows_again_does_not_come_back),
		cmocka_unit_test(one_that_shrank_and_grew_between_two_looks_shows_what_it_has),
		cmocka_unit_test(windows_leave_the_process_areas_of_its_own),
		cmocka_unit_test(the_budget_leaves_room_for_everything_else),
#if !PROCESS_SANITIZED
		cmocka_unit_test(private_pages_in_the_place_of_filler_are_counted),
#endif
	};

	return cmocka_run_group_tests_name("window_idle", tests, NULL, NULL);
}
