/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "devices/vhost_user_device.h"

enum request { CONNECT, KEEP_SHM, GOODBYE };

struct message {
	uint32_t request, index;
	char name[NAME_MAX + 1]; /* KEEP_SHM */
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
	{ SYS_newfstatat, 0, (uint32_t)AT_FDCWD }, /* why a path cannot be connected to */
	{ SYS_close, SECCOMP_ANY },
	{ SYS_unlink, SECCOMP_ANY },
	{ SYS_write, SECCOMP_ANY },
	{ SYS_ioctl, 1, TCSETS },
	{ SYS_ioctl, 1, TCGETS },
};

/* What the supervisor process itself knows. */
struct state {
	int sock;
	const char *const *sockets;
	unsigned n_sockets;
	char shm[NAME_MAX + 16]; /* path of the object to remove, "" for none */
	struct termios terminal;
	bool is_terminal;
};

static void serve_connect(struct state *s, const struct message *m)
{
	struct answer a = { .error = -EACCES };
	autoclose int fd = -1;

	if (m->index < s->n_sockets)
		a.error = fd = vhost_user_connect(s->sockets[m->index], &a.why);
	if (fd >= 0)
		a.error = 0;
	if (fd_send(s->sock, &a, sizeof(a), &fd, fd >= 0) < 0)
		log_error("supervisor: the VMM does not take its answer");
}

static void serve_keep(struct state *s, const struct message *m)
{
	struct answer a = { .error = 0 };

	if (strnlen(m->name, sizeof(m->name)) == sizeof(m->name) || strchr(m->name, '/'))
		a.error = -EINVAL;
	else
		snprintf(s->shm, sizeof(s->shm), "/dev/shm/%s", m->name);
	if (fd_send(s->sock, &a, sizeof(a), NULL, 0) < 0)
		log_error("supervisor: the VMM does not take its answer");
}

/* The VMM is gone and did not say goodbye. */
static void clean_up(struct state *s)
{
	if (s->shm[0])
		unlink(s->shm);
	if (s->is_terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &s->terminal);
}

static void serve(struct state *s)
{
	for (;;) {
		int fds[FD_PASS_MAX];
		struct message m;
		size_t nfds;
		ssize_t n = fd_recv(s->sock, &m, sizeof(m), fds, &nfds);

		while (nfds > 0)
			fd_close(&fds[--nfds]);
		if (n <= 0) {
			clean_up(s);
			return;
		}
		if (n != sizeof(m))
			continue;
		if (m.request == GOODBYE)
			return;
		if (m.request == CONNECT)
			serve_connect(s, &m);
		else if (m.request == KEEP_SHM)
			serve_keep(s, &m);
	}
}

static void supervise(struct state *s, enum seccomp_mode mode)
{
	static const int ignored[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTTOU, SIGTSTP
	};
	struct seccomp_filter *filter;
	struct err e = { "" };

	/* Of a connection that was handed over (fd=N), the daemon must see the end when the VMM
	 * closes it; and what else was inherited is not this process's business. */
	if (dup2(s->sock, STDERR_FILENO + 1) == STDERR_FILENO + 1)
		s->sock = STDERR_FILENO + 1;
	syscall(SYS_close_range, s->sock + 1, ~0u, 0);
	/* A terminal's signals are meant for the VMM; this process ends when that one does. */
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	s->is_terminal = tcgetattr(STDIN_FILENO, &s->terminal) == 0;
	if (seccomp_filter_new("supervisor", rules, ARRAY_SIZE(rules), mode, &filter, &e) ||
	    seccomp_filter_install(filter, &e)) {
		log_error("supervisor: %s", e.msg);
		_exit(1);
	}
	serve(s);
	_exit(0);
}

int supervisor_start(struct supervisor *s, const char *const *sockets, unsigned n_sockets,
		     enum seccomp_mode mode, struct err *e)
{
	int pair[2];

	*s = (struct supervisor){ .sock = -1, .pid = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_sys(e, "supervisor: socketpair");
	s->pid = fork();
	if (s->pid == 0) {
		struct state state = { .sock = pair[1],
				       .sockets = sockets,
				       .n_sockets = n_sockets };

		close(pair[0]);
		supervise(&state, mode);
	}
	fd_close(&pair[1]);
	s->sock = pair[0];
	if (s->pid < 0) {
		int r = err_sys(e, "supervisor: fork");

		fd_close(&s->sock);
		return r;
	}
	return 0;
}

/* One request and its answer; *ret_fd gets what came along. */
static int ask(struct supervisor *s, const struct message *m, int *ret_fd, struct err *e)
{
	int fds[FD_PASS_MAX];
	struct answer a;
	size_t nfds;
	ssize_t n = fd_send(s->sock, m, sizeof(*m), NULL, 0);

	if (n < 0)
		return err_set(e, (int)n, "the supervisor process is gone");
	n = fd_recv(s->sock, &a, sizeof(a), fds, &nfds);
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

int supervisor_keep_shm(struct supervisor *s, const char *name, struct err *e)
{
	struct message m = { .request = KEEP_SHM };

	name += name[0] == '/';
	if (snprintf(m.name, sizeof(m.name), "%s", name) >= (int)sizeof(m.name))
		return err_set(e, -ENAMETOOLONG, "shm object %s: the name is too long", name);
	return ask(s, &m, NULL, e);
}

void supervisor_end(struct supervisor *s)
{
	struct message m = { .request = GOODBYE };

	if (s->sock >= 0 && fd_send(s->sock, &m, sizeof(m), NULL, 0) < 0)
		log_warn("the supervisor process is gone already");
	fd_close(&s->sock);
	while (s->pid > 0 && waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	s->pid = -1;
}
