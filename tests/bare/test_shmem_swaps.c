/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ten thousand maps and unmaps beneath processors that store and load all the time. What they store
 * is the daemon's to judge (shmem_swaps.c), what they load theirs.
 */
#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/shmem.h"
#include "tests/bare/lib/smp.h"
#include "tests/bare/lib/test.h"

enum { SWAPS = 10000, AT_ONCE = 500, TURNS_MIN = 1000 };

static struct shmem dev;
static volatile struct shmem_state *state;
static volatile bool enough;
/* Of each processor: turns within which nothing was swapped, with and without an object. */
static volatile uint64_t mapped[SHMEM_CPUS], unmapped[SHMEM_CPUS];

/*
 * A store, and what two loads find: the word just stored, and one of the second page that tells
 * the object. Where nothing is mapped that is filler, in which a processor has its own word too.
 */
static void turn(unsigned id, uint64_t count)
{
	uint64_t at = shmem_at(&dev, SHMEM_BIG, SHMEM_SWAP_AT);
	uint64_t word = at + id * (SHMEM_PAGE / SHMEM_CPUS), now = state->state, stored, tag;
	uint64_t object = shmem_state_object(now);

	barrier();
	write64(word, count);
	stored = read64(word);
	tag = read64(at + SHMEM_PAGE + 8);
	barrier();
	if (!(now & 1) && state->state == now) {
		CHECK_EQ(stored, count);
		CHECK_EQ(tag, object ? shmem_tag(object - 1, 1) : 0);
		(object ? mapped : unmapped)[id]++;
	}
	state->turns[id] = count;
}

static void take_turns(unsigned id)
{
	for (uint64_t count = 1; !enough; count++)
		turn(id, count);
}

static void swap_beneath(unsigned cpus)
{
	uint64_t count = 1;

	shmem_bring_up(&dev);
	CHECK(shmem_map(&dev, SHMEM_STATE, SHMEM_CONTROL, 0, 1, true));
	state = (volatile struct shmem_state *)shmem_at(&dev, SHMEM_CONTROL, 0);
	irq_init();
	for (unsigned id = 1; id < cpus; id++)
		smp_start(id, take_turns);
	test_order("note what is open");
	for (unsigned done = 0; done < SWAPS; done += AT_ONCE) {
		const struct shmem_request q = { .op = SHMEM_OP_SWAP, .object = cpus,
						 .value = AT_ONCE };

		shmem_ask(&dev, &q);
		while (!shmem_is_answered(&dev))
			turn(0, count++);
		CHECK_EQ(shmem_answer(&dev).result, 0);
	}
	test_order("compare what is open");
	enough = true;
	WAIT_FOR(smp_done == cpus - 1);
	for (unsigned id = 0; id < cpus; id++) {
		test_note_hex("turns with an object", mapped[id]);
		CHECK(mapped[id] >= TURNS_MIN);
		CHECK(unmapped[id] >= TURNS_MIN);
	}
}

/* Each takes a while, and the transport has no part in it: one of each. */
static void two_processors_store_and_load(void)
{
	swap_beneath(2);
}

static void four_processors_store_and_load_by_mmio(void)
{
	swap_beneath(4);
}

const struct test_case test_cases[] = {
	CASE(two_processors_store_and_load),
	CASE(four_processors_store_and_load_by_mmio),
	{ NULL, NULL },
};
