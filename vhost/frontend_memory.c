/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory table ("Memory region description", SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG).
 *
 * User addresses are opaque: a daemon only compares ring addresses with them. So they are not this
 * process's addresses, which would tell a daemon where to aim, but guest addresses plus a constant
 * that keeps 0, "no ring" to some, out of use. f->shadow is what this connection's daemon was told;
 * only the difference is sent, so a stop and a start repeat nothing.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/range.h"
#include "vhost/frontend_private.h"

#define USER_BIAS (UINT64_C(1) << 44)

static_assert((int)MEM_REGIONS_MAX <= (int)VU_MEM_TABLE_MAX, "RAM fits one SET_MEM_TABLE");

static struct vu_mem_region wanted(const struct vu_frontend *f, unsigned i)
{
	const struct mem_region *r = &f->mem->regions[i];

	return (struct vu_mem_region){ .gpa = r->gpa, .size = r->size,
				       .user_addr = r->gpa + USER_BIAS,
				       .mmap_offset = r->fd_offset };
}

static bool same(const struct vu_mem_region *a, const struct vu_mem_region *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->mmap_offset == b->mmap_offset;
}

static bool is_wanted(const struct vu_frontend *f, const struct vu_mem_region *r)
{
	for (unsigned i = 0; i < f->mem->count; i++) {
		struct vu_mem_region w = wanted(f, i);

		if (same(&w, r))
			return true;
	}
	return false;
}

static bool is_known(const struct vu_frontend *f, const struct vu_mem_region *r)
{
	for (unsigned i = 0; i < f->n_shadow; i++)
		if (same(&f->shadow[i], r))
			return true;
	return false;
}

int vu_memory_user_addr(const struct vu_frontend *f, uint64_t gpa, uint64_t len, uint64_t *ret)
{
	for (unsigned i = 0; i < f->mem->count; i++) {
		const struct mem_region *r = &f->mem->regions[i];

		if (gpa >= r->gpa && range_ok(gpa - r->gpa, len, r->size)) {
			*ret = gpa + USER_BIAS;
			return 0;
		}
	}
	return -EINVAL;
}

int vu_memory_fill_table(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	struct vu_mem_table *t = &m->payload.mem_table;
	bool changed = f->n_shadow != f->mem->count;

	(void)ring;
	(void)e;
	if (vu_has(f, VU_PF_CONFIGURE_MEM_SLOTS))
		return 0;
	for (unsigned i = 0; i < f->mem->count; i++) {
		t->regions[i] = wanted(f, i);
		changed = changed || !is_known(f, &t->regions[i]);
		m->fds[i] = f->mem->regions[i].fd;
	}
	if (!changed)
		return 0;
	t->count = f->mem->count;
	m->nfds = f->mem->count;
	m->header.size = (uint32_t)(offsetof(struct vu_mem_table, regions) +
				    t->count * sizeof(t->regions[0]));
	memcpy(f->shadow, t->regions, t->count * sizeof(t->regions[0]));
	f->n_shadow = t->count;
	return 1;
}

/* A region is found again by its addresses and size; there is no fd and no offset with it. */
int vu_memory_fill_rem(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	for (unsigned i = 0; i < f->n_shadow; i++) {
		if (is_wanted(f, &f->shadow[i]))
			continue;
		m->header.size = sizeof(m->payload.mem_reg);
		m->payload.mem_reg.region = f->shadow[i];
		m->payload.mem_reg.region.mmap_offset = 0;
		f->shadow[i] = f->shadow[--f->n_shadow];
		return 1;
	}
	return 0;
}

int vu_memory_fill_add(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	for (unsigned i = 0; i < f->mem->count; i++) {
		struct vu_mem_region w = wanted(f, i);

		if (is_known(f, &w))
			continue;
		m->header.size = sizeof(m->payload.mem_reg);
		m->payload.mem_reg.region = w;
		m->fds[0] = f->mem->regions[i].fd;
		m->nfds = 1;
		f->shadow[f->n_shadow++] = w;
		return 1;
	}
	return 0;
}
