/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/backend_internal.h"

/* Messages obeyed before queues get their turn. */
enum { MESSAGE_BATCH = 32 };

/* Everything the front end gave goes; @why is NULL when it simply left. */
static void disconnect(struct backend *b, const char *why)
{

	if (b->channel.sock < 0)
		return;
	if (why)
		log_warn("%s: the connection ends: %s", b->dev.name, why);
	else
		log_info("%s: the front end left", b->dev.name);
	/* First: a device that wants to unmap now is told at once that nobody is there. */
	backend_back_drop(b);
	loop_cancel(b->loop, &b->unhold);
	if (b->holding)
		vu_msg_close_fds(&b->held);
	b->holding = false;
	for (unsigned i = 0; i < b->dev.queues; i++) {
		struct backend_queue *q = &b->queues[i];

		backend_queue_stop(q);
		fd_close(&q->call);
		fd_close(&q->err);
		backend_queue_reset(q);
	}
	loop_unwatch(b->loop, &b->watch);
	vu_channel_fini(&b->channel);
	guest_map_clear(&b->map);
	inflight_fini(&b->inflight);
	b->acked = 0;
	b->protocol = 0;
	b->refused = (struct misuse){ 0 };
	if (b->dev.ops->negotiated)
		b->dev.ops->negotiated(b->dev.arg, 0);
	if (b->door.loop) {
		acceptor_want(&b->door, true);
		return;
	}
	b->ended = true;
	loop_stop(b->loop);
}

/* 0 when answered, or when no answer was needed; -EPROTO when a refusal cannot be told. */
static int answer(struct backend *b, const struct vu_msg *m, struct vu_msg *reply, bool refused,
		  bool replies)
{
	int r;

	if (!replies) {
		if (!(m->header.flags & VU_FLAG_NEED_REPLY) ||
		    !(b->protocol & BIT64(VU_PF_REPLY_ACK)))
			return refused ? -EPROTO : 0;
		reply->payload.u64 = refused;
		reply->header.size = sizeof(reply->payload.u64);
	} else if (refused) {
		return -EPROTO;
	}
	reply->header.request = m->header.request;
	reply->header.flags = VU_FLAG_VERSION | VU_FLAG_REPLY;
	r = vu_channel_send(&b->channel, reply);
	if (r)
		log_debug("%s: the answer to %s could not be sent: %s", b->dev.name,
			  vu_request_name(m->header.request), strerror(-r));
	return r;
}

/* Why the connection ends when a message came to @error; NULL: the front end has left meanwhile. */
static const char *ending(int error, bool refused, const struct err *e)
{
	if (refused)
		return e->msg;
	return error == -EPIPE || error == -ECONNRESET ? NULL : "the front end does not take its answers";
}

/* Suspends everything until the chains in flight are back. */
static void hold(struct backend *b, struct vu_msg *m)
{
	b->held = *m;
	b->holding = true;
	for (unsigned i = 0; i < b->dev.queues; i++)
		backend_queue_update(&b->queues[i]);
}

/* Obeys one message; false when the connection ended. */
static bool dispatch(struct backend *b, struct vu_msg *m)
{
	static const struct vu_msg empty;
	struct vu_msg reply = empty;
	enum backend_verdict verdict = BACKEND_REFUSED;
	struct err e = { "" };
	bool replies;
	int r = vu_msg_check_request(m, vu_msg_types, VU_REQUEST_END, &e);

	if (r == 0)
		verdict = backend_message(b, m, &reply, &e);
	if (verdict == BACKEND_HELD) {
		if (!b->holding)
			hold(b, m);
		return true;
	}
	vu_msg_close_fds(m);
	replies = m->header.request < VU_REQUEST_END && vu_msg_types[m->header.request].replies;
	if (verdict == BACKEND_REFUSED) {
		err_prefix(&e, 0, "%s: ", vu_request_name(m->header.request));
		if (misuse_first(&b->refused))
			log_warn("%s: refused: %s", b->dev.name, e.msg);
	}
	if (r != -EPROTO)
		r = answer(b, m, &reply, verdict == BACKEND_REFUSED, replies);
	if (r == 0)
		return true;
	disconnect(b, ending(r, verdict == BACKEND_REFUSED, &e));
	return false;
}

static void watch_channel(struct backend *b)
{
	uint32_t in = b->holding ? 0 : EPOLLIN;
	uint32_t out = vu_channel_pending(&b->channel) ? EPOLLOUT : 0;

	loop_watch_events(b->loop, &b->watch, in | out);
}

static void channel_ready(void *arg, uint32_t events)
{
	struct backend *b = arg;
	struct vu_msg m;
	struct err e;
	int r = 0;

	if (events & EPOLLOUT && vu_channel_flush(&b->channel))
		return disconnect(b, NULL);
	/* Nobody waits for the held message's answer any more. */
	if (b->holding && events & (EPOLLHUP | EPOLLERR))
		return disconnect(b, NULL);
	for (unsigned i = 0; i < MESSAGE_BATCH && !b->holding; i++) {
		r = vu_channel_recv(&b->channel, &m, &e);
		if (r < 0)
			return disconnect(b, r == -ECONNRESET && !b->channel.in_at ? NULL : e.msg);
		if (r == 0)
			break;
		if (!dispatch(b, &m))
			return;
	}
	watch_channel(b);
}

unsigned backend_in_flight(const struct backend *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->dev.queues; i++)
		n += b->queues[i].ring.in_flight;
	return n;
}

void backend_unhold(struct backend *b)
{
	if (b->holding && !backend_in_flight(b))
		loop_post(b->loop, &b->unhold);
}

/* Its own job, so that no connection ends inside a device's push. */
static void unhold(void *arg)
{
	struct backend *b = arg;

	if (!dispatch(b, &b->held))
		return;
	b->holding = false;
	for (unsigned i = 0; i < b->dev.queues; i++)
		backend_queue_update(&b->queues[i]);
	watch_channel(b);
}

static int serve(struct backend *b, int *sock, struct err *e)
{
	int r;

	b->watch.fd = *sock;
	b->watch.events = EPOLLIN;
	r = loop_watch(b->loop, &b->watch, e);
	if (r) {
		b->watch.fd = -1;
		return r;
	}
	vu_channel_init(&b->channel, sock);
	log_info("%s: a front end connected", b->dev.name);
	return 0;
}

static void somebody_comes(void *arg, int *sock)
{
	struct backend *b = arg;
	struct err e;

	if (serve(b, sock, &e))
		log_warn("%s: cannot serve a connection: %s", b->dev.name, e.msg);
	else
		acceptor_want(&b->door, false);
}

uint64_t backend_features(const struct backend *b)
{
	return b->dev.features | BIT64(BACKEND_F_VERSION_1) | BIT64(RING_F_INDIRECT_DESC) |
	       BIT64(RING_F_EVENT_IDX) | BIT64(VU_F_PROTOCOL_FEATURES);
}

uint64_t backend_protocol_features(const struct backend *b)
{
	uint64_t offered = 0;

	for (unsigned i = 0; i < VU_PF_END; i++)
		if (vu_features[i].backend)
			offered |= BIT64(i);
	if (!b->dev.ops->config_read)
		offered &= ~BIT64(VU_PF_CONFIG);
	/* Nothing else of ours sends descriptors; offered alone it makes a front end doubt what
	 * GPA_ADDRESSES means (frontend_connect.c). */
	if (!backend_has_shmem(b))
		offered &= ~(BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_SEND_FD));
	return offered;
}

int backend_init(struct backend *b, struct loop *loop, const struct backend_device *dev,
		 struct err *e)
{
	int r;

	*b = (struct backend){ .loop = loop, .dev = *dev, .inflight = { .fd = -1 } };
	b->channel.sock = -1;
	b->watch = (struct loop_watch){ .fd = -1, .ready = channel_ready, .arg = b };
	b->unhold = (struct loop_job){ .run = unhold, .arg = b };
	r = backend_back_init(b, e);
	if (r)
		return r;
	b->queues = calloc(dev->queues, sizeof(*b->queues));
	if (!b->queues) {
		backend_back_fini(b);
		return err_set(e, -ENOMEM, "%s: no memory for %u queues", dev->name, dev->queues);
	}
	for (unsigned i = 0; i < dev->queues; i++) {
		b->queues[i].backend = b;
		b->queues[i].index = i;
		backend_queue_reset(&b->queues[i]);
	}
	return 0;
}

void backend_fini(struct backend *b)
{
	if (!b->queues)
		return;
	acceptor_fini(&b->door);
	disconnect(b, NULL);
	backend_back_fini(b);
	free(b->queues);
	b->queues = NULL;
}

void backend_listen(struct backend *b, int *sock)
{
	acceptor_init(&b->door, b->loop, b->dev.name, sock, somebody_comes, b);
	acceptor_want(&b->door, true);
}

int backend_connect(struct backend *b, int *sock, struct err *e)
{
	return serve(b, sock, e);
}
