/* SPDX-License-Identifier: Apache-2.0 */
/* The process that serves a control queue: real, under its filter, with a driver's commands. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/virtio_net.h>

#include "base/fd.h"
#include "driver.h"
#include "minivmm_config.h"
#include "vhost/control.h"
#include "vmm/helper.h"

#define MODE (HAVE_SECCOMP ? SECCOMP_KILL : SECCOMP_OFF)

enum { COMMAND = DRIVER_DATA, ANSWER = DRIVER_DATA + 0x1000, UNTOUCHED = 0x55 };

struct fixture {
	struct helper helper;
	struct driver driver;
	bool driving;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct err e;

	if (helper_start(&f->helper, MODE, &e))
		fail_msg("%s", e.msg);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	helper_fini(&f->helper);
	helper_fini(&f->helper);
	if (f->driving)
		driver_fini(&f->driver);
	test_free(f);
	return 0;
}

/* It ended by itself and was content. */
static void assert_ended(void)
{
	int status;

	assert_true(wait(&status) > 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void drive(struct fixture *f)
{
	driver_init(&f->driver, &f->helper.sock, NULL);
	f->driving = true;
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, 0, 8);
}

static void a_command_becomes_a_question_and_its_answer_the_drivers(void **state)
{
	static const uint8_t command[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
					   3, 0 };
	const struct control_answer yes = { .done = 1 };
	const struct driver_buf bufs[] = { { COMMAND, 4, false }, { ANSWER, 1, true } };
	struct fixture *f = *state;
	struct control_question q;

	drive(f);
	for (unsigned i = 0; i < 2; i++) {
		memcpy(f->driver.ram + COMMAND, command, sizeof(command));
		f->driver.ram[ANSWER] = UNTOUCHED;
		assert_int_equal(send(f->helper.questions, &yes, sizeof(yes), 0), sizeof(yes));
		assert_int_equal(driver_request(&f->driver, 0, bufs, 2), 1);
		assert_int_equal(f->driver.ram[ANSWER], VIRTIO_NET_OK);
		assert_int_equal(recv(f->helper.questions, &q, sizeof(q), 0), sizeof(q));
		assert_true(q.request == CONTROL_PAIRS && q.value == 3);
	}
	assert_int_equal(driver_stop_queue(&f->driver, 0), 2);
	fd_close(&f->driver.sock);
	assert_ended();
}

static void it_ends_when_nobody_is_connected(void **state)
{
	struct fixture *f = *state;

	helper_fini(&f->helper);
	assert_ended();
}

static void a_question_that_is_not_answered_ends_with_the_socket(void **state)
{
	const struct driver_buf bufs[] = { { COMMAND, 2, false }, { ANSWER, 1, true } };
	struct fixture *f = *state;
	struct control_question q;
	uint16_t head;

	drive(f);
	f->driver.ram[COMMAND] = VIRTIO_NET_CTRL_ANNOUNCE;
	f->driver.ram[ANSWER] = UNTOUCHED;
	driver_add(&f->driver, 0, bufs, 2, 0);
	driver_kick(&f->driver, 0);
	assert_int_equal(poll(&(struct pollfd){ f->helper.questions, POLLIN, 0 }, 1, 10000), 1);
	assert_int_equal(recv(f->helper.questions, &q, sizeof(q), 0), sizeof(q));
	assert_int_equal(q.request, CONTROL_ANNOUNCED);
	fd_close(&f->helper.questions);
	driver_wait_used(&f->driver, 0, &head);
	assert_int_equal(f->driver.ram[ANSWER], VIRTIO_NET_ERR);
	fd_close(&f->driver.sock);
	assert_ended();
}

/* Its sockets are open elsewhere, so that it does not notice by them. */
static void it_ends_with_who_started_it(void **state)
{
	struct fixture *f = *state;
	int line[2], fds[FD_PASS_MAX], status;
	struct pollfd end = { .events = POLLIN };
	size_t nfds;
	pid_t starter;
	char word = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, line), 0);
	starter = fork();
	if (starter == 0) {
		struct helper h;
		struct err e;

		if (helper_start(&h, MODE, &e) || fd_send(line[1], &word, 1, &h.sock, 1) != 1)
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(starter, &status, 0), starter);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(fd_recv(line[0], &word, 1, fds, &nfds), 1);
	assert_int_equal(nfds, 1);
	end.fd = fds[0];
	assert_int_equal(poll(&end, 1, 10000), 1);
	assert_int_equal(read(fds[0], &word, 1), 0);
	fd_close(&fds[0]);
	fd_close(&line[0]);
	fd_close(&line[1]);
	helper_fini(&f->helper);
	assert_ended();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_command_becomes_a_question_and_its_answer_the_drivers),
		TEST(it_ends_when_nobody_is_connected),
		TEST(a_question_that_is_not_answered_ends_with_the_socket),
		TEST(it_ends_with_who_started_it),
	};

	return cmocka_run_group_tests_name("helper", tests, NULL, NULL);
}
