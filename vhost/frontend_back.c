/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back channel: the daemon's own requests ("Back-end communication").
 *
 * Each is answered before anything it makes due is sent on the main channel: a daemon may wait for
 * the answer and read nothing else meanwhile. A request that is refused is an outcome and the
 * channel goes on; one whose framing is wrong ends the channel, not the device. While an answer
 * does not fit into the socket nothing more is read, so a daemon cannot make us queue.
 *
 * SHMEM requests change what both sides believe to be mapped. So they are served in the order the
 * daemon sent things on both channels (see settle), and one that was obeyed and cannot be answered,
 * now or within the deadline, ends the connection.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "vhost/frontend_private.h"

/* Requests served before the loop goes on to others: so many, or what is done in so long. A large
 * mapping takes milliseconds to put into a window or take out of it. */
enum { BATCH = 16, BATCH_NS = 1000000 };

typedef int back_serve(struct vu_frontend *f, struct vu_msg *m, struct err *e);

static int config_change(struct vu_frontend *f, struct vu_msg *m, struct err *e)
{
	(void)m;
	(void)e;
	f->config_stale = true;
	return 0;
}

/* A request without a row here is refused. */
static back_serve *const serve[VU_BACKEND_REQUEST_END] = {
	[VU_BACKEND_CONFIG_CHANGE_MSG] = config_change,
	[VU_BACKEND_SHMEM_MAP] = vu_shmem_serve,
	[VU_BACKEND_SHMEM_UNMAP] = vu_shmem_serve,
};

static bool is_shmem(const struct vu_msg *m)
{
	return m->header.request == VU_BACKEND_SHMEM_MAP ||
	       m->header.request == VU_BACKEND_SHMEM_UNMAP;
}

/* 0 or the reason to refuse @m, which passed vu_msg_check_request. */
static int handle(struct vu_frontend *f, struct vu_msg *m, struct err *e)
{
	uint32_t id = m->header.request;

	if (!(f->protocol & BIT64(vu_backend_msg_types[id].feature)) || !serve[id])
		return err_set(e, -EOPNOTSUPP, "%s was not negotiated",
			       vu_backend_request_name(id));
	return serve[id](f, m, e);
}

static bool wants_answer(const struct vu_frontend *f, const struct vu_header *h)
{
	if (h->request < VU_BACKEND_REQUEST_END && vu_backend_msg_types[h->request].replies)
		return true;
	return vu_has(f, VU_PF_REPLY_ACK) && h->flags & VU_FLAG_NEED_REPLY;
}

static int answer(struct vu_frontend *f, const struct vu_header *h, bool refused)
{
	struct vu_msg m = {
		.header = { .request = h->request, .flags = VU_FLAG_VERSION | VU_FLAG_REPLY,
			    .size = sizeof(m.payload.u64) },
		.payload.u64 = refused,
	};

	return vu_channel_send(&f->back, &m);
}

static void close_channel(struct vu_frontend *f, const char *why)
{
	log_warn("%s (socket %s): back channel closed, the daemon's notifications are lost: %s",
		 f->params.name, f->params.socket, why);
	vu_back_fini(f);
}

/* The daemon would go on without knowing what is mapped. */
static void answer_failed(struct vu_frontend *f, const char *why)
{
	const char *name = vu_backend_request_name(f->back_obeyed);

	if (!f->back_obeyed) {
		close_channel(f, why);
		return;
	}
	vu_shmem_undo(f);
	vu_frontend_lost(f, false, "the daemon cannot be told that its %s was obeyed: %s", name, why);
}

/* After an attempt to send the answer: it is out, or waits for room. */
static void answer_sent(struct vu_frontend *f)
{
	if (!f->back_owed)
		return;
	if (vu_channel_pending(&f->back)) {
		loop_timer_set(f->loop, &f->back_deadline,
			       clock_ns() + MS_TO_NS(f->params.deadline_ms));
		return;
	}
	loop_timer_cancel(f->loop, &f->back_deadline);
	if (f->back_obeyed == VU_BACKEND_SHMEM_MAP && f->ops->shmem_mapped)
		f->ops->shmem_mapped(f->arg, &f->back_map);
	f->back_owed = false;
	f->back_obeyed = 0;
}

static void deadline_expired(void *arg)
{
	struct vu_frontend *f = arg;

	answer_failed(f, "it does not read its back channel");
	vu_engine_pump(f);
}

static void hold(struct vu_frontend *f, const struct vu_msg *m)
{
	f->back_held = *m;
	f->back_is_held = true;
}

/* Refuses or obeys @m, and answers; or, when the owner cannot decide yet, holds it. */
static void serve_message(struct vu_frontend *f, struct vu_msg *m)
{
	struct err e;
	int r = vu_msg_check_request(m, vu_backend_msg_types, VU_BACKEND_REQUEST_END, &e);

	if (r == -EPROTO) {
		vu_msg_close_fds(m);
		close_channel(f, e.msg);
		return;
	}
	f->back_owed = is_shmem(m);
	if (r == 0)
		r = handle(f, m, &e);
	if (r == -EINPROGRESS && f->back_owed) {
		hold(f, m);
		f->back_waits = true;
		return;
	}
	if (r < 0 && misuse_first(&f->back_misuse))
		log_warn("%s (socket %s): refused a request of the daemon: %s", f->params.name,
			 f->params.socket, e.msg);
	r = wants_answer(f, &m->header) ? answer(f, &m->header, r < 0) : 0;
	/* After the answer, for which the daemon waits. */
	vu_msg_close_fds(m);
	if (r < 0)
		answer_failed(f, strerror(-r));
	else
		answer_sent(f);
}

/*
 * Hears what the daemon said on the main channel before it sent @m, which is received already, and
 * lets the owner know what came of that: its first life has begun (ready) or one is over (stopped).
 * False when @m has to wait for the latter, or for nothing any more.
 */
static bool settle(struct vu_frontend *f, struct vu_msg *m)
{
	vu_engine_receive(f);
	vu_engine_pump(f);
	if (f->back.sock < 0) {
		vu_msg_close_fds(m);
		return false;
	}
	if (!(f->notices & (1u << VU_NOTICE_READY | 1u << VU_NOTICE_STOPPED)))
		return true;
	hold(f, m);
	loop_post(f->loop, &f->back_again);
	return false;
}

/*
 * One request. False when the channel is closed or nothing more is to be read now: a daemon waits
 * for the answer to SHMEM requests, so behind one there is nothing as a rule, and whatever there is
 * the loop tells.
 */
static bool serve_one(struct vu_frontend *f)
{
	struct vu_msg m;
	struct err e;
	int r = vu_channel_recv(&f->back, &m, &e);
	bool shmem;

	if (r == 0)
		return false;
	if (r < 0) {
		close_channel(f, e.msg);
		return false;
	}
	log_debug("%s: back < %s, %u bytes, %zu fds", f->params.name,
		  vu_backend_request_name(m.header.request), m.header.size, m.nfds);
	shmem = is_shmem(&m);
	if (shmem && !settle(f, &m))
		return false;
	serve_message(f, &m);
	return !shmem && f->back.sock >= 0 && !vu_channel_pending(&f->back);
}

/* What may be done now that requests were served. */
static void go_on(struct vu_frontend *f)
{
	if (f->back.sock >= 0)
		loop_watch_events(f->loop, &f->back_watch,
				  f->back_waits ? 0 :
				  vu_channel_pending(&f->back) ? EPOLLOUT : EPOLLIN);
	vu_engine_pump(f);
}

/* Posted after the notice it waits for, so the owner knows by now; or by the owner. */
static void serve_held(void *arg)
{
	struct vu_frontend *f = arg;
	struct vu_msg m = f->back_held;

	if (f->back_waits)
		vu_engine_await(f);
	f->back_is_held = f->back_waits = false;
	if (settle(f, &m))
		serve_message(f, &m);
	go_on(f);
}

static void back_ready(void *arg, uint32_t events)
{
	struct vu_frontend *f = arg;
	uint64_t begun;

	/* Told by a hang-up that nobody waits for the answer any more. */
	if (f->back_waits && events & (EPOLLHUP | EPOLLERR)) {
		close_channel(f, "the daemon closed it while it was owed an answer");
		vu_engine_pump(f);
	}
	if (f->back_is_held || f->back.sock < 0)
		return;
	/* A hang-up comes without room for the answer that waits: sending finds out. */
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
		int r = vu_channel_flush(&f->back);

		if (r < 0)
			answer_failed(f, strerror(-r));
		else if (!vu_channel_pending(&f->back))
			answer_sent(f);
	}
	begun = clock_ns();
	for (int i = 0; i < BATCH && f->back.sock >= 0 && !vu_channel_pending(&f->back); i++)
		if (!serve_one(f) || clock_ns() - begun > BATCH_NS)
			break;
	go_on(f);
}

void vu_frontend_shmem_again(struct vu_frontend *f)
{
	if (f->back_waits)
		loop_post(f->loop, &f->back_again);
}

/* Held back by a tap until now. */
static void tap_ready(void *arg)
{
	struct vu_frontend *f = arg;

	back_ready(f, vu_channel_pending(&f->back) ? EPOLLOUT : EPOLLIN);
}

/* Made before it is known whether the daemon wants it: later the sandbox forbids to. */
int vu_back_init(struct vu_frontend *f, struct err *e)
{
	int pair[2];

	f->back_deadline = (struct loop_timer){ .expired = deadline_expired, .arg = f };
	f->back_again = (struct loop_job){ .run = serve_held, .arg = f };
	/* The daemon's end stays blocking, which is what daemons expect of it. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "%s: back channel", f->params.name);
	f->lent = pair[1];
	vu_channel_init(&f->back, &pair[0]);
	if (f->params.tap)
		vu_tap_attach(&f->params.tap->back, &f->back, tap_ready, f);
	return 0;
}

int vu_back_fill(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	f->back_watch = (struct loop_watch){ .fd = f->back.sock, .events = EPOLLIN,
					     .ready = back_ready, .arg = f };
	if (loop_watch(f->loop, &f->back_watch, e) < 0) {
		f->back_watch.fd = -1;
		return -EIO;
	}
	m->fds[0] = f->lent;
	m->nfds = 1;
	return 1;
}

void vu_back_fini(struct vu_frontend *f)
{
	loop_timer_cancel(f->loop, &f->back_deadline);
	loop_cancel(f->loop, &f->back_again);
	if (f->back_is_held)
		vu_msg_close_fds(&f->back_held);
	f->back_is_held = f->back_waits = false;
	f->back_owed = false;
	f->back_obeyed = 0;
	loop_unwatch(f->loop, &f->back_watch);
	vu_channel_fini(&f->back);
	fd_close(&f->lent);
}
