/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "devices/vhost_user_socket.h"
#include "memory/shm_named.h"
#include "vhost/frontend.h"

enum request { CONNECT, GOODBYE, CONNECT_NOW };

struct message {
	uint32_t request;
	uint32_t index;		/* CONNECT, CONNECT_NOW */
};

/* With 0 an fd comes along, and with CONNECT_NOW the peer's pidfd after it, if it can be known. */
struct answer {
	int32_t error;	/* 0 or -errno */
	uint32_t index; /* as asked for */
	struct err why; /* the sentence, when it failed */
};

static const struct seccomp_rule rules[] = {
	{ SYS_recvmsg, SECCOMP_ANY },
	{ SYS_sendmsg, SECCOMP_ANY },
	{ SYS_socket, 0, AF_UNIX },
	{ SYS_setsockopt, 2, SO_SNDTIMEO },
	{ SYS_connect, SECCOMP_ANY },
	{ SYS_getsockopt, 2, SO_PEERCRED },
	{ SYS_getsockopt, 2, SO_PEERPIDFD },
	{ SYS_pidfd_open, 1, 0 },
	/* why a path cannot be connected to; whether a name still is our object's */
	{ SYS_newfstatat, 0, (uint32_t)AT_FDCWD },
	{ SYS_newfstatat, 3, AT_EMPTY_PATH },
	{ SYS_fstat, SECCOMP_ANY },
	{ SYS_close, SECCOMP_ANY },
	{ SYS_unlink, SECCOMP_ANY },
	{ SYS_write, SECCOMP_ANY },
	{ SYS_ioctl, 1, TCSETS },
	{ SYS_ioctl, 1, TCGETS },
};

/* What a supervisor process itself knows: all of it from before the fork. */
struct state {
	int sock;	/* its end tells that whom this process serves is gone */
	int line;	/* the other end of the spare's sock, held for that to see us; or -1 */
	int shm;	/* the object whose name is to be removed, or -1 */
	const struct supervisor_rights *rights;
	struct termios terminal;
	bool is_terminal;
};

/* Makes the connection, if there is the right to: fds as they come along. Their number, or -errno
 * with @e. */
static int connect_as_asked(const struct state *s, const struct message *m, int fds[2],
			    struct err *e)
{
	const char *path = m->index < s->rights->n_sockets ? s->rights->sockets[m->index] : NULL;
	int r;

	if (!path)
		return err_set(e, -EACCES, "the supervisor may not connect to socket %u", m->index);
	r = m->request == CONNECT ? vhost_user_connect(path, e) : vhost_user_connect_now(path, e);
	if (r < 0)
		return r;
	fds[0] = r;
	if (m->request == CONNECT_NOW)
		fds[1] = vu_peer_pidfd(fds[0], 0);
	return fds[1] >= 0 ? 2 : 1;
}

static void serve_connect(struct state *s, const struct message *m)
{
	struct answer a = { .index = m->index };
	int fds[2] = { -1, -1 }, n = connect_as_asked(s, m, fds, &a.why);
	ssize_t r;

	a.error = n < 0 ? n : 0;
	r = fd_send(s->sock, &a, sizeof(a), fds, n < 0 ? 0 : (size_t)n);
	/* A VMM that has ended meanwhile needs none. */
	if (r < 0 && r != -EPIPE)
		log_error("supervisor: the VMM does not take its answer");
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

/* Until everybody at the other end is gone. Whether one of them said goodbye. */
static bool serve(struct state *s)
{
	bool goodbye = false;

	for (;;) {
		int fds[FD_PASS_MAX];
		struct message m;
		size_t nfds;
		ssize_t n = fd_recv(s->sock, &m, sizeof(m), fds, &nfds);

		while (nfds > 0)
			fd_close(&fds[--nfds]);
		if (n <= 0)
			return goodbye;
		if (n == sizeof(m) && (m.request == CONNECT || m.request == CONNECT_NOW))
			serve_connect(s, &m);
		else if (n == sizeof(m) && m.request == GOODBYE)
			goodbye = true;
	}
}

/* Of a struct state; those it has not are -1, which is UINT_MAX. */
static unsigned next_own(const void *state, unsigned from)
{
	const struct state *s = state;
	const unsigned own[] = { (unsigned)s->sock, (unsigned)s->line, (unsigned)s->shm };
	unsigned next = UINT_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (own[i] >= from && own[i] < next)
			next = own[i];
	return next;
}

static void supervise(struct state *s, enum seccomp_mode mode)
{
	struct seccomp_filter *filter;
	struct err e = { "" };
	bool goodbye;

	/* Of a connection that was handed over (fd=N), the daemon must see the end when the VMM
	 * closes it; and what else was inherited is not this process's business. */
	fd_close_others(next_own, s);
	if (seccomp_filter_new("supervisor", rules, ARRAY_SIZE(rules), mode, &filter, &e) ||
	    seccomp_filter_install(filter, &e)) {
		log_error("supervisor: %s", e.msg);
		_exit(1);
	}
	goodbye = serve(s);
	if (s->shm >= 0)
		shm_named_unlink(s->shm, s->rights->shm_name);
	if (s->is_terminal && !goodbye)
		tcsetattr(STDIN_FILENO, TCSANOW, &s->terminal);
	_exit(0);
}

/* A terminal's signals are meant for the VMM; a supervisor ends when that does. */
static void ignore_signals(void)
{
	static const int ignored[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTTOU, SIGTSTP
	};

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
}

/* fork(2), and no moment in which a signal could end the child that it is to ignore. */
static pid_t fork_ignoring(void)
{
	sigset_t all, old;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		ignore_signals();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return pid;
}

static int start_one(const struct supervisor *s, struct supervisor_process *ret,
		     const struct supervisor_rights *rights, enum seccomp_mode mode, struct err *e)
{
	struct state state = { .line = s->spare.sock, .shm = s->shm, .rights = rights };
	int pair[2], r = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_sys(e, "supervisor: socketpair");
	state.sock = pair[1];
	/* Not in the child, which may come to it when the VMM has made the terminal raw. */
	state.is_terminal = tcgetattr(STDIN_FILENO, &state.terminal) == 0;
	pid = fork_ignoring();
	if (pid == 0) {
		fd_close(&pair[0]);
		supervise(&state, mode);
	}
	if (pid < 0)
		r = err_sys(e, "supervisor: fork");
	else
		*ret = (struct supervisor_process){ .sock = fd_take(&pair[0]), .pid = pid };
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	return r;
}

int supervisor_start(struct supervisor *s, const struct supervisor_rights *rights,
		     enum seccomp_mode mode, struct err *e)
{
	const struct supervisor_rights removal = { .shm_name = rights->shm_name };
	int r = 0;

	*s = (struct supervisor)SUPERVISOR_NONE;
	s->shm_name = rights->shm_name;
	if (s->shm_name)
		r = shm_named_create(&s->shm, e);
	/* First, so that it cannot inherit the VMM's end of the other's socket. */
	if (r == 0 && s->shm_name)
		r = start_one(s, &s->spare, &removal, mode, e);
	if (r == 0)
		r = start_one(s, &s->main, rights, mode, e);
	if (r)
		supervisor_end(s);
	return r;
}

static int ask(struct supervisor *s, enum request request, unsigned index, struct err *e)
{
	struct message m = { .request = request, .index = index };

	if (s->main.sock < 0 || fd_send(s->main.sock, &m, sizeof(m), NULL, 0) < 0)
		return err_set(e, -EPIPE, "the supervisor process is gone");
	return 0;
}

int supervisor_receive(struct supervisor *s, struct supervisor_answer *ret, struct err *e)
{
	int fds[FD_PASS_MAX];
	struct answer a = { .index = UINT32_MAX };
	size_t nfds;
	ssize_t n = fd_recv(s->main.sock, &a, sizeof(a), fds, &nfds);

	while (nfds > 2)
		fd_close(&fds[--nfds]);
	*ret = (struct supervisor_answer){ .sock = nfds > 0 ? fds[0] : -1,
					   .pidfd = nfds > 1 ? fds[1] : -1 };
	if (n == -EPROTO && a.index != UINT32_MAX) {
		ret->index = a.index;
		ret->error = err_set(&ret->why, -EMFILE, "this process has no file descriptor left for the"
				     " connection: raise ulimit -n");
		return 0;
	}
	if (n == sizeof(a)) {
		ret->index = a.index;
		ret->error = a.error;
		ret->why = a.why;
		return 0;
	}
	fd_close(&ret->sock);
	fd_close(&ret->pidfd);
	return err_set(e, -EPIPE, "the supervisor process is gone");
}

int supervisor_connect(struct supervisor *s, unsigned index, struct err *e)
{
	struct supervisor_answer a;
	int r = ask(s, CONNECT, index, e);

	if (r == 0)
		r = supervisor_receive(s, &a, e);
	if (r)
		return r;
	fd_close(&a.pidfd);
	return a.error ? err_set(e, a.error, "%s", a.why.msg) : a.sock;
}

int supervisor_ask(struct supervisor *s, unsigned index, struct err *e)
{
	return ask(s, CONNECT_NOW, index, e);
}

static void say_goodbye(struct supervisor_process *p, const char *which)
{
	struct message m = { .request = GOODBYE };

	if (p->sock >= 0 && fd_send(p->sock, &m, sizeof(m), NULL, 0) < 0)
		log_warn("the %s process is gone already", which);
	fd_close(&p->sock);
}

static void wait_for(struct supervisor_process *p)
{
	while (p->pid > 0 && waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		;
	p->pid = -1;
}

void supervisor_end(struct supervisor *s)
{
	say_goodbye(&s->main, "supervisor");
	say_goodbye(&s->spare, "spare supervisor");
	wait_for(&s->main);
	wait_for(&s->spare);
	if (s->shm >= 0 && shm_named_is_left(s->shm))
		log_warn("the shm object %s is left: who could have removed it was killed; remove "
			 "it (rm /dev/shm%s)",
			 s->shm_name, s->shm_name);
	fd_close(&s->shm);
}
