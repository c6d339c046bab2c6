/* SPDX-License-Identifier: Apache-2.0 */
/* The loop's side of the supervisor: who asked gets the answer, of whatever kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "guest/vmshm/vmshm_regs.h"
#include "tests/unit/process.h"
#include "vmm/errands.h"

enum { PATIENCE_S = 10 };

struct rig {
	struct loop loop;
	struct supervisor s;
	struct errands errands;
	struct vmshm_options options[2];
	int map;
	struct listener listener;
	int listening;
	char socket[64];
	struct vhost_user_link link;
	char order[8];			/* an a for an object, a c for a connection */
	struct vmshm_answer a[4];
	unsigned n_a;
	int conn, conn_type;
	bool gone, hopeless;
	unsigned fds;
};

static void note(struct rig *r, char what)
{
	size_t len = strlen(r->order);

	assert_true(len + 1 < sizeof(r->order));
	r->order[len] = what;
}

static void answered(void *arg, const struct vmshm_answer *a, int *fd)
{
	struct rig *r = arg;

	assert_int_equal(*fd >= 0, a->status == VMSHM_OK);
	assert_true(r->n_a < ARRAY_SIZE(r->a));
	r->a[r->n_a++] = *a;
	note(r, 'a');
	fd_close(fd);
}

static void gone(void *arg)
{
	((struct rig *)arg)->gone = true;
}

static const struct errands_vmshm_ops vmshm_ops = { .answered = answered, .gone = gone };

static void try(void *arg, int *sock, int *pidfd)
{
	struct rig *r = arg;
	socklen_t len = sizeof(r->conn_type);

	r->conn = fd_take(sock);
	assert_int_equal(getsockopt(r->conn, SOL_SOCKET, SO_TYPE, &r->conn_type, &len), 0);
	note(r, 'c');
	fd_close(pidfd);
}

static void hopeless(void *arg)
{
	((struct rig *)arg)->hopeless = true;
}

static const struct vhost_user_link_ops link_ops = { .try = try, .hopeless = hopeless };

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct supervisor_socket sockets[ERRANDS_SOCKETS] = { { NULL, 0 } };
	struct supervisor_rights rights = { .sockets = sockets, .n_sockets = ERRANDS_SOCKETS,
					    .vmshms = r->options, .n_vmshms = 2 };
	char text[32];
	struct err e;

	r->fds = process_fds();
	r->conn = -1;
	snprintf(r->socket, sizeof(r->socket), "/tmp/test-errands-%d", (int)getpid());
	assert_int_equal(listener_open(&r->listener, SOCK_SEQPACKET, "", r->socket, &r->listening,
				       &e), 0);
	sockets[ERRANDS_EVENTS_PEER + 1] =
		(struct supervisor_socket){ r->socket, SOCK_SEQPACKET };
	r->map = memfd_create("map", MFD_CLOEXEC);
	snprintf(text, sizeof(text), "map=/m:fd=%d", r->map);
	assert_int_equal(vmshm_options_parse(&r->options[0], text, &e), 0);
	assert_int_equal(vmshm_options_parse(&r->options[1], text, &e), 0);
	assert_int_equal(vmshm_options_check(r->options, 2, &e), 0);
	assert_int_equal(supervisor_start(&r->s, &rights, SECCOMP_OFF, &e), 0);
	assert_int_equal(loop_init(&r->loop, NULL, &e), 0);
	errands_init(&r->errands, &r->s, &r->loop);
	errands_serve_vmshm(&r->errands, &vmshm_ops, r);
	vhost_user_link_init(&r->link, &r->loop, "v", &link_ops, r);
	alarm(PATIENCE_S);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	alarm(0);
	vhost_user_link_fini(&r->link);
	loop_fini(&r->loop);
	supervisor_end(&r->s);
	listener_close(&r->listener);
	vmshm_options_free(&r->options[0]);
	vmshm_options_free(&r->options[1]);
	close(r->listening);
	close(r->map);
	close(r->conn);
	assert_int_equal(process_fds(), r->fds);
	free(r);
	return 0;
}

static int ask(struct rig *r, unsigned device, uint32_t serial, const char *name)
{
	struct vmshm_question q = { .device = device, .serial = serial };
	struct err e;

	snprintf(q.name, sizeof(q.name), "%s", name);
	return errands_opener.ask(&r->errands, &q, -1, &e);
}

static void answers_come_to_who_asked_in_order(void **state)
{
	struct rig *r = *state;

	assert_int_equal(ask(r, 1, 11, "m"), 0);
	assert_int_equal(ask(r, 0, 22, "n"), 0);
	/* Not from inside. */
	assert_int_equal(r->n_a, 0);
	while (r->n_a < 2)
		loop_once(&r->loop, -1);
	assert_int_equal(r->a[0].device, 1);
	assert_int_equal(r->a[0].serial, 11);
	assert_int_equal(r->a[0].status, VMSHM_OK);
	assert_int_equal(r->a[1].device, 0);
	assert_int_equal(r->a[1].serial, 22);
	assert_int_equal(r->a[1].status, VMSHM_ENOENT);
}

static void a_device_has_one_question_open(void **state)
{
	struct rig *r = *state;

	assert_int_equal(ask(r, 0, 1, "m"), 0);
	assert_int_equal(ask(r, 0, 2, "m"), -EBUSY);
	while (r->n_a < 1)
		loop_once(&r->loop, -1);
	assert_int_equal(r->a[0].serial, 1);
	assert_int_equal(ask(r, 0, 3, "m"), 0);
	while (r->n_a < 2)
		loop_once(&r->loop, -1);
	assert_int_equal(r->a[1].serial, 3);
	assert_int_equal(ask(r, OPTIONS_LIST_MAX, 1, "m"), -EBUSY);
}

/* What limits the connecting must not limit writes of whoever gets the socket. */
static bool is_unlimited(int sock)
{
	struct timeval limit = { 1, 1 };
	socklen_t len = sizeof(limit);

	assert_int_equal(getsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, &len), 0);
	return !limit.tv_sec && !limit.tv_usec;
}

static void a_link_of_an_events_peer_is_connected_by_its_socket_s_type(void **state)
{
	struct rig *r = *state;

	vhost_user_link_use(&r->link, &errands_dialer, &r->errands, ERRANDS_EVENTS_PEER + 1);
	vhost_user_link_lost(&r->link);
	while (!r->order[0])
		loop_once(&r->loop, -1);
	assert_int_equal(r->conn_type, SOCK_SEQPACKET);
	assert_true(is_unlimited(r->conn));
	assert_int_equal(ask(r, 0, 1, "m"), 0);
	while (!r->n_a)
		loop_once(&r->loop, -1);
	assert_string_equal(r->order, "ca");
	vhost_user_link_up(&r->link, "");
}

static void without_a_supervisor_everybody_hears_of_it(void **state)
{
	struct rig *r = *state;

	assert_int_equal(kill(r->s.main.pid, SIGSTOP), 0);
	assert_int_equal(ask(r, 0, 1, "m"), 0);
	vhost_user_link_use(&r->link, &errands_dialer, &r->errands, ERRANDS_EVENTS_PEER + 1);
	vhost_user_link_lost(&r->link);
	while (r->link.state != VHOST_USER_LINK_ASKING)
		loop_once(&r->loop, -1);
	assert_int_equal(kill(r->s.main.pid, SIGKILL), 0);
	while (!r->gone || !r->hopeless)
		loop_once(&r->loop, -1);
	assert_int_equal(r->n_a, 0);
	assert_true(ask(r, 1, 1, "m") < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(answers_come_to_who_asked_in_order),
		CASE(a_device_has_one_question_open),
		CASE(a_link_of_an_events_peer_is_connected_by_its_socket_s_type),
		CASE(without_a_supervisor_everybody_hears_of_it),
#undef CASE
	};

	signal(SIGPIPE, SIG_IGN);
	log_setup("test", LOG_ERROR);
	return cmocka_run_group_tests_name("errands", tests, NULL, NULL);
}
