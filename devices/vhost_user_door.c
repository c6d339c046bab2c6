/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_door.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"

static void close_watch(struct vhost_user_door *d)
{
	loop_unwatch(d->loop, &d->watch);
	d->watch.fd = -1;
	d->asking = NULL;
}

/* Who came and left again has not been. */
static bool is_nobody(int error)
{
	return error == EAGAIN || error == EINTR || error == ECONNABORTED;
}

static void somebody_comes(void *arg, uint32_t events)
{
	struct vhost_user_door *d = arg;
	struct vhost_user_link *l = d->asking;
	autoclose int sock = accept4(d->sock, NULL, NULL, SOCK_CLOEXEC);
	int error = sock < 0 ? errno : 0, pidfd = -1;

	(void)events;
	if (is_nobody(error))
		return;
	close_watch(d);
	vhost_user_link_answer(l, &sock, &pidfd, -error, strerror(error));
}

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	struct vhost_user_door *d = ctx;
	int r;

	d->watch.fd = d->sock;
	r = loop_watch(d->loop, &d->watch, e);
	if (r)
		d->watch.fd = -1;
	else
		d->asking = l;
	return r;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	(void)l;
	close_watch(ctx);
}

const struct vhost_user_dialer vhost_user_door_dialer = { .ask = ask, .forget = forget };

void vhost_user_door_init(struct vhost_user_door *d, struct loop *loop, int *sock)
{
	*d = (struct vhost_user_door){
		.sock = fd_take(sock), .loop = loop,
		.watch = { .fd = -1, .events = EPOLLIN, .ready = somebody_comes, .arg = d },
	};
}

void vhost_user_door_fini(struct vhost_user_door *d)
{
	if (!d->loop)
		return;
	close_watch(d);
	fd_close(&d->sock);
	d->loop = NULL;
}
