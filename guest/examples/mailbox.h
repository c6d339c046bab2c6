/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mailbox in a shared memory object of 1 MiB: one packet each way at a time. Its layout is that
 * of gVirtuS's communicator for VMShm, so that a program that has such an end finds the other here;
 * new programs are better off with ring.h, which has room for more than one packet, copies less and
 * can sleep.
 *
 *	0	InEmpty, InFull, OutEmpty, OutFull: a lock and a count, 4 bytes each
 *	32	bytes of the packet in In; of the one in Out
 *	48	In: packets from the client (the guest) to the server (the host)
 *	524312	Out: packets from the server to the client
 *
 * Who puts a packet waits for Empty and posts Full; who takes it, the other way round. All waiting
 * is by looking, with pauses, a yield now and then, and an end to it: the other side is not
 * trusted, it may stop with a lock held. Its numbers are loaded once and checked.
 *
 * The lock is what glibc's pthread_spinlock_t is on x86: 1 is free.
 */
#ifndef GUEST_EXAMPLES_MAILBOX_H
#define GUEST_EXAMPLES_MAILBOX_H

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define MAILBOX_SIZE	0x100000u
#define MAILBOX_PACKET	524264u		/* the longest packet */

struct mailbox_sem {
	_Atomic int lock;
	_Atomic int count;
};

enum mailbox_way { MAILBOX_IN, MAILBOX_OUT };

struct mailbox {
	struct { struct mailbox_sem empty, full; } way[2];	/* by enum mailbox_way */
	_Atomic uint64_t size[2];
	unsigned char packet[2][MAILBOX_PACKET];
};

_Static_assert(offsetof(struct mailbox, way[0].full) == 8, "InFull");
_Static_assert(offsetof(struct mailbox, way[1].empty) == 16, "OutEmpty");
_Static_assert(offsetof(struct mailbox, way[1].full) == 24, "OutFull");
_Static_assert(offsetof(struct mailbox, size) == 32, "InSize");
_Static_assert(offsetof(struct mailbox, size[1]) == 40, "OutSize");
_Static_assert(offsetof(struct mailbox, packet) == 48, "In");
_Static_assert(offsetof(struct mailbox, packet[1]) == 524312, "Out");
_Static_assert(sizeof(struct mailbox) == MAILBOX_SIZE, "all of the window of VMShm 0.1");

/* The server's, before the client comes: both slots empty, the locks free. */
static inline void mailbox_init(struct mailbox *m)
{
	for (int i = 0; i < 2; i++) {
		m->way[i].empty = (struct mailbox_sem){ 1, 1 };
		m->way[i].full = (struct mailbox_sem){ 1, 0 };
		m->size[i] = 0;
	}
}

/* A wait that ends. */
struct mailbox_patience {
	int64_t end_ms;		/* of the monotonic clock; -1: none */
	unsigned looks;
};

static inline int64_t mailbox_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Between two looks; false when it takes too long. */
static inline bool mailbox_wait(struct mailbox_patience *p)
{
	if (++p->looks % 64) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
		return true;
	}
	/* who holds the lock may need this processor */
	sched_yield();
	return p->end_ms < 0 || mailbox_now_ms() < p->end_ms;
}

/* Adds @n, 1 or -1, to the count, as soon as that does not make it less than 0. */
static inline int mailbox_add(struct mailbox_sem *s, int n, struct mailbox_patience *p)
{
	for (;;) {
		if (atomic_exchange_explicit(&s->lock, 0, memory_order_acquire) == 1) {
			int count = atomic_load_explicit(&s->count, memory_order_relaxed);
			bool can = n > 0 || count > 0;

			if (can && (n < 0 || count < INT_MAX))
				atomic_store_explicit(&s->count, count + n, memory_order_relaxed);
			atomic_store_explicit(&s->lock, 1, memory_order_release);
			if (can)
				return 0;
		}
		if (!mailbox_wait(p))
			return -ETIMEDOUT;
	}
}

/* Puts a packet of @len bytes when the slot is empty; waits @ms milliseconds for that, -1: for
 * ever. 0, -EMSGSIZE, -ETIMEDOUT. */
static inline int mailbox_put(struct mailbox *m, enum mailbox_way way, const void *buf, size_t len,
			      int ms)
{
	struct mailbox_patience p = { .end_ms = ms < 0 ? -1 : mailbox_now_ms() + ms };
	int rc;

	if (len > MAILBOX_PACKET)
		return -EMSGSIZE;
	rc = mailbox_add(&m->way[way].empty, -1, &p);
	if (rc)
		return rc;
	if (len)
		memcpy(m->packet[way], buf, len);
	m->size[way] = len;
	return mailbox_add(&m->way[way].full, 1, &p);
}

/* Takes the packet when there is one. 0; -ETIMEDOUT; -EMSGSIZE: it is longer than the @size bytes
 * at @buf, and stays; -EPROTO: longer than can be, it is dropped. */
static inline int mailbox_take(struct mailbox *m, enum mailbox_way way, void *buf, size_t size,
			       size_t *ret_len, int ms)
{
	struct mailbox_patience p = { .end_ms = ms < 0 ? -1 : mailbox_now_ms() + ms };
	uint64_t len;
	int rc = mailbox_add(&m->way[way].full, -1, &p), answer = 0;

	if (rc)
		return rc;
	len = m->size[way];
	if (len > MAILBOX_PACKET)
		answer = -EPROTO;
	else if (len > size)
		answer = -EMSGSIZE;
	else if (len)
		memcpy(buf, m->packet[way], (size_t)len);
	if (answer != -EPROTO)
		*ret_len = (size_t)len;
	rc = mailbox_add(answer == -EMSGSIZE ? &m->way[way].full : &m->way[way].empty, 1, &p);
	return answer ? answer : rc;
}

#endif
