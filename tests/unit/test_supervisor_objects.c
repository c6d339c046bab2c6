/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the supervisor opens, and for whom: under its filter, and asked by a VMM that a guest has
 * taken over. And that names of sockets go with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "guest/vmshm/vmshm_regs.h"
#include "memory/shm_named.h"
#include "minivmm_config.h"
#include "vmm/supervise.h"
#include "vmm/supervisor.h"

enum { PATIENCE_S = 5 };

static const enum seccomp_mode mode = HAVE_SECCOMP ? SECCOMP_KILL : SECCOMP_OFF;

struct rig {
	char name[64];			/* of an object; of one that is not allowed: with an x */
	int object, other, map;
	struct vmshm_options options[2];	/* the second allows nothing */
	struct listener listener;
	int listening;
	char socket[64];
	struct supervisor s;
};

static int make(const char *name)
{
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	return fd;
}

static int setup_with(void **state, const char *more)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct supervisor_rights rights = { .vmshms = r->options, .n_vmshms = 2,
					    .listeners = &r->listener, .n_listeners = 1 };
	char text[256];
	struct err e;

	snprintf(r->name, sizeof(r->name), "/test-supervisor-objects-%dx", (int)getpid());
	r->other = make(r->name);
	r->name[strlen(r->name) - 1] = '\0';
	r->object = make(r->name);
	r->map = memfd_create("map", MFD_CLOEXEC);
	snprintf(text, sizeof(text), "allow=%s,map=/m:fd=%d%s", r->name, r->map, more);
	assert_int_equal(vmshm_options_parse(&r->options[0], text, &e), 0);
	assert_int_equal(vmshm_options_parse(&r->options[1], NULL, &e), 0);
	assert_int_equal(vmshm_options_check(r->options, 2, &e), 0);
	snprintf(r->socket, sizeof(r->socket), "/tmp/test-supervisor-objects-%d", (int)getpid());
	assert_int_equal(listener_open(&r->listener, SOCK_SEQPACKET, "", r->socket, &r->listening,
				       &e), 0);
	assert_int_equal(supervisor_start(&r->s, &rights, mode, &e), 0);
	*state = r;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, "");
}

static int setup_exclusive(void **state)
{
	return setup_with(state, ",exclusive=on");
}

static int teardown(void **state)
{
	struct rig *r = *state;
	char other[72];

	supervisor_end(&r->s);
	snprintf(other, sizeof(other), "%sx", r->name);
	assert_int_equal(shm_unlink(r->name) + shm_unlink(other), 0);
	vmshm_options_free(&r->options[0]);
	vmshm_options_free(&r->options[1]);
	close(r->object);
	close(r->other);
	close(r->map);
	close(r->listening);
	close(r->listener.dir);
	unlink(r->socket);
	free(r);
	return 0;
}

static struct supervisor_answer answer(struct rig *r)
{
	struct pollfd p = { .fd = r->s.main.sock, .events = POLLIN };
	struct supervisor_answer a;
	struct err e;

	assert_int_equal(poll(&p, 1, PATIENCE_S * 1000), 1);
	assert_int_equal(supervisor_receive(&r->s, &a, &e), 0);
	return a;
}

static struct supervisor_answer ask(struct rig *r, unsigned device, const char *name, int held)
{
	struct vmshm_question q = { .device = device, .serial = 77 };
	struct supervisor_answer a;
	struct err e;

	snprintf(q.name, sizeof(q.name), "%s", name);
	assert_int_equal(supervisor_ask_object(&r->s, &q, held, &e), 0);
	a = answer(r);
	assert_true(a.is_object);
	assert_int_equal(a.index, device);
	assert_int_equal(a.object.device, device);
	assert_int_equal(a.object.serial, 77);
	assert_int_equal(a.fd >= 0, a.object.status == VMSHM_OK);
	return a;
}

static void assert_is(const struct supervisor_answer *a, int fd)
{
	struct stat got, want;

	assert_int_equal(a->object.status, VMSHM_OK);
	assert_int_equal(fstat(a->fd, &got) + fstat(fd, &want), 0);
	assert_true(got.st_ino == want.st_ino && got.st_dev == want.st_dev);
	close(a->fd);
}

static void an_object_that_is_allowed_comes_with_the_answer(void **state)
{
	struct rig *r = *state;
	struct supervisor_answer a = ask(r, 0, r->name, -1);

	assert_true(a.object.rw);
	assert_is(&a, r->object);
	a = ask(r, 0, "m", -1);
	assert_is(&a, r->map);
	a = ask(r, 0, r->name, -1);
	assert_is(&a, r->object);
}

static void whatever_a_vmm_asks_for_the_rules_decide(void **state)
{
	static const char *const names[] = { "../../etc/passwd", "/..", "..", ".", "", "/", "null" };
	struct rig *r = *state;
	char other[72];

	snprintf(other, sizeof(other), "%sx", r->name);
	assert_int_equal(ask(r, 0, other, -1).object.status, VMSHM_ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(ask(r, 0, names[i], -1).object.status, VMSHM_ENOENT);
	/* Of a device that may open nothing, and of none. */
	assert_int_equal(ask(r, 1, r->name, -1).object.status, VMSHM_ENOENT);
	assert_int_equal(ask(r, 1, "m", -1).object.status, VMSHM_ENOENT);
	assert_int_equal(ask(r, 2, r->name, -1).object.status, VMSHM_ENOENT);
	assert_int_equal(ask(r, UINT32_MAX, r->name, -1).object.status, VMSHM_ENOENT);
	/* What it sends along is not what it gets. */
	assert_int_equal(ask(r, 0, other, r->other).object.status, VMSHM_ENOENT);
}

static void messages_of_no_sense_are_not_answered_and_change_nothing(void **state)
{
	struct rig *r = *state;
	struct supervise_message m = { .request = SUPERVISE_OPEN_OBJECT };
	char large[2 * sizeof(m)] = "";
	struct supervisor_answer a;

	memset(m.question.name, '/', sizeof(m.question.name));
	for (size_t len = 1; len < sizeof(m); len += 3)
		assert_int_equal(send(r->s.main.sock, &m, len, 0), len);
	memcpy(large, &m, sizeof(m));
	assert_true(send(r->s.main.sock, large, sizeof(large), 0) > 0);
	m.request = 99;
	assert_int_equal(send(r->s.main.sock, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(send(r->s.main.sock, &m, SUPERVISE_SHORT, 0), SUPERVISE_SHORT);
	a = answer(r);		/* to the one that was cut to its size, not to the others */
	assert_int_equal(a.object.status, VMSHM_ENOENT);
	a = ask(r, 0, r->name, -1);
	assert_is(&a, r->object);
}

static void the_machine_s_ram_with_a_name_is_not_opened(void **state)
{
	char name[64];
	struct rig *r = calloc(1, sizeof(*r));
	struct supervisor_rights rights = { .vmshms = r->options, .n_vmshms = 1, .shm_name = name };
	struct err e;

	(void)state;
	snprintf(name, sizeof(name), "/test-supervisor-ram-%d", (int)getpid());
	assert_int_equal(vmshm_options_parse(&r->options[0], "allow=/*,id=v", &e), 0);
	assert_int_equal(supervisor_start(&r->s, &rights, mode, &e), 0);
	assert_int_equal(shm_named_link(r->s.shm, name, &e), 0);
	assert_int_equal(ask(r, 0, name, -1).object.status, VMSHM_ENOENT);
	supervisor_end(&r->s);
	vmshm_options_free(&r->options[0]);
	free(r);
}

static void the_lock_of_an_object_follows_what_is_held(void **state)
{
	struct rig *r = *state;
	struct supervisor_answer first = ask(r, 0, r->name, -1), again;

	assert_int_equal(first.object.status, VMSHM_OK);
	assert_int_equal(ask(r, 0, r->name, -1).object.status, VMSHM_EBUSY);
	again = ask(r, 0, r->name, first.fd);
	close(first.fd);
	assert_int_equal(again.object.status, VMSHM_OK);
	assert_int_equal(ask(r, 0, r->name, -1).object.status, VMSHM_EBUSY);
	close(again.fd);
	/* Nobody has it: the supervisor keeps nothing of what it handed over. */
	again = ask(r, 0, r->name, -1);
	assert_is(&again, r->object);
}

static void an_answer_whose_object_does_not_get_through_says_so(void **state)
{
	struct rig *r = *state;
	struct rlimit limit, low;
	struct vmshm_question q = { .device = 0 };
	struct supervisor_answer a;
	struct err e;

	snprintf(q.name, sizeof(q.name), "%s", r->name);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = (rlim_t)dup(0);
	close((int)low.rlim_cur);
	assert_int_equal(supervisor_ask_object(&r->s, &q, -1, &e), 0);
	setrlimit(RLIMIT_NOFILE, &low);
	a = answer(r);
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_int_equal(a.object.status, VMSHM_ENOMEM);
	assert_int_equal(a.fd, -1);
	assert_int_equal(a.object.rw, 0);
}

enum { FEW = 64, MANY = 2 * FEW, NOBODY = 65534 };

/* A user without rights has few descriptors, and no more of his may be on their way. */
static void be_poor(struct rlimit *ret_before)
{
	struct rlimit low;

	getrlimit(RLIMIT_NOFILE, ret_before);
	low = *ret_before;
	low.rlim_cur = FEW;
	setrlimit(RLIMIT_NOFILE, &low);
	if (geteuid() == 0)
		assert_int_equal(seteuid(NOBODY), 0);
}

static void be_as_before(const struct rlimit *limit)
{
	assert_int_equal(seteuid(getuid()), 0);
	setrlimit(RLIMIT_NOFILE, limit);
}

static int setup_poor(void **state)
{
	struct rlimit limit;
	int r;

	be_poor(&limit);
	r = setup(state);
	be_as_before(&limit);
	return r;
}

static void while_too_many_descriptors_are_on_their_way_an_answer_says_so(void **state)
{
	struct rig *r = *state;
	struct supervisor_answer a;
	struct rlimit limit;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(fd_send(pair[0], "x", 1, &r->map, 1), 1);
	be_poor(&limit);
	assert_int_equal(fd_send(pair[0], "x", 1, &r->map, 1), -ETOOMANYREFS);
	assert_int_equal(ask(r, 0, "m", -1).object.status, VMSHM_ENOMEM);
	assert_int_equal(ask(r, 0, "m", r->map).object.status, VMSHM_ENOMEM);
	be_as_before(&limit);
	close(pair[0]);
	close(pair[1]);
	a = ask(r, 0, "m", -1);
	assert_is(&a, r->map);
}

/* Every device of a machine may have asked before one answer is read, by a socket that fills. */
static void a_question_of_each_device_does_not_wait(void **state)
{
	struct rig *r = *state;
	struct vmshm_question q = { .device = 0 };
	struct err e;

	snprintf(q.name, sizeof(q.name), "%s", r->name);
	assert_int_equal(kill(r->s.main.pid, SIGSTOP), 0);
	alarm(PATIENCE_S);
	for (unsigned i = 0; i < SUPERVISOR_VMSHMS_MAX; i++)
		assert_int_equal(supervisor_ask_object(&r->s, &q, r->object, &e), 0);
	for (unsigned i = 0; i < 2 * SUPERVISOR_VMSHMS_MAX; i++)
		assert_int_equal(supervisor_ask(&r->s, i, &e), 0);
	alarm(0);
	assert_int_equal(kill(r->s.main.pid, SIGCONT), 0);
	for (unsigned i = 0; i < SUPERVISOR_VMSHMS_MAX; i++) {
		struct supervisor_answer a = answer(r);

		assert_is(&a, r->object);
	}
}

static void the_name_of_a_socket_goes_with_the_vmm_unless_it_is_another_s(void **state)
{
	struct rig *r = *state;
	struct stat st;

	assert_int_equal(stat(r->socket, &st), 0);
	supervisor_end(&r->s);
	assert_int_equal(stat(r->socket, &st), -1);
	teardown(state);
	setup(state);
	r = *state;
	assert_int_equal(unlink(r->socket), 0);
	close(open(r->socket, O_CREAT | O_EXCL | O_CLOEXEC, 0600));
	supervisor_end(&r->s);
	assert_int_equal(stat(r->socket, &st), 0);
}

/* The supervisor must not keep the socket alive of a VMM that has ended. */
static void who_listens_is_the_vmm_alone(void **state)
{
	struct rig *r = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_int_equal(ask(r, 1, "x", -1).object.status, VMSHM_ENOENT);	/* it runs */
	memcpy(addr.sun_path, r->socket, sizeof(r->socket));
	close(r->listening);
	r->listening = -1;
	assert_int_equal(connect(sock, (struct sockaddr *)&addr, sizeof(addr)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(sock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(an_object_that_is_allowed_comes_with_the_answer),
		CASE(whatever_a_vmm_asks_for_the_rules_decide),
		CASE(messages_of_no_sense_are_not_answered_and_change_nothing),
		cmocka_unit_test(the_machine_s_ram_with_a_name_is_not_opened),
		cmocka_unit_test_setup_teardown(the_lock_of_an_object_follows_what_is_held,
						setup_exclusive, teardown),
		CASE(an_answer_whose_object_does_not_get_through_says_so),
		cmocka_unit_test_setup_teardown(
			while_too_many_descriptors_are_on_their_way_an_answer_says_so, setup_poor,
			teardown),
		CASE(a_question_of_each_device_does_not_wait),
		CASE(the_name_of_a_socket_goes_with_the_vmm_unless_it_is_another_s),
		CASE(who_listens_is_the_vmm_alone),
#undef CASE
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("supervisor_objects", tests, NULL, NULL);
}
