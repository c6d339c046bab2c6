/* SPDX-License-Identifier: Apache-2.0 */
/* The back end library against front ends that do not behave, and ones that vanish. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "toy.h"

static void a_kick_before_num_and_addr_is_refused(void **state)
{
	struct toy *f = toy_negotiated(state);
	uint64_t zero = 0;

	assert_int_equal(
		driver_ask(&f->driver, VU_SET_VRING_KICK, &zero, 8, &f->driver.queues[0].kick, 1),
		1);
	driver_start_queue(&f->driver, 0, 16);
	toy_assert_pong(f, 0);
	toy_assert_nothing_left(f);
}

static void a_ring_outside_the_memory_table_is_refused(void **state)
{
	struct toy *f = toy_negotiated(state);
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
		assert_int_equal(driver_ask(d, VU_SET_VRING_ADDR, &bad[i], sizeof(bad[i]), NULL, 0),
				 0);
		assert_int_equal(driver_ask(d, VU_SET_VRING_KICK, &zero, 8, &d->queues[0].kick, 1),
				 1);
	}
	driver_start_queue(d, 0, 16);
	toy_assert_pong(f, 0);
}

static void ring_values_that_cannot_be_are_refused(void **state)
{
	struct toy *f = toy_negotiated(state);
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
	assert_int_equal(driver_ask_u64(d, VU_SET_VRING_CALL, UINT64_C(1) << 32 | VU_VRING_NOFD),
			 1);
	assert_int_equal(driver_ask_u64(d, VU_SET_VRING_CALL, 0), 1);
	log.desc = VU_VRING_NOFD;
	assert_int_equal(driver_ask(d, VU_SET_VRING_CALL, &log.desc, 8, &d->queues[0].call, 1), 1);
	driver_start_queue(d, 0, 16);
	toy_assert_pong(f, 0);
	toy_assert_nothing_left(f);
}

static void a_running_ring_does_not_change_its_shape(void **state)
{
	struct toy *f = toy_running(state);
	struct vu_vring_addr a = {
		0, 0, DRIVER_USER + 0x20000, DRIVER_USER + 0x28000, DRIVER_USER + 0x24000, 0
	};

	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_NUM, 0, 8), 1);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_BASE, 0, 8), 1);
	assert_int_equal(driver_ask(&f->driver, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0), 1);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, BIT64(30)), 1);
	assert_int_equal(
		driver_ask_u64(&f->driver, VU_SET_PROTOCOL_FEATURES, BIT64(VU_PF_REPLY_ACK)), 1);
	toy_assert_pong(f, 0);
}

static void features_that_were_not_offered_are_refused(void **state)
{
	struct toy *f = toy_negotiated(state);

	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, BIT64(TOY_FEATURE + 1)), 1);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_PROTOCOL_FEATURES, BIT64(VU_PF_SHMEM)),
			 1);
	driver_start_queue(&f->driver, 0, 16);
	toy_assert_pong(f, 0);
}

static void what_cannot_kick_is_refused(void **state)
{
	struct toy *f = toy_running(state);
	autoclose int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint64_t zero = 0;

	assert_true(file >= 0);
	assert_int_equal(driver_ask(&f->driver, VU_SET_VRING_KICK, &zero, 8, &file, 1), 1);
	toy_assert_pong(f, 0);
}

/* Sends @size bytes of zeros as @request and wants it refused, politely or by the end of the
 * connection. */
static void assert_refused(struct toy *f, uint32_t request, uint32_t size, const int *fds,
			   size_t nfds)
{
	static const uint8_t zeros[VU_PAYLOAD_MAX];

	if (f->backend.channel.sock < 0) {
		toy_connect_again(f);
		driver_negotiate(&f->driver, UINT64_MAX);
	}
	if (driver_ask(&f->driver, request, zeros, size, fds, nfds) == 0)
		fail_msg("%s with %u bytes and %zu fds was obeyed", vu_request_name(request), size, nfds);
	driver_settle(&f->driver);
}

static void every_message_of_a_wrong_size_is_refused(void **state)
{
	struct toy *f = toy_negotiated(state);

	for (uint32_t id = 1; id < VU_REQUEST_END; id++) {
		const struct vu_msg_type *t = &vu_msg_types[id];
		int fds[1] = { f->driver.ram_fd };

		if (t->size_min > 0)
			assert_refused(f, id, t->size_min - 1u, fds, t->fds_min);
		if (t->size_max < VU_PAYLOAD_MAX)
			assert_refused(f, id, t->size_max + 1u, fds, t->fds_min);
	}
	if (f->backend.channel.sock < 0)
		toy_connect_again(f);
	toy_negotiated(state);
	driver_start_queue(&f->driver, 0, 16);
	toy_assert_pong(f, 0);
	toy_assert_nothing_left(f);
}

static void every_message_with_fds_too_many_is_refused_and_none_stays_open(void **state)
{
	struct toy *f = toy_negotiated(state);
	int fds[9];

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = f->driver.ram_fd;
	for (uint32_t id = 1; id < VU_REQUEST_END; id++)
		assert_refused(f, id, vu_msg_types[id].size_min, fds,
			       vu_msg_types[id].fds_max + 1u);
	if (f->backend.channel.sock < 0)
		toy_connect_again(f);
	toy_negotiated(state);
	toy_assert_nothing_left(f);
}

static void an_unknown_request_is_refused_and_the_connection_goes_on(void **state)
{
	struct toy *f = toy_running(state);

	assert_int_equal(driver_ask(&f->driver, VU_REQUEST_END, NULL, 0, NULL, 0), 1);
	assert_int_equal(driver_ask(&f->driver, 0, NULL, 0, NULL, 0), 1);
	assert_int_equal(driver_ask(&f->driver, UINT32_MAX, NULL, 0, NULL, 0), 1);
	toy_assert_pong(f, 0);
}

static void what_is_refused_without_being_asked_for_an_answer_ends_the_connection(void **state)
{
	struct toy *f = toy_running(state);

	assert_true(driver_send(&f->driver, VU_REQUEST_END, VU_FLAG_VERSION, NULL, 0, NULL, 0));
	assert_true(driver_is_closed(&f->driver));
	toy_assert_nothing_left(f);
}

static void wrong_flags_end_the_connection(void **state)
{
	static const uint32_t bad[] = {
		0, 2, 3, VU_FLAG_VERSION | VU_FLAG_REPLY, 0x11, UINT32_MAX
	};
	struct toy *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(driver_send(&f->driver, VU_GET_FEATURES, bad[i], NULL, 0, NULL, 0));
		assert_true(driver_is_closed(&f->driver));
		toy_connect_again(f);
	}
	toy_negotiated(state);
}

static void a_payload_beyond_any_message_ends_the_connection(void **state)
{
	struct toy *f = *state;
	struct vu_header h = { VU_GET_FEATURES, VU_FLAG_VERSION, VU_PAYLOAD_MAX + 1 };

	assert_int_equal(fd_send(f->driver.sock, &h, sizeof(h), NULL, 0), sizeof(h));
	assert_true(driver_is_closed(&f->driver));
}

static void a_message_whose_feature_was_not_negotiated_is_refused(void **state)
{
	struct toy *f = *state;
	struct { struct vu_config head; uint8_t data[4]; } get = { { 0, 4, 0 }, { 0 } };

	assert_true(driver_send(&f->driver, VU_GET_CONFIG, VU_FLAG_VERSION, &get, sizeof(get), NULL,
				0));
	assert_true(driver_is_closed(&f->driver));
}

static void enable_without_bit_30_is_refused(void **state)
{
	struct toy *f = *state;

	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, 0), 0);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 0, 1), 1);
}

static void no_answer_is_sent_that_nobody_asked_for(void **state)
{
	struct toy *f = *state;
	struct vu_vring_state s = { 0, 16 };

	/* need_reply before REPLY_ACK was negotiated means nothing. */
	assert_true(driver_send(&f->driver, VU_SET_VRING_NUM, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY,
				&s, sizeof(s), NULL, 0));
	assert_int_equal(driver_get(&f->driver, VU_GET_FEATURES) & 1, 0);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_true(
		driver_send(&f->driver, VU_SET_VRING_NUM, VU_FLAG_VERSION, &s, sizeof(s), NULL, 0));
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), TOY_QUEUES);
}

static void a_message_with_its_own_answer_is_answered_once(void **state)
{
	struct toy *f = toy_negotiated(state);
	struct vu_msg m;

	assert_true(driver_send(&f->driver, VU_GET_FEATURES, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY,
				NULL, 0, NULL, 0));
	assert_true(driver_recv(&f->driver, &m));
	assert_int_equal(m.header.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), TOY_QUEUES);
}

static struct vu_mem_reg high_region(uint64_t gpa)
{
	return (struct vu_mem_reg){ 0, { gpa, 0x100000, DRIVER_USER + gpa, 0x100000 } };
}

static void objects_that_cannot_be_guest_memory_are_refused(void **state)
{
	struct toy *f = toy_negotiated(state);
	struct vu_mem_reg r = high_region(GIB(4));
	autoclose int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	autoclose int ro = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	autoclose int small = memfd_create("small", MFD_CLOEXEC);
	const int fds[] = { dir, null, ro, small };

	assert_int_equal(ftruncate(small, 0x1ff000), 0);
	r.region.mmap_offset = 0x100000;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		assert_int_equal(driver_ask(&f->driver, VU_ADD_MEM_REG, &r, sizeof(r), &fds[i], 1),
				 1);
	r.region.mmap_offset = UINT64_MAX - 0xfff;
	assert_int_equal(
		driver_ask(&f->driver, VU_ADD_MEM_REG, &r, sizeof(r), &f->driver.ram_fd, 1), 1);
	driver_start_queue(&f->driver, 0, 16);
	toy_assert_pong(f, 0);
}

/* Asks for config bytes; returns how many came. */
static unsigned config_get(struct toy *f, uint32_t off, uint32_t size, uint32_t bytes,
			   struct vu_msg *ret)
{
	struct {
		struct vu_config head;
		uint8_t data[VU_CONFIG_MAX + 4];
	} get = { { off, size, 0 }, { 0 } };

	assert_true(driver_send(&f->driver, VU_GET_CONFIG, VU_FLAG_VERSION, &get,
				(uint32_t)sizeof(get.head) + bytes, NULL, 0));
	assert_true(driver_recv(&f->driver, ret));
	return ret->header.size ? ret->header.size - (unsigned)sizeof(get.head) : 0;
}

static void config_is_read_where_asked_and_zero_behind_its_end(void **state)
{
	struct toy *f = toy_negotiated(state);
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
	struct toy *f = toy_negotiated(state);
	struct { struct vu_config head; uint8_t data[4]; } set = { { 2, 4, 0 }, "WXYZ" };

	assert_int_equal(driver_ask(&f->driver, VU_SET_CONFIG, &set, sizeof(set), NULL, 0), 0);
	assert_memory_equal(f->config, "abWXYZgh", 8);
	set.head.offset = 6;
	assert_int_equal(driver_ask(&f->driver, VU_SET_CONFIG, &set, sizeof(set), NULL, 0), 1);
	set.head = (struct vu_config){ 0, 8, 0 };
	assert_int_equal(driver_ask(&f->driver, VU_SET_CONFIG, &set, sizeof(set), NULL, 0), 1);
	assert_memory_equal(f->config, "abWXYZgh", 8);
}

static void nonsense_on_the_back_channel_ends_only_that(void **state)
{
	struct toy *f = toy_running(state);
	autoclose int back = toy_back_channel(f);
	struct __attribute__((packed)) {
		struct vu_header h;
		uint64_t u64;
	} answer = { { VU_BACKEND_SHMEM_MAP, 5, 8 }, 0 };

	assert_int_equal(send(back, &answer, sizeof(answer), 0), sizeof(answer));
	driver_settle(&f->driver);
	assert_int_equal(f->backend.back.sock, -1);
	backend_config_changed(&f->backend);
	toy_assert_pong(f, 0);
	fd_close(&back);
	toy_assert_nothing_left(f);
}

/* A whole handshake, of which only the first @stop messages (and @bytes of the next) are sent. */
static void partial_handshake(struct toy *f, unsigned stop, size_t bytes)
{
	struct driver *d = &f->driver;
	struct { struct vu_header h; union vu_payload p; } m;
	uint64_t features = BIT64(30) | BIT64(32),
		 protocol = BIT64(VU_PF_REPLY_ACK) | BIT64(VU_PF_BACKEND_REQ);
	const struct vu_mem_table t = { .count = 1,
					.regions = { { 0, DRIVER_RAM, DRIVER_USER, 0 } } };
	const struct vu_vring_addr a = {
		0, 0, DRIVER_USER, DRIVER_USER + 0x8000, DRIVER_USER + 0x4000, 0
	};
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
			assert_int_equal(fd_send(d->sock, &m, len, &steps[i].fd, steps[i].fd >= 0),
					 len);
	}
}

static void a_front_end_may_vanish_after_any_byte_of_the_handshake(void **state)
{
	static const size_t bytes[] = { 0, 1, 11, 12, 13, 19, 51 };
	struct toy *f = *state;

	for (unsigned stop = 0; stop <= 13; stop++) {
		for (size_t k = 0; k < ARRAY_SIZE(bytes); k++) {
			partial_handshake(f, stop, bytes[k]);
			driver_settle(&f->driver);
			toy_assert_nothing_left(f);
			toy_connect_again(f);
		}
	}
	toy_running(state);
	toy_assert_pong(f, 0);
	toy_assert_nothing_left(f);
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
	struct toy *f = toy_running(state);
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
		if (!driver_send(&f->driver, id, arbitrary(&x) % 50 ? 9 : arbitrary(&x) % 16,
				 payload, size, fds + arbitrary(&x) % 2, nfds) ||
		    i % 64 == 63) {
			fd_close(&f->driver.sock);
			toy_connect_again(f);
			driver_negotiate(&f->driver, UINT64_MAX);
			driver_mem_table(&f->driver);
		}
		loop_once(&f->loop, 0);
	}
	fd_close(&f->driver.sock);
	toy_connect_again(f);
	toy_running(state);
	toy_assert_pong(f, 0);
	toy_assert_nothing_left(f);
}

static void a_front_end_that_reads_nothing_is_left(void **state)
{
	struct toy *f = *state;
	bool closed = false;

	fcntl(f->driver.sock, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 100000 && !closed; i++) {
		driver_send(&f->driver, VU_GET_FEATURES, VU_FLAG_VERSION, NULL, 0, NULL, 0);
		loop_once(&f->loop, 0);
		closed = f->backend.channel.sock < 0;
	}
	assert_true(closed);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, toy_setup, toy_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_kick_before_num_and_addr_is_refused),
		CASE(a_ring_outside_the_memory_table_is_refused),
		CASE(ring_values_that_cannot_be_are_refused),
		CASE(a_running_ring_does_not_change_its_shape),
		CASE(features_that_were_not_offered_are_refused),
		CASE(what_cannot_kick_is_refused),
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
		CASE(objects_that_cannot_be_guest_memory_are_refused),
		CASE(config_is_read_where_asked_and_zero_behind_its_end),
		CASE(config_is_written_where_the_device_lets_it),
		CASE(nonsense_on_the_back_channel_ends_only_that),
		CASE(a_front_end_may_vanish_after_any_byte_of_the_handshake),
		CASE(arbitrary_messages_never_hurt_the_process),
		CASE(a_front_end_that_reads_nothing_is_left),
	};

	/* What it logs of the misuse is not the point here. */
	log_setup("test_backend_messages", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_messages", tests, NULL, NULL);
}
