/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory table ("Memory region description", SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG).
 *
 * User addresses are opaque: a daemon only compares ring addresses with them. So they are not this
 * process's addresses, which would tell a daemon where to aim, but guest addresses plus a constant
 * that keeps 0, "no ring" to some, out of use. With GPA_ADDRESSES they are the guest addresses.
 * f->told is what this connection's daemon was told; only the difference is sent, so a stop and a
 * start repeat nothing.
 *
 * Beside RAM a daemon gets what is in params.shared, if it has CONFIGURE_MEM_SLOTS and as far as
 * its slots go. That table changes at any time, so the difference is sent by the start, and by a
 * script of its own whenever no other runs: removals at once, additions only while rings run.
 * Removals always go first, so what is added never overlaps what the daemon still has. A region is
 * held from the moment it is sent until its removal is answered (without REPLY_ACK: until the
 * barrier at the script's end is), or the connection is lost: at the latest two deadlines after it
 * was withdrawn, since answers that are each just in time could hold up who waits for hours. RAM
 * that is refused ends the connection; anything else that is refused is an outcome, and is not
 * offered again.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/range.h"
#include "vhost/frontend_private.h"

#define USER_BIAS (UINT64_C(1) << 44)

enum { FREE, ASKED, KNOWN, LEAVING, REFUSED };	/* of struct vu_told */

static_assert((int)MEM_REGIONS_MAX <= (int)VU_MEM_TABLE_MAX, "RAM fits one SET_MEM_TABLE");

static uint64_t user_addr(const struct vu_frontend *f, uint64_t gpa)
{
	return vu_has(f, VU_PF_GPA_ADDRESSES) ? gpa : gpa + USER_BIAS;
}

static struct vu_mem_region wanted(const struct vu_frontend *f, unsigned i)
{
	const struct mem_region *r = &f->mem->regions[i];

	return (struct vu_mem_region){ .gpa = r->gpa, .size = r->size,
				       .user_addr = user_addr(f, r->gpa),
				       .mmap_offset = r->fd_offset };
}

static bool same(const struct vu_mem_region *a, const struct vu_mem_region *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->mmap_offset == b->mmap_offset;
}

static bool is_wanted(const struct vu_frontend *f, const struct vu_told *t)
{
	if (t->shared)
		return !t->shared->withdrawn;
	for (unsigned i = 0; i < f->mem->count; i++) {
		struct vu_mem_region w = wanted(f, i);

		if (same(&w, &t->at))
			return true;
	}
	return false;
}

/* Whether the daemon was told of this RAM, or of this shared region. */
static bool is_told(const struct vu_frontend *f, const struct vu_mem_region *ram,
		    const struct mem_shared_region *shared)
{
	for (unsigned i = 0; i < f->n_told; i++) {
		const struct vu_told *t = &f->told[i];

		if (t->state == ASKED || t->state == KNOWN || t->state == REFUSED)
			if (shared ? t->shared == shared : !t->shared && same(&t->at, ram))
				return true;
	}
	return false;
}

static void forget(struct vu_frontend *f, struct vu_told *t)
{
	struct mem_shared_region *shared = t->shared;

	*t = (struct vu_told){ .state = FREE };
	while (f->n_told && f->told[f->n_told - 1].state == FREE)
		f->n_told--;
	if (shared)
		mem_shared_let_go(f->params.shared, shared);
}

/* An entry for what is to be sent; there is always one for RAM. NULL when there is none. */
static struct vu_told *new_told(struct vu_frontend *f)
{
	for (unsigned i = 0; i < VU_TOLD_MAX; i++) {
		if (i < f->n_told && f->told[i].state != FREE)
			continue;
		f->n_told = i < f->n_told ? f->n_told : i + 1;
		return &f->told[i];
	}
	return NULL;
}

int vu_memory_user_addr(const struct vu_frontend *f, uint64_t gpa, uint64_t len, uint64_t *ret)
{
	for (unsigned i = 0; i < f->mem->count; i++) {
		const struct mem_region *r = &f->mem->regions[i];

		if (gpa >= r->gpa && range_ok(gpa - r->gpa, len, r->size)) {
			*ret = user_addr(f, gpa);
			return 0;
		}
	}
	return -EINVAL;
}

int vu_memory_fill_table(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	struct vu_mem_table *t = &m->payload.mem_table;
	bool changed = f->n_told != f->mem->count;

	(void)ring;
	(void)e;
	if (vu_has(f, VU_PF_CONFIGURE_MEM_SLOTS))
		return 0;
	for (unsigned i = 0; i < f->mem->count; i++) {
		t->regions[i] = wanted(f, i);
		changed = changed || !is_told(f, &t->regions[i], NULL);
		m->fds[i] = f->mem->regions[i].fd;
	}
	if (!changed)
		return 0;
	t->count = f->mem->count;
	m->nfds = f->mem->count;
	m->header.size = (uint32_t)(offsetof(struct vu_mem_table, regions) +
				    t->count * sizeof(t->regions[0]));
	for (unsigned i = 0; i < t->count; i++)
		f->told[i] = (struct vu_told){ .at = t->regions[i], .state = KNOWN };
	f->n_told = t->count;
	return 1;
}

/* What the daemon has and is to have no more; NULL for nothing. */
static struct vu_told *next_removal(struct vu_frontend *f)
{
	for (unsigned i = 0; i < f->n_told; i++)
		if (f->told[i].state == KNOWN && !is_wanted(f, &f->told[i]))
			return &f->told[i];
	return NULL;
}

/* A region is found again by its addresses and size; there is no fd and no offset with it. */
int vu_memory_fill_rem(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	struct vu_told *t = next_removal(f);

	(void)ring;
	(void)e;
	if (!t)
		return 0;
	m->header.size = sizeof(m->payload.mem_reg);
	m->payload.mem_reg.region = t->at;
	m->payload.mem_reg.region.mmap_offset = 0;
	t->state = LEAVING;
	f->about = (unsigned)(t - f->told);
	return 1;
}

int vu_memory_removed(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		      struct err *e)
{
	int r = vu_engine_check_ack(p, m, e);

	if (r == 0)
		forget(f, &f->told[p->at]);
	return r;
}

static void left_out(struct vu_frontend *f, const struct mem_shared_region *r, const char *why)
{
	if (misuse_first(&f->left_out))
		log_warn("%s (socket %s): the daemon %s, so it does not get what %s maps: requests "
			 "that point there fail", f->params.name, f->params.socket, why,
			 r->giver ? r->giver->name : "a device");
}

/* Whether something withdrawn has not been taken from the daemon yet, nor is being. */
static bool owes_removal(const struct vu_frontend *f)
{
	for (unsigned i = 0; i < f->n_told; i++)
		if ((f->told[i].state == KNOWN || f->told[i].state == ASKED) &&
		    !is_wanted(f, &f->told[i]))
			return true;
	return false;
}

static bool has_slot(const struct vu_frontend *f)
{
	uint64_t used = 0;

	for (unsigned i = 0; i < f->n_told; i++)
		used += f->told[i].state == ASKED || f->told[i].state == KNOWN;
	return used < f->slots_max;
}

/* A shared region that the daemon may be told of now; NULL for none. */
static struct mem_shared_region *next_shared(struct vu_frontend *f)
{
	struct mem_shared_region *r = f->params.shared ? f->params.shared->first : NULL;

	if ((f->state != VU_STARTING && f->state != VU_RUNNING) || owes_removal(f))
		return NULL;
	while (r && (r->withdrawn || is_told(f, NULL, r)))
		r = r->next;
	if (!r)
		return NULL;
	if (!vu_has(f, VU_PF_CONFIGURE_MEM_SLOTS))
		left_out(f, r, "cannot be given memory later (CONFIGURE_MEM_SLOTS)");
	else if (!has_slot(f))
		left_out(f, r, "has no memory slot left");
	else
		return r;
	return NULL;
}

static void fill_region(struct vu_frontend *f, struct vu_msg *m, const struct vu_told *t, int fd)
{
	m->header.size = sizeof(m->payload.mem_reg);
	m->payload.mem_reg.region = t->at;
	m->fds[0] = fd;
	m->nfds = 1;
	f->about = (unsigned)(t - f->told);
}

int vu_memory_fill_add(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	struct mem_shared_region *r;
	struct vu_told *t;

	(void)ring;
	(void)e;
	for (unsigned i = 0; i < f->mem->count; i++) {
		struct vu_mem_region w = wanted(f, i);

		if (is_told(f, &w, NULL))
			continue;
		t = new_told(f);
		*t = (struct vu_told){ .at = w, .state = ASKED };
		fill_region(f, m, t, f->mem->regions[i].fd);
		return 1;
	}
	r = next_shared(f);
	t = r ? new_told(f) : NULL;
	if (!t)
		return 0;
	*t = (struct vu_told){ .shared = r, .state = ASKED,
			       .at = { .gpa = r->gpa, .size = r->size, .mmap_offset = r->fd_offset,
				       .user_addr = user_addr(f, r->gpa) } };
	mem_shared_hold(r);
	fill_region(f, m, t, r->fd);
	return 1;
}

int vu_memory_added(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e)
{
	struct vu_told *t = &f->told[p->at];

	if (!t->shared || m->payload.u64 == 0) {
		t->state = KNOWN;
		return vu_engine_check_ack(p, m, e);
	}
	t->state = REFUSED;
	left_out(f, t->shared, "refused that memory");
	return 0;
}

/* What was refused is remembered while it could be offered again. */
static void forget_refused(struct vu_frontend *f)
{
	for (unsigned i = f->n_told; i-- > 0;)
		if (f->told[i].state == REFUSED && !is_wanted(f, &f->told[i]))
			forget(f, &f->told[i]);
}

void vu_memory_settle(struct vu_frontend *f)
{
	for (unsigned i = f->n_told; i-- > 0;) {
		if (f->told[i].state == ASKED)
			f->told[i].state = KNOWN;
		else if (f->told[i].state == LEAVING)
			forget(f, &f->told[i]);
	}
	/* The table may have changed while the script ran. */
	if (f->params.shared)
		loop_post(f->loop, &f->memory_changed);
}

static const struct vu_step memory_steps[] = {
	{ VU_REM_MEM_REG, .fill = vu_memory_fill_rem, .repeat = true, .answer = vu_memory_removed },
	{ VU_ADD_MEM_REG, .fill = vu_memory_fill_add, .repeat = true, .answer = vu_memory_added },
	{ 0 },
};

static void told_all(struct vu_frontend *f)
{
	(void)f;
}

/* When what was withdrawn first has to be let go of; 0: nothing. */
static uint64_t let_go_by(const struct vu_frontend *f)
{
	uint64_t first = 0;

	for (unsigned i = 0; i < f->n_told; i++) {
		const struct mem_shared_region *r = f->told[i].shared;

		if (r && r->withdrawn && (!first || r->withdrawn_at < first))
			first = r->withdrawn_at;
	}
	return first ? first + 2 * MS_TO_NS(f->params.deadline_ms) : 0;
}

static void watch_removals(struct vu_frontend *f)
{
	uint64_t by = let_go_by(f);

	if (!by)
		loop_timer_cancel(f->loop, &f->let_go);
	else if (f->let_go.at != by)
		loop_timer_set(f->loop, &f->let_go, by);
}

static void let_go_expired(void *arg)
{
	struct vu_frontend *f = arg;
	uint64_t by = let_go_by(f);

	if (by && by <= clock_ns())
		vu_frontend_lost(f, false, "the daemon still has memory %u ms after it was to let go of"
				 " it; see whether it hangs", 2 * f->params.deadline_ms);
	else
		watch_removals(f);
}

/* Posted when the table changed, and after each script. */
static void run_changed(void *arg)
{
	struct vu_frontend *f = arg;

	forget_refused(f);
	watch_removals(f);
	if (f->step || (f->state != VU_READY && f->state != VU_RUNNING))
		return;
	if ((vu_has(f, VU_PF_CONFIGURE_MEM_SLOTS) && next_removal(f)) || next_shared(f))
		vu_engine_script(f, memory_steps, 0, told_all);
}

static void table_changed(void *arg)
{
	struct vu_frontend *f = arg;

	loop_post(f->loop, &f->memory_changed);
}

void vu_memory_init(struct vu_frontend *f)
{
	f->memory_changed = (struct loop_job){ .run = run_changed, .arg = f };
	f->let_go = (struct loop_timer){ .expired = let_go_expired, .arg = f };
	f->taker = (struct mem_shared_taker){ .changed = table_changed, .arg = f };
	if (f->params.shared)
		mem_shared_join(f->params.shared, &f->taker);
}

void vu_memory_fini(struct vu_frontend *f)
{
	for (unsigned i = f->n_told; i-- > 0;)
		forget(f, &f->told[i]);
	f->n_told = 0;
	loop_cancel(f->loop, &f->memory_changed);
	loop_timer_cancel(f->loop, &f->let_go);
	if (f->params.shared)
		mem_shared_leave(f->params.shared, &f->taker);
}
