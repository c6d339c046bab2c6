/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/errands.h"

#include <errno.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/range.h"

/* The supervisor is gone: nobody who waits, or asks later, gets anything. */
static void end(struct errands *d, const char *why)
{
	d->ended = true;
	loop_unwatch(d->loop, &d->watch);
	for (size_t i = 0; i < ARRAY_SIZE(d->asking); i++) {
		struct vhost_user_link *l = d->asking[i];

		d->asking[i] = NULL;
		if (l)
			vhost_user_link_end(l, why);
	}
	if (d->ops)
		d->ops->gone(d->arg);
}

static void connected(struct errands *d, struct supervisor_answer *a)
{
	struct vhost_user_link *l = NULL;

	if (a->index < ARRAY_SIZE(d->asking)) {
		l = d->asking[a->index];
		d->asking[a->index] = NULL;
	}
	if (l)
		vhost_user_link_answer(l, &a->fd, &a->pidfd, a->error, a->why.msg);
}

static void opened(struct errands *d, struct supervisor_answer *a)
{
	if (a->index >= ARRAY_SIZE(d->opening) || !d->opening[a->index])
		return;
	d->opening[a->index] = false;
	d->ops->answered(d->arg, &a->object, &a->fd);
}

static void answered(void *arg, uint32_t events)
{
	struct supervisor_answer a;
	struct errands *d = arg;
	struct err e;

	(void)events;
	if (supervisor_receive(d->supervisor, &a, &e)) {
		end(d, e.msg);
		return;
	}
	if (a.is_object)
		opened(d, &a);
	else
		connected(d, &a);
	fd_close(&a.fd);
	fd_close(&a.pidfd);
}

static int watch(struct errands *d, struct err *e)
{
	int r;

	if (d->ended)
		return err_set(e, -EPIPE, "the supervisor process is gone");
	if (d->watch.fd >= 0)
		return 0;
	d->watch.fd = d->supervisor->main.sock;
	r = loop_watch(d->loop, &d->watch, e);
	if (r)
		d->watch.fd = -1;
	return r;
}

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	struct errands *d = ctx;
	int r = watch(d, e);

	if (r == 0)
		r = supervisor_ask(d->supervisor, l->number, e);
	if (r == 0)
		d->asking[l->number] = l;
	return r;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	((struct errands *)ctx)->asking[l->number] = NULL;
}

const struct vhost_user_dialer errands_dialer = { .ask = ask, .forget = forget };

static int ask_object(void *ctx, const struct vmshm_question *q, int held, struct err *e)
{
	struct errands *d = ctx;
	int r;

	if (q->device >= ARRAY_SIZE(d->opening) || d->opening[q->device])
		return err_set(e, -EBUSY, "an object is being opened for this device already");
	r = watch(d, e);
	if (r == 0)
		r = supervisor_ask_object(d->supervisor, q, held, e);
	if (r == 0)
		d->opening[q->device] = true;
	return r;
}

const struct vmshm_opener errands_opener = { .ask = ask_object };

void errands_init(struct errands *d, struct supervisor *s, struct loop *loop)
{
	*d = (struct errands){ .supervisor = s, .loop = loop,
			       .watch = { .fd = -1, .events = EPOLLIN, .ready = answered,
					  .arg = d } };
}

void errands_serve_vmshm(struct errands *d, const struct errands_vmshm_ops *ops, void *arg)
{
	d->ops = ops;
	d->arg = arg;
}
