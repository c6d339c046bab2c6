/* SPDX-License-Identifier: Apache-2.0 */
/* A window against a model of it: thousands of random maps and unmaps, every page looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/range.h"
#include "memory/window.h"
#include "tests/unit/window_rig.h"

enum { OBJECTS = 4, OBJECT_PAGES = 64, STEPS = 4000, MODEL_MAPPINGS = 256 };

struct model_mapping {
	uint64_t at, pages;
	unsigned object, page;
};

struct model {
	struct model_mapping mappings[MODEL_MAPPINGS];
	unsigned count;
	uint32_t *words; /* expected first word of every page; 0 filler */
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
		.at = next_random(seed) % m->pages,
		.pages = 1 + next_random(seed) % 20,
		.object = next_random(seed) % OBJECTS,
		.page = next_random(seed) % OBJECT_PAGES,
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
		if (*window_rig_word(w, i) != m->words[i])
			fail_msg("page %u holds %x, not %x", (unsigned)i, *window_rig_word(w, i),
				 m->words[i]);
	}
	for (unsigned i = 0; i < m->count; i++) {
		const struct model_mapping *p = &m->mappings[i];
		const struct window_mapping *first = window_find(w, p->at * PAGE);

		assert_non_null(first);
		assert_int_equal(first->offset, p->at * PAGE);
		assert_int_equal(first->len, p->pages * PAGE);
		assert_ptr_equal(window_find(w, (p->at + p->pages) * PAGE - 1), first);
	}
}

/* @w is ended. */
static void run_model(struct mem_window w)
{
	struct model m = { .pages = w.size / PAGE,
			   .words = calloc(w.size / PAGE, sizeof(uint32_t)) };
	uint32_t seed = 0x5eed1234;
	int fds[OBJECTS];
	struct err e;

	for (unsigned i = 0; i < OBJECTS; i++)
		fds[i] = window_rig_object((i + 1) * 0x10000, OBJECT_PAGES);
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

static void a_window_of_private_filler_follows_the_model(void **state)
{
	(void)state;
	run_model(window_rig_new(MIB(1)));
}

static void a_window_of_pieces_follows_the_model(void **state)
{
	(void)state;
	run_model(window_rig_in_pieces(MIB(10)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_of_private_filler_follows_the_model),
		cmocka_unit_test(a_window_of_pieces_follows_the_model),
	};

	return cmocka_run_group_tests_name("window_model", tests, NULL, NULL);
}
