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

enum request { CONNECT, GOODBYE };

struct message {
	uint32_t request;
	uint32_t index;		/* CONNECT */
};

struct answer {
	int32_t error;	/* 0 or -errno; with CONNECT an fd comes along */
	struct err why; /* the sentence, when it failed */
};

static const struct seccomp_rule rules[] = {
	{ SYS_recvmsg, SECCOMP_ANY },
	{ SYS_sendmsg, SECCOMP_ANY },
	{ SYS_socket, 0, AF_UNIX },
	{ SYS_setsockopt, 2, SO_SNDTIMEO },
	{ SYS_connect, SECCOMP_ANY },
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

static void serve_connect(struct state *s, const struct message *m)
{
	struct answer a = { .error = -EACCES };
	autoclose int fd = -1;

	if (m->index < s->rights->n_sockets)
		a.error = fd = vhost_user_connect(s->rights->sockets[m->index], &a.why);
	if (fd >= 0)
		a.error = 0;
	if (fd_send(s->sock, &a, sizeof(a), &fd, fd >= 0) < 0)
		log_error("supervisor: the VMM does not take its answer");
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
		if (n == sizeof(m) && m.request == CONNECT)
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

/* One request and its answer; *ret_fd gets what came along. */
static int ask(struct supervisor *s, const struct message *m, int *ret_fd, struct err *e)
{
	int fds[FD_PASS_MAX];
	struct answer a;
	size_t nfds;
	ssize_t n = fd_send(s->main.sock, m, sizeof(*m), NULL, 0);

	if (n < 0)
		return err_set(e, (int)n, "the supervisor process is gone");
	n = fd_recv(s->main.sock, &a, sizeof(a), fds, &nfds);
	if (ret_fd && nfds > 0)
		*ret_fd = fds[--nfds];
	while (nfds > 0)
		fd_close(&fds[--nfds]);
	if (n != sizeof(a))
		return err_set(e, -EPIPE, "the supervisor process is gone");
	return a.error ? err_set(e, a.error, "%s", a.why.msg) : 0;
}

int supervisor_connect(struct supervisor *s, unsigned index, struct err *e)
{
	struct message m = { .request = CONNECT, .index = index };
	int fd = -1, r = ask(s, &m, &fd, e);

	return r ? r : fd;
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
