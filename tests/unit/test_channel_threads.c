/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest/examples/ring.h, both ends at once: what arrives is what was sent, nobody sleeps beside a
 * message, and a hostile end that writes while this one reads achieves no more than one that waits
 * its turn. Also built with ThreadSanitizer, as channel_tsan, without what needs two processes or
 * is a race by design.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "guest/examples/ring.h"
#include "guest/examples/ring_fds.h"

#define PATIENCE	20000		/* ms that no wait of a test lasts */
#define CHUNK		3000u
#define LOTS		(64u << 20)	/* bytes */

static const unsigned char key[] = "the bytes of a stream are not the same twice";

/* One end, and what it is to do. */
struct end {
	void *mem;
	size_t size;
	bool maker;
	struct ring_fds fds;
	const struct ring_bell *bell;
	uint64_t bytes;		/* to send, and to take */
	size_t chunk;		/* the longest message */
	uint64_t sent_hash, hash;
	uint64_t rings, naps;
	int rc;
};

static uint64_t hash_of(uint64_t hash, const unsigned char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ buf[i]) * 0x100000001b3;
	return hash;
}

/* A message of a stream, of any length up to @chunk. */
static size_t fill(unsigned char *buf, uint64_t at, size_t chunk)
{
	size_t len = 1 + at * 7919 % chunk;

	for (size_t i = 0; i < len; i++)
		buf[i] = (unsigned char)(key[(at + i) % sizeof(key)] + at / 251);
	return len;
}

static int start(struct ring *r, const struct end *e)
{
	int rc = -EAGAIN;

	if (e->maker)
		return ring_make(r, e->mem, e->size, e->bell);
	for (int64_t end = ring_now_ms() + PATIENCE; rc == -EAGAIN && ring_now_ms() < end;) {
		rc = ring_attach(r, e->mem, e->size, e->bell);
		sched_yield();
	}
	return rc;
}

static int send_stream(struct ring *r, struct end *e)
{
	unsigned char *buf = malloc(e->chunk);
	int rc = 0;

	for (uint64_t at = 0; !rc && at < e->bytes;) {
		size_t len = fill(buf, at, e->chunk);

		rc = ring_send(r, buf, len, PATIENCE);
		e->sent_hash = hash_of(e->sent_hash, buf, len);
		at += len;
	}
	free(buf);
	return rc ? rc : ring_end(r);
}

static int take_stream(struct ring *r, struct end *e)
{
	unsigned char *buf = malloc(e->chunk);
	size_t len;
	int rc;

	while (!(rc = ring_recv(r, buf, e->chunk, &len, PATIENCE)))
		e->hash = hash_of(e->hash, buf, len);
	free(buf);
	return rc == -EPIPE ? 0 : rc;
}

/* The maker sends it all, the other takes it all. */
static void *stream(void *arg)
{
	struct end *e = arg;
	struct ring r = { 0 };

	e->rc = start(&r, e);
	if (!e->rc)
		e->rc = e->maker ? send_stream(&r, e) : take_stream(&r, e);
	e->rings = r.rings;
	e->naps = r.naps;
	return NULL;
}

/* The maker asks, the other answers with the same. */
static void *converse(void *arg)
{
	struct end *e = arg;
	uint64_t word;
	struct ring r = { 0 };
	size_t len;

	e->rc = start(&r, e);
	for (uint64_t i = 0; !e->rc && i < e->bytes; i++) {
		if (e->maker)
			e->rc = ring_send(&r, &i, sizeof(i), PATIENCE);
		if (!e->rc)
			e->rc = ring_recv(&r, &word, sizeof(word), &len, PATIENCE);
		if (!e->rc && (word != i || len != sizeof(word)))
			e->rc = -EBADMSG;
		if (!e->rc && !e->maker)
			e->rc = ring_send(&r, &word, len, PATIENCE);
	}
	e->rings = r.rings;
	e->naps = r.naps;
	return NULL;
}

/* ---- Two ends of a channel ---- */

struct pair {
	int fd;
	int event[2];
	struct ring_bell bell[2];
	struct end end[2];
};

static void pair_of(struct pair *p, size_t size, bool sleeps, unsigned spin)
{
	*p = (struct pair){ .fd = memfd_create("channel", MFD_CLOEXEC) };
	assert_true(p->fd >= 0);
	assert_int_equal(ftruncate(p->fd, (off_t)size), 0);
	for (int i = 0; i < 2; i++) {
		p->event[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(p->event[i] >= 0);
	}
	for (int i = 0; i < 2; i++) {
		struct end *e = &p->end[i];

		/* one mapping for both: ThreadSanitizer goes by addresses */
		e->mem = i ? p->end[0].mem : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
						  p->fd, 0);
		assert_ptr_not_equal(e->mem, MAP_FAILED);
		e->size = size;
		e->maker = !i;
		e->chunk = CHUNK;
		e->fds = ring_fds_events(p->event[i], p->event[!i]);
		p->bell[i] = ring_fds_bell(&e->fds, spin);
		e->bell = sleeps ? &p->bell[i] : NULL;
	}
}

static void pair_gone(struct pair *p)
{
	munmap(p->end[0].mem, p->end[0].size);
	close(p->event[0]);
	close(p->event[1]);
	close(p->fd);
}

static void run(struct pair *p, void *(*what)(void *), uint64_t bytes)
{
	pthread_t thread;

	p->end[0].bytes = p->end[1].bytes = bytes;
	assert_int_equal(pthread_create(&thread, NULL, what, &p->end[1]), 0);
	what(&p->end[0]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(p->end[0].rc, 0);
	assert_int_equal(p->end[1].rc, 0);
	assert_int_equal(p->end[1].hash, p->end[0].sent_hash);
}

static void what_arrives_is_what_was_sent(void **state)
{
	struct pair p;

	(void)state;
	pair_of(&p, 256 << 10, false, 0);
	run(&p, stream, LOTS);
	assert_true(p.end[1].hash != 0);
	pair_gone(&p);
}

static void who_spins_is_not_rung(void **state)
{
	struct pair p;

	(void)state;
	pair_of(&p, 16 << 10, true, UINT32_MAX);
	run(&p, stream, LOTS / 16);
	for (int i = 0; i < 2; i++)
		assert_int_equal(p.end[i].rings + p.end[i].naps, 0);
	pair_gone(&p);
}

/* A sender and a receiver that meet in every round, as close as two threads can. */
struct meeting {
	struct ring sender, receiver;
	_Atomic unsigned arrived;
	_Atomic bool rang;
};

static int note_ring(void *arg)
{
	((struct meeting *)arg)->rang = true;
	return 0;
}

static void meet(struct meeting *m, unsigned arrivals)
{
	m->arrived++;
	for (unsigned looks = 1; m->arrived < arrivals; looks++) {
		if (looks % 1024 == 0)
			sched_yield();
	}
}

#define ROUNDS 100000u

static void *send_at_once(void *arg)
{
	struct meeting *m = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		meet(m, 4 * i + 2);
		ring_try_send(&m->sender, "m", 1);
		meet(m, 4 * i + 4);
	}
	return NULL;
}

static void either_the_sender_rings_or_who_goes_to_sleep_looks_in_time(void **state)
{
	struct meeting m = { .rang = false };
	struct ring_bell bell = { .ring = note_ring, .arg = &m };
	unsigned lost = 0;
	pthread_t thread;
	struct pair p;
	size_t len;
	char buf[8];

	(void)state;
	pair_of(&p, RING_DATA + 8192, false, 0);
	assert_int_equal(ring_make(&m.sender, p.end[0].mem, p.end[0].size, &bell), 0);
	assert_int_equal(ring_attach(&m.receiver, p.end[0].mem, p.end[0].size, &bell), 0);
	assert_int_equal(pthread_create(&thread, NULL, send_at_once, &m), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		int ready;

		m.rang = false;
		meet(&m, 4 * i + 2);
		ready = ring_arm(&m.receiver, RING_IN, 0);
		meet(&m, 4 * i + 4);
		lost += !ready && !m.rang;
		ring_disarm(&m.receiver);
		lost += ring_try_recv(&m.receiver, buf, sizeof(buf), &len) != 0;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(lost, 0);
	pair_gone(&p);
}

static void nobody_sleeps_beside_a_message(void **state)
{
	static const unsigned spins[] = { 0, 1, 10, 100, 1000 };
	struct pair p;
	uint64_t naps = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(spins) / sizeof(*spins); i++) {
		pair_of(&p, RING_DATA + 8192, true, spins[i]);
		run(&p, converse, 4000);
		naps += p.end[0].naps + p.end[1].naps;
		pair_gone(&p);
	}
	assert_true(naps > 4000);
}

static void nobody_sleeps_beside_room(void **state)
{
	static const unsigned spins[] = { 0, 3, 30, 300 };
	struct pair p;

	(void)state;
	for (size_t i = 0; i < sizeof(spins) / sizeof(*spins); i++) {
		pair_of(&p, RING_DATA + 8192, true, spins[i]);
		run(&p, stream, 4 << 20);
		assert_true(p.end[0].naps || spins[i]);
		pair_gone(&p);
	}
}

/* One end sleeps, the other never does: it rings all the same. */
static void a_sleeper_is_rung_by_who_never_sleeps(void **state)
{
	struct pair p;

	(void)state;
	for (int sleeper = 0; sleeper < 2; sleeper++) {
		pair_of(&p, RING_DATA + 8192, true, 0);
		p.bell[!sleeper].sleep = NULL;
		run(&p, converse, 4000);
		assert_int_equal(p.end[!sleeper].naps, 0);
		assert_true(p.end[sleeper].naps > 0);
		pair_gone(&p);
	}
}

#ifndef CHANNEL_UNDER_TSAN

/* Each has its own mapping, and no memory but this. */
static void two_processes(void **state)
{
	struct pair p;
	struct end *e;
	int status;
	pid_t pid;

	(void)state;
	pair_of(&p, 256 << 10, true, 100);
	/* the child's result, where the parent sees it */
	e = mmap(NULL, sizeof(*e), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(e, MAP_FAILED);
	*e = p.end[1];
	p.end[0].bytes = e->bytes = LOTS / 4;
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		e->mem = mmap(NULL, e->size, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd, 0);
		stream(e);
		_exit(0);
	}
	stream(&p.end[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(p.end[0].rc, 0);
	assert_int_equal(e->rc, 0);
	assert_int_equal(e->hash, p.end[0].sent_hash);
	munmap(e, sizeof(*e));
	pair_gone(&p);
}

struct vandal {
	unsigned char *mem;
	size_t size;
	_Atomic bool stop;
};

/* Good and bad values in turn, as fast as it can: what was just checked is something else now. */
static void *scribble(void *arg)
{
	struct vandal *v = arg;
	struct ring_wire_way *way = ((struct ring_wire *)v->mem)->way;
	uint64_t capacity = (v->size - RING_DATA) / 2;
	_Atomic uint64_t *lengths = (_Atomic uint64_t *)(void *)(v->mem + RING_DATA + capacity);
	uint64_t seed = 0x5eed;

	while (!v->stop) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		way[1].written = way[1].read + (seed >> 33) % (capacity / 8 + 2) * 8;
		way[0].read = way[0].written - (seed >> 40) % (capacity / 8 + 2) * 8;
		for (uint64_t i = seed % 16; i < capacity / 8; i += 1 + seed % 8)
			lengths[i] = seed >> (20 + i % 44);
	}
	return NULL;
}

static void who_changes_what_was_checked_only_breaks_the_channel(void **state)
{
	struct vandal v = { .size = RING_DATA + 2 * 4096 };
	unsigned char *area = mmap(NULL, v.size + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);
	unsigned char *buf = malloc(4096);	/* its end is what a sanitizer watches */
	unsigned broken = 0, worked = 0;
	pthread_t thread;
	struct ring r;
	size_t len;

	(void)state;
	assert_ptr_not_equal(area, MAP_FAILED);
	v.mem = area + 4096;
	assert_int_equal(mprotect(v.mem, v.size, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(ring_make(&r, v.mem, v.size, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, scribble, &v), 0);
	for (int i = 0; i < 300000 || !broken || !worked; i++) {
		int rc = i % 2 ? ring_try_recv(&r, buf, 1000, &len) : ring_try_send(&r, buf, 333);

		worked += !rc;
		if (rc != -EPROTO)
			continue;
		broken++;
		while (ring_make(&r, v.mem, v.size, NULL) != 0)
			;
	}
	v.stop = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	free(buf);
	munmap(area, v.size + 8192);
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_arrives_is_what_was_sent),
		cmocka_unit_test(who_spins_is_not_rung),
		cmocka_unit_test(either_the_sender_rings_or_who_goes_to_sleep_looks_in_time),
		cmocka_unit_test(nobody_sleeps_beside_a_message),
		cmocka_unit_test(nobody_sleeps_beside_room),
		cmocka_unit_test(a_sleeper_is_rung_by_who_never_sleeps),
#ifndef CHANNEL_UNDER_TSAN
		cmocka_unit_test(two_processes),
		cmocka_unit_test(who_changes_what_was_checked_only_breaks_the_channel),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
