/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/inflight.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"

static_assert(sizeof(struct inflight_desc) == 16, "the specification's DescStateSplit");
static_assert(offsetof(struct inflight_part, desc) == 16, "the specification's QueueRegionSplit");

/* Bytes from one part to the next: no two queues in one cache line. */
static uint64_t part_bytes(uint16_t size)
{
	return align_up(sizeof(struct inflight_part) + size * sizeof(struct inflight_desc), 64);
}

/* What is stored here must be stored in this order: a kill stops between two stores. */
#define STORE(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
/* Others may write here, too: read once, and judge the copy. */
#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

static int map(struct inflight *f, const struct vu_inflight *d, int *fd, struct err *e)
{
	struct inflight n = { .fd = *fd, .len = d->mmap_size, .queues = d->num_queues,
			      .size = d->queue_size };
	void *base = mmap(NULL, n.len, PROT_READ | PROT_WRITE, MAP_SHARED, *fd,
			  (off_t)d->mmap_offset);

	if (base == MAP_FAILED)
		return err_sys(e, "the in-flight buffer of 0x%" PRIx64 " bytes at 0x%" PRIx64 ": mmap",
			       d->mmap_size, d->mmap_offset);
	n.base = base;
	inflight_fini(f);
	*f = n;
	*fd = -1;
	return 0;
}

int inflight_new(struct inflight *f, uint16_t queues, uint16_t size, struct vu_inflight *ret,
		 struct err *e)
{
	const struct vu_inflight d = { .mmap_size = queues * part_bytes(size),
				       .num_queues = queues, .queue_size = size };
	autoclose int fd = memfd_create("minivmm-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0 || ftruncate(fd, (off_t)d.mmap_size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_sys(e, "the in-flight buffer of 0x%" PRIx64 " bytes", d.mmap_size);
	r = map(f, &d, &fd, e);
	if (!r)
		*ret = d;
	return r;
}

int inflight_take(struct inflight *f, const struct vu_inflight *d, int *fd, struct err *e)
{
	struct stat st;

	if (!d->num_queues || !d->queue_size ||
	    d->mmap_size / part_bytes(d->queue_size) < d->num_queues)
		return err_set(e, -EINVAL, "an in-flight buffer of 0x%" PRIx64 " bytes cannot have %u queues of %u",
			       d->mmap_size, d->num_queues, d->queue_size);
	if (fstat(*fd, &st) < 0)
		return err_sys(e, "the in-flight buffer: fstat");
	if (!range_ok(d->mmap_offset, d->mmap_size, (uint64_t)st.st_size))
		return err_set(e, -EINVAL, "the in-flight buffer's 0x%" PRIx64 " bytes at 0x%" PRIx64
			       " do not fit its object of 0x%" PRIx64 " bytes",
			       d->mmap_size, d->mmap_offset, (uint64_t)st.st_size);
	return map(f, d, fd, e);
}

void inflight_fini(struct inflight *f)
{
	if (f->base)
		munmap(f->base, f->len);
	fd_close(&f->fd);
	*f = (struct inflight){ .fd = -1 };
}

/* A push was cut short behind the used index: empties the entries of what went back with it. */
static int finish_push(struct inflight_part *p, uint16_t size, uint16_t used, struct err *e)
{
	uint16_t batch = (uint16_t)(used - LOAD(p->used_idx)), head = LOAD(p->last_batch_head);

	if (batch > size)
		return err_set(e, -EINVAL, "the in-flight buffer is another ring's: its used index is %u behind",
			       batch);
	for (; batch; batch--) {
		if (head >= size)
			return err_set(e, -EINVAL, "the in-flight buffer names descriptor %u of %u", head, size);
		STORE(p->desc[head].inflight, 0);
		head = LOAD(p->desc[head].next);
	}
	STORE(p->used_idx, used);
	return 0;
}

struct left {
	uint64_t counter;
	uint16_t head;
};

static int by_counter(const void *a, const void *b)
{
	uint64_t x = ((const struct left *)a)->counter, y = ((const struct left *)b)->counter;

	return (x > y) - (x < y);
}

/* Finds what a predecessor had taken and not given back, in its order. */
static int find_left(struct inflight_queue *q, uint16_t size, struct err *e)
{
	const struct inflight_part *p = q->part;
	struct left *left = calloc(size, sizeof(*left));

	q->again = calloc(size, sizeof(*q->again));
	if (!left || !q->again) {
		free(left);
		return err_set(e, -ENOMEM, "no memory for %u chains in flight", size);
	}
	for (uint16_t i = 0; i < size; i++)
		if (LOAD(p->desc[i].inflight))
			left[q->n_again++] = (struct left){ LOAD(p->desc[i].counter), i };
	qsort(left, q->n_again, sizeof(*left), by_counter);
	for (unsigned i = 0; i < q->n_again; i++)
		q->again[i] = left[i].head;
	if (q->n_again)
		q->counter = left[q->n_again - 1].counter + 1;
	free(left);
	return 0;
}

/* A part that was never written: it begins with this ring as it is. */
static void begin(struct inflight_part *p, uint16_t desc_num, uint16_t used)
{
	p->features = 0;
	p->desc_num = desc_num;
	p->last_batch_head = 0;
	p->used_idx = used;
	STORE(p->version, INFLIGHT_VERSION);
}

static int resume(struct inflight_queue *q, const struct inflight *f, struct ring *r, struct err *e)
{
	const struct inflight_part *p = q->part;
	int ret;

	if (p->version != INFLIGHT_VERSION || p->features || p->desc_num != f->size)
		return err_set(e, -EINVAL, "the in-flight buffer has version %u, features 0x%" PRIx64
			       " and %u entries: not what is known here",
			       p->version, p->features, p->desc_num);
	ret = finish_push(q->part, f->size, r->used_idx, e);
	if (!ret)
		ret = find_left(q, f->size, e);
	/* Chains are popped in the guest's order: what was popped is what went back, and these. */
	if (!ret)
		r->last_avail = (uint16_t)(r->used_idx + q->n_again);
	return ret;
}

int inflight_attach(struct inflight_queue *q, const struct inflight *f, unsigned index,
		    struct ring *r, struct err *e)
{
	struct inflight_queue n = { .counter = 0 };
	int ret = 0;

	*q = n;
	if (!f->base)
		return 0;
	if (index >= f->queues || r->size > f->size)
		return err_set(e, -EINVAL, "the in-flight buffer is for %u queues of %u entries", f->queues, f->size);
	n.part = (void *)(f->base + index * part_bytes(f->size));
	if (!n.part->version)
		begin(n.part, f->size, r->used_idx);
	else
		ret = resume(&n, f, r, e);
	if (ret)
		inflight_detach(&n);
	*q = n;
	return ret;
}

void inflight_detach(struct inflight_queue *q)
{
	free(q->again);
	*q = (struct inflight_queue){ .counter = 0 };
}

bool inflight_has_again(const struct inflight_queue *q)
{
	return q->at < q->n_again;
}

bool inflight_pop(struct inflight_queue *q, struct ring *r, struct ring_chain *ret)
{
	struct inflight_desc *d;

	if (inflight_has_again(q)) {
		if (!ring_pop_head(r, q->again[q->at], ret))
			return false;
		q->at++;
		return true;
	}
	if (!ring_pop(r, ret))
		return false;
	q->fresh++;
	if (!q->part)
		return true;
	d = &q->part->desc[ret->head];
	STORE(d->counter, q->counter++);
	STORE(d->inflight, 1);
	return true;
}

void inflight_unpop(struct inflight_queue *q, struct ring *r, uint16_t head)
{
	/* A predecessor's come first, so that they are unpopped when nothing else is left. */
	if (!q->fresh) {
		assert(q->at);
		q->at--;
		ring_unpop_head(r);
		return;
	}
	q->fresh--;
	if (q->part)
		STORE(q->part->desc[head].inflight, 0);
	ring_unpop(r);
}

void inflight_push(struct inflight_queue *q, struct ring *r, uint16_t head, uint32_t written)
{
	struct inflight_part *p = q->part;

	if (!p) {
		ring_push(r, head, written);
		return;
	}
	STORE(p->desc[head].next, p->last_batch_head);
	STORE(p->last_batch_head, head);
	ring_push(r, head, written);
	STORE(p->desc[head].inflight, 0);
	STORE(p->used_idx, r->used_idx);
}
