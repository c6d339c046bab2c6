/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "vhost/backend_internal.h"

/* Says once that the guest broke the queue, and tells the front end by its eventfd. */
static void report_broken(struct backend_queue *q)
{
	if (misuse_first(&q->broken))
		log_warn("%s: queue %u stands still: %s", q->backend->dev.name, q->index, q->ring.why);
	if (q->err >= 0)
		fd_signal(q->err);
	backend_queue_update(q);
}

static void call_if_due(struct backend_queue *q)
{
	if (ring_call_due(&q->ring) && q->call >= 0)
		fd_signal(q->call);
}

static bool is_running(const struct backend_queue *q)
{
	return q->started && q->enabled && !q->ring.broken && !q->backend->holding;
}

static void run(void *arg)
{
	struct backend_queue *q = arg;
	const struct backend_device *dev = &q->backend->dev;
	bool done;

	if (!is_running(q))
		return;
	q->budget = BACKEND_BATCH;
	q->in_handler = true;
	ring_kicks_off(&q->ring);
	done = dev->ops->handle_queue(dev->arg, q);
	q->in_handler = false;
	call_if_due(q);
	if (q->ring.broken)
		return report_broken(q);
	/* A device that waits wakes the queue itself; kicks would say nothing new. */
	if (!done)
		return;
	if (!q->budget || ring_kicks_on(&q->ring))
		loop_timer_set(q->backend->loop, &q->again, clock_ns());
	else if (q->ring.broken)
		report_broken(q);
	else if (q->kick < 0)
		loop_timer_set(q->backend->loop, &q->again, clock_ns() + MS_TO_NS(BACKEND_POLL_MS));
}

static void kicked(void *arg, uint32_t events)
{
	struct backend_queue *q = arg;

	/* Not an eventfd any more, a pipe's dead end say: it would be ready for ever. */
	if (events & (EPOLLHUP | EPOLLERR)) {
		loop_unwatch(q->backend->loop, &q->watch);
		fd_close(&q->kick);
	} else {
		fd_drain(q->kick);
	}
	run(q);
}

void backend_queue_reset(struct backend_queue *q)
{
	struct backend *b = q->backend;
	unsigned index = q->index;

	*q = (struct backend_queue){
		.backend = b, .index = index, .kick = -1, .call = -1, .err = -1
	};
	q->watch = (struct loop_watch){ .fd = -1, .events = EPOLLIN, .ready = kicked, .arg = q };
	q->again = (struct loop_timer){ .expired = run, .arg = q };
}

/* Host addresses of the ring's parts, which the front end names by user or guest address. */
static int find_parts(struct backend_queue *q, void *ret_parts[3], struct err *e)
{
	struct backend *b = q->backend;
	bool event_idx = b->acked & BIT64(RING_F_EVENT_IDX);
	void *(*find)(struct guest_map *m, uint64_t addr, uint64_t len) =
		b->protocol & BIT64(VU_PF_GPA_ADDRESSES) ? guest_map_gpa_all : guest_map_user_all;
	const uint64_t at[3] = { q->addr.desc, q->addr.avail, q->addr.used };
	const uint64_t bytes[3] = { ring_desc_bytes(q->size), ring_avail_bytes(q->size, event_idx),
				    ring_used_bytes(q->size, event_idx) };
	static const char *const names[3] = { "descriptor table", "available ring", "used ring" };

	for (unsigned i = 0; i < 3; i++) {
		ret_parts[i] = find(&b->map, at[i], bytes[i]);
		if (!ret_parts[i])
			return err_set(e, -EINVAL, "the %s at 0x%" PRIx64 " of queue %u is not in the memory table",
				       names[i], at[i], q->index);
	}
	return 0;
}

int backend_queue_start(struct backend_queue *q, struct err *e)
{
	struct backend *b = q->backend;
	void *parts[3];
	int r;

	if (!q->size || !q->has_addr)
		return err_set(e, -EINVAL, "queue %u starts before SET_VRING_NUM and SET_VRING_ADDR", q->index);
	r = find_parts(q, parts, e);
	if (r)
		return r;
	r = ring_start(&q->ring, &b->map, b->acked, q->size, q->base, parts[0], parts[1],
		       parts[2], e);
	if (r)
		return err_prefix(e, r, "queue %u: ", q->index);
	r = inflight_attach(&q->inflight, &b->inflight, q->index, &q->ring, e);
	if (r) {
		ring_stop(&q->ring);
		return err_prefix(e, r, "queue %u: ", q->index);
	}
	q->ring.pass_outside = b->dev.refuses_outside;
	q->started = true;
	backend_queue_call_resumed(q);
	backend_queue_update(q);
	return 0;
}

static void drop_in_flight(struct backend_queue *q)
{
	const struct backend_device *dev = &q->backend->dev;

	if (!q->ring.in_flight)
		return;
	assert(dev->ops->drop);
	dev->ops->drop(dev->arg, q);
}

void backend_queue_stop(struct backend_queue *q)
{
	if (q->started) {
		drop_in_flight(q);
		ring_stop(&q->ring);
		inflight_detach(&q->inflight);
		q->base = q->ring.last_avail;
	}
	q->started = false;
	backend_queue_update(q);
	fd_close(&q->kick);
}

void backend_queue_place(struct backend_queue *q)
{
	struct err e;
	void *parts[3];

	if (!q->started || !q->ring.size)
		return;
	if (!find_parts(q, parts, &e) && !ring_place(&q->ring, parts[0], parts[1], parts[2], &e))
		return;
	/* Its memory is gone: nothing of it may be touched again. */
	drop_in_flight(q);
	ring_stop(&q->ring);
	ring_break(&q->ring, "%s", e.msg);
	report_broken(q);
}

void backend_queue_update(struct backend_queue *q)
{
	struct loop *l = q->backend->loop;
	struct err e;

	if (!is_running(q)) {
		if (q->watch.fd >= 0)
			loop_unwatch(l, &q->watch);
		loop_timer_cancel(l, &q->again);
		return;
	}
	if (q->watch.fd < 0 && q->kick >= 0) {
		q->watch.fd = q->kick;
		if (loop_watch(l, &q->watch, &e)) {
			/* SET_VRING_KICK found it watchable: memory is short. Polling works. */
			log_warn("%s: queue %u is polled: %s", q->backend->dev.name, q->index, e.msg);
			q->watch.fd = -1;
			fd_close(&q->kick);
		}
	}
	/* What was made available before we watched may never be kicked again. */
	loop_timer_set(l, &q->again, clock_ns());
}

void backend_queue_call_resumed(struct backend_queue *q)
{
	if (q->started && q->ring.used_idx && q->call >= 0)
		fd_signal(q->call);
}

bool backend_queue_is_recorded(const struct backend_queue *q)
{
	return q->inflight.part;
}

bool backend_queue_has_chain(struct backend_queue *q)
{
	return q->budget && is_running(q) &&
	       (inflight_has_again(&q->inflight) || ring_has_avail(&q->ring));
}

bool backend_queue_pop(struct backend_queue *q, struct ring_chain *ret)
{
	if (!q->budget || !is_running(q) ||
	    !inflight_pop(&q->inflight, &q->ring, ret))
		return false;
	q->budget--;
	return true;
}

void backend_queue_unpop(struct backend_queue *q, uint16_t head)
{
	inflight_unpop(&q->inflight, &q->ring, head);
	q->budget++;
}

void backend_queue_push(struct backend_queue *q, uint16_t head, uint32_t written)
{
	inflight_push(&q->inflight, &q->ring, head, written);
	if (!q->in_handler) {
		call_if_due(q);
		backend_unhold(q->backend);
	}
}

void backend_queue_wake(struct backend_queue *q)
{
	if (is_running(q))
		loop_timer_set(q->backend->loop, &q->again, clock_ns());
}

void backend_queue_break(struct backend_queue *q, const char *why)
{
	ring_break(&q->ring, "%s", why);
	if (!q->in_handler)
		report_broken(q);
}
