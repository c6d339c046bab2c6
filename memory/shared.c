/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/shared.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/range.h"

static void tell_takers(const struct mem_shared *t)
{
	for (const struct mem_shared_taker *k = t->takers; k; k = k->next)
		k->changed(k->arg);
}

static void drop(struct mem_shared *t, struct mem_shared_region *r)
{
	struct mem_shared_region **p = &t->first;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	t->count--;
	free(r);
}

struct mem_shared_region *mem_shared_add(struct mem_shared *t, const struct mem_shared_giver *g,
					 const struct mem_shared_region *r)
{
	struct mem_shared_region *n, **end = &t->first;

	n = t->count < MEM_SHARED_MAX ? malloc(sizeof(*n)) : NULL;
	if (!n)
		return NULL;
	*n = (struct mem_shared_region){ .gpa = r->gpa, .size = r->size, .fd = r->fd,
					 .fd_offset = r->fd_offset, .offset = r->offset,
					 .giver = g };
	while (*end)
		end = &(*end)->next;
	*end = n;
	t->count++;
	tell_takers(t);
	return n;
}

void mem_shared_withdraw(struct mem_shared *t, struct mem_shared_region *r)
{
	r->withdrawn = true;
	r->withdrawn_at = clock_ns();
	r->fd = -1;
	if (r->holders)
		tell_takers(t);
	else
		drop(t, r);
}

bool mem_shared_is_held(const struct mem_shared *t, const struct mem_shared_giver *g,
			uint64_t offset, uint64_t len)
{
	for (const struct mem_shared_region *r = t->first; r; r = r->next)
		if (r->giver == g && r->withdrawn &&
		    range_overlaps(r->offset, r->size, offset, len))
			return true;
	return false;
}

void mem_shared_part(struct mem_shared *t, const struct mem_shared_giver *g)
{
	for (struct mem_shared_region *r = t->first; r; r = r->next)
		if (r->giver == g)
			r->giver = NULL;
}

void mem_shared_join(struct mem_shared *t, struct mem_shared_taker *k)
{
	k->next = t->takers;
	t->takers = k;
}

void mem_shared_leave(struct mem_shared *t, struct mem_shared_taker *k)
{
	for (struct mem_shared_taker **p = &t->takers; *p; p = &(*p)->next) {
		if (*p == k) {
			*p = k->next;
			return;
		}
	}
}

void mem_shared_hold(struct mem_shared_region *r)
{
	r->holders++;
}

void mem_shared_let_go(struct mem_shared *t, struct mem_shared_region *r)
{
	const struct mem_shared_giver *g = r->giver;

	if (--r->holders || !r->withdrawn)
		return;
	drop(t, r);
	if (g)
		g->released(g->arg);
}
