/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/spawner.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmm/keeper.h"

int spawner_start(struct spawner *s, const struct vhost_user_options *o, struct err *e)
{
	char name[VHOST_USER_ID_MAX + 1];
	int pair[2], r = 0;
	pid_t pid;

	vhost_user_options_name(o, name);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_sys(e, "device %s: socketpair", name);
	pid = fork();
	if (pid == 0) {
		const struct keeper_task task = { .name = name, .text = o->exec,
						  .command = &o->command, .sock = pair[1] };

		keeper_run(&task);
	}
	if (pid < 0)
		r = err_sys(e, "device %s: fork", name);
	else
		*s = (struct spawner){ .pid = pid, .sock = fd_take(&pair[0]), .watch.fd = -1 };
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	return r;
}

#define GONE "the process that starts its daemon is gone"

static int order(struct spawner *s, enum keeper_order what, struct err *e)
{
	const uint32_t message = what;

	if (s->sock >= 0 && fd_send(s->sock, &message, sizeof(message), NULL, 0) > 0)
		return 0;
	return err_set(e, -EPIPE, GONE);
}

/* The first is missed at the start, where nobody puts the device's name in front. */
static void give_up(struct vhost_user_link *l, const char *why)
{
	struct err e;

	err_set(&e, -ENOTCONN, "%s%s%s%s", l->first ? "device " : "", l->first ? l->name : "",
		l->first ? ": " : "", why);
	vhost_user_link_end(l, e.msg);
}

static struct vhost_user_link *answered(struct spawner *s)
{
	struct vhost_user_link *l = s->asking;

	loop_unwatch(s->loop, &s->watch);
	s->asking = NULL;
	return l;
}

/* What became of the first daemon, too, if the keeper could tell. */
static void explain(struct spawner *s, struct vhost_user_link *l, const char *what)
{
	struct err e;

	s->explaining = false;
	err_set(&e, -ENOTCONN, "%s%s%s", s->why.msg, *what ? "; " : "", what);
	vhost_user_link_end(l, e.msg);
}

static void connected(struct vhost_user_link *l, const struct keeper_answer *a, int *sock)
{
	if (a->error && l->first) {
		give_up(l, a->why.msg);
		return;
	}
	/* No pidfd: of a pair nobody can tell who has the other end, and the keeper ends who does
	 * not close it. */
	vhost_user_link_answer(l, sock, &(int){ -1 }, a->error, a->why.msg);
}

static void answer_due(void *arg, uint32_t events)
{
	struct spawner *s = arg;
	struct keeper_answer a = { .error = 0 };
	int fds[FD_PASS_MAX], sock;
	size_t nfds;
	ssize_t n = fd_recv(s->sock, &a, sizeof(a), fds, &nfds);
	struct vhost_user_link *l = answered(s);

	(void)events;
	sock = nfds > 0 ? fd_take(&fds[0]) : -1;
	while (nfds > 1)
		fd_close(&fds[--nfds]);
	if ((n > 0 || n == -EPROTO) && !a.error && !s->explaining && sock < 0)
		a.error = err_set(&a.why, -EMFILE, "this process has no file descriptor left for the"
				  " connection: raise ulimit -n");
	if (s->explaining)
		explain(s, l, n == sizeof(a) ? a.why.msg : "");
	else if (n <= 0 && n != -EPROTO)
		give_up(l, GONE);
	else
		connected(l, &a, &sock);
	fd_close(&sock);
}

static int await_answer(struct spawner *s, struct vhost_user_link *l, struct err *e)
{
	int r;

	s->watch = (struct loop_watch){ .fd = s->sock, .events = EPOLLIN, .ready = answer_due,
					.arg = s };
	r = loop_watch(s->loop, &s->watch, e);
	if (r)
		s->watch.fd = -1;
	else
		s->asking = l;
	return r;
}

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	struct spawner *s = ctx;
	int r = order(s, KEEPER_START, e);

	/* -ENOENT is of a program that is not there any more: nobody has told of that. */
	l->tells_absence = true;
	if (r == 0)
		r = await_answer(s, l, e);
	return r && l->first ? err_prefix(e, r, "device %s: ", l->name) : r;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	(void)l;
	answered(ctx);
}

static void lost(void *ctx, struct vhost_user_link *l, bool dead)
{
	struct err e;

	(void)l;
	/* Without the keeper, who took the daemon with him, there is nothing to do. */
	order(ctx, dead ? KEEPER_STOP : KEEPER_KILL, &e);
}

static bool first_failed(void *ctx, struct vhost_user_link *l, const char *why)
{
	struct spawner *s = ctx;
	struct err e;

	if (order(s, KEEPER_EXPLAIN, &e) || await_answer(s, l, &e))
		return false;
	err_set(&s->why, -ENOTCONN, "device %s", why);
	s->explaining = true;
	return true;
}

const struct vhost_user_dialer spawner_dialer = {
	.ask = ask, .forget = forget, .lost = lost, .first_failed = first_failed,
};

void spawner_use(struct spawner *s, struct loop *loop)
{
	s->loop = loop;
}

void spawners_end(struct spawner *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (s[i].loop)
			loop_unwatch(s[i].loop, &s[i].watch);
		if (s[i].pid > 0)
			fd_close(&s[i].sock);
	}
	for (unsigned i = 0; i < n; i++) {
		while (s[i].pid > 0 && waitpid(s[i].pid, NULL, 0) < 0 && errno == EINTR)
			;
		s[i].pid = 0;
	}
}
