/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps and unmaps beneath processors that store and load all the time.
 *
 * Each processor has a word of an object's first page, to which it stores a number that grows, so
 * each store changes the page. When an unmap has been answered, the page is copied; when the
 * object's turn comes again, some swaps later, it must be what was copied. When a map has been
 * answered, a processor that then begins a turn must have left a store there when it is through.
 * What they load is the processors' to judge: they know what is mapped by struct shmem_state.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/range.h"
#include "tests/bare/shmem_daemon.h"

enum { PATIENCE_MS = 20000, PAUSE_NS = 20000, STORED_TWICE = 2 };

static struct shmem_state *state_of(const struct shmem_daemon *d)
{
	return (struct shmem_state *)d->objects[SHMEM_STATE].mem;
}

static void set_state(const struct shmem_daemon *d, uint64_t state)
{
	__atomic_store_n(&state_of(d)->state, state, __ATOMIC_SEQ_CST);
}

static uint64_t turns(const struct shmem_daemon *d, unsigned cpu)
{
	return __atomic_load_n(&state_of(d)->turns[cpu], __ATOMIC_SEQ_CST);
}

/* Until a processor has begun a turn and ended it: which one, or -1. */
static int wait_for_turn(const struct shmem_daemon *d, unsigned cpus)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	uint64_t before[SHMEM_CPUS], until = clock_ns() + MS_TO_NS(PATIENCE_MS);

	for (unsigned i = 0; i < cpus; i++)
		before[i] = turns(d, i);
	while (clock_ns() < until) {
		for (unsigned i = 0; i < cpus; i++)
			if (turns(d, i) - before[i] >= STORED_TWICE)
				return (int)i;
		nanosleep(&pause, NULL);
	}
	log_error("no processor stores and loads any more");
	return -1;
}

/* An eighth of the page is a processor's: its word, and nothing else, is stored to. */
static uint64_t word_of(const struct object *o, int cpu)
{
	return __atomic_load_n(&o->mem[cpu * (SHMEM_WORDS / SHMEM_CPUS)], __ATOMIC_SEQ_CST);
}

static int stays_as_it_was(const struct shmem_daemon *d, unsigned i)
{
	const uint64_t *now = d->objects[SHMEM_SWAPPED + i].mem;

	for (unsigned w = 0; w < SHMEM_WORDS; w++) {
		if (now[w] == d->left[i][w])
			continue;
		log_error("object %u, word %u: 0x%" PRIx64 " was stored after its unmap was answered, "
			  "which left 0x%" PRIx64, i, w, now[w], d->left[i][w]);
		return -1;
	}
	return 0;
}

static int change(struct shmem_daemon *d, unsigned i, bool map)
{
	const struct object *o = &d->objects[SHMEM_SWAPPED + i];
	const struct vu_shmem_map m = { .shmid = SHMEM_BIG, .rw = true, .len = o->size,
					.shm_offset = SHMEM_SWAP_AT };
	uint64_t after = shmem_state(2 * d->swaps + map, map ? SHMEM_SWAPPED + i + 1 : 0);
	struct err e;
	int r;

	set_state(d, after | 1);
	r = map ? backend_shmem_map(&d->backend, &m, o->fd, &e) :
		  backend_shmem_unmap(&d->backend, &m, &e);
	if (r) {
		log_error("swap %" PRIu64 ": %s", d->swaps, e.msg);
		return r;
	}
	if (!map)
		memcpy(d->left[i], o->mem, SHMEM_PAGE);
	set_state(d, after);
	return 0;
}

static int swap(struct shmem_daemon *d, unsigned cpus)
{
	unsigned i = d->swaps % SHMEM_SWAPS;
	const struct object *o = &d->objects[SHMEM_SWAPPED + i];
	int cpu;

	if (stays_as_it_was(d, i) || change(d, i, true))
		return -1;
	cpu = wait_for_turn(d, cpus);
	if (cpu < 0)
		return -1;
	if (word_of(o, cpu) == d->left[i][cpu * (SHMEM_WORDS / SHMEM_CPUS)]) {
		log_error("swap %" PRIu64 ": processor %d has stored elsewhere after the map was answered",
			  d->swaps, cpu);
		return -1;
	}
	if (change(d, i, false) || wait_for_turn(d, cpus) < 0)
		return -1;
	d->swaps++;
	return 0;
}

int64_t shmem_swap(struct shmem_daemon *d, uint64_t count, unsigned cpus)
{
	for (uint64_t n = 0; n < count; n++)
		if (swap(d, cpus))
			return -1;
	return 0;
}
