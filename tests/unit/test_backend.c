/* SPDX-License-Identifier: Apache-2.0 */
/* The back end library serving: rings, memory and config while a guest runs. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "toy.h"

static void it_offers_what_it_implements_and_nothing_else(void **state)
{
	struct toy *f = *state;

	assert_int_equal(driver_get(&f->driver, VU_GET_FEATURES),
			 BIT64(TOY_FEATURE) | BIT64(28) | BIT64(29) | BIT64(30) | BIT64(32));
	assert_int_equal(driver_get(&f->driver, VU_GET_PROTOCOL_FEATURES),
			 BIT64(VU_PF_MQ) | BIT64(VU_PF_REPLY_ACK) | BIT64(VU_PF_BACKEND_REQ) |
				 BIT64(VU_PF_CONFIG) | BIT64(VU_PF_INFLIGHT_SHMFD) |
				 BIT64(VU_PF_CONFIGURE_MEM_SLOTS) | BIT64(VU_PF_GPA_ADDRESSES));
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), TOY_QUEUES);
	assert_int_equal(driver_get(&f->driver, VU_GET_MAX_MEM_SLOTS), 509);
	assert_int_equal(f->negotiated, BIT64(TOY_FEATURE) | BIT64(28) | BIT64(29) | BIT64(32));
}

static void a_request_is_served_and_called(void **state)
{
	struct toy *f = toy_running(state);

	toy_assert_pong(f, 0);
	toy_assert_pong(f, 0);
	toy_assert_nothing_left(f);
}

static void queues_are_independent(void **state)
{
	struct toy *f = toy_running(state);

	driver_start_queue(&f->driver, 1, 4);
	toy_assert_pong(f, 1);
	toy_assert_pong(f, 0);
	driver_stop_queue(&f->driver, 0);
	toy_assert_pong(f, 1);
}

static void a_disabled_ring_stands_still_and_its_kick_is_not_lost(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head;

	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 0, 0), 0);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	toy_assert_no_answer(f, 0);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 4);
}

static void what_waits_when_a_ring_starts_needs_no_kick(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head, base = driver_stop_queue(&f->driver, 0);

	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_resume_queue(&f->driver, 0, base);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 4);
}

static void a_stopped_ring_says_where_to_go_on(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf buf = { BUF, 16, true };

	for (unsigned i = 0; i < 20; i++)
		toy_assert_pong(f, 0);
	assert_int_equal(driver_stop_queue(&f->driver, 0), 20);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	toy_assert_no_answer(f, 0);
	/* Stopping twice is harmless. */
	assert_int_equal(driver_stop_queue(&f->driver, 0), 20);
}

static void a_resumed_ring_is_called_for_what_a_predecessor_did_not_tell(void **state)
{
	struct toy *f = toy_running(state);
	uint16_t base;

	toy_assert_pong(f, 0);
	base = driver_stop_queue(&f->driver, 0);
	fd_drain(f->driver.queues[0].call);
	driver_resume_queue(&f->driver, 0, base);
	assert_int_not_equal(fd_drain(f->driver.queues[0].call), 0);
}

static void without_bit_30_rings_run_without_enable(void **state)
{
	struct toy *f = *state;
	struct driver *d = &f->driver;
	uint64_t zero = 0;
	struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };
	struct vu_vring_addr a = {
		0, 0, DRIVER_USER, DRIVER_USER + 0x8000, DRIVER_USER + 0x4000, 0
	};
	struct vu_vring_state num = { 0, 8 };

	d->queues[0].size = 8;
	assert_true(driver_send(d, VU_SET_FEATURES, 1, &zero, 8, NULL, 0));
	assert_true(driver_send(d, VU_SET_MEM_TABLE, 1, &t, 40, &d->ram_fd, 1));
	assert_true(driver_send(d, VU_SET_VRING_NUM, 1, &num, 8, NULL, 0));
	assert_true(driver_send(d, VU_SET_VRING_ADDR, 1, &a, 40, NULL, 0));
	assert_true(driver_send(d, VU_SET_VRING_CALL, 1, &zero, 8, &d->queues[0].call, 1));
	assert_true(driver_send(d, VU_SET_VRING_KICK, 1, &zero, 8, &d->queues[0].kick, 1));
	toy_assert_pong(f, 0);
}

static void a_ring_without_kick_eventfd_is_polled(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head;

	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_VRING_KICK, VU_VRING_NOFD), 0);
	driver_settle(&f->driver);
	driver_add(&f->driver, 0, &buf, 1, 0);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 4);
}

static void a_ring_without_call_eventfd_is_served_silently(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head;
	uint32_t len;

	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_VRING_CALL, VU_VRING_NOFD), 0);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_true(driver_used(&f->driver, 0, &head, &len));
	assert_int_equal(fd_drain(f->driver.queues[0].call), 0);
}

static void with_gpa_addresses_rings_are_found_by_guest_address(void **state)
{
	struct toy *f = *state;
	struct driver *d = &f->driver;
	uint64_t offered;
	struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };
	struct vu_vring_addr a = { 0, 0, 0, 0x8000, 0x4000, 0 };
	uint64_t zero = 0;

	driver_negotiate(d, UINT64_MAX);
	offered = driver_get(d, VU_GET_PROTOCOL_FEATURES);
	assert_int_equal(driver_ask_u64(d, VU_SET_PROTOCOL_FEATURES, offered), 0);
	/* The user address must be the guest address now. */
	assert_int_equal(driver_ask(d, VU_SET_MEM_TABLE, &t, 40, &d->ram_fd, 1), 1);
	t.regions[0].user_addr = 0;
	assert_int_equal(driver_ask(d, VU_SET_MEM_TABLE, &t, 40, &d->ram_fd, 1), 0);
	d->queues[0].size = 8;
	assert_int_equal(driver_ask_state(d, VU_SET_VRING_NUM, 0, 8), 0);
	assert_int_equal(driver_ask(d, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 0);
	assert_int_equal(driver_ask(d, VU_SET_VRING_CALL, &zero, 8, &d->queues[0].call, 1), 0);
	assert_int_equal(driver_ask(d, VU_SET_VRING_KICK, &zero, 8, &d->queues[0].kick, 1), 0);
	assert_int_equal(driver_ask_state(d, VU_SET_VRING_ENABLE, 0, 1), 0);
	toy_assert_pong(f, 0);
}

static void a_kick_pipe_that_ends_does_not_spin(void **state)
{
	struct toy *f = toy_running(state);
	uint64_t zero = 0;
	unsigned runs;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_VRING_KICK, &zero, 8, &fds[0], 1), 0);
	close(fds[0]);
	close(fds[1]);
	driver_settle(&f->driver);
	assert_int_equal(f->backend.queues[0].kick, -1);
	runs = f->runs;
	driver_settle(&f->driver);
	/* Looked at by the clock from now on, not in every turn of the loop. */
	assert_true(f->runs - runs < 16);
}

static struct vu_mem_reg high_region(uint64_t gpa)
{
	return (struct vu_mem_reg){ 0, { gpa, 0x100000, DRIVER_USER + gpa, 0x100000 } };
}

static void regions_come_and_go_while_a_ring_runs(void **state)
{
	struct toy *f = toy_running(state);
	struct vu_mem_reg r = high_region(GIB(4));
	struct driver_buf high = { GIB(4) + 0x100, 16, true };

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
			driver_ask(&f->driver, VU_ADD_MEM_REG, &r, sizeof(r), &f->driver.ram_fd, 1),
			0);
		memset(f->driver.ram + 0x100100, 0, 16);
		assert_int_equal(driver_request(&f->driver, 0, &high, 1), 4);
		assert_memory_equal(f->driver.ram + 0x100100, "pong", 5);
		assert_int_equal(
			driver_ask(&f->driver, VU_ADD_MEM_REG, &r, sizeof(r), &f->driver.ram_fd, 1),
			1);
		/* Old front ends send an fd along. */
		assert_int_equal(driver_ask(&f->driver, VU_REM_MEM_REG, &r, sizeof(r),
					    &f->driver.ram_fd, i % 2),
				 0);
		assert_int_equal(driver_ask(&f->driver, VU_REM_MEM_REG, &r, sizeof(r), NULL, 0), 1);
		toy_assert_pong(f, 0);
	}
	toy_assert_nothing_left(f);
}

static void a_new_memory_table_takes_effect_while_a_ring_runs(void **state)
{
	struct toy *f = toy_running(state);
	struct vu_mem_table t = { .count = 2, .regions = { { 0, 0x100000, DRIVER_USER, 0 },
		{ 0x100000, 0x300000, DRIVER_USER + 0x100000, 0x100000 } } };
	int fds[2] = { f->driver.ram_fd, f->driver.ram_fd };

	toy_assert_pong(f, 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_MEM_TABLE, &t, 8 + 64, fds, 2), 0);
	toy_assert_pong(f, 0);
	/* A bad one changes nothing: its second region overlaps the first. */
	t.regions[1].gpa = 0x1000;
	assert_int_equal(driver_ask(&f->driver, VU_SET_MEM_TABLE, &t, 8 + 64, fds, 2), 1);
	t.count = 9;
	assert_int_equal(driver_ask(&f->driver, VU_SET_MEM_TABLE, &t, 8 + 64, fds, 2), 1);
	t.count = 1;
	assert_int_equal(driver_ask(&f->driver, VU_SET_MEM_TABLE, &t, 8 + 64, fds, 2), 1);
	toy_assert_pong(f, 0);
	toy_assert_nothing_left(f);
}

static void a_ring_that_loses_its_memory_stands_still(void **state)
{
	struct toy *f = toy_running(state);
	struct vu_mem_reg whole = { 0, { 0, DRIVER_RAM, DRIVER_USER, 0 } };
	struct driver_buf buf = { BUF, 16, true };

	toy_assert_pong(f, 0);
	assert_int_equal(driver_ask(&f->driver, VU_REM_MEM_REG, &whole, sizeof(whole), NULL, 0), 0);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	toy_assert_no_answer(f, 0);
	/* It still says where it stopped, and a restart with memory mends it. */
	assert_int_equal(driver_stop_queue(&f->driver, 0), 1);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, 0, 16);
	toy_assert_pong(f, 0);
}

static void a_guest_that_breaks_a_ring_breaks_only_that(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf outside = { DRIVER_RAM, 16, true };

	driver_start_queue(&f->driver, 1, 16);
	driver_add(&f->driver, 0, &outside, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	driver_kick(&f->driver, 0);
	toy_assert_no_answer(f, 0);
	toy_assert_pong(f, 1);
	driver_stop_queue(&f->driver, 0);
	driver_start_queue(&f->driver, 0, 16);
	toy_assert_pong(f, 0);
}

static void a_device_can_break_a_queue_by_a_sentence(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf bad = { BUF, 13, false };

	driver_add(&f->driver, 0, &bad, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	assert_string_equal(f->backend.queues[0].ring.why, "thirteen");
}

static void a_full_queue_is_served_in_bounded_runs(void **state)
{
	struct toy *f = toy_negotiated(state);
	struct driver_buf buf = { BUF, 16, true };
	unsigned served = 0;
	uint16_t head;
	uint32_t len;

	driver_start_queue(&f->driver, 0, 256);
	driver_settle(&f->driver);
	f->runs = 0;
	for (unsigned i = 0; i < 256; i++)
		driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	loop_once(&f->loop, 0);
	while (driver_used(&f->driver, 0, &head, &len))
		served++;
	/* Whole batches, and not all of them: the socket has its turn in between. */
	assert_int_equal(served, f->runs * BACKEND_BATCH);
	assert_true(served < 256);
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), TOY_QUEUES);
	for (; served < 256; served++)
		driver_wait_used(&f->driver, 0, &head);
}

static void a_device_that_waits_is_woken_by_itself(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head;

	driver_settle(&f->driver);
	f->not_ready = true;
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	f->runs = 0;
	toy_assert_no_answer(f, 0);
	assert_int_equal(f->runs, 0);
	f->not_ready = false;
	backend_queue_wake(&f->backend.queues[0]);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 4);
}

/* Two requests that the device keeps. */
static struct toy *with_requests_in_flight(void **state)
{
	struct toy *f = toy_running(state);
	struct driver_buf buf = { BUF, 16, true };

	f->keep = true;
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_equal(f->n_kept, 2);
	return f;
}

static void finish_one(struct toy *f)
{
	backend_queue_push(f->kept_of, f->kept[--f->n_kept], 0);
	driver_settle(&f->driver);
}

static void stopping_a_ring_waits_for_what_is_in_flight(void **state)
{
	struct toy *f = with_requests_in_flight(state);
	struct vu_vring_state s = { 0, 0 };
	struct driver_buf buf = { BUF, 16, true };
	struct vu_msg m;

	assert_true(driver_send(&f->driver, VU_GET_VRING_BASE, VU_FLAG_VERSION, &s, sizeof(s), NULL,
				0));
	driver_settle(&f->driver);
	/* Nothing new is begun meanwhile, and nothing is answered. */
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_equal(f->n_kept, 2);
	finish_one(f);
	assert_int_equal(recv(f->driver.sock, &m, 1, MSG_DONTWAIT | MSG_PEEK), -1);
	finish_one(f);
	assert_true(driver_recv(&f->driver, &m));
	assert_int_equal(m.header.request, VU_GET_VRING_BASE);
	assert_int_equal(m.payload.state.num, 2);
	assert_int_equal(f->dropped, 0);
}

static void memory_is_not_taken_from_what_is_in_flight(void **state)
{
	struct toy *f = with_requests_in_flight(state);
	struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };
	uint64_t address = (uint64_t)(uintptr_t)f->backend.map.regions[0].host;
	struct driver_buf buf = { BUF, 16, true };
	struct vu_msg m;

	assert_true(driver_send(&f->driver, VU_SET_MEM_TABLE, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY,
				&t, 40, &f->driver.ram_fd, 1));
	driver_settle(&f->driver);
	assert_int_equal((uint64_t)(uintptr_t)f->backend.map.regions[0].host, address);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	finish_one(f);
	finish_one(f);
	assert_true(driver_recv(&f->driver, &m));
	assert_int_equal(m.payload.u64, 0);
	/* The queue goes on by itself with what came meanwhile. */
	driver_settle(&f->driver);
	assert_int_equal(f->n_kept, 1);
	toy_assert_nothing_left(f);
}

static void a_front_end_that_vanishes_drops_what_is_in_flight(void **state)
{
	struct toy *f = with_requests_in_flight(state);

	toy_assert_nothing_left(f);
	assert_int_equal(f->dropped, 2);
	assert_int_equal(f->negotiated, 0);
}

static void a_front_end_that_vanishes_while_a_message_waits_leaves_nothing(void **state)
{
	struct toy *f = with_requests_in_flight(state);
	struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };

	assert_true(driver_send(&f->driver, VU_SET_MEM_TABLE, VU_FLAG_VERSION, &t, 40,
				&f->driver.ram_fd, 1));
	driver_settle(&f->driver);
	toy_assert_nothing_left(f);
	assert_int_equal(f->dropped, 2);
}

static void a_front_end_that_leaves_before_its_answer_is_not_worth_a_word(void **state)
{
	struct toy *f = *state;
	autoclose int words = memfd_create("stderr", MFD_CLOEXEC), kept = dup(STDERR_FILENO);

	assert_true(driver_send(&f->driver, VU_GET_FEATURES, VU_FLAG_VERSION, NULL, 0, NULL, 0));
	fd_close(&f->driver.sock);
	log_setup("test_backend", LOG_WARN);
	dup2(words, STDERR_FILENO);
	driver_settle(&f->driver);
	dup2(kept, STDERR_FILENO);
	log_setup("test_backend", LOG_ERROR);
	assert_int_equal(lseek(words, 0, SEEK_END), 0);
	assert_true(f->backend.channel.sock < 0);
}

static void a_changed_config_is_told_on_the_back_channel(void **state)
{
	struct toy *f = toy_running(state);
	autoclose int back = toy_back_channel(f);
	struct __attribute__((packed)) {
		struct vu_header h;
		uint64_t u64;
	} answer = { { VU_BACKEND_CONFIG_CHANGE_MSG, 5, 8 }, 1 };
	struct vu_header h;

	for (unsigned i = 0; i < 2; i++) {
		backend_config_changed(&f->backend);
		driver_settle(&f->driver);
		assert_int_equal(recv(back, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
		assert_int_equal(h.request, VU_BACKEND_CONFIG_CHANGE_MSG);
		assert_int_equal(h.flags, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY);
		assert_int_equal(h.size, 0);
		/* Refused: an outcome, not an error. */
		assert_int_equal(send(back, &answer, sizeof(answer), 0), sizeof(answer));
		driver_settle(&f->driver);
	}
	assert_int_not_equal(f->backend.back.sock, -1);
	toy_assert_pong(f, 0);
}

static void a_new_back_channel_replaces_the_old_one(void **state)
{
	struct toy *f = toy_negotiated(state);
	autoclose int old = toy_back_channel(f);
	autoclose int new = toy_back_channel(f);
	struct vu_header h;

	backend_config_changed(&f->backend);
	assert_int_equal(recv(old, &h, sizeof(h), MSG_DONTWAIT), 0);
	assert_int_equal(recv(new, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	fd_close(&old);
	fd_close(&new);
	toy_assert_nothing_left(f);
}

static int connect_to(const struct sockaddr_un *a)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(sock, (const struct sockaddr *)a, sizeof(*a)), 0);
	return sock;
}

static void front_ends_are_served_one_after_the_other(void **state)
{
	struct toy *f = *state;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int listener, first, second;

	toy_assert_nothing_left(f);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	f->backend.ended = false;
	/* An abstract name: nothing to remove. */
	snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "minivmm-test-backend-%d", (int)getpid());
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 4), 0);
	backend_listen(&f->backend, &listener);

	for (unsigned i = 0; i < 3; i++) {
		uint64_t request[2] = { 0 };

		first = connect_to(&a);
		second = connect_to(&a);
		driver_reconnect(&f->driver, &first);
		toy_running(state);
		toy_assert_pong(f, 0);
		/* The second waits, with its request, until the first has left. */
		memcpy(request, &(struct vu_header){ VU_GET_FEATURES, 1, 0 }, 12);
		assert_int_equal(send(second, request, 12, 0), 12);
		driver_settle(&f->driver);
		assert_int_equal(recv(second, request, 1, MSG_DONTWAIT), -1);
		driver_reconnect(&f->driver, &second);
		assert_true(driver_recv(&f->driver, &(struct vu_msg){ .nfds = 0 }));
		toy_running(state);
		toy_assert_pong(f, 0);
		fd_close(&f->driver.sock);
		driver_settle(&f->driver);
		assert_false(f->backend.ended);
	}
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, toy_setup, toy_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(it_offers_what_it_implements_and_nothing_else),
		CASE(a_request_is_served_and_called),
		CASE(queues_are_independent),
		CASE(a_disabled_ring_stands_still_and_its_kick_is_not_lost),
		CASE(what_waits_when_a_ring_starts_needs_no_kick),
		CASE(a_stopped_ring_says_where_to_go_on),
		CASE(a_resumed_ring_is_called_for_what_a_predecessor_did_not_tell),
		CASE(without_bit_30_rings_run_without_enable),
		CASE(a_ring_without_kick_eventfd_is_polled),
		CASE(a_ring_without_call_eventfd_is_served_silently),
		CASE(with_gpa_addresses_rings_are_found_by_guest_address),
		CASE(a_kick_pipe_that_ends_does_not_spin),
		CASE(regions_come_and_go_while_a_ring_runs),
		CASE(a_new_memory_table_takes_effect_while_a_ring_runs),
		CASE(a_ring_that_loses_its_memory_stands_still),
		CASE(a_guest_that_breaks_a_ring_breaks_only_that),
		CASE(a_device_can_break_a_queue_by_a_sentence),
		CASE(a_full_queue_is_served_in_bounded_runs),
		CASE(a_device_that_waits_is_woken_by_itself),
		CASE(stopping_a_ring_waits_for_what_is_in_flight),
		CASE(memory_is_not_taken_from_what_is_in_flight),
		CASE(a_front_end_that_vanishes_drops_what_is_in_flight),
		CASE(a_front_end_that_vanishes_while_a_message_waits_leaves_nothing),
		CASE(a_front_end_that_leaves_before_its_answer_is_not_worth_a_word),
		CASE(a_changed_config_is_told_on_the_back_channel),
		CASE(a_new_back_channel_replaces_the_old_one),
		CASE(front_ends_are_served_one_after_the_other),
	};

	/* What it logs of the misuse is not the point here. */
	log_setup("test_backend", LOG_ERROR);
	return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
