/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "devices/unix_connect.h"
#include "guest/vmshm/vmshm_regs.h"
#include "memory/shm_named.h"
#include "vhost/frontend.h"

static const struct seccomp_rule rules[] = {
	{ SYS_recvmsg, SECCOMP_ANY },
	{ SYS_sendmsg, SECCOMP_ANY },
	{ SYS_socket, 0, AF_UNIX },
	{ SYS_setsockopt, 2, SO_SNDTIMEO },
	{ SYS_connect, SECCOMP_ANY },
	{ SYS_getsockopt, 2, SO_PEERCRED },
	{ SYS_getsockopt, 2, SO_PEERPIDFD },
	{ SYS_pidfd_open, 1, 0 },
	/* objects of VMShm devices */
	{ SYS_openat2, SECCOMP_ANY },
	{ SYS_fstatfs, SECCOMP_ANY },
	{ SYS_fcntl, 1, F_GET_SEALS },
	{ SYS_fcntl, 1, F_GETFL },
	{ SYS_fcntl, 1, F_DUPFD_CLOEXEC },
	{ SYS_flock, SECCOMP_ANY },
	/* why a path cannot be connected to; whether a name still is our object's or socket's */
	{ SYS_newfstatat, SECCOMP_ANY },
	{ SYS_fstat, SECCOMP_ANY },
	{ SYS_close, SECCOMP_ANY },
	{ SYS_unlink, SECCOMP_ANY },
	{ SYS_unlinkat, SECCOMP_ANY },
	{ SYS_write, SECCOMP_ANY },
	{ SYS_ioctl, 1, TCSETS },
	{ SYS_ioctl, 1, SECCOMP_TCSETS2 },
	{ SYS_ioctl, 1, TCGETS },
	{ SYS_ioctl, 1, SECCOMP_TCGETS2 },
};

/* Makes the connection, if there is the right to: fds as they come along. Their number, or -errno
 * with @e. */
static int connect_as_asked(const struct supervise_state *s, const struct supervise_message *m,
			    int fds[2], struct err *e)
{
	const struct supervisor_socket *to = NULL;
	bool now = m->request == SUPERVISE_CONNECT_NOW;
	int r;

	if (m->index < s->rights->n_sockets)
		to = &s->rights->sockets[m->index];
	if (!to || !to->path)
		return err_set(e, -EACCES, "the supervisor may not connect to socket %u", m->index);
	r = unix_connect(to->path, to->type | (now ? SOCK_NONBLOCK : 0), e);
	if (r < 0)
		return r;
	fds[0] = r;
	if (now)
		fds[1] = vu_peer_pidfd(fds[0], 0);
	return fds[1] >= 0 ? 2 : 1;
}

/* Descriptors may not get through, while too many of this user's are on their way elsewhere: then
 * the answer is that, since somebody waits for one. */
static void answer(const struct supervise_state *s, struct supervise_answer *a, const int *fds,
		   size_t n)
{
	ssize_t r = fd_send(s->sock, a, sizeof(*a), fds, n);

	if (r < 0 && r != -EPIPE && n > 0) {
		a->error = err_set(&a->why, (int)r, "the supervisor cannot hand over a"
				   " descriptor: %s", strerror((int)-r));
		a->object.status = VMSHM_ENOMEM;
		a->object.rw = a->object.sealed = 0;
		r = fd_send(s->sock, a, sizeof(*a), NULL, 0);
	}
	/* A VMM that has ended meanwhile needs none. */
	if (r < 0 && r != -EPIPE)
		log_error("supervisor: the VMM does not take its answer");
}

static void serve_connect(const struct supervise_state *s, const struct supervise_message *m)
{
	struct supervise_answer a = { .request = m->request, .index = m->index };
	int fds[2] = { -1, -1 }, n = connect_as_asked(s, m, fds, &a.why);

	a.error = n < 0 ? n : 0;
	answer(s, &a, fds, n < 0 ? 0 : (size_t)n);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

static void serve_open(struct supervise_state *s, const struct supervise_message *m, int *held)
{
	const struct vmshm_question *q = &m->question;
	struct supervise_answer a = { .request = m->request, .index = q->device };
	int fd = -1;

	if (q->device < s->rights->n_vmshms)
		vmshm_object_open(&s->openers[q->device], q, held, &a.object, &fd);
	else
		a.object = (struct vmshm_answer){ .device = q->device, .serial = q->serial,
						  .status = VMSHM_ENOENT };
	answer(s, &a, &fd, fd >= 0);
	fd_close(&fd);
}

/* Until everybody at the other end is gone. Whether one of them said goodbye. */
static bool serve(struct supervise_state *s)
{
	bool goodbye = false;

	for (;;) {
		int fds[FD_PASS_MAX], held;
		struct supervise_message m;
		size_t nfds;
		ssize_t n = fd_recv(s->sock, &m, sizeof(m), fds, &nfds);

		held = nfds > 0 ? fd_take(&fds[0]) : -1;
		while (nfds > 0)
			fd_close(&fds[--nfds]);
		if (n == sizeof(m) && m.request == SUPERVISE_OPEN_OBJECT)
			serve_open(s, &m, &held);
		fd_close(&held);
		if (n <= 0)
			return goodbye;
		if (n != SUPERVISE_SHORT)
			continue;
		if (m.request == SUPERVISE_CONNECT || m.request == SUPERVISE_CONNECT_NOW)
			serve_connect(s, &m);
		else if (m.request == SUPERVISE_GOODBYE)
			goodbye = true;
	}
}

/* The lower of @next and @fd, if that is from @from on; -1 is UINT_MAX. */
static unsigned nearer(unsigned next, unsigned from, int fd)
{
	return (unsigned)fd >= from && (unsigned)fd < next ? (unsigned)fd : next;
}

/* Of a struct supervise_state. */
static unsigned next_own(const void *state, unsigned from)
{
	const struct supervise_state *s = state;
	const int own[] = { s->sock, s->line, s->shm, s->shm_dir };
	unsigned next = UINT_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		next = nearer(next, from, own[i]);
	for (unsigned i = 0; i < s->rights->n_listeners; i++)
		next = nearer(next, from, s->rights->listeners[i].dir);
	for (unsigned i = 0; i < s->rights->n_vmshms; i++)
		for (unsigned k = 0; k < s->rights->vmshms[i].n_maps; k++)
			next = nearer(next, from, s->rights->vmshms[i].maps[k].fd);
	return next;
}

static void confine(enum seccomp_mode mode)
{
	struct seccomp_filter *filter;
	struct err e = { "" };

	if (seccomp_filter_new("supervisor", rules, ARRAY_SIZE(rules), mode, &filter, &e) ||
	    seccomp_filter_install(filter, &e)) {
		log_error("supervisor: %s", e.msg);
		_exit(1);
	}
}

void supervise(struct supervise_state *s, enum seccomp_mode mode)
{
	const struct supervisor_rights *may = s->rights;
	bool goodbye;

	/* Of a connection that was handed over (fd=N), the daemon must see the end when the VMM
	 * closes it; and what else was inherited is not this process's business. */
	fd_close_others(next_own, s);
	for (unsigned i = 0; i < may->n_vmshms; i++)
		s->openers[i] = (struct vmshm_object_opener){ .options = &may->vmshms[i],
							      .dir = s->shm_dir, .never = s->shm };
	confine(mode);
	goodbye = serve(s);
	if (s->shm >= 0)
		shm_named_unlink(s->shm, may->shm_name);
	for (unsigned i = 0; i < may->n_listeners; i++)
		listener_close(&may->listeners[i]);
	if (s->is_terminal && !goodbye)
		tcsetattr(STDIN_FILENO, TCSANOW, &s->terminal);
	_exit(0);
}
