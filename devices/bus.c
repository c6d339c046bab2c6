/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>

#include "base/range.h"

static bool is_legal_size(unsigned size)
{
	return size <= 8 && is_pow2(size);
}

static uint64_t cut(uint64_t value, unsigned size)
{
	return size < 8 ? value & (BIT64(8 * size) - 1) : value;
}

static bool holds(const struct bus_range *r, uint64_t addr, unsigned size)
{
	return addr >= r->base && range_ok(addr - r->base, size, r->len);
}

/* The range that holds all of the access, or NULL; remembers it, registers are accessed in runs. */
static const struct bus_range *find(struct bus *b, uint64_t addr, unsigned size)
{
	if (is_legal_size(size)) {
		if (b->last && holds(b->last, addr, size))
			return b->last;
		for (struct bus_range *r = b->ranges; r && r->base <= addr; r = r->next) {
			if (!holds(r, addr, size))
				continue;
			b->last = r;
			return r;
		}
	}
	b->unclaimed++;
	return NULL;
}

const struct bus_range *bus_overlap(const struct bus *b, uint64_t base, uint64_t len)
{
	for (const struct bus_range *r = b->ranges; r; r = r->next) {
		if (range_overlaps(base, len, r->base, r->len))
			return r;
	}
	return NULL;
}

int bus_add(struct bus *b, struct bus_range *r, struct err *e)
{
	struct bus_range **p = &b->ranges;
	const struct bus_range *other;

	if (!r->len || r->len - 1 > UINT64_MAX - r->base)
		return err_set(e, -EINVAL, "%s: a range of %#" PRIx64 " bytes at %#" PRIx64
			       " does not fit into the address space", r->name, r->len, r->base);
	other = bus_overlap(b, r->base, r->len);
	if (other)
		return err_set(e, -EEXIST, "%s: its range of %#" PRIx64 " bytes at %#" PRIx64
			       " overlaps that of %s (%#" PRIx64 " bytes at %#" PRIx64
			       "); give one of them another address", r->name, r->len, r->base,
			       other->name, other->len, other->base);
	while (*p && (*p)->base < r->base)
		p = &(*p)->next;
	r->next = *p;
	*p = r;
	return 0;
}

void bus_del(struct bus *b, struct bus_range *r)
{
	if (b->last == r)
		b->last = NULL;
	for (struct bus_range **p = &b->ranges; *p; p = &(*p)->next) {
		if (*p == r) {
			*p = r->next;
			break;
		}
	}
	r->next = NULL;
}

uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size)
{
	const struct bus_range *r = find(b, addr, size);

	return cut(r ? r->ops->read(r->dev, addr - r->base, size) : UINT64_MAX, size);
}

void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t value)
{
	const struct bus_range *r = find(b, addr, size);

	if (r)
		r->ops->write(r->dev, addr - r->base, size, cut(value, size));
}
