/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/shmem.h"

#include <errno.h>
#include <inttypes.h>

#include "base/keyval.h"
#include "base/range.h"

static uint64_t alignment(uint64_t size)
{
	return size >= MIB(2) ? MIB(2) : VU_SHMEM_PAGE;
}

/* Where the next region of @size may begin, after what is there. */
static uint64_t next_offset(const struct shmem *s, uint64_t size)
{
	const struct shmem_region *last = s->count ? &s->regions[s->count - 1] : NULL;

	return last ? align_up(last->offset + last->size, alignment(size)) : 0;
}

static int lay_out(struct shmem *s, const char *name, const uint64_t sizes[VU_SHMEM_REGIONS],
		   uint64_t max, struct err *e)
{
	char have[24], most[24];

	for (unsigned id = 0; id < VU_SHMEM_REGIONS; id++) {
		uint64_t offset = next_offset(s, sizes[id]);

		if (!sizes[id])
			continue;
		if (sizes[id] % VU_SHMEM_PAGE)
			return err_set(e, -EINVAL, "device %s: shared memory region %u has %" PRIu64
				       " bytes, which are no whole pages", name, id, sizes[id]);
		if (!range_ok(offset, sizes[id], max))
			return err_set(e, -E2BIG, "device %s: with shared memory region %u of %s its"
				       " regions have more than %s; allow that with shmem-max=",
				       name, id, size_format(sizes[id], have),
				       size_format(max, most));
		s->regions[s->count++] = (struct shmem_region){ (uint8_t)id, offset, sizes[id] };
	}
	return 0;
}

int shmem_init(struct shmem *s, struct machine *m, const uint64_t sizes[VU_SHMEM_REGIONS],
	       uint64_t max, const struct guest_window_params *p, struct err *e)
{
	struct guest_window_params window = *p;
	uint64_t end;
	int r;

	s->window = (struct guest_window){ .machine = NULL };
	s->count = 0;
	r = lay_out(s, p->name, sizes, max, e);
	if (r || !s->count) {
		s->count = 0;
		return r;
	}
	end = next_offset(s, 0);
	for (window.size = VU_SHMEM_PAGE; window.size < end; window.size *= 2)
		;
	r = guest_window_init(&s->window, m, &window, e);
	if (r)
		s->count = 0;
	return r;
}

void shmem_fini(struct shmem *s)
{
	guest_window_fini(&s->window);
	s->count = 0;
}

const struct shmem_region *shmem_find(const struct shmem *s, uint32_t id)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->regions[i].id == id)
			return &s->regions[i];
	return NULL;
}

uint64_t shmem_size(const struct shmem *s)
{
	return s->count ? s->window.window.size : 0;
}

int shmem_place(const struct shmem *s, const struct vu_shmem_map *m, uint64_t *ret, struct err *e)
{
	const struct shmem_region *r = shmem_find(s, m->shmid);

	if (!r)
		return err_set(e, -ENXIO, "there is no shared memory region %u", m->shmid);
	if (!m->len || !range_ok(m->shm_offset, m->len, r->size))
		return err_set(e, -EINVAL, "0x%" PRIx64 "+0x%" PRIx64 " is empty or not within shared"
			       " memory region %u of 0x%" PRIx64 " bytes", m->shm_offset, m->len, m->shmid,
			       r->size);
	*ret = r->offset + m->shm_offset;
	return 0;
}

int shmem_map(struct shmem *s, const struct vu_shmem_map *m, int fd, struct err *e)
{
	uint64_t at;
	int r = shmem_place(s, m, &at, e);

	if (!r)
		r = window_map(&s->window.window, at, fd, m->fd_offset, m->len, m->rw, e);
	if (!r)
		guest_window_mapped(&s->window);
	return r;
}

int shmem_unmap(struct shmem *s, const struct vu_shmem_map *m, struct err *e)
{
	uint64_t at;
	int r = shmem_place(s, m, &at, e);

	return r ? r : window_unmap(&s->window.window, at, m->len, e);
}

void shmem_clear(struct shmem *s)
{
	struct err e;

	if (s->count && window_clear(&s->window.window, &e))
		log_error("device %s: %s: the guest ends when it goes where something was mapped",
			  s->window.params.name, e.msg);
}
