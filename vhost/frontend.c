/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/frontend.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/frontend_private.h"

/* Reads of a lost connection that are thrown away before only its end is waited for. */
enum { DISCARD_MAX = 1024 };

static const char *const state_names[] = {
	[VU_CONNECTING] = "connecting", [VU_READY] = "ready", [VU_STARTING] = "starting",
	[VU_RUNNING] = "running", [VU_STOPPING] = "stopping", [VU_GONE] = "gone",
};
static_assert(ARRAY_SIZE(state_names) == VU_STATES, "every state has its name");

const char *vu_state_name(enum vu_state s)
{
	return state_names[s];
}

void vu_frontend_notify(struct vu_frontend *f, enum vu_notice n)
{
	f->notices |= 1u << n;
	loop_post(f->loop, &f->notice);
}

/* One notice a run, and the call is the last thing done: the owner may free @f in it. */
static void run_notice(void *arg)
{
	struct vu_frontend *f = arg;
	const struct vu_frontend_ops *ops = f->ops;
	enum vu_notice n;

	if (!f->notices)
		return;
	n = (enum vu_notice)__builtin_ctz(f->notices);
	f->notices &= ~(1u << n);
	if (n == VU_NOTICE_LOST && f->daemon_dead)
		f->notices &= ~(1u << VU_NOTICE_DEAD);
	if (f->notices)
		loop_post(f->loop, &f->notice);
	switch (n) {
	case VU_NOTICE_READY:
		ops->ready(f->arg);
		return;
	case VU_NOTICE_STARTED:
		ops->started(f->arg);
		return;
	case VU_NOTICE_STOPPED:
		ops->stopped(f->arg);
		return;
	case VU_NOTICE_SWITCHED:
		ops->switched(f->arg);
		return;
	case VU_NOTICE_CONFIG:
		ops->config_changed(f->arg);
		return;
	case VU_NOTICE_CONFIG_READ:
		ops->config_read(f->arg);
		return;
	case VU_NOTICE_RING_ERROR:
		if (ops->ring_error)
			ops->ring_error(f->arg);
		return;
	case VU_NOTICE_LOST:
		ops->lost(f->arg, f->why, f->daemon_dead);
		return;
	case VU_NOTICE_DEAD:
		ops->dead(f->arg);
		return;
	}
}

/* Lets go of the socket and of the daemon's process. */
static void release_peer(struct vu_frontend *f)
{
	loop_unwatch(f->loop, &f->pid_watch);
	fd_close(&f->pidfd);
	vu_engine_fini(f);
}

static void daemon_ended(struct vu_frontend *f)
{
	release_peer(f);
	f->daemon_dead = true;
	vu_frontend_notify(f, VU_NOTICE_DEAD);
}

static void pid_ready(void *arg, uint32_t events)
{
	(void)events;
	daemon_ended(arg);
}

/* Throws away what a lost daemon still sends, so that it can come to the end of the stream. */
static void lost_ready(void *arg, uint32_t events)
{
	struct vu_frontend *f = arg;
	char scrap[4096];
	int fds[FD_PASS_MAX];
	size_t nfds;
	ssize_t n;

	if (f->discarded >= DISCARD_MAX) {
		if (events & (EPOLLHUP | EPOLLERR))
			daemon_ended(f);
		return;
	}
	n = fd_recv(f->channel.sock, scrap, sizeof(scrap), fds, &nfds);
	while (nfds > 0)
		fd_close(&fds[--nfds]);
	if (n == -EAGAIN)
		return;
	/* More descriptors than are taken are thrown away with the rest. */
	if (n <= 0 && n != -EPROTO) {
		daemon_ended(f);
		return;
	}
	if (++f->discarded == DISCARD_MAX)
		loop_watch_events(f->loop, &f->watch, 0);
}

/* Waits for the evidence that the daemon touches guest memory no more, see frontend.h. */
static void watch_for_end(struct vu_frontend *f)
{
	struct err e;

	shutdown(f->channel.sock, SHUT_WR);
	f->watch.ready = lost_ready;
	loop_watch_events(f->loop, &f->watch, EPOLLIN);
	if (f->pidfd < 0)
		return;
	f->pid_watch.fd = f->pidfd;
	if (loop_watch(f->loop, &f->pid_watch, &e) < 0)
		f->pid_watch.fd = -1;
}

void vu_frontend_lost(struct vu_frontend *f, bool closed, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (f->state == VU_GONE)
		return;
	n = snprintf(f->why, sizeof(f->why), "%.64s (socket %.128s): ", f->params.name,
		     f->params.socket);
	va_start(ap, fmt);
	vsnprintf(f->why + n, sizeof(f->why) - (size_t)n, fmt, ap);
	va_end(ap);

	if (f->params.tap)
		vu_tap_lost(f->params.tap, f->why);
	f->state = VU_GONE;
	f->step = NULL;
	f->n_pending = 0;
	f->started = 0;
	loop_timer_cancel(f->loop, &f->deadline);
	vu_channel_discard(&f->channel);
	vu_msg_close_fds(&f->channel.in);
	fd_close(&f->display);
	vu_back_fini(f);
	vu_switch_cancel(f);
	vu_rings_fini(f);
	vu_memory_fini(f);
	f->daemon_dead = closed;
	if (closed)
		release_peer(f);
	else
		watch_for_end(f);
	f->notices = 0;
	vu_frontend_notify(f, VU_NOTICE_LOST);
}

int vu_peer_pidfd(int sock, pid_t own)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid == own)
		return -1;
	len = sizeof(fd);
	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &fd, &len) == 0)
		return fd;
	if (errno != ENOPROTOOPT || cred.pid <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, cred.pid, 0);
}

/* A daemon that gets RAM it cannot share would silently serve another copy. */
static int check_params(const struct vu_frontend *f, struct err *e)
{
	if (f->params.config_size > VU_CONFIG_MAX)
		return err_set(e, -EINVAL,
			       "%s: config space of %u bytes, vhost-user carries at most %d",
			       f->params.name, f->params.config_size, VU_CONFIG_MAX);
	for (unsigned i = 0; i < f->mem->count; i++) {
		const struct mem_region *r = &f->mem->regions[i];

		if (r->fd < 0)
			return err_set(e, -EINVAL,
				       "%s: RAM at 0x%llx has no file descriptor to share; use "
				       "--mem-backend shm, memfd or file",
				       f->params.name, (unsigned long long)r->gpa);
	}
	return 0;
}

int vu_frontend_init(struct vu_frontend *f, struct loop *loop, const struct guest_mem *mem,
		     int *sock, const struct vu_frontend_params *p,
		     const struct vu_frontend_ops *ops, void *arg, struct err *e)
{
	int r;

	*f = (struct vu_frontend){
		.loop = loop, .mem = mem, .ops = ops, .arg = arg, .params = *p,
		.state = VU_CONNECTING, .queues_max = UINT32_MAX, .slots_max = VU_MEM_TABLE_MAX,
		.pidfd = -1, .ring_err = -1, .lent = -1, .display = -1,
		.watch.fd = -1, .back_watch.fd = -1, .ring_err_watch.fd = -1,
		.pid_watch = { .fd = -1, .events = EPOLLIN, .ready = pid_ready, .arg = f },
		.notice = { .run = run_notice, .arg = f },
	};
	if (!f->params.deadline_ms)
		f->params.deadline_ms = VU_DEADLINE_MS;
	vu_channel_init(&f->channel, sock);
	vu_channel_init(&f->back, &(int){ -1 });
	vu_memory_init(f);
	vu_switch_init(f);
	/* Asked for now: it may be another process later, and the sandbox forbids it. */
	f->pidfd = p->pidfd ? fd_take(p->pidfd) : vu_peer_pidfd(f->channel.sock, getpid());
	f->params.pidfd = NULL;
	if (p->display)
		f->display = fd_take(p->display);
	f->params.display = NULL;
	r = check_params(f, e);
	if (r == 0)
		r = vu_back_init(f, e);
	if (r == 0)
		r = vu_rings_init(f, e);
	if (r == 0)
		r = vu_engine_init(f, e);
	if (r < 0) {
		vu_frontend_fini(f);
		return r;
	}
	vu_connect_begin(f);
	return 0;
}

void vu_frontend_fini(struct vu_frontend *f)
{
	if (!f->loop)
		return;
	loop_cancel(f->loop, &f->notice);
	f->notices = 0;
	f->state = VU_GONE;
	vu_back_fini(f);
	fd_close(&f->display);
	vu_switch_cancel(f);
	vu_rings_fini(f);
	vu_memory_fini(f);
	release_peer(f);
	f->loop = NULL;
}
