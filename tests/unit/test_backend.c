/* SPDX-License-Identifier: Apache-2.0 */
/* The back end library against front ends that behave, front ends that do not, and ones that vanish. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "driver.h"
#include "vhost/backend.h"

enum { TOY_QUEUES = 2, TOY_CONFIG = 8, TOY_FEATURE = 3, BUF = DRIVER_DATA, BUF2 = DRIVER_DATA + 0x1000 };

/* A device that writes "pong" into each request, or keeps requests when told to. */
struct fixture {
	struct loop loop;
	struct backend backend;
	struct driver driver;
	struct ring_chain chain;
	uint8_t config[TOY_CONFIG];
	uint64_t negotiated;
	bool keep, not_ready;
	uint16_t kept[16];
	unsigned n_kept, runs, dropped;
	struct backend_queue *kept_of;
	unsigned fds;		/* open before the connection */
};

static bool toy_handle(void *arg, struct backend_queue *q)
{
	struct fixture *f = arg;

	f->runs++;
	if (f->not_ready)
		return false;
	while (backend_queue_pop(q, &f->chain)) {
		if (f->chain.out_len == 13)
			backend_queue_break(q, "thirteen");
		if (!f->keep) {
			backend_queue_push(q, f->chain.head, (uint32_t)ring_chain_write(&f->chain, 0, "pong", 4));
			continue;
		}
		f->kept_of = q;
		f->kept[f->n_kept++] = f->chain.head;
	}
	return true;
}

static void toy_negotiated(void *arg, uint64_t features)
{
	((struct fixture *)arg)->negotiated = features;
}

static void toy_drop(void *arg, struct backend_queue *q)
{
	struct fixture *f = arg;

	(void)q;
	f->dropped += f->n_kept;
	f->n_kept = 0;
}

static void toy_config_read(void *arg, uint8_t config[VU_CONFIG_MAX])
{
	memcpy(config, ((struct fixture *)arg)->config, TOY_CONFIG);
}

static int toy_config_write(void *arg, unsigned off, const uint8_t *data, unsigned len)
{
	struct fixture *f = arg;

	if (!range_ok(off, len, TOY_CONFIG))
		return -EINVAL;
	memcpy(f->config + off, data, len);
	return 0;
}

static const struct backend_ops toy_ops = {
	.handle_queue = toy_handle, .negotiated = toy_negotiated, .drop = toy_drop,
	.config_read = toy_config_read, .config_write = toy_config_write,
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct backend_device dev = { "toy", BIT64(TOY_FEATURE), TOY_QUEUES, &toy_ops, f };
	int pair[2];
	struct err e;

	memcpy(f->config, "abcdefgh", TOY_CONFIG);
	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	assert_int_equal(backend_init(&f->backend, &f->loop, &dev, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	driver_init(&f->driver, &pair[0], &f->loop);
	f->fds = driver_count_fds() - 1;
	assert_int_equal(backend_connect(&f->backend, &pair[1], &e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	backend_fini(&f->backend);
	loop_fini(&f->loop);
	driver_fini(&f->driver);
	test_free(f);
	return 0;
}

/* A new connection to the same device. */
static void connect_again(struct fixture *f)
{
	int pair[2];
	struct err e;

	driver_settle(&f->driver);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(f->backend.channel.sock, -1);
	assert_int_equal(backend_connect(&f->backend, &pair[1], &e), 0);
	driver_reconnect(&f->driver, &pair[0]);
}

static void assert_nothing_left(struct fixture *f)
{
	fd_close(&f->driver.sock);
	driver_settle(&f->driver);
	assert_int_equal(f->backend.channel.sock, -1);
	assert_true(f->backend.ended);
	assert_int_equal(f->backend.map.count, 0);
	assert_int_equal(driver_count_fds(), f->fds - 1);
}

static struct fixture *negotiated(void **state)
{
	struct fixture *f = *state;

	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	return f;
}

static struct fixture *running(void **state)
{
	struct fixture *f = negotiated(state);

	driver_start_queue(&f->driver, 0, 16);
	return f;
}

static void assert_pong(struct fixture *f, unsigned queue)
{
	struct driver_buf buf = { BUF, 16, true };

	memset(f->driver.ram + BUF, 0, 16);
	assert_int_equal(driver_request(&f->driver, queue, &buf, 1), 4);
	assert_memory_equal(f->driver.ram + BUF, "pong", 5);
}

static void assert_no_answer(struct fixture *f, unsigned queue)
{
	uint16_t head;
	uint32_t len;

	driver_settle(&f->driver);
	assert_false(driver_used(&f->driver, queue, &head, &len));
}

static void it_offers_what_it_implements_and_nothing_else(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(driver_get(&f->driver, VU_GET_FEATURES),
			 BIT64(TOY_FEATURE) | BIT64(28) | BIT64(29) | BIT64(30) | BIT64(32));
	assert_int_equal(driver_get(&f->driver, VU_GET_PROTOCOL_FEATURES),
			 BIT64(VU_PF_MQ) | BIT64(VU_PF_REPLY_ACK) | BIT64(VU_PF_BACKEND_REQ) | BIT64(VU_PF_CONFIG) |
			 BIT64(VU_PF_BACKEND_SEND_FD) | BIT64(VU_PF_CONFIGURE_MEM_SLOTS) | BIT64(VU_PF_GPA_ADDRESSES));
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), TOY_QUEUES);
	assert_int_equal(driver_get(&f->driver, VU_GET_MAX_MEM_SLOTS), 509);
	assert_int_equal(f->negotiated, BIT64(TOY_FEATURE) | BIT64(28) | BIT64(29) | BIT64(32));
}

static void a_request_is_served_and_called(void **state)
{
	struct fixture *f = running(state);

	assert_pong(f, 0);
	assert_pong(f, 0);
	assert_nothing_left(f);
}

static void queues_are_independent(void **state)
{
	struct fixture *f = running(state);

	driver_start_queue(&f->driver, 1, 4);
	assert_pong(f, 1);
	assert_pong(f, 0);
	driver_stop_queue(&f->driver, 0);
	assert_pong(f, 1);
}

static void a_disabled_ring_stands_still_and_its_kick_is_not_lost(void **state)
{
	struct fixture *f = running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head;

	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 0, 0), 0);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	assert_no_answer(f, 0);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 4);
}

static void what_waits_when_a_ring_starts_needs_no_kick(void **state)
{
	struct fixture *f = running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head, base = driver_stop_queue(&f->driver, 0);

	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_resume_queue(&f->driver, 0, base);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 4);
}

static void a_stopped_ring_says_where_to_go_on(void **state)
{
	struct fixture *f = running(state);
	struct driver_buf buf = { BUF, 16, true };

	for (unsigned i = 0; i < 20; i++)
		assert_pong(f, 0);
	assert_int_equal(driver_stop_queue(&f->driver, 0), 20);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	assert_no_answer(f, 0);
	/* Stopping twice is harmless. */
	assert_int_equal(driver_stop_queue(&f->driver, 0), 20);
}

static void a_resumed_ring_is_called_for_what_a_predecessor_did_not_tell(void **state)
{
	struct fixture *f = running(state);
	uint16_t base;

	assert_pong(f, 0);
	base = driver_stop_queue(&f->driver, 0);
	fd_drain(f->driver.queues[0].call);
	driver_resume_queue(&f->driver, 0, base);
	assert_int_not_equal(fd_drain(f->driver.queues[0].call), 0);
}

static void without_bit_30_rings_run_without_enable(void **state)
{
	struct fixture *f = *state;
	struct driver *d = &f->driver;
	uint64_t zero = 0;
	struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };
	struct vu_vring_addr a = { 0, 0, DRIVER_USER, DRIVER_USER + 0x8000, DRIVER_USER + 0x4000, 0 };
	struct vu_vring_state num = { 0, 8 };

	d->queues[0].size = 8;
	assert_true(driver_send(d, VU_SET_FEATURES, 1, &zero, 8, NULL, 0));
	assert_true(driver_send(d, VU_SET_MEM_TABLE, 1, &t, 40, &d->ram_fd, 1));
	assert_true(driver_send(d, VU_SET_VRING_NUM, 1, &num, 8, NULL, 0));
	assert_true(driver_send(d, VU_SET_VRING_ADDR, 1, &a, 40, NULL, 0));
	assert_true(driver_send(d, VU_SET_VRING_CALL, 1, &zero, 8, &d->queues[0].call, 1));
	assert_true(driver_send(d, VU_SET_VRING_KICK, 1, &zero, 8, &d->queues[0].kick, 1));
	assert_pong(f, 0);
}

static void a_ring_without_kick_eventfd_is_polled(void **state)
{
	struct fixture *f = running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head;

	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_VRING_KICK, VU_VRING_NOFD), 0);
	driver_settle(&f->driver);
	driver_add(&f->driver, 0, &buf, 1, 0);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 4);
}

static void a_ring_without_call_eventfd_is_served_silently(void **state)
{
	struct fixture *f = running(state);
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
	struct fixture *f = *state;
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
	assert_pong(f, 0);
}

static void a_kick_before_num_and_addr_is_refused(void **state)
{
	struct fixture *f = negotiated(state);
	uint64_t zero = 0;

	assert_int_equal(driver_ask(&f->driver, VU_SET_VRING_KICK, &zero, 8, &f->driver.queues[0].kick, 1), 1);
	driver_start_queue(&f->driver, 0, 16);
	assert_pong(f, 0);
	assert_nothing_left(f);
}

static void a_ring_outside_the_memory_table_is_refused(void **state)
{
	struct fixture *f = negotiated(state);
	struct driver *d = &f->driver;
	uint64_t zero = 0;
	const struct vu_vring_addr bad[] = {
		{ 0, 0, 0, DRIVER_USER, DRIVER_USER, 0 },
		{ 0, 0, DRIVER_USER, UINT64_MAX - 3, DRIVER_USER, 0 },
		{ 0, 0, DRIVER_USER, DRIVER_USER, DRIVER_USER + DRIVER_RAM - 4, 0 },
		{ 0, 0, DRIVER_USER + 8, DRIVER_USER, DRIVER_USER, 0 },
		{ 0, 0, DRIVER_USER, DRIVER_USER + 2, DRIVER_USER, 0 },
		{ 0, 0, DRIVER_USER, DRIVER_USER, DRIVER_USER + 1, 0 },
	};

	assert_int_equal(driver_ask_state(d, VU_SET_VRING_NUM, 0, 16), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(driver_ask(d, VU_SET_VRING_ADDR, &bad[i], sizeof(bad[i]), NULL, 0), 0);
		assert_int_equal(driver_ask(d, VU_SET_VRING_KICK, &zero, 8, &d->queues[0].kick, 1), 1);
	}
	driver_start_queue(d, 0, 16);
	assert_pong(f, 0);
}

static void ring_values_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = negotiated(state);
	struct driver *d = &f->driver;
	struct vu_vring_addr log = { .index = 0, .flags = 1 };
	static const uint32_t sizes[] = { 0, 3, 100, 65536, 65535, UINT32_MAX };
	static const uint32_t indices[] = { TOY_QUEUES, 255, 256, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_int_equal(driver_ask_state(d, VU_SET_VRING_NUM, 0, sizes[i]), 1);
	for (size_t i = 0; i < ARRAY_SIZE(indices); i++) {
		assert_int_equal(driver_ask_state(d, VU_SET_VRING_NUM, indices[i], 16), 1);
		assert_int_equal(driver_ask_state(d, VU_SET_VRING_BASE, indices[i], 0), 1);
		assert_int_equal(driver_ask_state(d, VU_SET_VRING_ENABLE, indices[i], 1), 1);
	}
	assert_int_equal(driver_ask_state(d, VU_SET_VRING_BASE, 0, 65536), 1);
	assert_int_equal(driver_ask_state(d, VU_SET_VRING_ENABLE, 0, 2), 1);
	assert_int_equal(driver_ask(d, VU_SET_VRING_ADDR, &log, sizeof(log), NULL, 0), 1);
	/* An index with stray bits; no fd and no flag for it; both. */
	assert_int_equal(driver_ask_u64(d, VU_SET_VRING_CALL, UINT64_C(1) << 32 | VU_VRING_NOFD), 1);
	assert_int_equal(driver_ask_u64(d, VU_SET_VRING_CALL, 0), 1);
	log.desc = VU_VRING_NOFD;
	assert_int_equal(driver_ask(d, VU_SET_VRING_CALL, &log.desc, 8, &d->queues[0].call, 1), 1);
	driver_start_queue(d, 0, 16);
	assert_pong(f, 0);
	assert_nothing_left(f);
}

static void a_running_ring_does_not_change_its_shape(void **state)
{
	struct fixture *f = running(state);
	struct vu_vring_addr a = { 0, 0, DRIVER_USER + 0x20000, DRIVER_USER + 0x28000, DRIVER_USER + 0x24000, 0 };

	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_NUM, 0, 8), 1);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_BASE, 0, 8), 1);
	assert_int_equal(driver_ask(&f->driver, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, BIT64(30)), 1);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_PROTOCOL_FEATURES, BIT64(VU_PF_REPLY_ACK)), 1);
	assert_pong(f, 0);
}

static void features_that_were_not_offered_are_refused(void **state)
{
	struct fixture *f = negotiated(state);

	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, BIT64(TOY_FEATURE + 1)), 1);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_PROTOCOL_FEATURES, BIT64(VU_PF_SHMEM)), 1);
	driver_start_queue(&f->driver, 0, 16);
	assert_pong(f, 0);
}

static void what_cannot_kick_is_refused(void **state)
{
	struct fixture *f = running(state);
	autoclose int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint64_t zero = 0;

	assert_true(file >= 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_VRING_KICK, &zero, 8, &file, 1), 1);
	assert_pong(f, 0);
}

static void a_kick_pipe_that_ends_does_not_spin(void **state)
{
	struct fixture *f = running(state);
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

/* Sends @size bytes of zeros as @request and wants it refused, politely or by the end of the connection. */
static void assert_refused(struct fixture *f, uint32_t request, uint32_t size, const int *fds, size_t nfds)
{
	static const uint8_t zeros[VU_PAYLOAD_MAX];

	if (f->backend.channel.sock < 0) {
		connect_again(f);
		driver_negotiate(&f->driver, UINT64_MAX);
	}
	if (driver_ask(&f->driver, request, zeros, size, fds, nfds) == 0)
		fail_msg("%s with %u bytes and %zu fds was obeyed", vu_request_name(request), size, nfds);
	driver_settle(&f->driver);
}

static void every_message_of_a_wrong_size_is_refused(void **state)
{
	struct fixture *f = negotiated(state);

	for (uint32_t id = 1; id < VU_REQUEST_END; id++) {
		const struct vu_msg_type *t = &vu_msg_types[id];
		int fds[1] = { f->driver.ram_fd };

		if (t->size_min > 0)
			assert_refused(f, id, t->size_min - 1u, fds, t->fds_min);
		if (t->size_max < VU_PAYLOAD_MAX)
			assert_refused(f, id, t->size_max + 1u, fds, t->fds_min);
	}
	if (f->backend.channel.sock < 0)
		connect_again(f);
	negotiated(state);
	driver_start_queue(&f->driver, 0, 16);
	assert_pong(f, 0);
	assert_nothing_left(f);
}

static void every_message_with_fds_too_many_is_refused_and_none_stays_open(void **state)
{
	struct fixture *f = negotiated(state);
	int fds[9];

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = f->driver.ram_fd;
	for (uint32_t id = 1; id < VU_REQUEST_END; id++)
		assert_refused(f, id, vu_msg_types[id].size_min, fds, vu_msg_types[id].fds_max + 1u);
	if (f->backend.channel.sock < 0)
		connect_again(f);
	negotiated(state);
	assert_nothing_left(f);
}

static void an_unknown_request_is_refused_and_the_connection_goes_on(void **state)
{
	struct fixture *f = running(state);

	assert_int_equal(driver_ask(&f->driver, VU_REQUEST_END, NULL, 0, NULL, 0), 1);
	assert_int_equal(driver_ask(&f->driver, 0, NULL, 0, NULL, 0), 1);
	assert_int_equal(driver_ask(&f->driver, UINT32_MAX, NULL, 0, NULL, 0), 1);
	assert_pong(f, 0);
}

static void what_is_refused_without_being_asked_for_an_answer_ends_the_connection(void **state)
{
	struct fixture *f = running(state);

	assert_true(driver_send(&f->driver, VU_REQUEST_END, VU_FLAG_VERSION, NULL, 0, NULL, 0));
	assert_true(driver_is_closed(&f->driver));
	assert_nothing_left(f);
}

static void wrong_flags_end_the_connection(void **state)
{
	static const uint32_t bad[] = { 0, 2, 3, VU_FLAG_VERSION | VU_FLAG_REPLY, 0x11, UINT32_MAX };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(driver_send(&f->driver, VU_GET_FEATURES, bad[i], NULL, 0, NULL, 0));
		assert_true(driver_is_closed(&f->driver));
		connect_again(f);
	}
	negotiated(state);
}

static void a_payload_beyond_any_message_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	struct vu_header h = { VU_GET_FEATURES, VU_FLAG_VERSION, VU_PAYLOAD_MAX + 1 };

	assert_int_equal(fd_send(f->driver.sock, &h, sizeof(h), NULL, 0), sizeof(h));
	assert_true(driver_is_closed(&f->driver));
}

static void a_message_whose_feature_was_not_negotiated_is_refused(void **state)
{
	struct fixture *f = *state;
	struct { struct vu_config head; uint8_t data[4]; } get = { { 0, 4, 0 }, { 0 } };

	assert_true(driver_send(&f->driver, VU_GET_CONFIG, VU_FLAG_VERSION, &get, sizeof(get), NULL, 0));
	assert_true(driver_is_closed(&f->driver));
}

static void enable_without_bit_30_is_refused(void **state)
{
	struct fixture *f = *state;

	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, 0), 0);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 0, 1), 1);
}

static void no_answer_is_sent_that_nobody_asked_for(void **state)
{
	struct fixture *f = *state;
	struct vu_vring_state s = { 0, 16 };

	/* need_reply before REPLY_ACK was negotiated means nothing. */
	assert_true(driver_send(&f->driver, VU_SET_VRING_NUM, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, &s, sizeof(s), NULL, 0));
	assert_int_equal(driver_get(&f->driver, VU_GET_FEATURES) & 1, 0);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_true(driver_send(&f->driver, VU_SET_VRING_NUM, VU_FLAG_VERSION, &s, sizeof(s), NULL, 0));
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), TOY_QUEUES);
}

static void a_message_with_its_own_answer_is_answered_once(void **state)
{
	struct fixture *f = negotiated(state);
	struct vu_msg m;

	assert_true(driver_send(&f->driver, VU_GET_FEATURES, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, NULL, 0, NULL, 0));
	assert_true(driver_recv(&f->driver, &m));
	assert_int_equal(m.header.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), TOY_QUEUES);
}

static struct vu_mem_reg high_region(uint64_t gpa)
{
	return (struct vu_mem_reg){ 0, { gpa, 0x100000, DRIVER_USER + gpa, 0x100000 } };
}

static void regions_come_and_go_while_a_ring_runs(void **state)
{
	struct fixture *f = running(state);
	struct vu_mem_reg r = high_region(GIB(4));
	struct driver_buf high = { GIB(4) + 0x100, 16, true };

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(driver_ask(&f->driver, VU_ADD_MEM_REG, &r, sizeof(r), &f->driver.ram_fd, 1), 0);
		memset(f->driver.ram + 0x100100, 0, 16);
		assert_int_equal(driver_request(&f->driver, 0, &high, 1), 4);
		assert_memory_equal(f->driver.ram + 0x100100, "pong", 5);
		assert_int_equal(driver_ask(&f->driver, VU_ADD_MEM_REG, &r, sizeof(r), &f->driver.ram_fd, 1), 1);
		/* Old front ends send an fd along. */
		assert_int_equal(driver_ask(&f->driver, VU_REM_MEM_REG, &r, sizeof(r), &f->driver.ram_fd, i % 2), 0);
		assert_int_equal(driver_ask(&f->driver, VU_REM_MEM_REG, &r, sizeof(r), NULL, 0), 1);
		assert_pong(f, 0);
	}
	assert_nothing_left(f);
}

static void a_new_memory_table_takes_effect_while_a_ring_runs(void **state)
{
	struct fixture *f = running(state);
	struct vu_mem_table t = { .count = 2, .regions = { { 0, 0x100000, DRIVER_USER, 0 },
		{ 0x100000, 0x300000, DRIVER_USER + 0x100000, 0x100000 } } };
	int fds[2] = { f->driver.ram_fd, f->driver.ram_fd };

	assert_pong(f, 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_MEM_TABLE, &t, 8 + 64, fds, 2), 0);
	assert_pong(f, 0);
	/* A bad one changes nothing: its second region overlaps the first. */
	t.regions[1].gpa = 0x1000;
	assert_int_equal(driver_ask(&f->driver, VU_SET_MEM_TABLE, &t, 8 + 64, fds, 2), 1);
	t.count = 9;
	assert_int_equal(driver_ask(&f->driver, VU_SET_MEM_TABLE, &t, 8 + 64, fds, 2), 1);
	t.count = 1;
	assert_int_equal(driver_ask(&f->driver, VU_SET_MEM_TABLE, &t, 8 + 64, fds, 2), 1);
	assert_pong(f, 0);
	assert_nothing_left(f);
}

static void a_ring_that_loses_its_memory_stands_still(void **state)
{
	struct fixture *f = running(state);
	struct vu_mem_reg whole = { 0, { 0, DRIVER_RAM, DRIVER_USER, 0 } };
	struct driver_buf buf = { BUF, 16, true };

	assert_pong(f, 0);
	assert_int_equal(driver_ask(&f->driver, VU_REM_MEM_REG, &whole, sizeof(whole), NULL, 0), 0);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	assert_no_answer(f, 0);
	/* It still says where it stopped, and a restart with memory mends it. */
	assert_int_equal(driver_stop_queue(&f->driver, 0), 1);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, 0, 16);
	assert_pong(f, 0);
}

static void objects_that_cannot_be_guest_memory_are_refused(void **state)
{
	struct fixture *f = negotiated(state);
	struct vu_mem_reg r = high_region(GIB(4));
	autoclose int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	autoclose int ro = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	autoclose int small = memfd_create("small", MFD_CLOEXEC);
	const int fds[] = { dir, null, ro, small };

	assert_int_equal(ftruncate(small, 0x1ff000), 0);
	r.region.mmap_offset = 0x100000;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		assert_int_equal(driver_ask(&f->driver, VU_ADD_MEM_REG, &r, sizeof(r), &fds[i], 1), 1);
	r.region.mmap_offset = UINT64_MAX - 0xfff;
	assert_int_equal(driver_ask(&f->driver, VU_ADD_MEM_REG, &r, sizeof(r), &f->driver.ram_fd, 1), 1);
	driver_start_queue(&f->driver, 0, 16);
	assert_pong(f, 0);
}

static void a_guest_that_breaks_a_ring_breaks_only_that(void **state)
{
	struct fixture *f = running(state);
	struct driver_buf outside = { DRIVER_RAM, 16, true };

	driver_start_queue(&f->driver, 1, 16);
	driver_add(&f->driver, 0, &outside, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	driver_kick(&f->driver, 0);
	assert_no_answer(f, 0);
	assert_pong(f, 1);
	driver_stop_queue(&f->driver, 0);
	driver_start_queue(&f->driver, 0, 16);
	assert_pong(f, 0);
}

static void a_device_can_break_a_queue_by_a_sentence(void **state)
{
	struct fixture *f = running(state);
	struct driver_buf bad = { BUF, 13, false };

	driver_add(&f->driver, 0, &bad, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	assert_string_equal(f->backend.queues[0].ring.why, "thirteen");
}

static void a_full_queue_is_served_in_bounded_runs(void **state)
{
	struct fixture *f = negotiated(state);
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
	struct fixture *f = running(state);
	struct driver_buf buf = { BUF, 16, true };
	uint16_t head;

	driver_settle(&f->driver);
	f->not_ready = true;
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	f->runs = 0;
	assert_no_answer(f, 0);
	assert_int_equal(f->runs, 0);
	f->not_ready = false;
	backend_queue_wake(&f->backend.queues[0]);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 4);
}

/* Two requests that the device keeps. */
static struct fixture *with_requests_in_flight(void **state)
{
	struct fixture *f = running(state);
	struct driver_buf buf = { BUF, 16, true };

	f->keep = true;
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_equal(f->n_kept, 2);
	return f;
}

static void finish_one(struct fixture *f)
{
	backend_queue_push(f->kept_of, f->kept[--f->n_kept], 0);
	driver_settle(&f->driver);
}

static void stopping_a_ring_waits_for_what_is_in_flight(void **state)
{
	struct fixture *f = with_requests_in_flight(state);
	struct vu_vring_state s = { 0, 0 };
	struct driver_buf buf = { BUF, 16, true };
	struct vu_msg m;

	assert_true(driver_send(&f->driver, VU_GET_VRING_BASE, VU_FLAG_VERSION, &s, sizeof(s), NULL, 0));
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
	struct fixture *f = with_requests_in_flight(state);
	struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };
	uint64_t address = (uint64_t)(uintptr_t)f->backend.map.regions[0].host;
	struct driver_buf buf = { BUF, 16, true };
	struct vu_msg m;

	assert_true(driver_send(&f->driver, VU_SET_MEM_TABLE, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, &t, 40,
				&f->driver.ram_fd, 1));
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
	assert_nothing_left(f);
}

static void a_front_end_that_vanishes_drops_what_is_in_flight(void **state)
{
	struct fixture *f = with_requests_in_flight(state);

	assert_nothing_left(f);
	assert_int_equal(f->dropped, 2);
	assert_int_equal(f->negotiated, 0);
}

static void a_front_end_that_vanishes_while_a_message_waits_leaves_nothing(void **state)
{
	struct fixture *f = with_requests_in_flight(state);
	struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };

	assert_true(driver_send(&f->driver, VU_SET_MEM_TABLE, VU_FLAG_VERSION, &t, 40, &f->driver.ram_fd, 1));
	driver_settle(&f->driver);
	assert_nothing_left(f);
	assert_int_equal(f->dropped, 2);
}

/* Asks for config bytes; returns how many came. */
static unsigned config_get(struct fixture *f, uint32_t off, uint32_t size, uint32_t bytes, struct vu_msg *ret)
{
	struct { struct vu_config head; uint8_t data[VU_CONFIG_MAX + 4]; } get = { { off, size, 0 }, { 0 } };

	assert_true(driver_send(&f->driver, VU_GET_CONFIG, VU_FLAG_VERSION, &get, (uint32_t)sizeof(get.head) + bytes, NULL, 0));
	assert_true(driver_recv(&f->driver, ret));
	return ret->header.size ? ret->header.size - (unsigned)sizeof(get.head) : 0;
}

static void config_is_read_where_asked_and_zero_behind_its_end(void **state)
{
	struct fixture *f = negotiated(state);
	struct vu_msg m;

	assert_int_equal(config_get(f, 0, 8, 8, &m), 8);
	assert_memory_equal(m.payload.config.data, "abcdefgh", 8);
	assert_int_equal(config_get(f, 6, 4, 4, &m), 4);
	assert_memory_equal(m.payload.config.data, "gh\0\0", 4);
	assert_int_equal(config_get(f, 0, 256, 256, &m), 256);
	assert_int_equal(config_get(f, 255, 1, 1, &m), 1);
	/* Answered without payload: refused. */
	assert_int_equal(config_get(f, 255, 2, 2, &m), 0);
	assert_int_equal(config_get(f, UINT32_MAX, 1, 1, &m), 0);
	assert_int_equal(config_get(f, 0, UINT32_MAX, 4, &m), 0);
	assert_int_equal(config_get(f, 0, 3, 4, &m), 0);
}

static void config_is_written_where_the_device_lets_it(void **state)
{
	struct fixture *f = negotiated(state);
	struct { struct vu_config head; uint8_t data[4]; } set = { { 2, 4, 0 }, "WXYZ" };

	assert_int_equal(driver_ask(&f->driver, VU_SET_CONFIG, &set, sizeof(set), NULL, 0), 0);
	assert_memory_equal(f->config, "abWXYZgh", 8);
	set.head.offset = 6;
	assert_int_equal(driver_ask(&f->driver, VU_SET_CONFIG, &set, sizeof(set), NULL, 0), 1);
	set.head = (struct vu_config){ 0, 8, 0 };
	assert_int_equal(driver_ask(&f->driver, VU_SET_CONFIG, &set, sizeof(set), NULL, 0), 1);
	assert_memory_equal(f->config, "abWXYZgh", 8);
}

/* A back channel; returns the front end's side. */
static int back_channel(struct fixture *f)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1), 0);
	close(pair[1]);
	return pair[0];
}

static void a_changed_config_is_told_on_the_back_channel(void **state)
{
	struct fixture *f = running(state);
	autoclose int back = back_channel(f);
	struct __attribute__((packed)) { struct vu_header h; uint64_t u64; } answer = { { VU_BACKEND_CONFIG_CHANGE_MSG, 5, 8 }, 1 };
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
	assert_pong(f, 0);
}

static void nonsense_on_the_back_channel_ends_only_that(void **state)
{
	struct fixture *f = running(state);
	autoclose int back = back_channel(f);
	struct __attribute__((packed)) { struct vu_header h; uint64_t u64; } answer = { { VU_BACKEND_SHMEM_MAP, 5, 8 }, 0 };

	assert_int_equal(send(back, &answer, sizeof(answer), 0), sizeof(answer));
	driver_settle(&f->driver);
	assert_int_equal(f->backend.back.sock, -1);
	backend_config_changed(&f->backend);
	assert_pong(f, 0);
	fd_close(&back);
	assert_nothing_left(f);
}

static void a_new_back_channel_replaces_the_old_one(void **state)
{
	struct fixture *f = negotiated(state);
	autoclose int old = back_channel(f);
	autoclose int new = back_channel(f);
	struct vu_header h;

	backend_config_changed(&f->backend);
	assert_int_equal(recv(old, &h, sizeof(h), MSG_DONTWAIT), 0);
	assert_int_equal(recv(new, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	fd_close(&old);
	fd_close(&new);
	assert_nothing_left(f);
}

/* A whole handshake, of which only the first @stop messages (and @bytes of the next) are sent. */
static void partial_handshake(struct fixture *f, unsigned stop, size_t bytes)
{
	struct driver *d = &f->driver;
	struct { struct vu_header h; union vu_payload p; } m;
	uint64_t features = BIT64(30) | BIT64(32), protocol = BIT64(VU_PF_REPLY_ACK) | BIT64(VU_PF_BACKEND_REQ);
	const struct vu_mem_table t = { .count = 1, .regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };
	const struct vu_vring_addr a = { 0, 0, DRIVER_USER, DRIVER_USER + 0x8000, DRIVER_USER + 0x4000, 0 };
	const struct vu_vring_state num = { 0, 16 }, base = { 0, 0 }, enable = { 0, 1 };
	const uint64_t zero = 0;
	const struct {
		uint32_t id;
		const void *payload;
		uint32_t size;
		int fd;
	} steps[] = {
		{ VU_GET_FEATURES, NULL, 0, -1 },
		{ VU_SET_PROTOCOL_FEATURES, &protocol, 8, -1 },
		{ VU_SET_OWNER, NULL, 0, -1 },
		{ VU_SET_BACKEND_REQ_FD, NULL, 0, d->sock },
		{ VU_SET_FEATURES, &features, 8, -1 },
		{ VU_SET_MEM_TABLE, &t, 40, d->ram_fd },
		{ VU_SET_VRING_NUM, &num, 8, -1 },
		{ VU_SET_VRING_BASE, &base, 8, -1 },
		{ VU_SET_VRING_ADDR, &a, 40, -1 },
		{ VU_SET_VRING_CALL, &zero, 8, d->queues[0].call },
		{ VU_SET_VRING_ERR, &zero, 8, d->queues[0].err },
		{ VU_SET_VRING_KICK, &zero, 8, d->queues[0].kick },
		{ VU_SET_VRING_ENABLE, &enable, 8, -1 },
	};

	for (unsigned i = 0; i <= stop && i < ARRAY_SIZE(steps); i++) {
		size_t len = sizeof(m.h) + steps[i].size;

		m.h = (struct vu_header){ steps[i].id, VU_FLAG_VERSION, steps[i].size };
		if (steps[i].size)
			memcpy(&m.p, steps[i].payload, steps[i].size);
		if (i == stop)
			len = bytes < len ? bytes : len;
		if (len)
			assert_int_equal(fd_send(d->sock, &m, len, &steps[i].fd, steps[i].fd >= 0), len);
	}
}

static void a_front_end_may_vanish_after_any_byte_of_the_handshake(void **state)
{
	static const size_t bytes[] = { 0, 1, 11, 12, 13, 19, 51 };
	struct fixture *f = *state;

	for (unsigned stop = 0; stop <= 13; stop++) {
		for (size_t k = 0; k < ARRAY_SIZE(bytes); k++) {
			partial_handshake(f, stop, bytes[k]);
			driver_settle(&f->driver);
			assert_nothing_left(f);
			connect_again(f);
		}
	}
	running(state);
	assert_pong(f, 0);
	assert_nothing_left(f);
}

/* A fixed sequence of arbitrary numbers (xorshift), the same in every run. */
static uint32_t arbitrary(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static void arbitrary_messages_never_hurt_the_process(void **state)
{
	struct fixture *f = running(state);
	uint32_t x = 20261121;

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t id = arbitrary(&x) % (VU_REQUEST_END + 1), payload[64];
		uint32_t size = id < VU_REQUEST_END ? vu_msg_types[id].size_min : 0;
		size_t nfds = id < VU_REQUEST_END ? vu_msg_types[id].fds_min : 0;
		int fds[2] = { f->driver.ram_fd, f->driver.queues[0].kick };

		for (size_t k = 0; k < ARRAY_SIZE(payload); k++)
			payload[k] = arbitrary(&x) % 4 ? arbitrary(&x) % 3 : arbitrary(&x);
		if (arbitrary(&x) % 2 && id == VU_SET_VRING_KICK)
			nfds = 1;
		if (!driver_send(&f->driver, id, arbitrary(&x) % 50 ? 9 : arbitrary(&x) % 16, payload, size,
				 fds + arbitrary(&x) % 2, nfds) || i % 64 == 63) {
			fd_close(&f->driver.sock);
			connect_again(f);
			driver_negotiate(&f->driver, UINT64_MAX);
			driver_mem_table(&f->driver);
		}
		loop_once(&f->loop, 0);
	}
	fd_close(&f->driver.sock);
	connect_again(f);
	running(state);
	assert_pong(f, 0);
	assert_nothing_left(f);
}

static void a_front_end_that_reads_nothing_is_left(void **state)
{
	struct fixture *f = *state;
	bool closed = false;

	fcntl(f->driver.sock, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 100000 && !closed; i++) {
		driver_send(&f->driver, VU_GET_FEATURES, VU_FLAG_VERSION, NULL, 0, NULL, 0);
		loop_once(&f->loop, 0);
		closed = f->backend.channel.sock < 0;
	}
	assert_true(closed);
}

static int connect_to(const struct sockaddr_un *a)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(sock, (const struct sockaddr *)a, sizeof(*a)), 0);
	return sock;
}

static void front_ends_are_served_one_after_the_other(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int listener, first, second;
	struct err e;

	assert_nothing_left(f);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	f->backend.ended = false;
	/* An abstract name: nothing to remove. */
	snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "minivmm-test-backend-%d", (int)getpid());
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(backend_listen(&f->backend, &listener, &e), 0);

	for (unsigned i = 0; i < 3; i++) {
		uint64_t request[2] = { 0 };

		first = connect_to(&a);
		second = connect_to(&a);
		driver_reconnect(&f->driver, &first);
		running(state);
		assert_pong(f, 0);
		/* The second waits, with its request, until the first has left. */
		memcpy(request, &(struct vu_header){ VU_GET_FEATURES, 1, 0 }, 12);
		assert_int_equal(send(second, request, 12, 0), 12);
		driver_settle(&f->driver);
		assert_int_equal(recv(second, request, 1, MSG_DONTWAIT), -1);
		driver_reconnect(&f->driver, &second);
		assert_true(driver_recv(&f->driver, &(struct vu_msg){ .nfds = 0 }));
		running(state);
		assert_pong(f, 0);
		fd_close(&f->driver.sock);
		driver_settle(&f->driver);
		assert_false(f->backend.ended);
	}
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

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
		CASE(a_kick_before_num_and_addr_is_refused),
		CASE(a_ring_outside_the_memory_table_is_refused),
		CASE(ring_values_that_cannot_be_are_refused),
		CASE(a_running_ring_does_not_change_its_shape),
		CASE(features_that_were_not_offered_are_refused),
		CASE(what_cannot_kick_is_refused),
		CASE(a_kick_pipe_that_ends_does_not_spin),
		CASE(every_message_of_a_wrong_size_is_refused),
		CASE(every_message_with_fds_too_many_is_refused_and_none_stays_open),
		CASE(an_unknown_request_is_refused_and_the_connection_goes_on),
		CASE(what_is_refused_without_being_asked_for_an_answer_ends_the_connection),
		CASE(wrong_flags_end_the_connection),
		CASE(a_payload_beyond_any_message_ends_the_connection),
		CASE(a_message_whose_feature_was_not_negotiated_is_refused),
		CASE(enable_without_bit_30_is_refused),
		CASE(no_answer_is_sent_that_nobody_asked_for),
		CASE(a_message_with_its_own_answer_is_answered_once),
		CASE(regions_come_and_go_while_a_ring_runs),
		CASE(a_new_memory_table_takes_effect_while_a_ring_runs),
		CASE(a_ring_that_loses_its_memory_stands_still),
		CASE(objects_that_cannot_be_guest_memory_are_refused),
		CASE(a_guest_that_breaks_a_ring_breaks_only_that),
		CASE(a_device_can_break_a_queue_by_a_sentence),
		CASE(a_full_queue_is_served_in_bounded_runs),
		CASE(a_device_that_waits_is_woken_by_itself),
		CASE(stopping_a_ring_waits_for_what_is_in_flight),
		CASE(memory_is_not_taken_from_what_is_in_flight),
		CASE(a_front_end_that_vanishes_drops_what_is_in_flight),
		CASE(a_front_end_that_vanishes_while_a_message_waits_leaves_nothing),
		CASE(config_is_read_where_asked_and_zero_behind_its_end),
		CASE(config_is_written_where_the_device_lets_it),
		CASE(a_changed_config_is_told_on_the_back_channel),
		CASE(nonsense_on_the_back_channel_ends_only_that),
		CASE(a_new_back_channel_replaces_the_old_one),
		CASE(a_front_end_may_vanish_after_any_byte_of_the_handshake),
		CASE(arbitrary_messages_never_hurt_the_process),
		CASE(a_front_end_that_reads_nothing_is_left),
		CASE(front_ends_are_served_one_after_the_other),
	};

	/* What it logs of the misuse is not the point here. */
	log_setup("test_backend", LOG_ERROR);
	return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
