/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/shmem_share.h"

#include <errno.h>
#include <stdlib.h>

/* Puts a mapping into the table, if it is anywhere. */
static void give(struct shmem_share *s, struct shared_mapping *g)
{
	const struct mem_window *w = &s->shmem->window.window;
	const struct window_mapping *m = window_find(w, g->offset);
	struct mem_shared_region r = { .offset = g->offset };

	g->region = NULL;
	if (w->gpa == GUEST_WINDOW_NOWHERE || !m || !m->live || window_fd(m) < 0)
		return;
	r.gpa = w->gpa + m->offset;
	r.size = m->live;
	r.fd = window_fd(m);
	r.fd_offset = m->fd_offset;
	g->region = mem_shared_add(s->table, &s->giver, &r);
	if (!g->region && misuse_first(&s->full))
		log_warn("device %s: more is mapped than can be shared: requests of other devices "
			 "that point there fail", s->giver.name);
}

static void withdraw(struct shmem_share *s, struct shared_mapping *g)
{
	if (g->region)
		mem_shared_withdraw(s->table, g->region);
	g->region = NULL;
}

static void window_moved(void *arg)
{
	struct shmem_share *s = arg;

	/* All before any: what is new may overlap what was. */
	for (unsigned i = 0; i < s->count; i++)
		withdraw(s, &s->mappings[i]);
	for (unsigned i = 0; i < s->count; i++)
		give(s, &s->mappings[i]);
}

static void withdraw_at(struct shmem_share *s, uint64_t offset)
{
	for (unsigned i = 0; i < s->count; i++) {
		if (s->mappings[i].offset != offset)
			continue;
		withdraw(s, &s->mappings[i]);
		s->mappings[i] = s->mappings[--s->count];
		return;
	}
}

/* Posted by whoever let go of something. */
static void released_run(void *arg)
{
	struct shmem_share *s = arg;

	s->settled(s->arg);
}

static void released(void *arg)
{
	struct shmem_share *s = arg;

	loop_post(s->machine->loop, &s->released);
}

int shmem_share_init(struct shmem_share *s, struct shmem *shmem, struct machine *m,
		     const char *name, bool on, void (*settled)(void *arg), void *arg,
		     struct err *e)
{
	*s = (struct shmem_share){ .shmem = shmem, .machine = m, .settled = settled, .arg = arg };
	s->giver = (struct mem_shared_giver){ .name = name, .released = released, .arg = s };
	s->released = (struct loop_job){ .run = released_run, .arg = s };
	if (!on)
		return 0;
	if (!shmem_size(shmem))
		return err_set(e, -EINVAL, "device %s: shmem-share: its daemon has no shared memory region,"
			       " so there is nothing to share; leave it out", name);
	s->mappings = calloc(MEM_SHARED_MAX, sizeof(*s->mappings));
	if (!s->mappings)
		return err_set(e, -ENOMEM, "device %s: out of memory", name);
	s->table = &m->shared;
	shmem->window.moved = window_moved;
	shmem->window.moved_arg = s;
	return 0;
}

void shmem_share_fini(struct shmem_share *s)
{
	if (!s->table)
		return;
	for (unsigned i = 0; i < s->count; i++)
		withdraw(s, &s->mappings[i]);
	s->count = 0;
	mem_shared_part(s->table, &s->giver);
	loop_cancel(s->machine->loop, &s->released);
	s->shmem->window.moved = NULL;
	free(s->mappings);
	s->mappings = NULL;
	s->table = NULL;
}

int shmem_share_map(struct shmem_share *s, const struct vu_shmem_map *m, int fd, struct err *e)
{
	if (s->clearing)
		return err_set(e, -EINPROGRESS, "the window is being emptied");
	return shmem_map(s->shmem, m, fd, e);
}

void shmem_share_mapped(struct shmem_share *s, const struct vu_shmem_map *m)
{
	const struct window_mapping *there;
	struct err e;
	uint64_t at;

	if (!s->table || !m->rw || shmem_place(s->shmem, m, &at, &e))
		return;
	/* Before its answer was out, a reset may have taken it away. */
	there = window_find(&s->shmem->window.window, at);
	if (!there)
		return;
	if (s->count == MEM_SHARED_MAX) {
		if (misuse_first(&s->full))
			log_warn("device %s: more is mapped than can be shared: requests of other "
				 "devices that point there fail", s->giver.name);
		return;
	}
	s->mappings[s->count] = (struct shared_mapping){ .offset = at };
	give(s, &s->mappings[s->count++]);
}

int shmem_share_unmap(struct shmem_share *s, const struct vu_shmem_map *m, struct err *e)
{
	const struct window_mapping *there;
	struct vu_shmem_map again = *m;
	uint64_t at;
	int r;

	if (s->clearing)
		return err_set(e, -EINPROGRESS, "the window is being emptied");
	r = shmem_place(s->shmem, m, &at, e);
	there = r ? NULL : window_find(&s->shmem->window.window, at);
	if (!s->table || !there || there->len != m->len)
		return r ? r : shmem_unmap(s->shmem, m, e);
	withdraw_at(s, at);
	if (mem_shared_is_held(s->table, &s->giver, at, m->len))
		return err_set(e, -EINPROGRESS, "others have not let go yet");
	again.rw = there->rw;
	r = shmem_unmap(s->shmem, m, e);
	if (r)
		shmem_share_mapped(s, &again);
	return r;
}

bool shmem_share_clear(struct shmem_share *s)
{
	s->clearing = false;
	if (s->table) {
		while (s->count)
			withdraw_at(s, s->mappings[0].offset);
		s->clearing = mem_shared_is_held(s->table, &s->giver, 0, shmem_size(s->shmem));
	}
	if (!s->clearing)
		shmem_clear(s->shmem);
	return !s->clearing;
}
