/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is refused changes nothing: another processor looks at what is mapped, and at what is not,
 * all the while.
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/shmem.h"
#include "tests/bare/lib/smp.h"
#include "tests/bare/lib/test.h"

enum {
	PAGE = SHMEM_PAGE, PAGES = SHMEM_REFUSED_LEN / PAGE, FILLERS = 5,
	WATCHED = 2 * PAGES + FILLERS, MAPPINGS_MAX = 16384,
};

static struct shmem dev;
static struct {
	uint64_t at, expected;
} watched[WATCHED];
static volatile uint64_t turns;
static volatile bool enough;

static void watch(unsigned id)
{
	(void)id;
	while (!enough) {
		for (unsigned i = 0; i < WATCHED; i++)
			CHECK_EQ(read64(watched[i].at), watched[i].expected);
		turns++;
	}
}

/* It has begun after this call and is through. */
static void look_again(void)
{
	uint64_t before = turns;

	WAIT_FOR(turns >= before + 2);
}

/* Two mappings side by side, and filler with a mark in it. */
static void start_watching(void)
{
	uint64_t at = shmem_at(&dev, SHMEM_BIG, SHMEM_REFUSED_AT);
	const uint64_t filler[FILLERS] = {
		at - PAGE, at + 2 * SHMEM_REFUSED_LEN, shmem_at(&dev, SHMEM_BIG, SHMEM_FREE_AT),
		shmem_at(&dev, SHMEM_BIG, SHMEM_BIG_SIZE - PAGE), shmem_at(&dev, SHMEM_CONTROL, 0),
	};
	unsigned n = 0;

	for (unsigned i = 0; i < 2 * PAGES; i++, n++) {
		watched[n].at = at + i * PAGE;
		watched[n].expected = shmem_tag(i / PAGES, i % PAGES);
	}
	for (unsigned i = 0; i < FILLERS; i++, n++) {
		/* Filler may repeat itself: each has a word of its own. */
		watched[n].at = filler[i] + 64 * i;
		watched[n].expected = 0xf111 + i;
		write64(watched[n].at, watched[n].expected);
	}
	for (unsigned i = 0; i < 2; i++)
		CHECK(shmem_map(&dev, i, SHMEM_BIG, SHMEM_REFUSED_AT + i * SHMEM_REFUSED_LEN,
				PAGES, true));
	irq_init();
	smp_start(1, watch);
	look_again();
}

/* Both are still mappings, and nobody has written through one. */
static void stop_watching(void)
{
	look_again();
	enough = true;
	WAIT_FOR(smp_done == 1);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(shmem_changed(&dev, i, SHMEM_OBJECT_PAGES), 0);
		CHECK(shmem_unmap(&dev, SHMEM_BIG, SHMEM_REFUSED_AT + i * SHMEM_REFUSED_LEN,
				  PAGES));
	}
}

/* shmem_refusals.c has the list, and says which one was not refused. */
static void a_refused_request_changes_nothing(void)
{
	enum { AT_LEAST = 40 };
	uint64_t n = 0;

	shmem_bring_up(&dev);
	start_watching();
	for (;; n++) {
		struct shmem_answer a;

		shmem_ask(&dev, &(struct shmem_request){ .op = SHMEM_OP_REFUSED, .value = n });
		a = shmem_answer(&dev);
		if (a.result == SHMEM_NO_SUCH)
			break;
		if (a.result == SHMEM_IMPOSSIBLE)
			test_note_hex("this host cannot do refusal", n);
		else
			CHECK_EQ(a.result, SHMEM_REFUSED);
		look_again();
	}
	CHECK(n >= AT_LEAST);
	/* Nor has any left something where it pointed at nothing. */
	CHECK(shmem_map(&dev, 2, SHMEM_BIG, SHMEM_FREE_AT + PAGE, 2, true));
	stop_watching();
}

static void a_mapping_too_many_changes_nothing(void)
{
	enum { BEFORE = 2, AT_ONCE = 1024 };
	uint64_t count, at;

	shmem_bring_up(&dev);
	at = shmem_at(&dev, SHMEM_BIG, SHMEM_FULL_AT);
	start_watching();
	shmem_ask(&dev, &(struct shmem_request){ .op = SHMEM_OP_FILL });
	while (!shmem_is_answered(&dev))
		look_again();
	count = shmem_answer(&dev).value;
	CHECK_EQ(count, MAPPINGS_MAX - BEFORE);
	look_again();
	CHECK_EQ(read64(at + (count - 1) * PAGE), shmem_tag(0, 0));
	CHECK_EQ(read64(at + count * PAGE), 0);
	CHECK(!shmem_map(&dev, 1, SHMEM_CONTROL, 0, 1, true));
	look_again();
	/* One less, and there is room for one. */
	CHECK_EQ(shmem_do(&dev, &(struct shmem_request){ .op = SHMEM_OP_EMPTY, .value = 1 }), 1);
	CHECK(shmem_map(&dev, 1, SHMEM_MIDDLE, 0, 1, true));
	CHECK(!shmem_map(&dev, 1, SHMEM_CONTROL, 0, 1, true));
	for (count--; count; count -= count < AT_ONCE ? count : AT_ONCE) {
		shmem_do(&dev, &(struct shmem_request){ .op = SHMEM_OP_EMPTY, .value = AT_ONCE });
		look_again();
	}
	CHECK_EQ(read64(at), 0);
	stop_watching();
}

const struct test_case test_cases[] = {
	SHMEM_CASES(a_refused_request_changes_nothing),
	SHMEM_CASES(a_mapping_too_many_changes_nothing),
	{ NULL, NULL },
};
