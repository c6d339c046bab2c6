/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/dialer.h"

#include <sys/epoll.h>

#include "base/fd.h"
#include "base/range.h"

/* The supervisor is gone: nobody who waits, or asks later, gets anything. */
static void end(struct dialer *d, const char *why)
{
	loop_unwatch(d->loop, &d->watch);
	for (size_t i = 0; i < ARRAY_SIZE(d->asking); i++) {
		struct vhost_user_link *l = d->asking[i];

		d->asking[i] = NULL;
		if (l)
			vhost_user_link_end(l, why);
	}
}

static void answered(void *arg, uint32_t events)
{
	struct vhost_user_link *l = NULL;
	struct supervisor_answer a;
	struct dialer *d = arg;
	struct err e;

	(void)events;
	if (supervisor_receive(d->supervisor, &a, &e)) {
		end(d, e.msg);
		return;
	}
	if (a.index < ARRAY_SIZE(d->asking)) {
		l = d->asking[a.index];
		d->asking[a.index] = NULL;
	}
	if (l)
		vhost_user_link_answer(l, &a.sock, &a.pidfd, a.error, a.why.msg);
	fd_close(&a.sock);
	fd_close(&a.pidfd);
}

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	struct dialer *d = ctx;
	int r = 0;

	if (d->watch.fd < 0) {
		d->watch.fd = d->supervisor->main.sock;
		r = loop_watch(d->loop, &d->watch, e);
		if (r)
			d->watch.fd = -1;
	}
	if (r == 0)
		r = supervisor_ask(d->supervisor, l->number, e);
	if (r == 0)
		d->asking[l->number] = l;
	return r;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	((struct dialer *)ctx)->asking[l->number] = NULL;
}

const struct vhost_user_dialer dialer_ops = { .ask = ask, .forget = forget };

void dialer_init(struct dialer *d, struct supervisor *s, struct loop *loop)
{
	*d = (struct dialer){ .supervisor = s, .loop = loop,
			      .watch = { .fd = -1, .events = EPOLLIN, .ready = answered,
					 .arg = d } };
}
