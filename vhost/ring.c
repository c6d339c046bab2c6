/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/ring.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/range.h"

static_assert(sizeof(struct ring_desc) == 16, "VIRTIO 1.3, 2.7.5");
static_assert(sizeof(struct ring_used_elem) == 8, "VIRTIO 1.3, 2.7.8");

/* Guest memory changes under us: one load, one store, no tearing, no second look. */
static uint16_t load16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELEASE);
}

/* The barrier keeps the compiler from reading the guest's bytes again instead of the copy's. */
static struct ring_desc copy_desc(const void *from)
{
	struct ring_desc d;

	memcpy(&d, from, sizeof(d));
	__asm__ volatile("" ::: "memory");
	return (struct ring_desc){ le64toh(d.addr), le32toh(d.len), le16toh(d.flags),
				   le16toh(d.next) };
}

static const uint16_t *used_event(const struct ring *r)
{
	return &r->avail->ring[r->size];
}

static uint16_t *avail_event(struct ring *r)
{
	return (uint16_t *)(void *)&r->used->ring[r->size];
}

void ring_break(struct ring *r, const char *fmt, ...)
{
	va_list ap;

	if (r->broken)
		return;
	r->broken = true;
	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
}

int ring_place(struct ring *r, void *desc, void *avail, void *used, struct err *e)
{
	if ((uintptr_t)desc % 16 || (uintptr_t)avail % 2 || (uintptr_t)used % 4)
		return err_set(e, -EINVAL, "the ring's parts are not aligned to 16, 2 and 4 bytes");
	r->desc = desc;
	r->avail = avail;
	r->used = used;
	return 0;
}

int ring_start(struct ring *r, struct guest_map *map, uint64_t features, uint16_t size,
	       uint16_t base, void *desc, void *avail, void *used, struct err *e)
{
	struct ring n = { .map = map, .size = size, .last_avail = base };
	int ret;

	if (!is_pow2(size) || size > RING_SIZE_MAX)
		return err_set(e, -EINVAL, "%u entries are not a power of two up to %d", size, RING_SIZE_MAX);
	ret = ring_place(&n, desc, avail, used, e);
	if (ret)
		return ret;
	n.indirect = features & BIT64(RING_F_INDIRECT_DESC);
	n.event_idx = features & BIT64(RING_F_EVENT_IDX);
	n.used_idx = load16(&n.used->idx);
	n.called = n.used_idx;
	*r = n;
	return 0;
}

void ring_stop(struct ring *r)
{
	*r = (struct ring){ .last_avail = r->last_avail, .used_idx = r->used_idx };
}

/* How many chains wait; a count beyond the size can only be a lie. */
static unsigned waiting(struct ring *r)
{
	unsigned n;

	if (r->broken || !r->size)
		return 0;
	n = (uint16_t)(load16(&r->avail->idx) - r->last_avail);
	if (n > r->size) {
		ring_break(r, "the avail index runs %u ahead in a queue of %u", n, r->size);
		return 0;
	}
	return n;
}

bool ring_has_avail(struct ring *r)
{
	return waiting(r) > 0;
}

/* Adds one descriptor's buffer, in as many pieces as there are regions under it. */
static bool add_buffer(struct ring *r, struct ring_chain *c, const struct ring_desc *d)
{
	bool write = d->flags & RING_DESC_F_WRITE;
	uint64_t gpa = d->addr, left = d->len;

	if (!left) {
		ring_break(r, "a descriptor has length 0");
		return false;
	}
	if (!write && c->n_in) {
		ring_break(r, "a readable descriptor follows a writable one");
		return false;
	}
	c->last = NULL;
	while (left) {
		uint64_t got = 0;
		void *host = guest_map_gpa(r->map, gpa, left, &got);

		if (!host && r->pass_outside) {
			c->outside = true;
			return true;
		}
		if (!host) {
			ring_break(r, "a buffer at 0x%" PRIx64 "+0x%" PRIx32 " is outside guest memory",
				   d->addr, d->len);
			return false;
		}
		if (c->n_out + c->n_in == RING_SEGMENTS_MAX) {
			ring_break(r, "a chain has more than %d buffers", RING_SEGMENTS_MAX);
			return false;
		}
		c->iov[c->n_out + c->n_in] = (struct iovec){ host, (size_t)got };
		*(write ? &c->n_in : &c->n_out) += 1;
		*(write ? &c->in_len : &c->out_len) += got;
		gpa += got;
		left -= got;
		if (write && !left)
			c->last = (uint8_t *)host + got - 1;
	}
	return true;
}

/* Where descriptors are read from: the ring's table, or for the rest of a chain an indirect one. */
struct table {
	bool indirect;
	uint64_t gpa;		/* of an indirect table */
	unsigned count;		/* entries */
};

static bool read_desc(struct ring *r, const struct table *t, unsigned i, struct ring_desc *ret)
{
	const void *at = &r->desc[i];

	if (t->indirect)
		at = guest_map_gpa_all(r->map, t->gpa + 16 * (uint64_t)i, 16);
	if (!at) {
		ring_break(r, "an indirect table at 0x%" PRIx64 " is outside guest memory", t->gpa);
		return false;
	}
	*ret = copy_desc(at);
	return true;
}

/* VIRTIO 1.3, 2.7.5.3: one level, no NEXT beside INDIRECT, whole descriptors. */
static bool enter_indirect(struct ring *r, struct table *t, const struct ring_desc *d)
{
	if (!r->indirect)
		ring_break(r, "an indirect descriptor was not negotiated");
	else if (t->indirect)
		ring_break(r, "an indirect table holds an indirect descriptor");
	else if (d->flags & RING_DESC_F_NEXT)
		ring_break(r, "an indirect descriptor has a next one");
	else if (!d->len || d->len % 16 || d->len / 16 > RING_SIZE_MAX ||
		 d->addr > UINT64_MAX - d->len)
		ring_break(r, "an indirect table has %" PRIu32 " bytes", d->len);
	*t = (struct table){ true, d->addr, d->len / 16 };
	return !r->broken;
}

static bool walk(struct ring *r, struct ring_chain *c)
{
	struct table t = { false, 0, r->size };
	unsigned i = c->head, steps = 0;
	struct ring_desc d;

	for (;;) {
		if (i >= t.count) {
			ring_break(r, "descriptor %u is beyond the table's %u", i, t.count);
			return false;
		}
		if (steps++ == t.count) {
			ring_break(r, "a chain is longer than its table of %u: a loop", t.count);
			return false;
		}
		if (!read_desc(r, &t, i, &d))
			return false;
		if (d.flags & RING_DESC_F_INDIRECT) {
			if (!enter_indirect(r, &t, &d))
				return false;
			i = 0;
			steps = 0;
			continue;
		}
		if (!add_buffer(r, c, &d))
			return false;
		if (!(d.flags & RING_DESC_F_NEXT))
			return true;
		i = d.next;
	}
}

bool ring_pop_head(struct ring *r, uint16_t head, struct ring_chain *ret)
{
	if (r->broken || !r->size)
		return false;
	/* More in flight than entries: the driver gave a head away twice. */
	if (r->in_flight == r->size) {
		ring_break(r, "more chains are available than the queue of %u holds", r->size);
		return false;
	}
	ret->head = head;
	ret->n_out = ret->n_in = 0;
	ret->out_len = ret->in_len = 0;
	ret->outside = false;
	ret->last = NULL;
	if (!walk(r, ret))
		return false;
	r->in_flight++;
	return true;
}

bool ring_pop(struct ring *r, struct ring_chain *ret)
{
	if (!waiting(r) ||
	    !ring_pop_head(r, load16(&r->avail->ring[r->last_avail & (r->size - 1)]), ret))
		return false;
	r->last_avail++;
	return true;
}

void ring_unpop_head(struct ring *r)
{
	assert(r->in_flight > 0);
	r->in_flight--;
}

void ring_unpop(struct ring *r)
{
	ring_unpop_head(r);
	r->last_avail--;
}

void ring_push(struct ring *r, uint16_t head, uint32_t written)
{
	struct ring_used_elem *u;

	assert(r->in_flight > 0);
	r->in_flight--;
	u = &r->used->ring[r->used_idx & (r->size - 1)];
	__atomic_store_n(&u->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&u->len, htole32(written), __ATOMIC_RELAXED);
	store16(&r->used->idx, ++r->used_idx);
}

bool ring_call_due(struct ring *r)
{
	uint16_t old = r->called, now = r->used_idx;
	bool valid = r->called_valid;

	if (old == now || !r->size)
		return false;
	r->called = now;
	r->called_valid = true;
	/* The used index must be seen before we look what the driver wants (2.7.7.2). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!r->event_idx)
		return !(load16(&r->avail->flags) & RING_AVAIL_F_NO_INTERRUPT);
	return !valid || (uint16_t)(now - load16(used_event(r)) - 1) < (uint16_t)(now - old);
}

void ring_kicks_off(struct ring *r)
{
	/* With event indices an avail_event that lags behind is the same hint. */
	if (r->size && !r->event_idx)
		store16(&r->used->flags, RING_USED_F_NO_NOTIFY);
}

bool ring_kicks_on(struct ring *r)
{
	if (!r->size)
		return false;
	if (r->event_idx)
		store16(avail_event(r), r->last_avail);
	else
		store16(&r->used->flags, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ring_has_avail(r);
}

unsigned ring_slice(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len,
		    struct iovec *ret)
{
	unsigned made = 0;

	for (unsigned i = 0; i < n && len; i++) {
		size_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = (size_t)min_u64(iov[i].iov_len - off, len);
		ret[made++] = (struct iovec){ (uint8_t *)iov[i].iov_base + off, part };
		off = 0;
		len -= part;
	}
	return made;
}

/* Copies between @buf and @len bytes at @off of @iov. */
static size_t copy(const struct iovec *iov, unsigned n, uint64_t off, uint8_t *buf, size_t len,
		   bool to_iov)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		uint8_t *at = iov[i].iov_base;
		size_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = (size_t)min_u64(iov[i].iov_len - off, len - done);
		memcpy(to_iov ? at + off : buf + done, to_iov ? buf + done : at + off, part);
		off = 0;
		done += part;
	}
	__asm__ volatile("" ::: "memory");
	return done;
}

size_t ring_pieces_read(const struct iovec *iov, unsigned n, uint64_t off, void *buf, size_t len)
{
	return copy(iov, n, off, buf, len, false);
}

size_t ring_pieces_write(const struct iovec *iov, unsigned n, uint64_t off, const void *buf,
			 size_t len)
{
	return copy(iov, n, off, (uint8_t *)(uintptr_t)buf, len, true);
}

size_t ring_chain_read(const struct ring_chain *c, uint64_t off, void *buf, size_t len)
{
	return ring_pieces_read(c->iov, c->n_out, off, buf, len);
}

size_t ring_chain_write(const struct ring_chain *c, uint64_t off, const void *buf, size_t len)
{
	return ring_pieces_write(c->iov + c->n_out, c->n_in, off, buf, len);
}
