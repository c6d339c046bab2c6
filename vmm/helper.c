/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "vhost/control.h"
#include "vmm/child.h"

#define ANY SECCOMP_ANY, 0

enum { END_MS = 1000 };

/* To wait, to talk to the VMM, to map guest RAM, to log. */
static const struct seccomp_rule rules[] = {
#ifdef SYS_epoll_wait			/* newer architectures have only the other */
	{ SYS_epoll_wait, ANY },
#endif
	{ SYS_epoll_pwait, ANY },
	{ SYS_epoll_ctl, ANY },
	{ SYS_read, ANY },
	{ SYS_write, ANY },
	{ SYS_recvmsg, ANY },
	{ SYS_sendmsg, ANY },
	{ SYS_close, ANY },
	{ SYS_fcntl, 1, F_GETFL },
	{ SYS_fcntl, 1, F_SETFL },
	{ SYS_fstat, ANY },
	{ SYS_newfstatat, 3, AT_EMPTY_PATH },
	{ SYS_mmap, 2, PROT_READ | PROT_WRITE },
	{ SYS_munmap, ANY },
	{ SYS_mremap, ANY },
	{ SYS_madvise, ANY },
	{ SYS_brk, ANY },
	{ SYS_futex, ANY },
	{ SYS_clock_gettime, ANY },	/* hosts whose clock has no vDSO */
};

/* Of a struct helper: the process's ends. */
static unsigned next_own(const void *state, unsigned from)
{
	const struct helper *own = state;
	unsigned first = (unsigned)own->sock, second = (unsigned)own->questions, next = UINT_MAX;

	if (first >= from)
		next = first;
	if (second >= from && second < next)
		next = second;
	return next;
}

/* A guest that owns it is to read no terminal and write nothing but messages. */
static int close_standard(struct err *e)
{
	int r;

	fd_close(&(int){ STDIN_FILENO });
	fd_close(&(int){ STDOUT_FILENO });
	r = fd_fill_standard();
	return r ? err_set(e, r, "there is no /dev/null") : 0;
}

static int confine(enum seccomp_mode mode, struct err *e)
{
	struct seccomp_filter *f;
	int r = seccomp_filter_new("control queue", rules, ARRAY_SIZE(rules), mode, &f, e);

	return r ? r : seccomp_filter_install(f, e);
}

static void serve(struct helper *own, enum seccomp_mode mode) __attribute__((noreturn));

static void serve(struct helper *own, enum seccomp_mode mode)
{
	static struct backend backend;	/* large, and one a process */
	static struct control control;
	static struct loop loop;
	struct backend_device dev;
	struct err e = { "" };
	int r;

	fd_close_others(next_own, own);
	control_init(&control, own->questions, &dev);
	r = close_standard(&e);
	if (!r)
		r = loop_init(&loop, NULL, &e);
	if (!r)
		r = backend_init(&backend, &loop, &dev, &e);
	if (!r)
		r = backend_connect(&backend, &own->sock, &e);
	if (!r)
		r = confine(mode, &e);
	if (!r)
		loop_run(&loop);
	else
		log_error("the process of a control queue: %s", e.msg);
	_exit(r != 0);
}

static int make_pairs(int vhost_user[2], int questions[2], struct err *e)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, vhost_user) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, questions) ||
	    fcntl(questions[0], F_SETFL, O_NONBLOCK))
		return err_sys(e, "control queue: socketpair");
	return 0;
}

/* In the child. Whoever takes it over cannot undo this: prctl is not on the list. */
static void end_with_parent(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
}

int helper_start(struct helper *h, enum seccomp_mode mode, struct err *e)
{
	int vhost_user[2] = { -1, -1 }, questions[2] = { -1, -1 };
	pid_t parent = getpid(), pid = -1;
	int r = make_pairs(vhost_user, questions, e);

	*h = (struct helper)HELPER_NONE;
	if (!r)
		pid = child_fork();
	if (pid == 0) {
		end_with_parent(parent);
		serve(&(struct helper){ .sock = vhost_user[1], .questions = questions[1] }, mode);
	}
	if (!r && pid < 0)
		r = err_sys(e, "control queue: fork");
	if (!r) {
		h->sock = fd_take(&vhost_user[0]);
		h->questions = fd_take(&questions[0]);
		h->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		fd_close(&vhost_user[i]);
		fd_close(&questions[i]);
	}
	return r;
}

void helper_fini(struct helper *h)
{
	fd_close(&h->sock);
	fd_close(&h->questions);
	if (h->pidfd >= 0)
		poll(&(struct pollfd){ .fd = h->pidfd, .events = POLLIN }, 1, END_MS);
	fd_close(&h->pidfd);
}
