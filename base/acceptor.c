/* SPDX-License-Identifier: Apache-2.0 */
#include "base/acceptor.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"

enum { AGAIN_MS = 100 };

/* Neither tells when there is room again. */
static void try_later(struct acceptor *a, const char *why)
{
	if (misuse_first(&a->failed))
		log_warn("%s: nobody can connect just now: %s; this is logged once", a->name, why);
	loop_unwatch(a->loop, &a->watch);
	loop_timer_set(a->loop, &a->again, clock_ns() + MS_TO_NS(AGAIN_MS));
}

static void follow(struct acceptor *a)
{
	bool on = a->wanted && !a->again.at;
	struct err e;

	if (on == (a->watch.fd >= 0))
		return;
	if (!on) {
		loop_unwatch(a->loop, &a->watch);
		return;
	}
	a->watch.fd = a->sock;
	if (loop_watch(a->loop, &a->watch, &e)) {
		a->watch.fd = -1;
		try_later(a, e.msg);
	}
}

static void somebody_comes(void *arg, uint32_t events)
{
	struct acceptor *a = arg;
	autoclose int sock = accept4(a->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (sock >= 0)
		a->came(a->arg, &sock);
	else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
		try_later(a, strerror(errno));
}

static void again(void *arg)
{
	follow(arg);
}

void acceptor_init(struct acceptor *a, struct loop *loop, const char *name, int *sock,
		   void (*came)(void *arg, int *sock), void *arg)
{
	*a = (struct acceptor){
		.loop = loop, .name = name, .sock = fd_take(sock), .came = came, .arg = arg,
		.watch = { .fd = -1, .events = EPOLLIN, .ready = somebody_comes, .arg = a },
		.again = { .expired = again, .arg = a },
	};
}

void acceptor_fini(struct acceptor *a)
{
	if (!a->loop)
		return;
	loop_unwatch(a->loop, &a->watch);
	loop_timer_cancel(a->loop, &a->again);
	fd_close(&a->sock);
	a->loop = NULL;
}

void acceptor_want(struct acceptor *a, bool wanted)
{
	a->wanted = wanted;
	if (a->loop)
		follow(a);
}
