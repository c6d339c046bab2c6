/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "vhost/frontend_private.h"

/* Messages read before the loop serves somebody else. */
enum { BATCH = 64 };
static_assert((int)VU_WINDOW + 4 <= (int)VU_PENDING_MAX,
	      "beside a full window: its barrier, a config write and its barrier, one to spare");

/* The request a daemon owes an answer to, or the last one it got. */
static const char *current_request(const struct vu_frontend *f)
{
	return vu_request_name(f->n_pending ? f->pending[f->pending_at].request : f->last_request);
}

/* For the oldest answer or for room in the socket. */
void vu_engine_await(struct vu_frontend *f)
{
	if (!f->n_pending && !vu_channel_pending(&f->channel) && !f->unheard) {
		loop_timer_cancel(f->loop, &f->deadline);
		return;
	}
	loop_timer_set(f->loop, &f->deadline, clock_ns() + MS_TO_NS(f->params.deadline_ms));
}

static void deadline_expired(void *arg)
{
	struct vu_frontend *f = arg;

	if (f->back_waits)
		vu_engine_await(f);	/* it waits for us: the clock stands still */
	else if (f->n_pending)
		vu_frontend_lost(f, false,
				 "the daemon did not answer %s within %u ms; see whether it hangs",
				 current_request(f), f->params.deadline_ms);
	else
		vu_frontend_lost(f, false,
				 "the daemon did not read its socket for %u ms after %s; see "
				 "whether it hangs", f->params.deadline_ms, current_request(f));
}

/*
 * A daemon that has closed may have answered before: those answers, and with them the request it
 * closed at, are found by reading on. The deadline stands for one that only stopped reading.
 */
static void send_failed(struct vu_frontend *f, uint32_t request, int code)
{
	if (code != -EPIPE && code != -ECONNRESET) {
		vu_frontend_lost(f, false, "cannot send %s: %s", vu_request_name(request),
				 strerror(-code));
		return;
	}
	f->unheard = true;
	vu_channel_discard(&f->channel);
	if (!f->deadline.at)
		vu_engine_await(f);
}

void vu_engine_request(struct vu_frontend *f, struct vu_msg *m, unsigned at, unsigned len,
		       vu_answer *answer)
{
	uint32_t id = m->header.request;
	/* What REPLY_ACK allows begins after the message that acks it. */
	bool ack = !vu_msg_types[id].replies && vu_has(f, VU_PF_REPLY_ACK) &&
		   id != VU_SET_PROTOCOL_FEATURES;
	bool answered = ack || vu_msg_types[id].replies;
	int r;

	if (f->state == VU_GONE || f->unheard)
		return;
	m->header.flags = VU_FLAG_VERSION | (ack ? VU_FLAG_NEED_REPLY : 0);
	log_debug("%s: > %s, %u bytes, %zu fds", f->params.name, vu_request_name(id),
		  m->header.size, m->nfds);
	r = vu_channel_send(&f->channel, m);
	if (r < 0) {
		send_failed(f, id, r);
		return;
	}
	f->last_request = id;
	f->barrier_due = !answered;
	if (answered) {
		assert(f->n_pending < VU_PENDING_MAX);
		f->pending[(f->pending_at + f->n_pending++) % VU_PENDING_MAX] = (struct vu_pending){
			.request = id, .at = at, .len = len, .answer = answer,
		};
	}
	if (!f->deadline.at)
		vu_engine_await(f);
}

/* The first ring of the mask that is not before @from; VU_RINGS_MAX for none. */
static unsigned next_ring(uint64_t mask, unsigned from)
{
	uint64_t left = from < VU_RINGS_MAX ? mask >> from << from : 0;

	return left ? (unsigned)__builtin_ctzll(left) : VU_RINGS_MAX;
}

/* At the first step of a group: its first ring, or past the group when there is none. */
static void enter_group(struct vu_frontend *f)
{
	f->script_ring = 0;
	while (f->step->group) {
		uint8_t group = f->step->group;

		f->script_ring = next_ring(f->script_rings, 0);
		if (f->script_ring < VU_RINGS_MAX)
			return;
		while (f->step->group == group)
			f->step++;
	}
}

static void advance(struct vu_frontend *f)
{
	uint8_t group = f->step->group;

	f->step++;
	if (group && f->step->group == group)
		return;
	if (group && next_ring(f->script_rings, f->script_ring + 1) < VU_RINGS_MAX) {
		f->script_ring = next_ring(f->script_rings, f->script_ring + 1);
		while (f->step > f->script && f->step[-1].group == group)
			f->step--;
		return;
	}
	enter_group(f);
}

static void run_step(struct vu_frontend *f)
{
	const struct vu_step *s = f->step;
	struct vu_msg m = { .header.request = s->request };
	struct err e;
	int r = 1;

	f->about = f->script_ring;
	if (s->needs & ~f->protocol)
		r = 0;
	else if (s->fill)
		r = s->fill(f, f->script_ring, &m, &e);
	if (r < 0) {
		vu_frontend_lost(f, false, "%s", e.msg);
		return;
	}
	if (r > 0) {
		vu_engine_request(f, &m, f->about, 0, s->answer);
		if (m.nfds && m.fds[0] == f->lent)
			fd_close(&f->lent);
		if (m.nfds && m.fds[0] == f->display)
			fd_close(&f->display);
		f->hold = s->hold;
	}
	if (f->step && !(r > 0 && s->repeat))
		advance(f);
}

/* Past the last step: done when the daemon has answered for all of it. */
static void end_script(struct vu_frontend *f)
{
	if (f->barrier_due) {
		struct vu_msg m = { .header.request = VU_GET_FEATURES };

		vu_engine_request(f, &m, 0, 0, NULL);
		return;
	}
	if (f->n_pending)
		return;
	f->step = NULL;
	vu_memory_settle(f);
	vu_switch_settle(f);
	f->complete(f);
}

static void run_script(struct vu_frontend *f)
{
	while (f->step && f->n_pending < VU_WINDOW && !vu_channel_pending(&f->channel) &&
	       !f->unheard) {
		if (f->hold && f->n_pending)
			return;
		f->hold = false;
		if (!f->step->request) {
			end_script(f);
			return;
		}
		if (!f->step->after_config || !vu_config_is_owed(f)) {
			run_step(f);
			continue;
		}
		vu_config_pump(f);
		if (vu_config_is_owed(f))
			return;
	}
}

void vu_engine_script(struct vu_frontend *f, const struct vu_step *steps, uint64_t rings,
		      void (*complete)(struct vu_frontend *f))
{
	f->script = f->step = steps;
	f->script_rings = rings;
	f->complete = complete;
	f->hold = false;
	enter_group(f);
	vu_engine_pump(f);
}

void vu_engine_pump(struct vu_frontend *f)
{
	if (f->state == VU_GONE)
		return;
	if (!f->unheard && !f->back_owed)
		run_script(f);
	if (!f->unheard && !f->back_owed)
		vu_config_pump(f);
	if (f->state != VU_GONE)
		loop_watch_events(f->loop, &f->watch,
				  EPOLLIN | (vu_channel_pending(&f->channel) ? EPOLLOUT : 0));
}

/* Zero is success. */
int vu_engine_check_ack(const struct vu_pending *p, const struct vu_msg *m, struct err *e)
{
	if (vu_msg_types[p->request].replies || m->payload.u64 == 0)
		return 0;
	return err_set(e, -EPROTO, "the daemon refused %s (ring %u, answer %llu); its own log may "
		       "say why", vu_request_name(p->request), p->at,
		       (unsigned long long)m->payload.u64);
}

static void take_answer(struct vu_frontend *f, struct vu_msg *m)
{
	struct vu_pending p;
	struct err e;
	int r;

	if (!f->n_pending) {
		vu_frontend_lost(f, false, "the daemon sent an answer (%s) to no request",
				 vu_request_name(m->header.request));
		return;
	}
	p = f->pending[f->pending_at];
	r = vu_msg_check_reply(m, p.request, vu_msg_types, &e);
	if (r == 0) {
		f->pending_at = (f->pending_at + 1) % VU_PENDING_MAX;
		f->n_pending--;
		vu_engine_await(f);
		r = p.answer ? p.answer(f, &p, m, &e) : vu_engine_check_ack(&p, m, &e);
		f->refused = r < 0 && !vu_msg_types[p.request].replies && m->payload.u64;
	}
	if (r < 0)
		vu_frontend_lost(f, false, "%s", e.msg);
}

/* At most a batch. */
void vu_engine_receive(struct vu_frontend *f)
{
	for (int i = 0; i < BATCH && f->state != VU_GONE; i++) {
		struct vu_msg m;
		struct err e;
		int r = vu_channel_recv(&f->channel, &m, &e);

		if (r == 0)
			return;
		if (r == -ECONNRESET) {
			vu_frontend_lost(f, true, "%s while the device was %s (last request: %s); "
					 "the daemon's own log may say why", e.msg,
					 vu_state_name(f->state), current_request(f));
			return;
		}
		if (r < 0) {
			vu_frontend_lost(f, false, "%s (last request: %s)", e.msg,
					 current_request(f));
			return;
		}
		log_debug("%s: < %s, %u bytes, %zu fds", f->params.name,
			  vu_request_name(m.header.request), m.header.size, m.nfds);
		take_answer(f, &m);
		vu_msg_close_fds(&m);
		vu_engine_pump(f);
	}
}

/* Held back by a tap until now. */
static void tap_ready(void *arg)
{
	struct vu_frontend *f = arg;

	vu_engine_receive(f);
	vu_engine_pump(f);
}

static void socket_ready(void *arg, uint32_t events)
{
	struct vu_frontend *f = arg;

	if (events & EPOLLOUT) {
		int r = vu_channel_flush(&f->channel);

		if (r < 0)
			send_failed(f, f->last_request, r);
		else if (!vu_channel_pending(&f->channel))
			vu_engine_await(f);
	}
	vu_engine_receive(f);
	vu_engine_pump(f);
}

int vu_engine_init(struct vu_frontend *f, struct err *e)
{
	f->deadline = (struct loop_timer){ .expired = deadline_expired, .arg = f };
	f->watch = (struct loop_watch){ .fd = f->channel.sock, .events = EPOLLIN,
					.ready = socket_ready, .arg = f };
	if (f->params.tap) {
		vu_tap_connected(f->params.tap, f->params.socket);
		vu_tap_attach(&f->params.tap->main, &f->channel, tap_ready, f);
	}
	if (loop_watch(f->loop, &f->watch, e) == 0)
		return 0;
	f->watch.fd = -1;
	return err_prefix(e, -EIO, "%s: ", f->params.name);
}

void vu_engine_fini(struct vu_frontend *f)
{
	loop_timer_cancel(f->loop, &f->deadline);
	loop_unwatch(f->loop, &f->watch);
	vu_channel_fini(&f->channel);
	f->step = NULL;
	f->n_pending = 0;
}
