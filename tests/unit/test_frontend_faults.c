/* SPDX-License-Identifier: Apache-2.0 */
/* The front end against a daemon that does wrong: contained, told once, no fd left. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/owner.h"
#include "tests/unit/process.h"

static void one_fault(void **state, uint64_t protocol, enum scripted_fault fault, unsigned n)
{
	unsigned level = process_fds();
	int display = fd_eventfd();
	struct owner *f;

	owner_setup(state);
	f = *state;
	f->params.display = &display;
	owner_connect(f);
	assert_int_equal(display, -1);
	f->daemon.protocol = protocol;
	f->daemon.fault = fault;
	f->daemon.fault_at = n;
	owner_live(f);
	if (f->daemon.faulted && fault == FAULT_SILENT) {
		/* As if the time had come: no test waits for a clock. */
		assert_int_equal(f->lost, 0);
		assert_true(f->frontend.deadline.at > 0);
		f->frontend.deadline.expired(f->frontend.deadline.arg);
		scripted_settle(&f->loop);
		assert_non_null(strstr(f->why, "did not answer"));
	}
	/* Refusing a config write is an outcome; everything else ends the connection, told once. */
	if (f->daemon.faulted && !(fault == FAULT_REFUSE && f->stopped))
		owner_assert_lost(f, "");
	assert_true(f->daemon.faulted || f->lost == 0);
	owner_assert_legal(f);
	owner_fini(f);
	owner_teardown(state);
	if (process_fds() != level)
		fail_msg("fault %d at message %u leaves fds open", (int)fault, n);
}

static void every_fault_at_every_message_ends_the_connection_and_leaves_no_fd(void **state)
{
	static const uint64_t protocols[] = {
		GOOD, BIT64(VU_PF_CONFIG),
		SHMEM | BIT64(VU_PF_STATUS) | BIT64(VU_PF_RESET_DEVICE),
	};

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(protocols); p++) {
		unsigned n_messages = owner_life_length(protocols[p]);

		assert_true(n_messages > 25);
		for (int fault = FAULT_NONE + 1; fault < FAULT_BYTEWISE; fault++)
			/* One more: GPU_SET_SOCKET. */
			for (unsigned n = 1; n <= n_messages + 1; n++) {
				void *each = NULL;

				one_fault(&each, protocols[p], (enum scripted_fault)fault, n);
			}
	}
}

static void a_daemon_that_writes_single_bytes_is_served(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.fault = FAULT_BYTEWISE;
	owner_live(f);
	assert_true(f->daemon.faulted);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->lost, 0);
}

static void a_lost_connection_names_the_request(void **state)
{
	static const struct {
		enum scripted_fault fault;
		uint32_t on;
		const char *says;
	} cases[] = {
		{ FAULT_CLOSE, VU_GET_QUEUE_NUM, "GET_QUEUE_NUM" },
		{ FAULT_CLOSE, VU_SET_VRING_KICK, "SET_VRING_KICK" },
		{ FAULT_CUT, VU_GET_VRING_BASE, "in the middle of a message" },
		{ FAULT_NO_REPLY_FLAG, VU_SET_OWNER, "SET_OWNER has flags 0x1 instead of 0x5" },
		{ FAULT_SMALL, VU_GET_CONFIG, "GET_CONFIG" },
		{ FAULT_ONE_FD, VU_GET_MAX_MEM_SLOTS, "GET_MAX_MEM_SLOTS carries 1 file descr" },
		{ FAULT_REFUSE, VU_SET_VRING_ADDR, "refused SET_VRING_ADDR (ring 0, answer 22)" },
		{ FAULT_REFUSE, VU_GET_CONFIG, "cannot give 60 bytes of config space" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = *state;
		owner_connect(f);
		f->daemon.fault = cases[i].fault;
		f->daemon.fault_on = cases[i].on;
		owner_live(f);
		owner_assert_lost(f, cases[i].says);
	}
}

static void an_answer_nobody_asked_for_ends_the_connection(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	scripted_daemon_send(&f->daemon, &(struct vu_header){ VU_GET_FEATURES, 0x5, 0 }, 12);
	owner_assert_lost(f, "to no request");
}

static void send_answer(struct owner *f, uint32_t request, uint64_t value)
{
	uint8_t bytes[20];

	memcpy(bytes, &(struct vu_header){ request, 0x5, 8 }, 12);
	memcpy(bytes + 12, &value, 8);
	scripted_daemon_send(&f->daemon, bytes, sizeof(bytes));
}

static void an_answer_about_another_ring_ends_the_connection(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	const uint64_t stopped_ring_1 = 1;

	loop_unwatch(&f->loop, &f->daemon.watch);
	owner_stop(f);
	for (int i = 0; i < OWNER_RINGS; i++)
		send_answer(f, VU_SET_VRING_ENABLE, 0);
	send_answer(f, VU_GET_VRING_BASE, stopped_ring_1);
	owner_assert_lost(f, "GET_VRING_BASE of ring 0 names ring 1");
	assert_int_equal(f->stopped, 0);
}

static void a_split_ring_cannot_stop_beyond_65535(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	f->daemon.rings[1].base = 0x10000;
	owner_stop(f);
	owner_assert_lost(f, "stopped ring 1 at 65536");
}

static void the_end_of_the_stream_means_the_daemon_is_done(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	scripted_daemon_fini(&f->daemon);
	owner_assert_lost(f, "closed while the device was running");
	assert_true(f->lost_dead);
	assert_int_equal(f->dead, 0);
}

/* The real clock, once: short, and whatever it shows the outcome is the same. */
static void a_silent_daemon_is_lost_after_the_deadline_but_not_dead(void **state)
{
	struct owner *f = *state;

	f->params.deadline_ms = 1;
	owner_connect(f);
	f->daemon.fault = FAULT_SILENT;
	while (!f->lost)
		loop_once(&f->loop, 1000);
	assert_non_null(strstr(f->why, "did not answer"));
	assert_non_null(strstr(f->why, "within 1 ms"));
	assert_false(f->lost_dead);
	scripted_settle(&f->loop);
	assert_int_equal(f->dead, 0);
	assert_true(f->daemon.closed);
}

static struct owner *silent_while_stopping(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_GET_VRING_BASE;
	f->frontend.params.deadline_ms = 1;
	owner_stop(f);
	while (!f->lost)
		loop_once(&f->loop, 1000);
	assert_non_null(strstr(f->why, "did not answer"));
	assert_false(f->lost_dead);
	return f;
}

static void a_late_answer_changes_nothing(void **state)
{
	struct owner *f = silent_while_stopping(state);

	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->lost, 1);
	assert_int_equal(f->stopped, 0);
	assert_int_equal(f->dead, 0);
	assert_int_equal(f->frontend.state, VU_GONE);
}

/* It may serve others and live on; that it ended the connection is what counts. */
static void a_hung_daemon_that_wakes_up_and_hangs_up_is_dead(void **state)
{
	struct owner *f = silent_while_stopping(state);

	scripted_daemon_give(&f->daemon);
	scripted_daemon_fini(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->dead, 1);
	assert_int_equal(f->lost, 1);
}

static void a_lost_daemon_that_talks_on_for_ever_is_not_listened_to(void **state)
{
	struct owner *f = silent_while_stopping(state);
	uint8_t noise[64] = { 0 };
	unsigned level = process_fds();

	for (int i = 0; i < 1100; i++) {
		fd_send(f->daemon.channel.sock, noise, sizeof(noise), (int[]){ 2, 2 }, 2);
		scripted_settle(&f->loop);
	}
	assert_true(process_fds() <= level);
	assert_int_equal(f->dead, 0);
	scripted_daemon_fini(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->dead, 1);
}

/* Each costs as many descriptors as a message can have, and none is taken. */
static void a_lost_daemon_that_sends_descriptors_for_ever_is_not_listened_to(void **state)
{
	struct owner *f = silent_while_stopping(state);
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(4 * FD_PASS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = &control, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			    .msg_controllen = sizeof(control) };

	control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
					  .cmsg_len = CMSG_LEN(4 * FD_PASS_MAX * sizeof(int)) };
	for (int i = 0; i < 1100; i++) {
		sendmsg(f->daemon.channel.sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		scripted_settle(&f->loop);
	}
	assert_int_equal(f->frontend.watch.events, 0);
	assert_int_equal(f->dead, 0);
	scripted_daemon_fini(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->dead, 1);
}

static void a_daemon_that_does_not_read_is_lost_too(void **state)
{
	struct owner *f = owner_ready(state, BIT64(VU_PF_CONFIG));
	int small = 4096;
	struct err e;

	/* Without REPLY_ACK nothing is awaited before the barrier, which does not fit in. */
	loop_unwatch(&f->loop, &f->daemon.watch);
	setsockopt(f->frontend.channel.sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	f->frontend.params.deadline_ms = 1;
	f->frontend.n_rings = VU_RINGS_MAX;
	for (unsigned i = 0; i < VU_RINGS_MAX; i++)
		owner_latch(f, 0, i);
	assert_int_equal(vu_frontend_start(&f->frontend, VERSION_1, &e), 0);
	assert_true(f->frontend.channel.out_count <= 1);
	while (!f->lost)
		loop_once(&f->loop, 1000);
	assert_non_null(strstr(f->why, "did not read its socket"));
}

/* It closed nothing, so no end of the stream tells; it answers nothing more either. */
static void a_daemon_that_shuts_its_ear_is_lost_by_the_deadline(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	f->frontend.params.deadline_ms = 1;
	shutdown(f->daemon.channel.sock, SHUT_RD);
	loop_unwatch(&f->loop, &f->daemon.watch);
	owner_stop(f);
	while (!f->lost)
		loop_once(&f->loop, 1000);
	assert_non_null(strstr(f->why, "did not read its socket"));
	assert_false(f->lost_dead);
}

static void calls_after_the_loss_are_harmless(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	struct err e;

	scripted_daemon_fini(&f->daemon);
	owner_assert_lost(f, "closed");
	owner_stop(f);
	vu_frontend_config_write(&f->frontend, 0, 1);
	assert_int_equal(owner_start(f, &e), -EBUSY);
	scripted_settle(&f->loop);
	assert_int_equal(f->stopped, 0);
	assert_int_equal(f->lost, 1);
}

/* What is found in a call of the owner is told from the loop. */
static void a_loss_found_in_a_call_is_told_later(void **state)
{
	struct owner *f = owner_ready(state, GOOD);
	struct err e;

	scripted_daemon_fini(&f->daemon);
	assert_int_equal(owner_start(f, &e), 0);
	assert_int_equal(f->lost, 0);
	owner_assert_lost(f, "connection closed");
}

static void fini_inside_the_lost_call_is_legal(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	f->fini_when_lost = true;
	scripted_daemon_send(&f->daemon, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
	scripted_settle(&f->loop);
	assert_int_equal(f->lost, 1);
	assert_int_equal(f->dead, 0);
}

static void fini_in_any_state_calls_nobody(void **state)
{
	unsigned n_messages = owner_life_length(GOOD);

	(void)state;
	for (unsigned n = 1; n <= n_messages; n++) {
		unsigned level = process_fds();
		struct owner *f;
		void *each;
		unsigned told;

		owner_setup(&each);
		f = each;
		owner_connect(f);
		f->daemon.fault = FAULT_SILENT;
		f->daemon.fault_at = n;
		owner_live(f);
		told = f->ready + f->started + f->stopped + f->lost + f->dead;
		vu_frontend_fini(&f->frontend);
		scripted_settle(&f->loop);
		assert_int_equal(f->ready + f->started + f->stopped + f->lost + f->dead, told);
		owner_teardown(&each);
		assert_int_equal(process_fds(), level);
	}
}

static void fini_of_a_zeroed_struct_does_nothing(void **state)
{
	struct vu_frontend f;

	(void)state;
	memset(&f, 0, sizeof(f));
	vu_frontend_fini(&f);
	assert_true(process_fds() > 2);
}

/*
 * A real process at the other end of a real socket: it takes the connection, hands it to a child of
 * its own that never lets go, and is killed. Only its pidfd can tell. The child ends with the test:
 * it reads @life, whose other end only the test has.
 */
static void hold_on(int life[2])
{
	char c;

	fd_close(&life[1]);
	while (read(life[0], &c, 1) > 0)
		;
	_exit(0);
}

static pid_t spawn_hung_daemon(int listener, int news, int life[2])
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	/* Who listens is who the kernel names as the peer. */
	if (listen(listener, 1) < 0 || write(news, "l", 1) != 1 ||
	    accept(listener, NULL, NULL) < 0)
		_exit(1);
	if (fork() == 0)
		hold_on(life);
	if (write(news, "a", 1) != 1)
		_exit(1);
	hold_on(life);
	return -1;
}

static int connect_to(const struct sockaddr_un *addr, socklen_t len)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(sock >= 0);
	assert_int_equal(connect(sock, (const struct sockaddr *)addr, len), 0);
	return sock;
}

static void the_death_of_a_lost_daemons_process_is_seen(void **state)
{
	struct owner *f = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int news[2], life[2], sock;
	struct err e;
	char c;
	pid_t pid;

	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(sa_family_t)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(pipe2(news, O_CLOEXEC), 0);
	assert_int_equal(pipe2(life, O_CLOEXEC), 0);
	pid = spawn_hung_daemon(listener, news[1], life);
	assert_int_equal(read(news[0], &c, 1), 1);
	sock = connect_to(&addr, len);
	assert_int_equal(read(news[0], &c, 1), 1);

	f->params.deadline_ms = 1;
	assert_int_equal(vu_frontend_init(&f->frontend, &f->loop, &f->mem, &sock, &f->params,
					  &owner_ops, f, &e), 0);
	while (!f->lost)
		loop_once(&f->loop, 1000);
	assert_false(f->lost_dead);
	assert_int_equal(f->dead, 0);
	kill(pid, SIGKILL);
	while (!f->dead)
		loop_once(&f->loop, 1000);
	waitpid(pid, NULL, 0);
	fd_close(&listener);
	for (int i = 0; i < 2; i++) {
		fd_close(&news[i]);
		fd_close(&life[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_fault_at_every_message_ends_the_connection_and_leaves_no_fd),
		TEST(a_daemon_that_writes_single_bytes_is_served),
		TEST(a_lost_connection_names_the_request),
		TEST(an_answer_nobody_asked_for_ends_the_connection),
		TEST(an_answer_about_another_ring_ends_the_connection),
		TEST(a_split_ring_cannot_stop_beyond_65535),
		TEST(the_end_of_the_stream_means_the_daemon_is_done),
		TEST(a_silent_daemon_is_lost_after_the_deadline_but_not_dead),
		TEST(a_late_answer_changes_nothing),
		TEST(a_hung_daemon_that_wakes_up_and_hangs_up_is_dead),
		TEST(a_lost_daemon_that_talks_on_for_ever_is_not_listened_to),
		TEST(a_lost_daemon_that_sends_descriptors_for_ever_is_not_listened_to),
		TEST(a_daemon_that_does_not_read_is_lost_too),
		TEST(a_daemon_that_shuts_its_ear_is_lost_by_the_deadline),
		TEST(calls_after_the_loss_are_harmless),
		TEST(a_loss_found_in_a_call_is_told_later),
		TEST(fini_inside_the_lost_call_is_legal),
		TEST(fini_in_any_state_calls_nobody),
		TEST(fini_of_a_zeroed_struct_does_nothing),
		TEST(the_death_of_a_lost_daemons_process_is_seen),
	};

	return cmocka_run_group_tests_name("frontend_faults", tests, NULL, NULL);
}
