/* SPDX-License-Identifier: Apache-2.0 */
/* Windows: what a daemon may map, what is refused and changes nothing, and what the guest sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "memory/window.h"

enum { PAGE = 4096 };

/* --- helpers --- */

/* An object whose page i begins with the word @tag + i. */
static int make_object(uint32_t tag, uint64_t pages)
{
	int fd = memfd_create("object", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	for (uint32_t i = 0; i < pages; i++) {
		uint32_t word = tag + i;

		assert_int_equal(pwrite(fd, &word, sizeof(word), (off_t)i * PAGE), sizeof(word));
	}
	return fd;
}

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

static struct mem_window window(uint64_t size)
{
	struct mem_window w;
	struct err e;

	if (window_init(&w, size, &e))
		fail_msg("%s", e.msg);
	return w;
}

static volatile uint32_t *word_at(const struct mem_window *w, uint64_t page)
{
	return (volatile uint32_t *)(void *)(w->host + page * PAGE);
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

static unsigned count_lines(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned n = 0;
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* --- what the guest sees --- */

static void a_new_window_is_zero_and_writable_everywhere(void **state)
{
	struct mem_window w = window(MIB(1));

	(void)state;
	for (uint64_t i = 0; i < MIB(1) / PAGE; i++) {
		assert_int_equal(*word_at(&w, i), 0);
		*word_at(&w, i) = 1;
	}
	window_fini(&w);
	window_fini(&w);
}

static void a_read_write_mapping_is_the_object(void **state)
{
	struct mem_window w = window(MIB(1));
	int fd = make_object(0x1000, 8);

	(void)state;
	map_pages(&w, 16, fd, 2, 4, true);
	assert_int_equal(*word_at(&w, 15), 0);
	assert_int_equal(*word_at(&w, 16), 0x1002);
	assert_int_equal(*word_at(&w, 19), 0x1005);
	assert_int_equal(*word_at(&w, 20), 0);
	*word_at(&w, 17) = 77;
	assert_int_equal(object_word(fd, 3), 77);
	window_fini(&w);
	close(fd);
}

static void a_read_only_mapping_takes_writes_that_never_reach_the_object(void **state)
{
	struct mem_window w = window(MIB(1));
	int fd = make_object(0x1000, 4), reader = reopen(fd, O_RDONLY);

	(void)state;
	map_pages(&w, 0, reader, 0, 4, false);
	map_pages(&w, 8, fd, 0, 4, false);
	assert_int_equal(*word_at(&w, 1), 0x1001);
	*word_at(&w, 1) = 1;
	*word_at(&w, 9) = 1;
	assert_int_equal(*word_at(&w, 1), 1);
	assert_int_equal(object_word(fd, 1), 0x1001);
	window_fini(&w);
	close(reader);
	close(fd);
}

static void the_daemon_may_close_its_fd_after_mapping(void **state)
{
	struct mem_window w = window(MIB(1));
	int fd = make_object(0x1000, 2);
	struct err e;

	(void)state;
	map_pages(&w, 0, fd, 0, 2, true);
	close(fd);
	assert_int_equal(*word_at(&w, 1), 0x1001);
	assert_int_equal(window_repair(&w, &e), 0);
	window_fini(&w);
}

static void unmapping_brings_zero_pages_and_leaves_the_object(void **state)
{
	struct mem_window w = window(MIB(1));
	int fd = make_object(0x1000, 4);
	struct err e;

	(void)state;
	map_pages(&w, 4, fd, 0, 4, true);
	assert_int_equal(window_unmap(&w, 4 * PAGE, 4 * PAGE, &e), 0);
	for (uint64_t i = 4; i < 8; i++) {
		assert_int_equal(*word_at(&w, i), 0);
		*word_at(&w, i) = 5;
	}
	assert_int_equal(object_word(fd, 0), 0x1000);
	assert_int_equal(w.count, 0);
	map_pages(&w, 4, fd, 0, 4, true);
	assert_int_equal(*word_at(&w, 4), 0x1000);
	window_fini(&w);
	close(fd);
}

static void clearing_takes_everything_away_also_what_the_guest_wrote(void **state)
{
	static const uint64_t sizes[] = { MIB(1), MIB(16) };

	(void)state;
	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct mem_window w = window(sizes[s]);
		int fd = make_object(0x1000, 4);
		struct err e;

		map_pages(&w, 4, fd, 0, 4, true);
		map_pages(&w, 100, fd, 2, 1, false);
		*word_at(&w, 50) = 9;
		assert_int_equal(window_clear(&w, &e), 0);
		assert_int_equal(w.count, 0);
		for (uint64_t i = 0; i < sizes[s] / PAGE; i++)
			assert_int_equal(*word_at(&w, i), 0);
		assert_int_equal(object_word(fd, 0), 0x1000);
		window_fini(&w);
		close(fd);
	}
}

static void a_large_window_cannot_fill_the_host(void **state)
{
	struct mem_window w = window(MIB(256));
	struct stat st;

	(void)state;
	for (uint64_t i = 0; i < MIB(256) / PAGE; i++)
		*word_at(&w, i) = 1;
	assert_int_equal(fstat(w.filler, &st), 0);
	assert_true(st.st_blocks * 512 <= (blkcnt_t)MIB(2));
	window_fini(&w);
}

static void a_huge_window_costs_few_areas_and_is_aligned(void **state)
{
	unsigned before = count_lines("/proc/self/maps");
	struct mem_window w = window(GIB(64));

	(void)state;
	assert_true(count_lines("/proc/self/maps") - before <= 1024 + 8);
	assert_int_equal((uintptr_t)w.host % GIB(1), 0);
	*word_at(&w, GIB(64) / PAGE - 1) = 1;
	assert_true(w.filler_size <= MIB(64));
	window_fini(&w);
}

/* --- what is refused --- */

static void what_a_daemon_must_not_map_is_refused_and_changes_nothing(void **state)
{
	struct mem_window w = window(MIB(1));
	int fd = make_object(0x1000, 8), reader = reopen(fd, O_RDONLY),
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
		assert_int_equal(*word_at(&w, 4 + i), 0x1000 + i);
	assert_int_equal(*word_at(&w, 3), 0);
	assert_int_equal(*word_at(&w, 8), 0);
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
	struct mem_window w = window(MIB(1));
	int fd = make_object(0x1000, 8);
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
		assert_int_equal(*word_at(&w, 4 + i), 0x1000 + i);
	window_fini(&w);
	close(fd);
}

static void window_sizes_that_cannot_be_are_refused(void **state)
{
	struct mem_window w;
	struct err e;

	(void)state;
	assert_int_not_equal(window_init(&w, 0, &e), 0);
	window_fini(&w);
	assert_int_not_equal(window_init(&w, PAGE + 1, &e), 0);
	assert_int_not_equal(window_init(&w, UINT64_MAX - PAGE + 1, &e), 0);
	window_fini(&w);
}

static void no_fd_left_to_keep_is_refused_and_changes_nothing(void **state)
{
	struct mem_window w = window(MIB(1));
	int fd = make_object(0x1000, 1);
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
	assert_int_equal(*word_at(&w, 0), 0);
	map_pages(&w, 0, fd, 0, 1, true);
	window_fini(&w);
	close(fd);
}

/* --- objects that shrink --- */

static void a_shrunken_object_is_found_and_its_tail_covered(void **state)
{
	struct mem_window w = window(MIB(1));
	int fd = make_object(0x1000, 8), other = make_object(0x2000, 2);
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
		assert_int_equal(*word_at(&w, 4 + i), 0x1000 + i);
	for (uint64_t i = 4; i < 8; i++)
		*word_at(&w, 4 + i) = 1;
	*word_at(&w, 16) = 1;
	*word_at(&w, 17) = 1;
	assert_int_equal(*word_at(&w, 1), 0x2001);
	assert_int_equal(window_repair(&w, &e), 0);
	/* What grows again stays away until it is mapped again. */
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_int_equal(window_repair(&w, &e), 0);
	assert_int_equal(window_unmap(&w, 4 * PAGE, 8 * PAGE, &e), 0);
	assert_int_equal(window_unmap(&w, 16 * PAGE, 2 * PAGE, &e), 0);
	map_pages(&w, 4, fd, 0, 8, true);
	assert_int_equal(*word_at(&w, 11), 0);
	window_fini(&w);
	close(fd);
	close(other);
}

static void a_mapping_that_lost_everything_can_still_be_unmapped(void **state)
{
	struct mem_window w = window(MIB(16));
	int fd = make_object(0x1000, 8);
	struct err e;

	(void)state;
	map_pages(&w, 510, fd, 0, 4, true);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(window_repair(&w, &e), 1);
	for (uint64_t i = 510; i < 514; i++)
		*word_at(&w, i) = 1;
	assert_int_equal(window_unmap(&w, 510 * PAGE, 4 * PAGE, &e), 0);
	window_fini(&w);
	close(fd);
}

/* --- many mappings --- */

static void ten_thousand_pairs_leave_no_area_and_no_fd(void **state)
{
	struct mem_window w = window(MIB(16));
	int fd = make_object(0x1000, 16);
	unsigned fds = open_fds(), areas = count_lines("/proc/self/maps");
	struct err e;

	(void)state;
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t at = (i * 37) % 4000;

		map_pages(&w, at, fd, i % 12, 1 + i % 4, i % 3);
		assert_int_equal(window_unmap(&w, at * PAGE, (1 + i % 4) * PAGE, &e), 0);
	}
	assert_int_equal(w.count, 0);
	assert_int_equal(open_fds(), fds);
	assert_true(count_lines("/proc/self/maps") <= areas + 2);
	window_fini(&w);
	close(fd);
}

static void ten_thousand_mappings_of_one_object_cost_one_fd(void **state)
{
	struct mem_window w = window(MIB(128));
	int fd = make_object(0x1000, 2);
	unsigned fds = open_fds();
	struct err e;

	(void)state;
	for (uint64_t i = 0; i < 10000; i++)
		map_pages(&w, 2 * i, fd, i % 2, 1, true);
	assert_int_equal(open_fds(), fds + 1);
	assert_int_equal(*word_at(&w, 2 * 9999), 0x1001);
	assert_map_refused(&w, 2 * 5000 * PAGE, fd, 0, PAGE, true, -EEXIST, "overlaps");
	assert_int_equal(window_unmap(&w, 2 * 5000 * PAGE, PAGE, &e), 0);
	assert_int_equal(window_clear(&w, &e), 0);
	assert_int_equal(open_fds(), fds);
	window_fini(&w);
	close(fd);
}

static void there_is_an_end_to_the_number_of_mappings(void **state)
{
	struct mem_window w = window(MIB(256));
	int fd = make_object(0x1000, 1);

	(void)state;
	for (uint64_t i = 0; i < WINDOW_MAPPINGS_MAX; i++)
		map_pages(&w, 2 * i, fd, 0, 1, true);
	assert_map_refused(&w, (2 * WINDOW_MAPPINGS_MAX + 1) * (uint64_t)PAGE, fd, 0, PAGE, true,
			   -ENOSPC, "no room for more");
	window_fini(&w);
	close(fd);
}

/* How many areas a process may have; 0 when that is not known. */
static size_t area_limit(void)
{
	autoclose int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[32] = "";

	return fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ? 0 : strtoull(text, NULL, 10);
}

/* Uses up every area the process may have; the returned range of *@ret_len bytes holds them. */
static void *exhaust_areas(size_t *ret_len)
{
	size_t len = 2 * area_limit() * PAGE;
	uint8_t *base =
		mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(base, MAP_FAILED);
	for (size_t i = 1; i < len / PAGE - 1; i += 2) {
		if (mprotect(base + i * PAGE, PAGE, PROT_READ) < 0)
			break;
	}
	*ret_len = len;
	return base;
}

static void without_an_area_left_maps_fail_and_unmaps_work(void **state)
{
	struct mem_window w;
	size_t len, limit = area_limit();
	void *all;
	struct err e = { "" };
	int fd, map, unmap, clear;

	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	limit = 0;
#endif
	if (limit == 0 || limit > 300000) {
		print_message("SKIPPED: too many areas (or a sanitizer, which needs its own)\n");
		skip();
	}
	fd = make_object(0x1000, 4);
	w = window(MIB(1));
	map_pages(&w, 4, fd, 0, 4, true);
	map_pages(&w, 32, fd, 1, 2, true);
	all = exhaust_areas(&len);
	map = window_map(&w, 0, fd, 0, PAGE, true, &e);
	unmap = window_unmap(&w, 4 * PAGE, 4 * PAGE, &e);
	clear = window_clear(&w, &e);
	munmap(all, len);

	assert_int_equal(map, -ENOMEM);
	assert_int_equal(unmap, 0);
	assert_int_equal(clear, 0);
	assert_int_equal(w.count, 0);
	for (uint64_t i = 0; i < 40; i++)
		assert_int_equal(*word_at(&w, i), 0);
	window_fini(&w);
	close(fd);
}

/* --- against a model --- */

enum { OBJECTS = 4, OBJECT_PAGES = 64, STEPS = 4000, MODEL_MAPPINGS = 256 };

struct model_mapping {
	uint64_t at, pages;
	unsigned object, page;
};

struct model {
	struct model_mapping mappings[MODEL_MAPPINGS];
	unsigned count;
	uint32_t *words;	/* expected first word of every page; 0 filler */
	uint64_t pages;
};

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void model_fill(struct model *m, const struct model_mapping *p, bool mapped)
{
	for (uint64_t i = 0; i < p->pages; i++)
		m->words[p->at + i] =
			mapped ? (p->object + 1) * 0x10000 + p->page + (uint32_t)i : 0;
}

static bool model_is_free(const struct model *m, const struct model_mapping *p)
{
	for (uint64_t i = 0; i < p->pages; i++) {
		if (m->words[p->at + i])
			return false;
	}
	return true;
}

static void model_map(struct model *m, struct mem_window *w, const int *fds, uint32_t *seed)
{
	struct model_mapping p = {
		.at = next_random(seed) % m->pages, .pages = 1 + next_random(seed) % 20,
		.object = next_random(seed) % OBJECTS, .page = next_random(seed) % OBJECT_PAGES,
	};
	bool fits = p.at + p.pages <= m->pages && p.page + p.pages <= OBJECT_PAGES;
	struct err e;
	int r = window_map(w, p.at * PAGE, fds[p.object], (uint64_t)p.page * PAGE, p.pages * PAGE,
			   next_random(seed) % 2, &e);

	if (!fits) {
		assert_int_not_equal(r, 0);
		return;
	}
	if (!model_is_free(m, &p)) {
		assert_int_equal(r, -EEXIST);
		return;
	}
	assert_int_equal(r, 0);
	assert_true(m->count < MODEL_MAPPINGS);
	m->mappings[m->count++] = p;
	model_fill(m, &p, true);
}

static void model_unmap(struct model *m, struct mem_window *w, uint32_t *seed)
{
	unsigned i = m->count ? next_random(seed) % m->count : 0;
	struct model_mapping p = m->mappings[i];
	bool wrong = m->count == 0 || next_random(seed) % 4 == 0;
	struct err e;

	if (wrong) {
		assert_int_equal(window_unmap(w, p.at * PAGE, (p.pages + 1) * PAGE, &e), -ENOENT);
		return;
	}
	assert_int_equal(window_unmap(w, p.at * PAGE, p.pages * PAGE, &e), 0);
	model_fill(m, &p, false);
	m->mappings[i] = m->mappings[--m->count];
}

static void model_check(const struct model *m, const struct mem_window *w)
{
	assert_int_equal(w->count, m->count);
	for (uint64_t i = 0; i < m->pages; i++) {
		if (*word_at(w, i) != m->words[i])
			fail_msg("page %u holds %x, not %x", (unsigned)i, *word_at(w, i),
				 m->words[i]);
	}
	for (unsigned i = 1; i < w->count; i++)
		assert_true(w->mappings[i - 1].offset + w->mappings[i - 1].len <=
			    w->mappings[i].offset);
}

static void run_model(uint64_t size)
{
	struct model m = { .pages = size / PAGE, .words = calloc(size / PAGE, sizeof(uint32_t)) };
	struct mem_window w = window(size);
	uint32_t seed = 0x5eed1234;
	int fds[OBJECTS];
	struct err e;

	for (unsigned i = 0; i < OBJECTS; i++)
		fds[i] = make_object((i + 1) * 0x10000, OBJECT_PAGES);
	for (unsigned step = 0; step < STEPS; step++) {
		if (m.count == MODEL_MAPPINGS || next_random(&seed) % 500 == 0) {
			assert_int_equal(window_clear(&w, &e), 0);
			memset(m.words, 0, m.pages * sizeof(uint32_t));
			m.count = 0;
		} else if (next_random(&seed) % 5 < 3) {
			model_map(&m, &w, fds, &seed);
		} else {
			model_unmap(&m, &w, &seed);
		}
		if (step % 10 == 0)
			model_check(&m, &w);
	}
	model_check(&m, &w);
	for (unsigned i = 0; i < OBJECTS; i++)
		close(fds[i]);
	window_fini(&w);
	free(m.words);
}

static void a_small_window_follows_the_model(void **state)
{
	(void)state;
	run_model(MIB(1));
}

static void a_large_window_follows_the_model(void **state)
{
	(void)state;
	run_model(MIB(10));
}

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
		cmocka_unit_test(a_shrunken_object_is_found_and_its_tail_covered),
		cmocka_unit_test(a_mapping_that_lost_everything_can_still_be_unmapped),
		cmocka_unit_test(ten_thousand_pairs_leave_no_area_and_no_fd),
		cmocka_unit_test(ten_thousand_mappings_of_one_object_cost_one_fd),
		cmocka_unit_test(there_is_an_end_to_the_number_of_mappings),
		cmocka_unit_test(without_an_area_left_maps_fail_and_unmaps_work),
		cmocka_unit_test(a_small_window_follows_the_model),
		cmocka_unit_test(a_large_window_follows_the_model),
	};

	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
