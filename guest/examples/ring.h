/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel in a shared memory object: messages both ways between two ends that do not trust each
 * other, say a host and its guest. One header, C11, Linux; no library. Copy it into your program.
 *
 *	struct ring r;
 *	ring_make(&r, mem, size, NULL);			one end, once; it zeroes the channel
 *	ring_attach(&r, mem, size, NULL);		the other; -EAGAIN: not made yet
 *	ring_send(&r, "hello", 5, -1);			waits for room
 *	ring_recv(&r, buf, sizeof(buf), &len, 1000);	waits a second for a message
 *	ring_end(&r);					the other then gets -EPIPE
 *	ring_unmake(&r);				the one that made it, when it is over
 *
 * mem is the object as mmap gave it, shared and writable. The last argument of the first two is how
 * an end waits: with NULL it spins and never sleeps, which is what has the least delay; the ends
 * need not agree. With a struct ring_bell it spins `spin` times and then sleeps until the other
 * rings; ring_fds makes one of file descriptors. Nobody rings an end that does not sleep.
 *
 *	0	struct ring_wire: what the ends agree upon, then for each way a line that only the
 *		sender writes and one that only the receiver writes
 *	4096	messages of the maker, `capacity` bytes, used as a ring
 *	+ capacity  messages of the other, as many
 *
 * A message is its length in 4 bytes, 4 that are 0, its bytes, and 0 to 7 that fill up. It may go
 * on at the ring's beginning. Indices count bytes since the channel was made, and do not wrap.
 *
 * What the other end writes is a number or a byte, never an address; each number is loaded once and
 * checked before it is used, and what was agreed at the beginning is kept in private memory. An end
 * that breaks the rules gets the channel broken (-EPROTO, from then on); it cannot make this one
 * read or write outside of the rings. What the messages say is for the program to judge: it has a
 * copy of its own. An end can also be silent for ever: that is what timeouts are for. And whoever
 * may shrink the object can have you killed by SIGBUS: let that be nobody else (on the host the
 * object's owner; a guest cannot).
 *
 * A struct ring belongs to one thread at a time. Functions give 0 or what their comment says, and
 * -errno. An end that died may attach again: messages are there as a whole or not at all.
 */
#ifndef GUEST_EXAMPLES_RING_H
#define GUEST_EXAMPLES_RING_H

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RING_MAGIC	0x474e4952u	/* "RING" */
#define RING_VERSION	1u
#define RING_DATA	4096u		/* where the rings begin */
#define RING_LINE	128		/* processors fetch pairs of lines of 64 bytes */
#define RING_HEAD	8u		/* bytes before those of a message */
#define RING_CAPACITY_MAX (1u << 31)	/* bytes of a ring; a longer object is not used in full */

/* What an end can wait for: ring_wait, ring_arm */
#define RING_IN		1		/* a message, or the end of them */
#define RING_OUT	2		/* room for a message */

/* ---- What is in shared memory ---- */

struct ring_wire_way {
	alignas(RING_LINE) _Atomic uint64_t written;	/* the sender's line */
	_Atomic uint32_t sender_sleeps;		/* odd: rings when there is room */
	_Atomic uint32_t ended;			/* no message comes any more */
	alignas(RING_LINE) _Atomic uint64_t read;	/* the receiver's line */
	_Atomic uint32_t receiver_sleeps;	/* odd: rings when there is a message */
};

struct ring_wire {
	_Atomic uint32_t magic, version, capacity;
	struct ring_wire_way way[2];		/* [0]: the maker sends */
};

_Static_assert(sizeof(struct ring_wire_way) == 2 * RING_LINE, "a line each");
_Static_assert(offsetof(struct ring_wire, way) == RING_LINE, "both compilers agree");
_Static_assert(sizeof(struct ring_wire) <= RING_DATA, "before the rings");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "no lock of one side");

/* ---- An end ---- */

/* How to sleep and to wake the other end; borrowed. A function that gives -errno breaks the
 * channel. */
struct ring_bell {
	int (*ring)(void *arg);
	/* Until the other end rang since the last time, or @ms milliseconds went by (-1: no end to
	 * it); may return early. NULL: never sleeps. */
	int (*sleep)(void *arg, int ms);
	void *arg;
	unsigned spin;		/* looks before it sleeps */
};

/* One direction, as seen from this end. Indices are byte counts. */
struct ring_way {
	struct ring_wire_way *wire;
	unsigned char *data;
	uint64_t ours;		/* what this end alone counts: written or read */
	uint64_t theirs;	/* the other's index as it was last seen, and right */
	uint32_t at;		/* @ours within the ring */
	uint32_t sleeps;	/* odd: this end sleeps; it changes with every sleep */
	uint32_t rung;		/* the sleep of the other for which it was rung */
};

struct ring {
	struct ring_wire *wire;
	struct ring_way tx, rx;
	uint32_t capacity;
	int broken;		/* 0, or what every call gives */
	struct ring_bell bell;
	uint64_t rings, naps;	/* for who wants to know: how often it rang, and slept */
};

/* The longest message. */
static inline size_t ring_max(const struct ring *r)
{
	return r->capacity - RING_HEAD;
}

static inline uint32_t ring_padded(uint32_t len)
{
	return RING_HEAD + ((len + 7) & ~7u);
}

static inline int ring_break(struct ring *r, int err)
{
	r->broken = err;
	return err;
}

static inline void ring_set_sleeps(struct ring_way *way, _Atomic uint32_t *sleeps, uint32_t to)
{
	if (way->sleeps == to)
		return;
	way->sleeps = to;
	atomic_store_explicit(sleeps, to, memory_order_relaxed);
}

/* This end does not sleep any more: nobody needs to ring. */
static inline void ring_disarm(struct ring *r)
{
	ring_set_sleeps(&r->rx, &r->rx.wire->receiver_sleeps, (r->rx.sleeps + 1) & ~1u);
	ring_set_sleeps(&r->tx, &r->tx.wire->sender_sleeps, (r->tx.sleeps + 1) & ~1u);
}

/* Sets up both ways. The index of a way that is this end's goes on where it was; -EPROTO when that
 * cannot be. */
static inline int ring_start(struct ring *r, void *mem, unsigned maker, uint32_t capacity,
			     const struct ring_bell *bell)
{
	struct ring_wire *w = mem;
	struct ring_wire_way *tx = &w->way[!maker], *rx = &w->way[maker];
	unsigned char *data = (unsigned char *)mem + RING_DATA;
	uint64_t written = atomic_load(&tx->written), tx_read = atomic_load(&tx->read);
	uint64_t rx_written = atomic_load(&rx->written), read = atomic_load(&rx->read);

	if (written - tx_read > capacity || rx_written - read > capacity ||
	    (written | tx_read | rx_written | read) % 8)
		return -EPROTO;
	*r = (struct ring){
		.wire = w,
		.capacity = capacity,
		.tx = { tx, data + !maker * (size_t)capacity, written, tx_read,
			(uint32_t)(written % capacity), atomic_load(&tx->sender_sleeps), 0 },
		.rx = { rx, data + maker * (size_t)capacity, read, rx_written,
			(uint32_t)(read % capacity), atomic_load(&rx->receiver_sleeps), 0 },
	};
	if (bell)
		r->bell = *bell;
	atomic_store(&tx->ended, 0);
	/* whoever was this end before may have slept */
	ring_disarm(r);
	return 0;
}

/* Makes a channel of @size bytes at @mem, a page's beginning, and one end of it; what was there is
 * lost. -EINVAL: too small for anything, or crooked. */
static inline int ring_make(struct ring *r, void *mem, size_t size, const struct ring_bell *bell)
{
	size_t capacity = size > RING_DATA ? (size - RING_DATA) / 2 & ~(size_t)63 : 0;
	struct ring_wire *w = mem;

	if (capacity < 64 || (uintptr_t)mem % RING_LINE)
		return -EINVAL;
	if (capacity > RING_CAPACITY_MAX)
		capacity = RING_CAPACITY_MAX;
	atomic_store(&w->magic, 0);
	memset(w->way, 0, sizeof(w->way));
	atomic_store(&w->version, RING_VERSION);
	atomic_store(&w->capacity, (uint32_t)capacity);
	atomic_store(&w->magic, RING_MAGIC);
	return ring_start(r, mem, 1, (uint32_t)capacity, bell);
}

/* The other end of a channel that is in the @size bytes at @mem. -EAGAIN: there is none, yet;
 * -EPROTO: none that one can use. */
static inline int ring_attach(struct ring *r, void *mem, size_t size, const struct ring_bell *bell)
{
	struct ring_wire *w = mem;
	uint32_t capacity;

	if (size < RING_DATA || (uintptr_t)mem % RING_LINE)
		return -EINVAL;
	if (atomic_load(&w->magic) != RING_MAGIC)
		return -EAGAIN;
	capacity = atomic_load(&w->capacity);
	if (atomic_load(&w->version) != RING_VERSION || capacity < 64 || capacity % 64 ||
	    capacity > RING_CAPACITY_MAX || capacity > (size - RING_DATA) / 2)
		return -EPROTO;
	return ring_start(r, mem, 0, capacity, bell);
}

/* ---- Is it ready? ---- */

/* 1 when there is room for @need bytes, 0. */
static inline int ring_has_room(struct ring *r, uint32_t need)
{
	uint64_t used = r->tx.ours - r->tx.theirs, theirs;

	if (r->broken || r->capacity - used >= need)
		return r->broken ? r->broken : 1;
	theirs = atomic_load_explicit(&r->tx.wire->read, memory_order_acquire);
	used = r->tx.ours - theirs;
	if (used > r->capacity || used % 8)
		return ring_break(r, -EPROTO);
	r->tx.theirs = theirs;
	return r->capacity - used >= need;
}

/* 1 when there is a message, 0; -EPIPE when none comes any more. */
static inline int ring_has_message(struct ring *r)
{
	uint32_t ended;
	uint64_t theirs;

	if (r->broken || r->rx.theirs != r->rx.ours)
		return r->broken ? r->broken : 1;
	/* before the index: what was written before the end is not overlooked */
	ended = atomic_load_explicit(&r->rx.wire->ended, memory_order_acquire);
	theirs = atomic_load_explicit(&r->rx.wire->written, memory_order_acquire);
	if (theirs - r->rx.ours > r->capacity || theirs % 8)
		return ring_break(r, -EPROTO);
	r->rx.theirs = theirs;
	if (theirs != r->rx.ours)
		return 1;
	return ended ? -EPIPE : 0;
}

/* Which of @want, RING_IN | RING_OUT, there is; room for a message of @len bytes. The end of
 * messages counts as one: ring_try_recv tells it. */
static inline int ring_ready(struct ring *r, int want, size_t len)
{
	int ready = 0, rc;

	if (want & RING_IN) {
		rc = ring_has_message(r);
		if (rc < 0 && rc != -EPIPE)
			return rc;
		ready |= rc ? RING_IN : 0;
	}
	if (want & RING_OUT) {
		if (len > ring_max(r))
			return -EMSGSIZE;
		rc = ring_has_room(r, ring_padded((uint32_t)len));
		if (rc < 0)
			return rc;
		ready |= rc ? RING_OUT : 0;
	}
	return ready;
}

/* ---- Waking, sleeping ---- */

/*
 * An end that goes to sleep says so, then looks once more; one that wrote its index then looks
 * whether the other sleeps. With a full fence between the two steps of each, at least one of them
 * sees what the other did, so no message waits beside a sleeper. Each sleep has a number of its
 * own, and is rung for once.
 */
static inline int ring_wake(struct ring *r, struct ring_way *way, const _Atomic uint32_t *sleeps)
{
	uint32_t now;
	int rc;

	atomic_thread_fence(memory_order_seq_cst);
	now = atomic_load_explicit(sleeps, memory_order_relaxed);
	if (!(now & 1) || now == way->rung || !r->bell.ring)
		return 0;
	way->rung = now;
	r->rings++;
	rc = r->bell.ring(r->bell.arg);
	return rc < 0 ? ring_break(r, rc) : 0;
}

/* For who sleeps by a poll() of its own, with other things in it: before each sleep. As ring_ready;
 * only with 0 it may sleep until it is rung, and calls ring_disarm afterwards. */
static inline int ring_arm(struct ring *r, int want, size_t len)
{
	int ready;

	if (want & RING_IN)
		ring_set_sleeps(&r->rx, &r->rx.wire->receiver_sleeps, (r->rx.sleeps + 1) | 1);
	if (want & RING_OUT)
		ring_set_sleeps(&r->tx, &r->tx.wire->sender_sleeps, (r->tx.sleeps + 1) | 1);
	atomic_thread_fence(memory_order_seq_cst);
	ready = ring_ready(r, want, len);
	if (ready)
		ring_disarm(r);
	return ready;
}

static inline void ring_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static inline int64_t ring_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * As ring_attach, but waits at most @ms milliseconds for who makes the channel; -EAGAIN then.
 * Nobody can be rung until there is one, so this looks every millisecond.
 */
static inline int ring_join(struct ring *r, void *mem, size_t size, const struct ring_bell *bell,
			    int ms)
{
	int64_t end = ring_now_ms() + ms;
	int rc;

	while ((rc = ring_attach(r, mem, size, bell)) == -EAGAIN && ring_now_ms() < end)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	return rc;
}

/* Waits at most @ms milliseconds, -1: for ever. As ring_ready, but -ETIMEDOUT instead of 0. */
static inline int ring_wait(struct ring *r, int want, size_t len, int ms)
{
	int64_t end = ms > 0 ? ring_now_ms() + ms + 1 : 0, left = ms;

	for (unsigned looks = 1;; looks++) {
		int ready = ring_ready(r, want, len);

		if (ready || !left)
			return ready ? ready : -ETIMEDOUT;
		if (r->bell.sleep && looks > r->bell.spin) {
			ready = ring_arm(r, want, len);
			if (ready)
				return ready;
			r->naps++;
			ready = r->bell.sleep(r->bell.arg, (int)left);
			ring_disarm(r);
			if (ready < 0)
				return ring_break(r, ready);
		} else if (looks % 128) {
			ring_pause();
			continue;
		} else {
			sched_yield();	/* the other end may be waiting for this processor */
		}
		if (ms > 0) {
			left = end - ring_now_ms();
			left = left > 0 ? left : 0;
		}
	}
}

/* ---- Messages ---- */

/* Sends the @len bytes at @buf. -EAGAIN: no room now; -EMSGSIZE: there will never be. */
static inline int ring_try_send(struct ring *r, const void *buf, size_t len)
{
	struct ring_way *tx = &r->tx;
	int ready = ring_ready(r, RING_OUT, len);
	uint32_t at = tx->at, first, need;

	if (ready <= 0)
		return ready ? ready : -EAGAIN;
	need = ring_padded((uint32_t)len);
	atomic_store_explicit((_Atomic uint64_t *)(void *)(tx->data + at), len,
			      memory_order_relaxed);
	at = at + RING_HEAD == r->capacity ? 0 : at + RING_HEAD;
	first = len < r->capacity - at ? (uint32_t)len : r->capacity - at;
	if (len)
		memcpy(tx->data + at, buf, first);
	if (len > first)
		memcpy(tx->data, (const unsigned char *)buf + first, len - first);
	tx->at = (uint32_t)(((uint64_t)tx->at + need) % r->capacity);
	tx->ours += need;
	atomic_store_explicit(&tx->wire->written, tx->ours, memory_order_release);
	return ring_wake(r, tx, &tx->wire->receiver_sleeps);
}

/* Takes a message into @buf. -EAGAIN: none now; -EPIPE: none any more; -EMSGSIZE: its *@ret_len is
 * more than @size, and it stays. */
static inline int ring_try_recv(struct ring *r, void *buf, size_t size, size_t *ret_len)
{
	struct ring_way *rx = &r->rx;
	int ready = ring_has_message(r);
	uint32_t at = rx->at, first, need;
	uint64_t len;

	if (ready <= 0)
		return ready ? ready : -EAGAIN;
	len = atomic_load_explicit((_Atomic uint64_t *)(void *)(rx->data + at),
				   memory_order_relaxed);
	/* the reserved half is 0: a version that uses it has another number */
	if (len > ring_max(r) || ring_padded((uint32_t)len) > rx->theirs - rx->ours)
		return ring_break(r, -EPROTO);
	*ret_len = (size_t)len;
	if (len > size)
		return -EMSGSIZE;
	need = ring_padded((uint32_t)len);
	at = at + RING_HEAD == r->capacity ? 0 : at + RING_HEAD;
	first = len < r->capacity - at ? (uint32_t)len : r->capacity - at;
	if (len)
		memcpy(buf, rx->data + at, first);
	if (len > first)
		memcpy((unsigned char *)buf + first, rx->data, (size_t)len - first);
	rx->at = (uint32_t)(((uint64_t)rx->at + need) % r->capacity);
	rx->ours += need;
	atomic_store_explicit(&rx->wire->read, rx->ours, memory_order_release);
	return ring_wake(r, rx, &rx->wire->sender_sleeps);
}

/* The same, but waits for room, or a message, as ring_wait does. */
static inline int ring_send(struct ring *r, const void *buf, size_t len, int ms)
{
	int rc = ring_wait(r, RING_OUT, len, ms);

	return rc < 0 ? rc : ring_try_send(r, buf, len);
}

static inline int ring_recv(struct ring *r, void *buf, size_t size, size_t *ret_len, int ms)
{
	int rc = ring_wait(r, RING_IN, 0, ms);

	return rc < 0 ? rc : ring_try_recv(r, buf, size, ret_len);
}

/* The maker's, at its end: nobody attaches any more. Who is there already can go on. */
static inline void ring_unmake(struct ring *r)
{
	atomic_store(&r->wire->magic, 0);
}

/* This end sends no more; the other learns it after the last message. */
static inline int ring_end(struct ring *r)
{
	atomic_store_explicit(&r->tx.wire->ended, 1, memory_order_release);
	return ring_wake(r, &r->tx, &r->tx.wire->receiver_sleeps);
}

#endif
