/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which chains a device holds, written down where they outlive it: a buffer that the front end
 * keeps and hands to the next daemon. vhost-user specification, "Inflight I/O tracking".
 *
 * Theory of operation. The buffer has one part a queue, and that one entry a descriptor. A chain is
 * noted before the device sees it with a number that only grows. When it goes back
 * to the guest, it is first named as the last one that went, then the used index
 * moves, which gives it back, then its entry is emptied. A process can be killed
 * between any two of these stores: whoever follows compares the used index of the part with the
 * guest's, knows by that how many entries a push left filled, and has in inflight_attach the heads
 * that are still to be served, in the order in which the guest gave them.
 *
 * Only split rings have a layout here: the library walks no other. What a buffer says is checked
 * before it is used, as it may come from any program. Everything in the thread that owns the ring.
 */
#ifndef VHOST_INFLIGHT_H
#define VHOST_INFLIGHT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vhost/proto.h"
#include "vhost/ring.h"

enum { INFLIGHT_VERSION = 1 };	/* of a part; 0: nothing was ever written there */

/* One part, in the host's byte order. */
struct inflight_part {
	uint64_t features;		/* none are defined: 0 */
	uint16_t version, desc_num;	/* desc_num: entries */
	uint16_t last_batch_head;	/* what went back last; its predecessors by `next` */
	uint16_t used_idx;		/* of the ring, when the last push was whole */
	struct inflight_desc {		/* of a chain's head */
		uint8_t inflight;	/* 1: the device has it */
		uint8_t padding[5];
		uint16_t next;
		uint64_t counter;	/* the order of popping */
	} desc[];
};

/* The buffer of one connection. `fd` -1: there is none. */
struct inflight {
	int fd;				/* owned */
	uint8_t *base;			/* of the mapping */
	uint64_t len;			/* bytes of it */
	uint16_t queues, size;		/* parts, and entries of each */
};

/* One queue's part while its ring runs. All zero: nothing is written down. */
struct inflight_queue {
	struct inflight_part *part;	/* borrowed from the buffer */
	uint64_t counter;		/* of the next chain */
	uint16_t *again;		/* heads a predecessor left, owned; the next is at `at` */
	unsigned n_again, at;
	uint64_t fresh;			/* chains popped that the guest added, not unpopped */
};

/*
 * Makes a buffer, sealed so that nobody can shrink it, for @queues queues of up to @size entries,
 * in the place of *@f; *@ret is what GET_INFLIGHT_FD answers, with f->fd. 0 or -errno with @e.
 */
int inflight_new(struct inflight *f, uint16_t queues, uint16_t size, struct vu_inflight *ret,
		 struct err *e);
/* Takes the buffer that @d describes in *@fd, in the place of *@f. 0, or -errno with @e and *@f as
 * it was. No ring may be attached to *@f. */
int inflight_take(struct inflight *f, const struct vu_inflight *d, int *fd, struct err *e);
/* Forgets the buffer. Works twice. */
void inflight_fini(struct inflight *f);

/*
 * Attaches the part of queue @index to ring @r, which has just been started: last_avail of a ring
 * that runs on is set to what follows the chains a predecessor took. 0; without a buffer nothing
 * happens. -errno with @e: the buffer has no such queue, or is not this ring's.
 */
int inflight_attach(struct inflight_queue *q, const struct inflight *f, unsigned index,
		    struct ring *r, struct err *e);
void inflight_detach(struct inflight_queue *q);

/* Whether a predecessor's chain is left to be served; it comes before what the guest added. */
bool inflight_has_again(const struct inflight_queue *q);
/* Takes the next chain of @r: a predecessor's, or the ring's next. As ring_pop. */
bool inflight_pop(struct inflight_queue *q, struct ring *r, struct ring_chain *ret);
/* Undoes the last pop, of @head: as ring_unpop. */
void inflight_unpop(struct inflight_queue *q, struct ring *r, uint16_t head);
/* Gives @head back: as ring_push. */
void inflight_push(struct inflight_queue *q, struct ring *r, uint16_t head, uint32_t written);

#endif
