/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/remains.h"

#include <endian.h>
#include <errno.h>

#include "base/range.h"

/* The rings' words, VIRTIO 1.3, 2.7.6 and 2.7.8. */
enum { INDEX = 2, ENTRIES = 4, AVAIL_ENTRY = 2, USED_ENTRY = 8, CHUNK = 64 };

struct used_entry {
	uint32_t id, len;
};

static int read_index(const struct guest_mem *mem, uint64_t part, uint16_t *ret)
{
	uint16_t word;
	int r = guest_mem_pread(mem, part + INDEX, &word, sizeof(word));

	if (r == 0)
		*ret = le16toh(word);
	return r;
}

/* Of @count entries from index @at of a ring's on, how many lie behind each other and are read at a
 * time; *@ret_from is the first one's place. */
static unsigned piece(const struct vu_ring *ring, uint16_t at, unsigned count, unsigned *ret_from)
{
	unsigned from = at % ring->size;

	*ret_from = from;
	return (unsigned)min_u64(min_u64(count, CHUNK), ring->size - from);
}

static int read_avail(const struct guest_mem *mem, const struct vu_ring *ring, unsigned from,
		      unsigned n, uint16_t ret[CHUNK])
{
	uint64_t at = ring->avail + ENTRIES + UINT64_C(1) * AVAIL_ENTRY * from;

	return guest_mem_pread(mem, at, ret, AVAIL_ENTRY * n);
}

/* Whether entries [from, from + n) of both rings, at most CHUNK and without a wrap, are the same
 * requests. 1, 0 or -errno. */
static int compare(const struct guest_mem *mem, const struct vu_ring *ring, unsigned from,
		   unsigned n)
{
	struct used_entry used[CHUNK];
	uint16_t avail[CHUNK];
	uint64_t at = ring->used + ENTRIES + UINT64_C(1) * USED_ENTRY * from;
	int r = read_avail(mem, ring, from, n, avail);

	if (r == 0)
		r = guest_mem_pread(mem, at, used, USED_ENTRY * n);
	for (unsigned i = 0; i < n && r == 0; i++)
		if (le32toh(used[i].id) != le16toh(avail[i]))
			return 0;
	return r ? r : 1;
}

/*
 * A request that was overtaken leaves a gap: from its place on, the used ring names others than the
 * available ring does. Drivers make rings of zeros, so that entries never written are the same,
 * too. 1, 0 or -errno.
 */
static int was_in_order(const struct guest_mem *mem, const struct vu_ring *ring,
			const struct vu_remains *left)
{
	unsigned count = ring->size - left->in_flight;
	uint16_t at = (uint16_t)(left->used - count);
	int r = 1;

	while (count && r == 1) {
		unsigned from, n = piece(ring, at, count, &from);

		r = compare(mem, ring, from, n);
		at = (uint16_t)(at + n);
		count -= n;
	}
	return r;
}

/*
 * One that was overtaken long ago has its place no more: others took it, of which the last ones
 * only seem to be in flight. A driver gives no head away twice, so where one is named twice it was
 * given back meanwhile. 1, 0 or -errno.
 */
static int names_each_once(const struct guest_mem *mem, const struct vu_ring *ring,
			   const struct vu_remains *left)
{
	uint64_t seen[(UINT16_MAX + 1) / 64] = { 0 };
	unsigned count = left->in_flight;
	uint16_t at = left->used;

	while (count) {
		uint16_t avail[CHUNK];
		unsigned from, n = piece(ring, at, count, &from);
		int r = read_avail(mem, ring, from, n, avail);

		for (unsigned i = 0; i < n && r == 0; i++) {
			uint16_t head = le16toh(avail[i]);

			if (seen[head / 64] & BIT64(head % 64))
				return 0;
			seen[head / 64] |= BIT64(head % 64);
		}
		if (r)
			return r;
		at = (uint16_t)(at + n);
		count -= n;
	}
	return 1;
}

int vu_remains_read(const struct guest_mem *mem, const struct vu_ring *r, struct vu_remains *ret,
		    struct err *e)
{
	struct vu_remains left = { 0 };
	uint16_t avail = 0;
	int error = read_index(mem, r->used, &left.used);

	if (error == 0)
		error = read_index(mem, r->avail, &avail);
	if (error)
		return err_set(e, error, "the ring cannot be read");
	left.in_flight = (uint16_t)(avail - left.used);
	if (left.in_flight > r->size)
		return err_set(e, -EPROTO, "%u requests of %u entries are in flight", left.in_flight,
			       r->size);
	error = left.in_flight ? was_in_order(mem, r, &left) : 1;
	if (error > 0)
		error = names_each_once(mem, r, &left);
	if (error < 0)
		return err_set(e, error, "the ring cannot be read");
	left.in_order = error;
	*ret = left;
	return 0;
}
