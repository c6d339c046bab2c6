/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "devices/vmshm_object.h"
#include "guest/vmshm/vmshm_regs.h"
#include "memory/shm_named.h"
#include "vmm/child.h"
#include "vmm/supervise.h"

static int start_one(struct supervise_state *state, struct supervisor_process *ret,
		     enum seccomp_mode mode, struct err *e)
{
	int pair[2], r = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_sys(e, "supervisor: socketpair");
	state->sock = pair[1];
	/* Not in the child, which may come to it when the VMM has made the terminal raw. */
	state->is_terminal = tcgetattr(STDIN_FILENO, &state->terminal) == 0;
	pid = child_fork();
	if (pid == 0) {
		fd_close(&pair[0]);
		supervise(state, mode);
	}
	if (pid < 0)
		r = err_sys(e, "supervisor: fork");
	else
		*ret = (struct supervisor_process){ .sock = fd_take(&pair[0]), .pid = pid };
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	return r;
}

static bool opens_names(const struct supervisor_rights *rights)
{
	for (unsigned i = 0; i < rights->n_vmshms; i++)
		if (rights->vmshms[i].n_allow > 0)
			return true;
	return false;
}

static int start_both(struct supervisor *s, const struct supervisor_rights *rights,
		      enum seccomp_mode mode, struct err *e)
{
	const struct supervisor_rights removal = { .shm_name = rights->shm_name,
						   .listeners = rights->listeners,
						   .n_listeners = rights->n_listeners };
	struct supervise_state spare = { .line = -1, .shm = s->shm, .shm_dir = -1,
					 .rights = &removal };
	struct supervise_state main = { .shm = s->shm, .shm_dir = -1, .rights = rights };
	int r = 0;

	/* First, so that it cannot inherit the VMM's end of the other's socket. */
	if (s->shm_name)
		r = start_one(&spare, &s->spare, mode, e);
	if (r == 0 && opens_names(rights)) {
		main.shm_dir = vmshm_object_dir(e);
		r = main.shm_dir < 0 ? main.shm_dir : 0;
	}
	main.line = s->spare.sock;
	if (r == 0)
		r = start_one(&main, &s->main, mode, e);
	fd_close(&main.shm_dir);
	return r;
}

int supervisor_start(struct supervisor *s, const struct supervisor_rights *rights,
		     enum seccomp_mode mode, struct err *e)
{
	int r = 0;

	assert(rights->n_vmshms <= SUPERVISOR_VMSHMS_MAX);
	*s = (struct supervisor)SUPERVISOR_NONE;
	s->shm_name = rights->shm_name;
	if (s->shm_name)
		r = shm_named_create(&s->shm, e);
	if (r == 0)
		r = start_both(s, rights, mode, e);
	if (r)
		supervisor_end(s);
	return r;
}

static int ask(struct supervisor *s, const struct supervise_message *m, size_t len, int fd,
	       struct err *e)
{
	ssize_t r = s->main.sock < 0 ? -EPIPE : fd_send(s->main.sock, m, len, &fd, fd >= 0);

	/* Too many descriptors of this user may be on their way elsewhere. */
	if (r < 0 && r != -EPIPE && fd >= 0)
		r = fd_send(s->main.sock, m, len, NULL, 0);
	return r < 0 ? err_set(e, -EPIPE, "the supervisor process is gone") : 0;
}

/* An answer whose fds did not get through. */
static void lack_of_fds(struct supervisor_answer *a)
{
	fd_close(&a->fd);
	fd_close(&a->pidfd);
	a->error = err_set(&a->why, -EMFILE, "this process has no file descriptor left for the"
			   " connection: raise ulimit -n");
	a->object.status = VMSHM_ENOMEM;
	a->object.rw = a->object.sealed = 0;
}

int supervisor_receive(struct supervisor *s, struct supervisor_answer *ret, struct err *e)
{
	struct supervise_answer a = { .index = UINT32_MAX };
	int fds[FD_PASS_MAX];
	size_t nfds;
	ssize_t n = fd_recv(s->main.sock, &a, sizeof(a), fds, &nfds);

	while (nfds > 2)
		fd_close(&fds[--nfds]);
	*ret = (struct supervisor_answer){
		.is_object = a.request == SUPERVISE_OPEN_OBJECT,
		.index = a.index, .error = a.error, .why = a.why, .object = a.object,
		.fd = nfds > 0 ? fds[0] : -1, .pidfd = nfds > 1 ? fds[1] : -1,
	};
	if (n == -EPROTO && a.index != UINT32_MAX) {
		lack_of_fds(ret);
		return 0;
	}
	if (n == sizeof(a))
		return 0;
	fd_close(&ret->fd);
	fd_close(&ret->pidfd);
	return err_set(e, -EPIPE, "the supervisor process is gone");
}

int supervisor_connect(struct supervisor *s, unsigned index, struct err *e)
{
	const struct supervise_message m = { .request = SUPERVISE_CONNECT, .index = index };
	struct supervisor_answer a;
	int r = ask(s, &m, SUPERVISE_SHORT, -1, e);

	if (r == 0)
		r = supervisor_receive(s, &a, e);
	if (r)
		return r;
	fd_close(&a.pidfd);
	return a.error ? err_set(e, a.error, "%s", a.why.msg) : a.fd;
}

int supervisor_ask(struct supervisor *s, unsigned index, struct err *e)
{
	const struct supervise_message m = { .request = SUPERVISE_CONNECT_NOW, .index = index };

	return ask(s, &m, SUPERVISE_SHORT, -1, e);
}

int supervisor_ask_object(struct supervisor *s, const struct vmshm_question *q, int held,
			  struct err *e)
{
	const struct supervise_message m = { .request = SUPERVISE_OPEN_OBJECT, .question = *q };

	return ask(s, &m, sizeof(m), held, e);
}

static void say_goodbye(struct supervisor_process *p, const char *which)
{
	const struct supervise_message m = { .request = SUPERVISE_GOODBYE };

	if (p->sock >= 0 && fd_send(p->sock, &m, SUPERVISE_SHORT, NULL, 0) < 0)
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
