/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock device's bytes: room, slow programs, ends of connections, many of them. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "vsock_rig.h"

/* Stands before the C library's: how many sends find the kernel without memory. */
static unsigned sends_in_want;

ssize_t sendmsg(int sock, const struct msghdr *m, int flags)
{
	if (sends_in_want) {
		sends_in_want--;
		errno = ENOBUFS;
		return -1;
	}
	return syscall(SYS_sendmsg, sock, m, flags);
}

static void a_kernel_without_memory_ends_no_connection(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);

	sends_in_want = 2;
	vsock_rig_put_bytes(f, "question", 8);
	driver_settle(&f->driver);
	assert_int_equal(sends_in_want, 0);
	vsock_rig_assert_reads(f, f->program, "question");
}

static void each_side_may_end_its_half_first(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);

	vsock_rig_put_bytes(f, "question", 8);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	vsock_rig_assert_reads(f, f->program, "question");
	vsock_rig_assert_at_end(f, f->program);
	assert_int_equal(write(f->program, "answer", 6), 6);
	vsock_rig_receive_bytes(f, "answer");
	shutdown(f->program, SHUT_WR);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(le32toh(f->got.flags), VIRTIO_VSOCK_SHUTDOWN_SEND);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	/* It is gone. */
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
}

static void what_a_program_wrote_before_it_ended_arrives_first(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);
	unsigned flags = 0;

	f->alloc = 4;
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_int_equal(write(f->program, "0123456", 7), 7);
	fd_close(&f->program);
	/* That it takes nothing any more may be told before. */
	for (const char *left = "0123"; flags != 3;) {
		uint16_t head;
		uint32_t len = driver_wait_used(&f->driver, RX, &head);
		const uint8_t *at = f->driver.ram + RX_AT + (size_t)(head % RX_BUFS) * RX_SIZE;

		memcpy(&f->got, at, HDR);
		switch (le16toh(f->got.op)) {
		case VIRTIO_VSOCK_OP_RW:
			assert_int_equal(flags & VIRTIO_VSOCK_SHUTDOWN_SEND, 0);
			assert_int_equal(len - HDR, strlen(left));
			assert_memory_equal(at + HDR, left, strlen(left));
			left = "456";
			break;
		case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
			f->forwarded = 4;
			vsock_rig_put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
			break;
		case VIRTIO_VSOCK_OP_SHUTDOWN:
			flags |= le32toh(f->got.flags);
			break;
		default:
			fail_msg("packet %u", le16toh(f->got.op));
		}
	}
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_RST, 0);
	vsock_rig_assert_silent(f);
}

static void the_guest_gets_no_more_than_it_has_room_for(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);

	f->alloc = 10;
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_int_equal(write(f->program, "0123456789abcde", 15), 15);
	vsock_rig_receive_bytes(f, "0123456789");
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	vsock_rig_assert_silent(f);
	/* An answer without room is none. */
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	vsock_rig_assert_silent(f);
	f->forwarded = 3;
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	vsock_rig_receive_bytes(f, "abc");
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	f->forwarded = 13;
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	vsock_rig_receive_bytes(f, "de");
}

/* Fills the program's socket and then the device's room, to the last byte. Returns the bytes. */
static uint32_t fill_up(struct vsock_rig *f)
{
	static uint8_t bytes[4096];
	uint32_t total = 0, room = ROOM, forwarded = 0;

	while (room) {
		uint32_t n = (uint32_t)min_u64(room, sizeof(bytes));
		uint16_t head;
		uint32_t len;

		for (uint32_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)((total + i) * 7 + (total + i) / 256);
		vsock_rig_put_bytes(f, bytes, n);
		total += n;
		/* Credit comes as it is needed. */
		while (driver_used(&f->driver, RX, &head, &len)) {
			memcpy(&f->got,
			       f->driver.ram + RX_AT + (size_t)(head % RX_BUFS) * RX_SIZE, HDR);
			assert_int_equal(le16toh(f->got.op), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
			forwarded = le32toh(f->got.fwd_cnt);
			vsock_rig_give(f, 1);
		}
		room = ROOM - (total - forwarded);
	}
	return total;
}

static void a_program_that_is_slow_loses_nothing(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);
	uint32_t total = fill_up(f), at = 0;

	assert_true(total > ROOM);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, 3);
	/* The guest is done with it; the rest is between the device and the program. */
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	while (at < total) {
		uint8_t have[5000];
		ssize_t n;

		driver_settle(&f->driver);
		n = recv(f->program, have, sizeof(have), MSG_DONTWAIT);
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, at++)
			assert_int_equal(have[i], (uint8_t)(at * 7 + at / 256));
	}
	vsock_rig_assert_at_end(f, f->program);
}

static void more_than_there_is_room_for_ends_the_connection(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);

	fill_up(f);
	vsock_rig_put_bytes(f, "x", 1);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
}

static void when_there_is_room_again_the_guest_is_told(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);
	uint32_t total = fill_up(f), before, at = 0;
	static uint8_t have[65536];

	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	before = le32toh(f->got.fwd_cnt);
	assert_int_equal(before, total - ROOM);
	while (at < total) {
		ssize_t n = recv(f->program, have, sizeof(have), MSG_DONTWAIT);

		assert_true(n > 0);
		at += (uint32_t)n;
		driver_settle(&f->driver);
	}
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_true(le32toh(f->got.fwd_cnt) > before);
}

static void a_program_that_is_gone_is_told_to_the_guest(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);

	fd_close(&f->program);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_SHUTDOWN);
	if (le32toh(f->got.flags) != 3)
		vsock_rig_receive(f, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(le32toh(f->got.flags), 3);
	/* What was under way is dropped. */
	vsock_rig_put_bytes(f, "late", 4);
	vsock_rig_assert_silent(f);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_RST, 0);
	vsock_rig_assert_silent(f);
}

static void without_buffers_for_answers_no_packets_are_taken(void **state)
{
	struct vsock_rig *f = *state;
	struct virtio_vsock_hdr h = vsock_rig_header(f, VIRTIO_VSOCK_OP_RW, PORT);
	struct driver_buf buf = { TX_AT, HDR, false };
	uint16_t head;
	uint32_t len;
	unsigned taken = 0;

	memcpy(f->driver.ram + TX_AT, &h, HDR);
	for (unsigned i = 0; i < 100; i++)
		driver_add(&f->driver, TX, &buf, 1, 0);
	driver_kick(&f->driver, TX);
	driver_settle(&f->driver);
	while (driver_used(&f->driver, TX, &head, &len))
		taken++;
	assert_int_equal(taken, 64);
	for (unsigned i = 0; i < 100; i++) {
		vsock_rig_give(f, 1);
		vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	}
	vsock_rig_assert_silent(f);
}

static void hundreds_of_connections_at_once(void **state)
{
	struct vsock_rig *f = *state;
	enum { MANY = 300 };
	int programs[MANY];

	vsock_rig_listen_at_port(f);
	for (uint32_t i = 0; i < MANY; i++) {
		struct virtio_vsock_hdr h = vsock_rig_header(f, VIRTIO_VSOCK_OP_REQUEST, PORT);

		h.src_port = htole32(i);
		vsock_rig_put_packet(f, h, NULL, 0);
		vsock_rig_receive(f, VIRTIO_VSOCK_OP_RESPONSE);
		vsock_rig_give(f, 1);
		programs[i] = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(write(programs[i], &i, sizeof(i)), sizeof(i));
		vsock_rig_receive(f, VIRTIO_VSOCK_OP_RW);
		assert_int_equal(le32toh(f->got.dst_port), i);
		assert_memory_equal(f->bytes, &i, sizeof(i));
		vsock_rig_give(f, 1);
	}
	for (uint32_t i = 0; i < MANY; i++)
		fd_close(&programs[i]);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, vsock_rig_setup, vsock_rig_teardown)
#define BARE(fn)                                                             \
	cmocka_unit_test_setup_teardown(fn, vsock_rig_setup_without_buffers, \
					vsock_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_kernel_without_memory_ends_no_connection),
		CASE(each_side_may_end_its_half_first),
		CASE(what_a_program_wrote_before_it_ended_arrives_first),
		CASE(the_guest_gets_no_more_than_it_has_room_for),
		CASE(a_program_that_is_slow_loses_nothing),
		CASE(more_than_there_is_room_for_ends_the_connection),
		CASE(when_there_is_room_again_the_guest_is_told),
		CASE(a_program_that_is_gone_is_told_to_the_guest),
		BARE(without_buffers_for_answers_no_packets_are_taken),
		CASE(hundreds_of_connections_at_once),
	};

	log_setup("test_backend_vsock_flow", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_vsock_flow", tests, NULL, NULL);
}
