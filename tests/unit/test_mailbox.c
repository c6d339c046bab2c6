/* SPDX-License-Identifier: Apache-2.0 */
/* guest/examples/mailbox.h: where everything is (its layout is another program's), packets, and
 * what a hostile other side achieves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "guest/examples/mailbox.h"

static int box_up(void **state)
{
	struct mailbox *m = mmap(NULL, MAILBOX_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(m, MAP_FAILED);
	mailbox_init(m);
	*state = m;
	return 0;
}

static int box_down(void **state)
{
	munmap(*state, MAILBOX_SIZE);
	return 0;
}

static int32_t int_at(const void *mem, size_t at)
{
	int32_t n;

	memcpy(&n, (const char *)mem + at, sizeof(n));
	return n;
}

static void assert_counts(const void *mem, int in_empty, int in_full, int out_empty, int out_full)
{
	const int want[] = { in_empty, in_full, out_empty, out_full };

	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(int_at(mem, 8 * i), 1);
		assert_int_equal(int_at(mem, 8 * i + 4), want[i]);
	}
}

static void all_is_where_the_other_program_has_it(void **state)
{
	struct mailbox *m = *state;
	const unsigned char *mem = *state;

	assert_counts(m, 1, 0, 1, 0);
	assert_int_equal(mailbox_put(m, MAILBOX_IN, "to the server", 13, 0), 0);
	assert_counts(m, 0, 1, 1, 0);
	assert_int_equal(int_at(m, 32), 13);
	assert_memory_equal(mem + 48, "to the server", 13);
	assert_int_equal(mailbox_put(m, MAILBOX_OUT, "to the client", 14, 0), 0);
	assert_counts(m, 0, 1, 0, 1);
	assert_int_equal(int_at(m, 40), 14);
	assert_memory_equal(mem + 524312, "to the client", 14);
}

#if defined(__GLIBC__) && defined(__x86_64__)
static void its_lock_is_that_of_pthreads(void **state)
{
	struct mailbox *m = *state;
	pthread_spinlock_t *lock = (pthread_spinlock_t *)*state;
	size_t len;
	char c;

	assert_int_equal(pthread_spin_init(lock, PTHREAD_PROCESS_SHARED), 0);
	assert_int_equal(mailbox_put(m, MAILBOX_IN, "x", 1, 0), 0);
	assert_int_equal(pthread_spin_trylock(lock), 0);
	/* held by pthreads: the mailbox waits */
	assert_int_equal(mailbox_take(m, MAILBOX_IN, &c, 1, &len, 1), -ETIMEDOUT);
	assert_int_equal(pthread_spin_unlock(lock), 0);
	m->way[MAILBOX_IN].empty.lock = 0;
	assert_int_equal(pthread_spin_trylock(lock), EBUSY);
}
#endif

static void a_packet_waits_for_room_and_a_reader_for_a_packet(void **state)
{
	struct mailbox *m = *state;
	size_t len = 7;
	char buf[8];

	assert_int_equal(mailbox_take(m, MAILBOX_IN, buf, sizeof(buf), &len, 1), -ETIMEDOUT);
	assert_int_equal(mailbox_put(m, MAILBOX_IN, "one", 3, 0), 0);
	assert_int_equal(mailbox_put(m, MAILBOX_IN, "two", 3, 1), -ETIMEDOUT);
	assert_int_equal(mailbox_take(m, MAILBOX_IN, buf, 2, &len, 0), -EMSGSIZE);
	assert_int_equal(len, 3);
	assert_int_equal(mailbox_take(m, MAILBOX_IN, buf, 3, &len, 0), 0);
	assert_memory_equal(buf, "one", 3);
	assert_int_equal(mailbox_put(m, MAILBOX_IN, buf, MAILBOX_PACKET + 1, 0), -EMSGSIZE);
	assert_counts(m, 1, 0, 1, 0);
}

/* ---- Two threads ---- */

#define PACKETS 400u

static size_t packet(unsigned char *buf, unsigned n)
{
	size_t len = n % 40 == 39 ? MAILBOX_PACKET : n * 7919 % 5000;

	memset(buf, (int)n, len);
	return len;
}

static void *send_back(void *arg)
{
	unsigned char *buf = malloc(MAILBOX_PACKET);
	size_t len;

	for (unsigned i = 0; i < PACKETS; i++) {
		if (mailbox_take(arg, MAILBOX_IN, buf, MAILBOX_PACKET, &len, 20000) ||
		    mailbox_put(arg, MAILBOX_OUT, buf, len, 20000))
			break;
	}
	free(buf);
	return NULL;
}

static void every_packet_comes_back(void **state)
{
	unsigned char *sent = malloc(MAILBOX_PACKET), *got = malloc(MAILBOX_PACKET);
	pthread_t thread;
	size_t len;

	assert_int_equal(pthread_create(&thread, NULL, send_back, *state), 0);
	for (unsigned i = 0; i < PACKETS; i++) {
		size_t want = packet(sent, i);

		assert_int_equal(mailbox_put(*state, MAILBOX_IN, sent, want, 20000), 0);
		assert_int_equal(mailbox_take(*state, MAILBOX_OUT, got, MAILBOX_PACKET, &len,
					      20000), 0);
		assert_int_equal(len, want);
		assert_memory_equal(got, sent, len);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	free(sent);
	free(got);
}

/* ---- Hostile ---- */

static void who_keeps_a_lock_keeps_nobody_for_ever(void **state)
{
	struct mailbox *m = *state;
	char c;
	size_t len;

	for (int held = -1; held <= 0; held++) {
		m->way[MAILBOX_OUT].empty.lock = held;
		assert_int_equal(mailbox_put(m, MAILBOX_OUT, "x", 1, 1), -ETIMEDOUT);
		m->way[MAILBOX_IN].full.lock = held;
		assert_int_equal(mailbox_take(m, MAILBOX_IN, &c, 1, &len, 1), -ETIMEDOUT);
	}
}

static void a_size_that_cannot_be_is_refused(void **state)
{
	static const uint64_t sizes[] = { MAILBOX_PACKET + 1, MAILBOX_SIZE, UINT32_MAX, 1ull << 32,
					  1ull << 63, UINT64_MAX };
	struct mailbox *m = *state;
	size_t len = 7;
	char buf[8];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		assert_int_equal(mailbox_put(m, MAILBOX_IN, "x", 1, 0), 0);
		m->size[MAILBOX_IN] = sizes[i];
		assert_int_equal(mailbox_take(m, MAILBOX_IN, buf, SIZE_MAX, &len, 0), -EPROTO);
		assert_int_equal(len, 7);
	}
	assert_counts(m, 1, 0, 1, 0);
}

static void counts_that_cannot_be_do_no_harm(void **state)
{
	static const int counts[] = { INT_MIN, -1, 2, INT_MAX };
	struct mailbox *m = *state;
	size_t len;
	char c;

	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		m->way[MAILBOX_IN].full.count = m->way[MAILBOX_IN].empty.count = counts[i];
		assert_int_equal(mailbox_put(m, MAILBOX_IN, "x", 1, 1),
				 counts[i] < 0 ? -ETIMEDOUT : 0);
		assert_int_equal(mailbox_take(m, MAILBOX_IN, &c, 1, &len, 1),
				 counts[i] < 0 ? -ETIMEDOUT : 0);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, box_up, box_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(all_is_where_the_other_program_has_it),
#if defined(__GLIBC__) && defined(__x86_64__)
		CASE(its_lock_is_that_of_pthreads),
#endif
		CASE(a_packet_waits_for_room_and_a_reader_for_a_packet),
		CASE(every_packet_comes_back),
		CASE(who_keeps_a_lock_keeps_nobody_for_ever),
		CASE(a_size_that_cannot_be_is_refused),
		CASE(counts_that_cannot_be_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
