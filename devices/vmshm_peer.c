/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/log.h"

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fd_close(&fds[i]);
}

static void hang_up(struct vmshm_peer *p)
{
	loop_unwatch(p->loop, &p->watch);
	fd_close(&p->sock);
	close_all(p->eventfds, p->count);
	p->count = 0;
	p->up = false;
}

/* The first @n of them. Closing our fds would not end the irqfds: the other VM has these files. */
static void unwire(struct vmshm_peer *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		msix_disconnect(p->msix, i + 1, p->eventfds[i]);
}

static int wire(struct vmshm_peer *p, struct err *e)
{
	for (unsigned i = 0; i < p->count; i++) {
		int r = msix_connect(p->msix, i + 1, p->eventfds[i], e);

		if (r) {
			unwire(p, i);
			return r;
		}
	}
	return 0;
}

/* @why: NULL when the other end is gone. */
static void end(struct vmshm_peer *p, const char *why)
{
	bool was_up = p->up;

	if (was_up)
		unwire(p, p->count);
	hang_up(p);
	if (!was_up) {
		vhost_user_link_failed(&p->link, why ? why : "the other VM hung up at once: somebody else may have its events");
		return;
	}
	log_warn("device %s has lost the other VM: %s", p->name,
		 why ? why : "it has ended");
	vhost_user_link_lost(&p->link);
}

/* The first message: @fds are the other guest's doorbells, then its interrupts, @n of each. Takes
 * the doorbells it has vectors for. */
static void take(struct vmshm_peer *p, int *fds, unsigned n)
{
	struct err e;

	p->count = n < p->max ? n : p->max;
	for (unsigned i = 0; i < p->count; i++)
		p->eventfds[i] = fd_take(&fds[i]);
	if (wire(p, &e)) {
		end(p, e.msg);
		return;
	}
	p->up = true;
	vhost_user_link_up(&p->link, " to the other VM");
}

static void readable(void *arg, uint32_t events)
{
	struct vmshm_peer *p = arg;
	struct {
		struct vmshm_msg msg;
		char more;		/* there is none, or the message is too long */
	} buf;
	int fds[FD_PASS_MAX];
	const char *why = NULL;
	size_t nfds;
	ssize_t n = fd_recv(p->sock, &buf, sizeof(buf), fds, &nfds);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n == -EPROTO)
		why = "more descriptors came than there can be";
	else if (n > 0)
		why = vmshm_msg_fault(&buf.msg, (size_t)n, nfds);
	if (n > 0 && !why && (buf.msg.kind == VMSHM_MSG_EVENTS) == p->up)
		why = "its messages came in a wrong order";
	if (n <= 0 || why)
		end(p, why);
	else if (!p->up)
		take(p, fds, buf.msg.events);
	close_all(fds, nfds);
}

static void try(void *arg, int *sock, int *pidfd)
{
	struct vmshm_peer *p = arg;
	struct err e;

	fd_close(pidfd);
	p->sock = fd_take(sock);
	p->watch = (struct loop_watch){ .fd = p->sock, .events = EPOLLIN, .ready = readable,
					.arg = p };
	/* Whoever made the connection may have waited for it. */
	if (fcntl(p->sock, F_SETFL, O_NONBLOCK) < 0) {
		p->watch.fd = -1;
		end(p, strerror(errno));
	} else if (loop_watch(p->loop, &p->watch, &e)) {
		p->watch.fd = -1;
		end(p, e.msg);
	}
}

/* Said by the link; who is connected stays so. */
static void hopeless(void *arg)
{
	(void)arg;
}

static const struct vhost_user_link_ops link_ops = { .try = try, .hopeless = hopeless };

void vmshm_peer_init(struct vmshm_peer *p, struct loop *loop, const char *name, struct msix *msix,
		     unsigned max)
{
	*p = (struct vmshm_peer){ .loop = loop, .name = name, .msix = msix, .max = max,
				  .sock = -1, .watch = { .fd = -1 } };
	vhost_user_link_init(&p->link, loop, name, &link_ops, p);
}

void vmshm_peer_dial(struct vmshm_peer *p, const struct vhost_user_dialer *dialer, void *ctx,
		     unsigned number, const char *path)
{
	log_info("device %s gets the events of the VM that listens at %s, as soon as one does",
		 p->name, path);
	vhost_user_link_begin(&p->link, dialer, ctx, number);
}

void vmshm_peer_fini(struct vmshm_peer *p)
{
	if (!p->loop)
		return;
	vhost_user_link_fini(&p->link);
	hang_up(p);
}

void vmshm_peer_rewire(struct vmshm_peer *p)
{
	struct err e;

	if (!p->up || !wire(p, &e))
		return;
	/* They are apart already. */
	close_all(p->eventfds, p->count);
	p->count = 0;
	end(p, e.msg);
}
