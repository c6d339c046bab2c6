/* SPDX-License-Identifier: Apache-2.0 */
/* The control queue of a network interface: what of a driver's commands reaches the VMM, and what
 * the driver is told. The VMM's answers are given before the commands, since one thread is all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/virtio_net.h>

#include "base/fd.h"
#include "base/range.h"
#include "driver.h"
#include "vhost/control.h"

enum { COMMAND = DRIVER_DATA, ANSWER = DRIVER_DATA + 0x1000, UNTOUCHED = 0x55 };

struct fixture {
	struct loop loop;
	struct control control;
	struct backend backend;
	struct driver driver;
	int vmm, asks;		/* ends of the socket of questions */
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct backend_device dev;
	struct err e;
	int pair[2];

	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f->vmm = pair[0];
	f->asks = pair[1];
	control_init(&f->control, f->asks, &dev);
	driver_serve(&f->driver, &f->backend, &f->loop, &dev);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, 0, 8);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	backend_fini(&f->backend);
	loop_fini(&f->loop);
	driver_fini(&f->driver);
	fd_close(&f->vmm);
	fd_close(&f->asks);
	test_free(f);
	return 0;
}

static void will_answer(struct fixture *f, uint32_t done)
{
	const struct control_answer a = { .done = done };

	assert_int_equal(send(f->vmm, &a, sizeof(a), 0), sizeof(a));
}

/* The command of @len bytes in two buffers, as Linux sends it; its answer. */
static uint8_t command(struct fixture *f, const void *bytes, uint32_t len)
{
	const struct driver_buf bufs[] = {
		{ COMMAND, 2, false }, { COMMAND + 2, len - 2, false }, { ANSWER, 1, true },
	};
	const struct driver_buf empty[] = { { COMMAND, 2, false }, { ANSWER, 1, true } };

	memcpy(f->driver.ram + COMMAND, bytes, len);
	f->driver.ram[ANSWER] = UNTOUCHED;
	if (len > 2)
		assert_int_equal(driver_request(&f->driver, 0, bufs, 3), 1);
	else
		assert_int_equal(driver_request(&f->driver, 0, empty, 2), 1);
	return f->driver.ram[ANSWER];
}

static uint8_t set_pairs(struct fixture *f, uint16_t pairs)
{
	const uint8_t bytes[] = { VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
				  (uint8_t)pairs, (uint8_t)(pairs >> 8) };

	return command(f, bytes, sizeof(bytes));
}

static void assert_asked(struct fixture *f, uint32_t request, uint32_t value)
{
	struct control_question q;

	assert_int_equal(recv(f->vmm, &q, sizeof(q), MSG_DONTWAIT), sizeof(q));
	assert_int_equal(q.request, request);
	assert_int_equal(q.value, value);
}

static void assert_not_asked(struct fixture *f)
{
	char scrap;

	assert_int_equal(recv(f->vmm, &scrap, 1, MSG_DONTWAIT), -1);
}

static void the_number_of_pairs_is_the_vmms_to_set(void **state)
{
	struct fixture *f = *state;

	will_answer(f, 1);
	assert_int_equal(set_pairs(f, 0x102), VIRTIO_NET_OK);
	assert_asked(f, CONTROL_PAIRS, 0x102);
	assert_not_asked(f);
}

static void what_the_vmm_cannot_do_is_an_error(void **state)
{
	struct fixture *f = *state;

	will_answer(f, 0);
	assert_int_equal(set_pairs(f, 9), VIRTIO_NET_ERR);
	assert_asked(f, CONTROL_PAIRS, 9);
	/* And the queue goes on. */
	will_answer(f, 1);
	assert_int_equal(set_pairs(f, 1), VIRTIO_NET_OK);
}

static void an_announcement_is_told(void **state)
{
	struct fixture *f = *state;
	const uint8_t bytes[] = { VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK };

	will_answer(f, 1);
	assert_int_equal(command(f, bytes, sizeof(bytes)), VIRTIO_NET_OK);
	assert_asked(f, CONTROL_ANNOUNCED, 0);
}

static void what_is_not_served_is_an_error_and_nobody_is_asked(void **state)
{
	static const uint8_t commands[][4] = {
		{ VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1, 0 },
		{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 1, 0 },
		{ VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 1, 0 },
		{ VIRTIO_NET_CTRL_MQ, 77, 1, 0 },
		{ VIRTIO_NET_CTRL_ANNOUNCE, 1, 1, 0 },
		{ 0xff, 0xff, 0xff, 0xff },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		assert_int_equal(command(f, commands[i], 4), VIRTIO_NET_ERR);
	/* Too short for what it says it is. */
	assert_int_equal(command(f, commands[3], 3), VIRTIO_NET_ERR);
	assert_int_equal(command(f, (uint8_t[]){ VIRTIO_NET_CTRL_MQ, 0, 1 }, 3), VIRTIO_NET_ERR);
	assert_int_equal(command(f, (uint8_t[]){ VIRTIO_NET_CTRL_MQ, 0 }, 2), VIRTIO_NET_ERR);
	assert_not_asked(f);
}

static void a_command_of_one_byte_is_an_error(void **state)
{
	struct fixture *f = *state;
	const struct driver_buf bufs[] = { { COMMAND, 1, false }, { ANSWER, 1, true } };

	assert_int_equal(driver_request(&f->driver, 0, bufs, 2), 1);
	assert_int_equal(f->driver.ram[ANSWER], VIRTIO_NET_ERR);
	assert_not_asked(f);
}

static void a_command_without_room_for_an_answer_breaks_the_queue(void **state)
{
	struct fixture *f = *state;
	const struct driver_buf bufs[] = { { COMMAND, 4, false } };

	driver_add(&f->driver, 0, bufs, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);

	assert_true(fd_drain(f->driver.queues[0].err) > 0);
	assert_not_asked(f);
	/* Who takes the queue back does not wait for a command that never ends. */
	assert_int_equal(driver_stop_queue(&f->driver, 0), 1);
}

static void without_a_vmm_every_command_is_an_error(void **state)
{
	struct fixture *f = *state;

	fd_close(&f->vmm);
	assert_int_equal(set_pairs(f, 1), VIRTIO_NET_ERR);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_number_of_pairs_is_the_vmms_to_set),
		TEST(what_the_vmm_cannot_do_is_an_error),
		TEST(an_announcement_is_told),
		TEST(what_is_not_served_is_an_error_and_nobody_is_asked),
		TEST(a_command_of_one_byte_is_an_error),
		TEST(a_command_without_room_for_an_answer_breaks_the_queue),
		TEST(without_a_vmm_every_command_is_an_error),
	};

	return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
