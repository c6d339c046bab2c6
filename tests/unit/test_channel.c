/* SPDX-License-Identifier: Apache-2.0 */
/* guest/examples/ring.h, both ends in turn: what passes, what is full, and what a hostile other end
 * achieves, which is no more than that the channel is broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "guest/examples/ring.h"

#define PAGE		4096u
#define CAPACITY	4096u
#define SIZE		(RING_DATA + 2 * CAPACITY)

/* A channel between pages that nobody may touch. */
struct pair {
	unsigned char *area, *mem;
	struct ring maker, other;
	int rung;
};

static int count_ring(void *arg)
{
	++*(int *)arg;
	return 0;
}

static struct ring_wire *wire(struct pair *p)
{
	return (struct ring_wire *)p->mem;
}

static int pair_up(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	struct ring_bell bell = { .ring = count_ring };

	p->area = mmap(NULL, SIZE + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p->area, MAP_FAILED);
	p->mem = p->area + PAGE;
	assert_ptr_equal(mmap(p->mem, SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0), p->mem);
	bell.arg = &p->rung;
	assert_int_equal(ring_make(&p->maker, p->mem, SIZE, &bell), 0);
	assert_int_equal(ring_attach(&p->other, p->mem, SIZE, &bell), 0);
	*state = p;
	return 0;
}

static int pair_down(void **state)
{
	struct pair *p = *state;

	munmap(p->area, SIZE + 2 * PAGE);
	free(p);
	return 0;
}

/* A buffer with nothing behind it, so that a sanitizer sees each byte too many. */
static unsigned char *pattern(size_t len, unsigned seed)
{
	unsigned char *buf = malloc(len ? len : 1);

	assert_non_null(buf);
	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)(seed + i * 7);
	return buf;
}

static void pass(struct ring *from, struct ring *to, size_t len)
{
	unsigned char *out = pattern(len, (unsigned)len), *in = pattern(len, 0);
	size_t got = SIZE_MAX;

	assert_int_equal(ring_try_send(from, out, len), 0);
	assert_int_equal(ring_try_recv(to, in, len, &got), 0);
	assert_int_equal(got, len);
	assert_memory_equal(in, out, len);
	free(in);
	free(out);
}

static void every_size_passes_both_ways_and_around_the_end(void **state)
{
	struct pair *p = *state;

	for (size_t len = 0; len <= ring_max(&p->maker); len++) {
		pass(&p->maker, &p->other, len);
		pass(&p->other, &p->maker, len);
		/* so that a message of the size begins elsewhere the next time */
		if (len % 3 == 0)
			pass(&p->maker, &p->other, len);
	}
	assert_true(p->maker.tx.ours > 1000 * CAPACITY);
}

static void the_largest_message_passes_from_every_offset(void **state)
{
	struct pair *p = *state;

	for (uint32_t at = 0; at < CAPACITY; at += 8) {
		assert_int_equal(p->maker.tx.at, at);
		pass(&p->maker, &p->other, ring_max(&p->maker));
		pass(&p->maker, &p->other, 0);
	}
}

static void an_empty_channel_has_nothing_and_a_full_one_no_room(void **state)
{
	struct pair *p = *state;
	unsigned char *half = pattern(CAPACITY / 2 - RING_HEAD, 1);
	unsigned char buf[CAPACITY];
	size_t len = 77;

	assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), -EAGAIN);
	assert_int_equal(ring_try_send(&p->maker, half, CAPACITY / 2 - RING_HEAD), 0);
	assert_int_equal(ring_try_send(&p->maker, half, CAPACITY / 2 - RING_HEAD), 0);
	assert_int_equal(ring_try_send(&p->maker, "", 0), -EAGAIN);
	assert_int_equal(ring_send(&p->maker, "", 0, 1), -ETIMEDOUT);
	assert_int_equal(ring_ready(&p->maker, RING_IN | RING_OUT, 0), 0);
	assert_int_equal(ring_ready(&p->other, RING_IN | RING_OUT, 0), RING_IN | RING_OUT);
	assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), 0);
	assert_int_equal(ring_try_send(&p->maker, "", 0), 0);
	assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), 0);
	assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), 0);
	assert_int_equal(len, 0);
	len = 77;
	assert_int_equal(ring_recv(&p->other, buf, sizeof(buf), &len, 1), -ETIMEDOUT);
	assert_int_equal(len, 77);
	free(half);
}

static void what_is_too_long_to_send_is_refused_and_what_is_too_long_to_take_stays(void **state)
{
	struct pair *p = *state;
	unsigned char *long_one = pattern(CAPACITY, 3), buf[16];
	size_t len;

	assert_int_equal(ring_try_send(&p->maker, long_one, CAPACITY - RING_HEAD + 1), -EMSGSIZE);
	assert_int_equal(ring_send(&p->maker, long_one, SIZE_MAX, -1), -EMSGSIZE);
	assert_int_equal(ring_try_send(&p->maker, "seventeen letters", 17), 0);
	assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), -EMSGSIZE);
	assert_int_equal(len, 17);
	assert_int_equal(ring_try_recv(&p->other, long_one, CAPACITY, &len), 0);
	assert_memory_equal(long_one, "seventeen letters", 17);
	free(long_one);
}

static void the_end_comes_after_the_last_message(void **state)
{
	struct pair *p = *state;
	char buf[8];
	size_t len;

	assert_int_equal(ring_try_send(&p->other, "last", 4), 0);
	assert_int_equal(ring_end(&p->other), 0);
	assert_int_equal(ring_recv(&p->maker, buf, sizeof(buf), &len, -1), 0);
	assert_int_equal(len, 4);
	assert_int_equal(ring_recv(&p->maker, buf, sizeof(buf), &len, -1), -EPIPE);
	/* the other way goes on, and so does this one with a new end */
	pass(&p->maker, &p->other, 9);
	assert_int_equal(ring_attach(&p->other, p->mem, SIZE, NULL), 0);
	pass(&p->other, &p->maker, 9);
}

static void an_end_that_comes_back_finds_what_was_there(void **state)
{
	struct pair *p = *state;
	char buf[8];
	size_t len;

	pass(&p->other, &p->maker, 100);
	pass(&p->maker, &p->other, 300);
	assert_int_equal(ring_try_send(&p->maker, "kept", 4), 0);
	assert_int_equal(ring_arm(&p->other, RING_OUT, 0), RING_OUT);
	memset(&p->other, 0xee, sizeof(p->other));
	assert_int_equal(ring_attach(&p->other, p->mem, SIZE, NULL), 0);
	assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), 0);
	assert_memory_equal(buf, "kept", 4);
	pass(&p->other, &p->maker, 100);
}

/* ---- Bells ---- */

static void only_a_sleeper_is_rung_and_once_a_sleep(void **state)
{
	struct pair *p = *state;
	char buf[8];
	size_t len;

	pass(&p->maker, &p->other, 1);
	assert_int_equal(p->rung, 0);
	for (int sleep = 1; sleep < 4; sleep++) {
		assert_int_equal(ring_arm(&p->other, RING_IN, 0), 0);
		assert_int_equal(ring_try_send(&p->maker, "a", 1), 0);
		assert_int_equal(p->rung, sleep);
		assert_int_equal(ring_try_send(&p->maker, "b", 1), 0);
		assert_int_equal(p->rung, sleep);
		ring_disarm(&p->other);
		assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), 0);
		assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), 0);
	}
	assert_int_equal(ring_arm(&p->other, RING_IN, 0), 0);
	assert_int_equal(ring_end(&p->maker), 0);
	assert_int_equal(p->rung, 4);
	assert_int_equal(p->maker.rings, 4);
}

static void who_sleeps_for_room_is_rung_by_who_makes_it(void **state)
{
	struct pair *p = *state;
	unsigned char buf[CAPACITY];
	size_t len;

	while (ring_try_send(&p->maker, buf, 1000) == 0)
		;
	assert_int_equal(ring_arm(&p->maker, RING_OUT, 1000), 0);
	assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), 0);
	assert_int_equal(p->rung, 1);
	/* rung, but for this there is no room: another sleep, another ring */
	assert_int_equal(ring_arm(&p->maker, RING_OUT, 3000), 0);
	assert_int_equal(ring_try_recv(&p->other, buf, sizeof(buf), &len), 0);
	assert_int_equal(p->rung, 2);
	assert_int_equal(ring_arm(&p->maker, RING_OUT, 1000), RING_OUT);
	assert_int_equal(p->maker.tx.sleeps & 1, 0);
}

static void who_attaches_again_is_not_taken_for_who_was_rung(void **state)
{
	struct pair *p = *state;

	assert_int_equal(ring_arm(&p->other, RING_IN, 0), 0);
	assert_int_equal(ring_try_send(&p->maker, "a", 1), 0);
	assert_int_equal(p->rung, 1);
	assert_int_equal(ring_attach(&p->other, p->mem, SIZE, NULL), 0);
	pass(&p->other, &p->maker, 1);
	assert_int_equal(ring_has_message(&p->other), 1);
	assert_int_equal(ring_try_recv(&p->other, (char[1]){ 0 }, 1, &(size_t){ 0 }), 0);
	assert_int_equal(ring_arm(&p->other, RING_IN, 0), 0);
	assert_int_equal(ring_try_send(&p->maker, "b", 1), 0);
	assert_int_equal(p->rung, 2);
}

static int bell_fails(void *arg)
{
	(void)arg;
	return -EBADF;
}

static void a_bell_that_fails_breaks_the_channel(void **state)
{
	struct pair *p = *state;

	p->maker.bell.ring = bell_fails;
	assert_int_equal(ring_arm(&p->other, RING_IN, 0), 0);
	assert_int_equal(ring_try_send(&p->maker, "a", 1), -EBADF);
	assert_int_equal(ring_try_send(&p->maker, "a", 1), -EBADF);
}

/* ---- Hostile ---- */

static void what_is_no_channel_is_not_attached(void **state)
{
	static const uint32_t capacities[] = { 0, 1, 63, 65, CAPACITY + 64, CAPACITY * 2, 1u << 31,
					       UINT32_MAX - 63, UINT32_MAX };
	struct pair *p = *state;
	struct ring r;

	assert_int_equal(ring_make(&r, p->mem, RING_DATA + 127, NULL), -EINVAL);
	assert_int_equal(ring_make(&r, p->mem + 8, SIZE - 8, NULL), -EINVAL);
	assert_int_equal(ring_attach(&r, p->mem, RING_DATA - 1, NULL), -EINVAL);
	assert_int_equal(ring_attach(&r, p->mem, SIZE - 1, NULL), -EPROTO);
	for (size_t i = 0; i < sizeof(capacities) / sizeof(*capacities); i++) {
		wire(p)->capacity = capacities[i];
		assert_int_equal(ring_attach(&r, p->mem, SIZE, NULL), -EPROTO);
	}
	wire(p)->capacity = CAPACITY;
	wire(p)->version = RING_VERSION + 1;
	assert_int_equal(ring_attach(&r, p->mem, SIZE, NULL), -EPROTO);
	wire(p)->magic = 0;
	assert_int_equal(ring_attach(&r, p->mem, SIZE, NULL), -EAGAIN);
	assert_int_equal(ring_join(&r, p->mem, SIZE, NULL, 2), -EAGAIN);
	assert_int_equal(ring_join(&r, p->mem, RING_DATA - 1, NULL, -1), -EINVAL);
}

static const uint64_t bad_indices[] = {
	1, 7, 4, CAPACITY + 8, CAPACITY * 2, 1ull << 31, 1ull << 32, (1ull << 32) + 16,
	1ull << 63, UINT64_MAX - 7, UINT64_MAX,
};

static void a_bad_index_breaks_the_channel(void **state)
{
	struct pair *p = *state;
	unsigned char *buf = pattern(CAPACITY, 0);
	size_t len;

	for (size_t i = 0; i < sizeof(bad_indices) / sizeof(*bad_indices); i++) {
		struct ring sender = p->maker, receiver = p->maker, third;

		wire(p)->way[1].written = bad_indices[i];
		assert_int_equal(ring_try_recv(&receiver, buf, CAPACITY, &len), -EPROTO);
		assert_int_equal(ring_try_send(&receiver, buf, 1), -EPROTO);
		assert_int_equal(ring_arm(&receiver, RING_IN, 0), -EPROTO);
		assert_int_equal(ring_wait(&receiver, RING_OUT, 0, -1), -EPROTO);
		assert_int_equal(ring_attach(&third, p->mem, SIZE, NULL), -EPROTO);
		wire(p)->way[1].written = 0;
		assert_int_equal(ring_try_send(&sender, buf, CAPACITY - RING_HEAD), 0);
		wire(p)->way[0].read = bad_indices[i];
		assert_int_equal(ring_try_send(&sender, buf, 1), -EPROTO);
		assert_int_equal(ring_attach(&third, p->mem, SIZE, NULL), -EPROTO);
		wire(p)->way[0].read = wire(p)->way[0].written = 0;
	}
	free(buf);
}

static void a_bad_length_breaks_the_channel(void **state)
{
	static const uint64_t lengths[] = {
		9, CAPACITY - RING_HEAD, CAPACITY - RING_HEAD + 1, CAPACITY, UINT32_MAX - 8,
		UINT32_MAX, 1ull << 32, (1ull << 32) + 8, UINT64_MAX - 15, UINT64_MAX,
	};
	struct pair *p = *state;
	unsigned char *buf = pattern(CAPACITY, 0);
	size_t len = 5;

	assert_int_equal(ring_try_send(&p->other, "8 bytes.", 8), 0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		struct ring r = p->maker;

		memcpy(p->mem + RING_DATA + CAPACITY, &lengths[i], sizeof(lengths[i]));
		assert_int_equal(ring_try_recv(&r, buf, CAPACITY, &len), -EPROTO);
		assert_int_equal(ring_try_recv(&r, buf, CAPACITY, &len), -EPROTO);
		assert_int_equal(len, 5);
	}
	free(buf);
}

static void what_was_agreed_upon_is_not_read_again(void **state)
{
	struct pair *p = *state;

	wire(p)->capacity = UINT32_MAX;
	wire(p)->magic = wire(p)->version = 0;
	/* nor its own indices, which are shown to the other only */
	wire(p)->way[0].written = wire(p)->way[1].read = UINT64_MAX;
	for (int i = 0; i < 100; i++) {
		pass(&p->maker, &p->other, 1001);
		pass(&p->other, &p->maker, 1001);
	}
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static uint64_t odd_value(uint64_t *seed, uint64_t near)
{
	switch (next(seed) % 4) {
	case 0:
		return bad_indices[next(seed) % (sizeof(bad_indices) / sizeof(*bad_indices))];
	case 1:
		return next(seed);
	case 2:
		return near + next(seed) % CAPACITY;
	}
	return near + 8 * (next(seed) % 8);
}

/* What a hostile guest would write over what the maker reads. */
static void scribble(struct pair *p, uint64_t *seed)
{
	uint32_t near = (uint32_t)(p->maker.rx.at + 8 * (next(seed) % 4)) % CAPACITY;
	uint64_t value = odd_value(seed, 0);

	switch (next(seed) % 6) {
	case 0:
		wire(p)->way[1].written = odd_value(seed, p->maker.rx.ours);
		break;
	case 1:
		wire(p)->way[0].read = odd_value(seed, p->maker.tx.ours - CAPACITY);
		break;
	case 2:
		wire(p)->way[0].receiver_sleeps = (uint32_t)next(seed);
		wire(p)->way[1].sender_sleeps = (uint32_t)next(seed);
		break;
	case 3:
		wire(p)->way[1].ended = (uint32_t)(next(seed) % 2);
		break;
	default:
		memcpy(p->mem + RING_DATA + CAPACITY + near, &value, sizeof(value));
	}
}

/* Nothing but this end's lines and its ring may have been written. */
static void assert_only_its_own_is_written(struct pair *p, const unsigned char *before)
{
	size_t own[][2] = { { offsetof(struct ring_wire, way[0].written), RING_LINE },
			    { offsetof(struct ring_wire, way[1].read), RING_LINE },
			    { RING_DATA, CAPACITY } };
	size_t at = 0;

	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++) {
		assert_memory_equal(p->mem + at, before + at, own[i][0] - at);
		at = own[i][0] + own[i][1];
	}
	assert_memory_equal(p->mem + at, before + at, SIZE - at);
}

static int act(struct ring *r, uint64_t *seed)
{
	size_t size = next(seed) % 3 ? next(seed) % 64 : next(seed) % (CAPACITY + 64), len;
	unsigned char *buf = pattern(size, 0);
	int rc;

	switch (next(seed) % 4) {
	case 0:
		rc = ring_try_send(r, buf, size);
		break;
	case 1:
		rc = ring_arm(r, (int)(next(seed) % 4), next(seed) % CAPACITY);
		break;
	default:
		rc = ring_try_recv(r, buf, size, &len);
	}
	free(buf);
	return rc;
}

static void whatever_the_other_end_writes_only_breaks_the_channel(void **state)
{
	struct pair *p = *state;
	struct ring_bell bell = p->maker.bell;
	unsigned char *before = malloc(SIZE);
	uint64_t seed = 0x5eed;
	unsigned broken = 0, worked = 0;

	for (int i = 0; i < 40000; i++) {
		int rc;

		if (next(&seed) % 3 == 0)
			scribble(p, &seed);
		else if (next(&seed) % 2)
			ring_try_send(&p->other, &seed, 1 + next(&seed) % 8);
		memcpy(before, p->mem, SIZE);
		rc = act(&p->maker, &seed);
		assert_only_its_own_is_written(p, before);
		worked += !rc;
		if (rc != -EPROTO)
			continue;
		broken++;
		assert_int_equal(ring_make(&p->maker, p->mem, SIZE, &bell), 0);
		assert_int_equal(ring_attach(&p->other, p->mem, SIZE, &bell), 0);
	}
	/* else it tests nothing */
	assert_true(broken > 1000 && worked > 5000);
	free(before);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, pair_up, pair_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(every_size_passes_both_ways_and_around_the_end),
		CASE(the_largest_message_passes_from_every_offset),
		CASE(an_empty_channel_has_nothing_and_a_full_one_no_room),
		CASE(what_is_too_long_to_send_is_refused_and_what_is_too_long_to_take_stays),
		CASE(the_end_comes_after_the_last_message),
		CASE(an_end_that_comes_back_finds_what_was_there),
		CASE(only_a_sleeper_is_rung_and_once_a_sleep),
		CASE(who_sleeps_for_room_is_rung_by_who_makes_it),
		CASE(who_attaches_again_is_not_taken_for_who_was_rung),
		CASE(a_bell_that_fails_breaks_the_channel),
		CASE(what_is_no_channel_is_not_attached),
		CASE(a_bad_index_breaks_the_channel),
		CASE(a_bad_length_breaks_the_channel),
		CASE(what_was_agreed_upon_is_not_read_again),
		CASE(whatever_the_other_end_writes_only_breaks_the_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
