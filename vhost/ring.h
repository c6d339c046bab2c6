/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue, seen from the device: the only ring walker of this project (VIRTIO 1.3, 2.7).
 *
 * Theory of operation. The guest writes the ring while we read it, so each word is read once and
 * the copy is judged, never the ring. What a driver must not do (an index out of range, a loop, a
 * buffer outside RAM, a readable buffer behind a writable one, ...) breaks the ring: nothing more
 * is popped, `why` is the sentence, and only a new ring_start mends it. The process goes on.
 * Indices that are ours (last_avail, used) are never read back from the guest.
 *
 * Pointers into the ring are borrowed from the guest map; whoever changes the map calls ring_place
 * again first. Everything in the thread that owns the ring.
 */
#ifndef VHOST_RING_H
#define VHOST_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "vhost/guest_map.h"

enum {
	RING_SIZE_MAX = 32768,		/* VIRTIO 1.3, 2.7: entries of a split virtqueue */
	RING_SEGMENTS_MAX = 1024,	/* pieces of host memory in one chain; preadv's limit */

	RING_F_INDIRECT_DESC = 28,	/* virtio feature bits the walker implements */
	RING_F_EVENT_IDX = 29,

	RING_DESC_F_NEXT = 1,
	RING_DESC_F_WRITE = 2,
	RING_DESC_F_INDIRECT = 4,
	RING_AVAIL_F_NO_INTERRUPT = 1,
	RING_USED_F_NO_NOTIFY = 1,
};

/* What lies in guest memory, little-endian. */
struct ring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct ring_avail {
	uint16_t flags, idx, ring[];	/* behind the ring: used_event */
};

struct ring_used {
	uint16_t flags, idx;
	struct ring_used_elem {
		uint32_t id, len;
	} ring[];			/* behind the ring: avail_event, 16 bits */
};

struct ring {
	struct guest_map *map;		/* borrowed */
	const struct ring_desc *desc;	/* host addresses, in guest memory */
	const struct ring_avail *avail;
	struct ring_used *used;
	uint16_t size;			/* entries, a power of two; 0 while not started */
	bool indirect, event_idx;	/* negotiated */
	/* Buffers outside guest memory are the device's to refuse, see ring_chain; else they break
	 * the ring. May be set when it is started. */
	bool pass_outside;
	uint16_t last_avail;		/* next avail index to pop */
	uint16_t used_idx;		/* next used index to fill */
	uint16_t called;		/* used index when a call was last decided */
	bool called_valid;
	unsigned in_flight;		/* popped, not pushed yet */
	bool broken;
	char why[160];			/* of broken: one sentence without the queue's name */
};

/* One chain of buffers, already checked: n_out readable pieces, then n_in writable ones. */
struct ring_chain {
	uint16_t head;
	unsigned n_out, n_in;
	uint64_t out_len, in_len;	/* bytes */
	/* With pass_outside: a buffer is outside guest memory and not among the pieces; of the rest
	 * only `last` is of use, the last byte of the last buffer when that one is writable and
	 * there, else NULL: where many devices put a status. */
	bool outside;
	uint8_t *last;
	struct iovec iov[RING_SEGMENTS_MAX];
};

/* Bytes of the three parts for a queue of @size entries (VIRTIO 1.3, 2.7). */
static inline uint64_t ring_desc_bytes(uint16_t size)
{
	return 16 * (uint64_t)size;
}

static inline uint64_t ring_avail_bytes(uint16_t size, bool event_idx)
{
	return 4 + 2 * (uint64_t)size + (event_idx ? 2 : 0);
}

static inline uint64_t ring_used_bytes(uint16_t size, bool event_idx)
{
	return 4 + 8 * (uint64_t)size + (event_idx ? 2 : 0);
}

/*
 * Starts a ring of @size entries at avail index @base over host memory of the sizes above.
 * @features are the negotiated virtio features. 0, or -EINVAL with @e: size no power of two, parts
 * misaligned.
 */
int ring_start(struct ring *r, struct guest_map *map, uint64_t features, uint16_t size,
	       uint16_t base, void *desc, void *avail, void *used, struct err *e);
/* Moves a started ring to where its parts are mapped now. 0 or -EINVAL as ring_start. */
int ring_place(struct ring *r, void *desc, void *avail, void *used, struct err *e);
/* Breaks the ring with a sentence; the first one stays. */
void ring_break(struct ring *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Forgets the guest's memory; last_avail stays readable. */
void ring_stop(struct ring *r);

/* Whether a chain waits; false on a broken or stopped ring. */
bool ring_has_avail(struct ring *r);
/* Takes the next chain. False: none, or the ring is (now) broken, or not started. */
bool ring_pop(struct ring *r, struct ring_chain *ret);
/* Takes the chain that begins at descriptor @head, which was taken by a predecessor and is not in
 * the available ring any more. False: the ring is (now) broken, or not started. */
bool ring_pop_head(struct ring *r, uint16_t head, struct ring_chain *ret);
/* Undoes the last ring_pop whose chain was not pushed: it is available as if never taken. Nothing
 * that was popped after it may have been pushed. */
void ring_unpop(struct ring *r);
/* The same of the last ring_pop_head: the chain is nobody's again. */
void ring_unpop_head(struct ring *r);
/* Gives a chain back, @written bytes of its writable part filled; any order is legal. */
void ring_push(struct ring *r, uint16_t head, uint32_t written);

/* Whether the driver wants an interrupt for what was pushed since this was last asked. */
bool ring_call_due(struct ring *r);
/* Asks the driver not to kick; a hint. */
void ring_kicks_off(struct ring *r);
/* Asks for kicks again; true when a chain arrived meanwhile and no kick may follow. */
bool ring_kicks_on(struct ring *r);

/* Copies up to @len bytes at @off of the readable (writable) part; returns how many there were. */
size_t ring_chain_read(const struct ring_chain *c, uint64_t off, void *buf, size_t len);
size_t ring_chain_write(const struct ring_chain *c, uint64_t off, const void *buf, size_t len);
/* The same with any pieces of memory. */
size_t ring_pieces_read(const struct iovec *iov, unsigned n, uint64_t off, void *buf, size_t len);
size_t ring_pieces_write(const struct iovec *iov, unsigned n, uint64_t off, const void *buf,
			 size_t len);
/* Fills @ret, which has room for @n and may be @iov, with the @len bytes at @off of @iov[0..n), or
 * what there is of them; returns pieces. */
unsigned ring_slice(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len,
		    struct iovec *ret);

#endif
