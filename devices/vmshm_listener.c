/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_listener.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"

enum { REST_MS = 1000 };

/* Who is connected is gone, or is no use. */
static void drop(struct vmshm_listener *l)
{
	loop_unwatch(l->params.loop, &l->peer_watch);
	fd_close(&l->peer);
	l->behind = false;
	l->params.changed(l->params.arg);
}

static void drop_because(struct vmshm_listener *l, int error)
{
	if (error != -EPIPE && error != -ECONNRESET && misuse_first(&l->failed))
		log_warn("device %s: who takes its events cannot be told anything, and is disconnected: %s",
			 l->params.name, strerror(-error));
	drop(l);
}

static int send_msg(struct vmshm_listener *l, struct vmshm_msg *m, const int *fds, size_t nfds)
{
	ssize_t n;

	m->magic = VMSHM_MSG_MAGIC;
	m->version = VMSHM_MSG_VERSION;
	n = fd_send(l->peer, m, sizeof(*m), fds, nfds);
	return n < 0 ? (int)n : 0;
}

static int send_news(struct vmshm_listener *l, const struct vmshm_news *n)
{
	struct vmshm_msg m = { .kind = VMSHM_MSG_CLOSED, .generation = n->msg.generation };

	if (n->fd < 0)
		return send_msg(l, &m, NULL, 0);
	m = n->msg;
	m.kind = VMSHM_MSG_OPEN;
	m.events = 0;
	return send_msg(l, &m, &n->fd, 1);
}

void vmshm_listener_tell(struct vmshm_listener *l, const struct vmshm_news *n)
{
	int r;

	if (l->peer < 0 || l->behind)
		return;
	r = send_news(l, n);
	if (r == -EAGAIN) {
		l->behind = true;
		loop_watch_events(l->params.loop, &l->peer_watch, EPOLLOUT);
	} else if (r) {
		drop_because(l, r);
	}
}

static void tell_now(struct vmshm_listener *l)
{
	struct vmshm_news n = { .fd = -1 };

	l->params.news(l->params.arg, &n);
	vmshm_listener_tell(l, &n);
}

static void peer_ready(void *arg, uint32_t events)
{
	struct vmshm_listener *l = arg;

	if (events & (EPOLLHUP | EPOLLERR)) {
		drop(l);
		return;
	}
	loop_watch_events(l->params.loop, &l->peer_watch, 0);
	l->behind = false;
	tell_now(l);
}

/* He may have ended in the batch of events that is being dispatched. */
static bool peer_is_gone(const struct vmshm_listener *l)
{
	struct pollfd p = { .fd = l->peer };

	return poll(&p, 1, 0) > 0;
}

static int send_events(struct vmshm_listener *l)
{
	const struct vmshm_listener_params *p = &l->params;
	struct vmshm_msg m = { .kind = VMSHM_MSG_EVENTS, .events = p->count };
	int fds[2 * VMSHM_EVENTS_MAX];

	for (unsigned i = 0; i < p->count; i++) {
		fds[i] = p->kick[i];
		fds[p->count + i] = p->call[i];
	}
	return send_msg(l, &m, fds, 2 * p->count);
}

/* Each message he has not read holds a descriptor on its way, and a user may have few of those. */
static void keep_short(int sock)
{
	const int least = 0;

	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
}

static void welcome(struct vmshm_listener *l, int *sock)
{
	struct err e;
	int r;

	keep_short(*sock);
	l->peer_watch = (struct loop_watch){ .fd = *sock, .ready = peer_ready, .arg = l };
	if (loop_watch(l->params.loop, &l->peer_watch, &e)) {
		l->peer_watch.fd = -1;
		if (misuse_first(&l->failed))
			log_warn("device %s: nobody can take its events: %s", l->params.name, e.msg);
		return;
	}
	l->peer = fd_take(sock);
	l->params.changed(l->params.arg);
	r = send_events(l);
	if (r)
		drop_because(l, r);
	else
		tell_now(l);
}

/* There is no fd to spare just now: the newcomer waits, the loop does not. */
static void rest(struct vmshm_listener *l, int error)
{
	if (misuse_first(&l->failed))
		log_warn("device %s: nobody can take its events now: %s", l->params.name, strerror(error));
	loop_watch_events(l->params.loop, &l->watch, 0);
	loop_timer_set(l->params.loop, &l->rest, clock_ns() + MS_TO_NS(REST_MS));
}

static void rested(void *arg)
{
	struct vmshm_listener *l = arg;

	loop_watch_events(l->params.loop, &l->watch, EPOLLIN);
}

static void ready(void *arg, uint32_t events)
{
	struct vmshm_listener *l = arg;
	autoclose int sock = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (sock < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			rest(l, errno);
		return;
	}
	if (l->peer >= 0 && peer_is_gone(l))
		drop(l);
	if (l->peer < 0)
		welcome(l, &sock);
	else if (misuse_first(&l->refused))
		log_info("device %s: a second one who wants its events is sent away", l->params.name);
}

void vmshm_listener_init(struct vmshm_listener *l, const struct vmshm_listener_params *p)
{
	*l = (struct vmshm_listener){ .params = *p, .sock = -1, .peer = -1, .watch = { .fd = -1 },
				      .peer_watch = { .fd = -1 },
				      .rest = { .expired = rested, .arg = l } };
}

int vmshm_listener_listen(struct vmshm_listener *l, int *sock, struct err *e)
{
	int r;

	l->watch = (struct loop_watch){ .fd = *sock, .events = EPOLLIN, .ready = ready, .arg = l };
	r = loop_watch(l->params.loop, &l->watch, e);
	if (r) {
		l->watch.fd = -1;
		return r;
	}
	l->sock = fd_take(sock);
	return 0;
}

void vmshm_listener_fini(struct vmshm_listener *l)
{
	if (!l->params.loop)
		return;
	loop_timer_cancel(l->params.loop, &l->rest);
	loop_unwatch(l->params.loop, &l->watch);
	loop_unwatch(l->params.loop, &l->peer_watch);
	fd_close(&l->sock);
	fd_close(&l->peer);
}

bool vmshm_listener_has_peer(const struct vmshm_listener *l)
{
	return l->params.loop && l->peer >= 0;
}
