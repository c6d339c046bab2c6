/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of chains in flight, under a process that may be killed at any instruction: a child
 * is stepped through its work one instruction at a time, and whenever memory has changed a
 * successor is given a copy of that memory. It must serve what the guest gave and did not get back:
 * all of it, once, in the guest's order.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/inflight.h"

enum {
	SIZE = 8,		/* of the ring */
	ADDED_MAX = 64,		/* chains a life may have */
	START = 65530,		/* of the indices: they wrap within a life */
	SNAPSHOTS = 1024,
};

/* All memory that outlives the process: guest RAM and the buffer. Static everywhere below, since a
 * sanitizer's stack is not aligned as it must be. */
struct world {
	struct ring_desc desc[SIZE];
	struct { uint16_t flags, idx, ring[SIZE], event; } avail;
	struct { uint16_t flags, idx; struct ring_used_elem ring[SIZE]; } used
		__attribute__((aligned(4)));
	uint8_t part[sizeof(struct inflight_part) + SIZE * sizeof(struct inflight_desc)]
		__attribute__((aligned(64)));
	uint8_t data[64];
	uint16_t added[ADDED_MAX];	/* heads in the order of the guest's giving */
};

static struct inflight_part *part(const struct world *w)
{
	return (struct inflight_part *)(uintptr_t)w->part;
}

/* What the guest got back, in order. */
struct log {
	uint16_t heads[ADDED_MAX];
	unsigned n;
};

/* One process at work on a world. */
struct daemon {
	struct world *w;
	struct guest_map map;
	struct inflight buffer;
	struct ring ring;
	struct inflight_queue q;
};

static void daemon_init(struct daemon *d, struct world *w)
{
	/* Not all of it is zeroed: that is thousands of steps. */
	d->w = w;
	d->map.count = 1;
	d->map.last = 0;
	d->map.regions[0] = (struct guest_map_region){ .at = { 0, sizeof(*w), 0, 0 },
						       .host = (uint8_t *)w };
	d->buffer = (struct inflight){ .fd = -1, .base = w->part,
				       .len = sizeof(w->part), .queues = 1, .size = SIZE };
}

/* Base: what a front end finds in the used ring of a dead daemon. */
static int daemon_start(struct daemon *d, struct err *e)
{
	struct world *w = d->w;

	if (ring_start(&d->ring, &d->map, 0, SIZE, w->used.idx, w->desc, &w->avail, &w->used, e))
		return -EINVAL;
	return inflight_attach(&d->q, &d->buffer, 0, &d->ring, e);
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->avail.idx = w->used.idx = START;
}

static unsigned added(const struct world *w)
{
	return (uint16_t)(w->avail.idx - START);
}

static void guest_adds(struct world *w, uint16_t head)
{
	w->added[added(w)] = head;
	w->desc[head] = (struct ring_desc){ offsetof(struct world, data), 8, RING_DESC_F_WRITE, 0 };
	w->avail.ring[w->avail.idx % SIZE] = head;
	__atomic_store_n(&w->avail.idx, (uint16_t)(w->avail.idx + 1), __ATOMIC_RELEASE);
}

/* A life of many requests: a device that keeps some and gives them back in another order, and some
 * as if it had never had them. */
static void live(struct world *w)
{
	static struct ring_chain chain;
	struct daemon d;
	uint16_t held[SIZE];
	unsigned n = 0, luck = 12345, idle = (1u << SIZE) - 1;
	struct err e;

	daemon_init(&d, w);
	if (daemon_start(&d, &e))
		_exit(1);
	while (added(w) < 30) {
		luck = luck * 1103515245 + 12345;
		if (idle && luck >> 30 == 0) {
			unsigned head = luck >> 16 & (SIZE - 1);

			while (!(idle & 1u << head))
				head = (head + 1) % SIZE;
			idle &= ~(1u << head);
			guest_adds(w, (uint16_t)head);
		} else if (luck >> 30 == 1 && n) {
			unsigned i = (luck >> 16 & (SIZE - 1)) % n;
			uint16_t head = held[i];

			held[i] = held[--n];
			inflight_push(&d.q, &d.ring, head, 8);
			idle |= 1u << head;
		} else if (inflight_pop(&d.q, &d.ring, &chain)) {
			if (luck >> 20 & 1)
				held[n++] = chain.head;
			else
				inflight_unpop(&d.q, &d.ring, chain.head);
		}
	}
	inflight_detach(&d.q);
}

/* What a successor does first. */
static void resume(struct world *w)
{
	static struct ring_chain chain;
	struct daemon d;
	struct err e;

	daemon_init(&d, w);
	if (daemon_start(&d, &e))
		_exit(1);
	while (inflight_pop(&d.q, &d.ring, &chain))
		;
	inflight_detach(&d.q);
}

/* The model: the guest's order without what came back. */
static unsigned outstanding(const struct world *w, const struct log *l, uint16_t ret[ADDED_MAX])
{
	bool back[ADDED_MAX] = { false };
	unsigned n = 0;

	for (unsigned i = 0; i < l->n; i++) {
		unsigned k = 0;

		while (k < added(w) && (back[k] || w->added[k] != l->heads[i]))
			k++;
		assert_true(k < added(w));
		back[k] = true;
	}
	for (unsigned k = 0; k < added(w); k++)
		if (!back[k])
			ret[n++] = w->added[k];
	return n;
}

/* A successor begins with a copy of this world. */
static void assert_recovers(const struct world *now, const struct log *l)
{
	static struct ring_chain chain;
	static struct world w;
	static struct daemon d;
	uint16_t want[ADDED_MAX], got[ADDED_MAX];
	unsigned n = outstanding(now, l, want), n_got = 0;
	struct err e = { "" };

	w = *now;
	daemon_init(&d, &w);
	if (daemon_start(&d, &e))
		fail_msg("%s", e.msg);
	/* Whatever was taken can be had again. */
	while (inflight_pop(&d.q, &d.ring, &chain) && n_got < ADDED_MAX)
		got[n_got++] = chain.head;
	while (n_got)
		inflight_unpop(&d.q, &d.ring, got[--n_got]);
	assert_int_equal(d.ring.in_flight, 0);
	while (inflight_pop(&d.q, &d.ring, &chain) && n_got < ADDED_MAX)
		got[n_got++] = chain.head;
	assert_false(d.ring.broken);
	assert_int_equal(n_got, n);
	assert_memory_equal(got, want, n * sizeof(got[0]));
	while (n_got)
		inflight_push(&d.q, &d.ring, got[--n_got], 8);
	assert_int_equal(w.used.idx, w.avail.idx);
	assert_int_equal(part(&w)->used_idx, w.used.idx);
	inflight_detach(&d.q);
	assert_int_equal(daemon_start(&d, &e), 0);
	assert_false(inflight_has_again(&d.q));
	assert_int_equal(d.ring.last_avail, w.avail.idx);
	inflight_detach(&d.q);
}

typedef void show_fn(const struct world *w, const struct log *l, void *arg);

/* Shows each state of the world that a kill can leave of @work. */
static void step_through(void (*work)(struct world *w), struct world *w, struct log *l,
			 show_fn *show, void *arg)
{
	struct world before = *w;
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(2);
		raise(SIGSTOP);
		work(w);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSTOPPED(status))
		skip();
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL), 0);
	while (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 &&
	       waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (!memcmp(w, &before, sizeof(before)))
			continue;
		if (w->used.idx != before.used.idx)
			l->heads[l->n++] = (uint16_t)w->used.ring[before.used.idx % SIZE].id;
		before = *w;
		show(w, l, arg);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

struct album {
	struct snapshot { struct world w; struct log l; } shots[SNAPSHOTS];
	unsigned n;
};

static void check_and_keep(const struct world *w, const struct log *l, void *arg)
{
	struct album *a = arg;

	assert_recovers(w, l);
	assert_true(a->n < SNAPSHOTS);
	a->shots[a->n++] = (struct snapshot){ *w, *l };
}

static void check(const struct world *w, const struct log *l, void *arg)
{
	*(unsigned *)arg += 1;
	assert_recovers(w, l);
}

static struct world *new_world(void)
{
	struct world *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(w, MAP_FAILED);
	world_init(w);
	return w;
}

/* Then the successors of those that died between a push's first store and its last die, too. */
static void no_kill_loses_or_doubles_a_request(void **state)
{
	static struct album a;
	struct world *w = new_world();
	struct log l = { .n = 0 };
	unsigned stepped = 0, shown = 0;

	(void)state;
	step_through(live, w, &l, check_and_keep, &a);
	assert_int_equal(added(w), 30);
	/* Every store but those that store what was there. */
	assert_true(a.n > 200);
	for (unsigned i = 0; i < a.n; i++) {
		struct snapshot *s = &a.shots[i];

		if (part(&s->w)->used_idx == s->w.used.idx || stepped++ % 4)
			continue;
		*w = s->w;
		l = s->l;
		step_through(resume, w, &l, check, &shown);
	}
	assert_true(shown > 10);
	munmap(w, sizeof(*w));
}

/* A part with chains 1, 4 and 2 in flight, in this order, and 5 that came back. */
static void fill(struct world *w)
{
	static const uint16_t order[] = { 1, 5, 4, 2 };
	static struct ring_chain chain;
	struct daemon d;
	struct err e;

	world_init(w);
	daemon_init(&d, w);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		guest_adds(w, order[i]);
	assert_int_equal(daemon_start(&d, &e), 0);
	while (inflight_pop(&d.q, &d.ring, &chain))
		;
	inflight_push(&d.q, &d.ring, 5, 8);
	inflight_detach(&d.q);
}

/* Our own pushes are batches of one; others' are not. */
static void a_batch_of_another_program_is_finished(void **state)
{
	static struct ring_chain chain;
	static struct world w;
	struct daemon d;
	struct err e;

	(void)state;
	fill(&w);
	/* 4 and 2 went back at once; their entries were about to be emptied. */
	part(&w)->desc[4].next = part(&w)->last_batch_head;
	part(&w)->desc[2].next = 4;
	part(&w)->last_batch_head = 2;
	w.used.idx += 2;
	daemon_init(&d, &w);
	assert_int_equal(daemon_start(&d, &e), 0);
	assert_true(inflight_pop(&d.q, &d.ring, &chain));
	assert_int_equal(chain.head, 1);
	assert_false(inflight_pop(&d.q, &d.ring, &chain));
	inflight_detach(&d.q);
}

static void new_chains_come_after_those_of_a_predecessor(void **state)
{
	static const uint16_t want[] = { 1, 4, 2, 7 };
	static struct ring_chain chain;
	static struct world w;
	struct daemon d;
	struct err e;

	(void)state;
	fill(&w);
	guest_adds(&w, 7);
	/* Twice: a successor may die, too. */
	for (unsigned life = 0; life < 2; life++) {
		daemon_init(&d, &w);
		assert_int_equal(daemon_start(&d, &e), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
			assert_true(inflight_pop(&d.q, &d.ring, &chain));
			assert_int_equal(chain.head, want[i]);
		}
		assert_false(inflight_pop(&d.q, &d.ring, &chain));
		inflight_detach(&d.q);
	}
}

static void refused(struct world *w, const char *why)
{
	struct daemon d;
	struct err e = { "" };

	daemon_init(&d, w);
	assert_int_equal(daemon_start(&d, &e), -EINVAL);
	if (!strstr(e.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", e.msg, why);
	assert_null(d.q.part);
	assert_null(d.q.again);
}

static void a_buffer_that_is_not_this_ring_s_is_refused(void **state)
{
	static struct world w;

	(void)state;
	fill(&w);
	part(&w)->version = 2;
	refused(&w, "version 2");
	fill(&w);
	part(&w)->features = 1;
	refused(&w, "features 0x1");
	fill(&w);
	part(&w)->desc_num = SIZE / 2;
	refused(&w, "4 entries");
	fill(&w);
	w.used.idx += SIZE + 1;
	refused(&w, "another ring's");
	fill(&w);
	w.used.idx++;
	part(&w)->last_batch_head = SIZE;
	refused(&w, "descriptor 8 of 8");
	fill(&w);
	w.used.idx += 2;
	part(&w)->last_batch_head = 4;
	part(&w)->desc[4].next = 0xffff;
	refused(&w, "descriptor 65535 of 8");
}

static void a_head_that_is_none_breaks_the_ring(void **state)
{
	static struct ring_chain chain;
	static struct world w;
	struct daemon d;
	struct err e;

	(void)state;
	fill(&w);
	w.desc[1].addr = UINT64_MAX;
	daemon_init(&d, &w);
	assert_int_equal(daemon_start(&d, &e), 0);
	assert_false(inflight_pop(&d.q, &d.ring, &chain));
	assert_true(d.ring.broken);
	inflight_detach(&d.q);
}

static void a_buffer_is_for_so_many_queues_of_such_a_size(void **state)
{
	struct inflight f = { .fd = -1 }, g = { .fd = -1 };
	struct inflight_queue q = { .counter = 0 };
	struct ring ring = { .size = 128 };
	struct vu_inflight d;
	struct err e;
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(inflight_new(&f, 2, 128, &d, &e), 0);
	assert_int_equal(d.num_queues, 2);
	assert_int_equal(d.queue_size, 128);
	assert_int_equal(d.mmap_offset, 0);
	assert_int_equal(d.mmap_size, 2 * (64 + 128 * 16));
	assert_int_equal(fstat(f.fd, &st), 0);
	assert_int_equal(st.st_size, d.mmap_size);
	assert_int_equal(ftruncate(f.fd, 0), -1);
	assert_int_equal(inflight_attach(&q, &f, 2, &ring, &e), -EINVAL);
	ring.size = 256;
	assert_int_equal(inflight_attach(&q, &f, 0, &ring, &e), -EINVAL);

	fd = dup(f.fd);
	d.mmap_size--;
	assert_int_equal(inflight_take(&g, &d, &fd, &e), -EINVAL);
	d.mmap_size += 2;
	assert_int_equal(inflight_take(&g, &d, &fd, &e), -EINVAL);
	d.mmap_size--;
	d.mmap_offset = UINT64_MAX;
	assert_int_equal(inflight_take(&g, &d, &fd, &e), -EINVAL);
	d.mmap_offset = 0;
	d.queue_size = 0;
	assert_int_equal(inflight_take(&g, &d, &fd, &e), -EINVAL);
	d.queue_size = 128;
	assert_null(g.base);
	assert_int_equal(inflight_take(&g, &d, &fd, &e), 0);
	assert_int_equal(fd, -1);
	/* Both see one buffer. */
	ring.size = 128;
	assert_int_equal(inflight_attach(&q, &f, 1, &ring, &e), 0);
	assert_int_equal(((struct inflight_part *)(void *)(g.base + 64 + 128 * 16))->version, 1);
	inflight_detach(&q);
	inflight_fini(&f);
	inflight_fini(&f);
	inflight_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_kill_loses_or_doubles_a_request),
		cmocka_unit_test(a_batch_of_another_program_is_finished),
		cmocka_unit_test(new_chains_come_after_those_of_a_predecessor),
		cmocka_unit_test(a_buffer_that_is_not_this_ring_s_is_refused),
		cmocka_unit_test(a_head_that_is_none_breaks_the_ring),
		cmocka_unit_test(a_buffer_is_for_so_many_queues_of_such_a_size),
	};

	return cmocka_run_group_tests_name("inflight", tests, NULL, NULL);
}
