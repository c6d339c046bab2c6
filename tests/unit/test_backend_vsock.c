/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's vsock device: a guest's packets on one side, Unix sockets on the other. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "driver.h"
#include "vhost/backends/device.h"
#include "vhost/backends/options.h"

enum {
	RX, TX,
	CID = 7, PORT = 52, GUEST_PORT = 1000,
	RX_SIZE = 8192, RX_BUFS = 32,	/* bytes of a buffer, and how many there are room for */
	RX_AT = DRIVER_DATA, TX_AT = DRIVER_DATA + RX_SIZE * RX_BUFS,
	HDR = sizeof(struct virtio_vsock_hdr),
	ROOM = 65536,			/* what the device has for a connection's bytes */
	ALL = INT32_MAX,		/* room that never ends */
};

struct fixture {
	char dir[64], path[80];
	struct options options;
	struct loop loop;
	void *dev;
	struct backend backend;
	struct driver driver;
	uint32_t alloc, forwarded;	/* of the guest's next packets */
	unsigned given;			/* rx buffers, as they are used in order */
	struct virtio_vsock_hdr got;	/* by receive() */
	const uint8_t *bytes;		/* behind it */
	int listener;			/* of a program at PORT; -1: none */
	int program;			/* connected; -1: none */
};

static void give(struct fixture *f, unsigned n)
{
	for (; n; n--) {
		struct driver_buf buf = { RX_AT + f->given++ % RX_BUFS * RX_SIZE, RX_SIZE, true };

		driver_add(&f->driver, RX, &buf, 1, 0);
	}
	driver_kick(&f->driver, RX);
}

static int setup_without_buffers(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));
	struct backend_device dev;
	struct err e = { "" };
	int pair[2];

	strcpy(f->dir, "/tmp/minivmm-test-vsock-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/v", f->dir);
	f->options = (struct options){ .type = OPTION_VSOCK, .fd = -1, .guest_cid = CID,
				       .uds_path = f->path };
	f->listener = f->program = -1;
	f->alloc = ALL;
	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	/* The connector's filter is as the program has it. */
	if (vsock_device.open(&f->options, &f->loop, &dev, &e))
		fail_msg("%s", e.msg);
	f->dev = dev.arg;
	assert_int_equal(backend_init(&f->backend, &f->loop, &dev, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	driver_init(&f->driver, &pair[0], &f->loop);
	assert_int_equal(backend_connect(&f->backend, &pair[1], &e), 0);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, RX, 128);
	driver_start_queue(&f->driver, TX, 128);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	setup_without_buffers(state);
	give(*state, RX_BUFS);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char port[96];

	backend_fini(&f->backend);
	vsock_device.close(f->dev);
	loop_fini(&f->loop);
	driver_fini(&f->driver);
	fd_close(&f->listener);
	fd_close(&f->program);
	snprintf(port, sizeof(port), "%s_%d", f->path, PORT);
	unlink(port);
	/* Its own name it has removed itself. */
	assert_int_equal(rmdir(f->dir), 0);
	test_free(f);
	return 0;
}

/* ---- Programs of the host ---- */

static struct sockaddr_un name(const struct fixture *f, const char *port)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s%s", f->path, port);
	return a;
}

static void listen_at_port(struct fixture *f)
{
	char port[16];
	struct sockaddr_un a;

	snprintf(port, sizeof(port), "_%d", PORT);
	a = name(f, port);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(f->listener, 8), 0);
}

static int call(struct fixture *f, const char *line)
{
	struct sockaddr_un a = name(f, "");
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(connect(sock, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(write(sock, line, strlen(line)), strlen(line));
	return sock;
}

static void assert_reads(struct fixture *f, int sock, const char *want)
{
	char have[64] = "";

	driver_settle(&f->driver);
	assert_int_equal(recv(sock, have, sizeof(have) - 1, MSG_DONTWAIT), strlen(want));
	assert_string_equal(have, want);
}

static void assert_at_end(struct fixture *f, int sock)
{
	char byte;

	driver_settle(&f->driver);
	assert_int_equal(recv(sock, &byte, 1, MSG_DONTWAIT), 0);
}

/* ---- The guest ---- */

static void put_packet(struct fixture *f, struct virtio_vsock_hdr h, const void *bytes,
		       uint32_t there)
{
	struct driver_buf bufs[] = { { TX_AT, HDR, false }, { TX_AT + HDR, there, false } };

	memcpy(f->driver.ram + TX_AT, &h, HDR);
	if (there)
		memcpy(f->driver.ram + TX_AT + HDR, bytes, there);
	driver_request(&f->driver, TX, bufs, there ? 2 : 1);
}

static struct virtio_vsock_hdr header(const struct fixture *f, uint16_t op, uint32_t host_port)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(CID), .dst_cid = htole64(2),
		.src_port = htole32(GUEST_PORT), .dst_port = htole32(host_port),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM), .op = htole16(op),
		.buf_alloc = htole32(f->alloc), .fwd_cnt = htole32(f->forwarded),
	};
}

static void put_op(struct fixture *f, uint16_t op, uint32_t flags)
{
	struct virtio_vsock_hdr h = header(f, op, PORT);

	h.flags = htole32(flags);
	put_packet(f, h, NULL, 0);
}

static void put_bytes(struct fixture *f, const void *bytes, uint32_t len)
{
	struct virtio_vsock_hdr h = header(f, VIRTIO_VSOCK_OP_RW, PORT);

	h.len = htole32(len);
	put_packet(f, h, bytes, len);
}

/* Waits for the device's next packet, which is @op; gives its buffer back later: see give(). */
static void receive(struct fixture *f, uint16_t op)
{
	uint16_t head;
	uint32_t len = driver_wait_used(&f->driver, RX, &head);
	const uint8_t *at = f->driver.ram + RX_AT + (size_t)(head % RX_BUFS) * RX_SIZE;

	assert_true(len >= HDR);
	memcpy(&f->got, at, HDR);
	f->bytes = at + HDR;
	assert_int_equal(le16toh(f->got.op), op);
	assert_int_equal(le32toh(f->got.len), len - HDR);
	assert_int_equal(le64toh(f->got.dst_cid), CID);
	assert_int_equal(le16toh(f->got.type), VIRTIO_VSOCK_TYPE_STREAM);
}

static void assert_silent(struct fixture *f)
{
	uint16_t head;
	uint32_t len;

	driver_settle(&f->driver);
	assert_false(driver_used(&f->driver, RX, &head, &len));
}

static void receive_bytes(struct fixture *f, const char *want)
{
	receive(f, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(le32toh(f->got.len), strlen(want));
	assert_memory_equal(f->bytes, want, strlen(want));
}

/* A connection from the guest to a program. */
static struct fixture *connected(void **state)
{
	struct fixture *f = *state;

	listen_at_port(f);
	put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	receive(f, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(le32toh(f->got.buf_alloc), ROOM);
	f->program = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(f->program >= 0);
	return f;
}

/* ---- Cases ---- */

static void the_config_is_the_guest_s_address(void **state)
{
	struct fixture *f = *state;
	uint8_t config[VU_CONFIG_MAX] = { 0 };
	uint64_t cid;

	f->backend.dev.ops->config_read(f->dev, config);
	memcpy(&cid, config, sizeof(cid));
	assert_int_equal(le64toh(cid), CID);
}

static void the_guest_connects_to_a_port_of_the_host(void **state)
{
	struct fixture *f = connected(state);

	put_bytes(f, "hello", 5);
	assert_reads(f, f->program, "hello");
	assert_int_equal(write(f->program, "world", 5), 5);
	receive_bytes(f, "world");
	assert_int_equal(le32toh(f->got.src_port), PORT);
	assert_int_equal(le32toh(f->got.dst_port), GUEST_PORT);
	assert_int_equal(le32toh(f->got.fwd_cnt), 5);
}

static void where_nobody_listens_the_guest_is_refused(void **state)
{
	struct fixture *f = *state;

	put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	receive(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le32toh(f->got.src_port), PORT);
	/* The device's own socket is no port. */
	put_op(f, VIRTIO_VSOCK_OP_RW, 0);
	receive(f, VIRTIO_VSOCK_OP_RST);
}

static void the_host_connects_to_a_port_of_the_guest(void **state)
{
	struct fixture *f = *state;
	char want[32];

	/* What follows the line is the guest's, whether it has accepted or not. */
	f->program = call(f, "CONNECT 1000\nearly");
	receive(f, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(le32toh(f->got.dst_port), GUEST_PORT);
	assert_int_equal(le64toh(f->got.src_cid), 2);
	assert_silent(f);
	put_packet(f, header(f, VIRTIO_VSOCK_OP_RESPONSE, le32toh(f->got.src_port)), NULL, 0);
	snprintf(want, sizeof(want), "OK %u\n", le32toh(f->got.src_port));
	assert_reads(f, f->program, want);
	receive_bytes(f, "early");
}

static void a_guest_that_refuses_ends_the_host_s_connection(void **state)
{
	struct fixture *f = *state;

	f->program = call(f, "CONNECT 1000\n");
	receive(f, VIRTIO_VSOCK_OP_REQUEST);
	put_packet(f, header(f, VIRTIO_VSOCK_OP_RST, le32toh(f->got.src_port)), NULL, 0);
	assert_at_end(f, f->program);
}

static void a_program_that_gives_up_before_is_forgotten(void **state)
{
	struct fixture *f = *state;

	f->program = call(f, "CONNECT 1000\n");
	receive(f, VIRTIO_VSOCK_OP_REQUEST);
	fd_close(&f->program);
	receive(f, VIRTIO_VSOCK_OP_RST);
}

static void lines_that_are_no_call_end_the_connection(void **state)
{
	static const char *const bad[] = { "CONNECT\n", "CONNECT x\n", "CONNECT -1\n", "CONNECT 4294967295\n", "GET / HTTP/1.1\n",
					   "CONNECT 10 20\n", "\n", "CONNECT 00000000000000000000000000001000\n" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ssize_t n;
		char byte;

		f->program = call(f, bad[i]);
		driver_settle(&f->driver);
		n = read(f->program, &byte, 1);
		/* What was not read may make it a reset instead of an end. */
		assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
		fd_close(&f->program);
	}
	assert_silent(f);
}

static void a_line_may_come_in_pieces(void **state)
{
	struct fixture *f = *state;

	f->program = call(f, "CONN");
	assert_silent(f);
	assert_int_equal(write(f->program, "ECT 1000", 8), 8);
	assert_silent(f);
	assert_int_equal(write(f->program, "\n", 1), 1);
	receive(f, VIRTIO_VSOCK_OP_REQUEST);
}

static void each_side_may_end_its_half_first(void **state)
{
	struct fixture *f = connected(state);

	put_bytes(f, "question", 8);
	put_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	assert_reads(f, f->program, "question");
	assert_at_end(f, f->program);
	assert_int_equal(write(f->program, "answer", 6), 6);
	receive_bytes(f, "answer");
	shutdown(f->program, SHUT_WR);
	receive(f, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(le32toh(f->got.flags), VIRTIO_VSOCK_SHUTDOWN_SEND);
	put_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
	receive(f, VIRTIO_VSOCK_OP_RST);
	/* It is gone. */
	put_op(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	receive(f, VIRTIO_VSOCK_OP_RST);
}

static void what_a_program_wrote_before_it_ended_arrives_first(void **state)
{
	struct fixture *f = connected(state);
	unsigned flags = 0;

	f->alloc = 4;
	put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
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
			put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
			break;
		case VIRTIO_VSOCK_OP_SHUTDOWN:
			flags |= le32toh(f->got.flags);
			break;
		default:
			fail_msg("packet %u", le16toh(f->got.op));
		}
	}
	put_op(f, VIRTIO_VSOCK_OP_RST, 0);
	assert_silent(f);
}

static void the_guest_gets_no_more_than_it_has_room_for(void **state)
{
	struct fixture *f = connected(state);

	f->alloc = 10;
	put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_int_equal(write(f->program, "0123456789abcde", 15), 15);
	receive_bytes(f, "0123456789");
	receive(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	assert_silent(f);
	/* An answer without room is none. */
	put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_silent(f);
	f->forwarded = 3;
	put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	receive_bytes(f, "abc");
	receive(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	f->forwarded = 13;
	put_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	receive_bytes(f, "de");
}

/* Fills the program's socket and then the device's room, to the last byte. Returns the bytes. */
static uint32_t fill_up(struct fixture *f)
{
	static uint8_t bytes[4096];
	uint32_t total = 0, room = ROOM, forwarded = 0;

	while (room) {
		uint32_t n = (uint32_t)min_u64(room, sizeof(bytes));
		uint16_t head;
		uint32_t len;

		for (uint32_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)((total + i) * 7 + (total + i) / 256);
		put_bytes(f, bytes, n);
		total += n;
		/* Credit comes as it is needed. */
		while (driver_used(&f->driver, RX, &head, &len)) {
			memcpy(&f->got, f->driver.ram + RX_AT + (size_t)(head % RX_BUFS) * RX_SIZE, HDR);
			assert_int_equal(le16toh(f->got.op), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
			forwarded = le32toh(f->got.fwd_cnt);
			give(f, 1);
		}
		room = ROOM - (total - forwarded);
	}
	return total;
}

static void a_program_that_is_slow_loses_nothing(void **state)
{
	struct fixture *f = connected(state);
	uint32_t total = fill_up(f), at = 0;

	assert_true(total > ROOM);
	put_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, 3);
	/* The guest is done with it; the rest is between the device and the program. */
	receive(f, VIRTIO_VSOCK_OP_RST);
	while (at < total) {
		uint8_t have[5000];
		ssize_t n;

		driver_settle(&f->driver);
		n = recv(f->program, have, sizeof(have), MSG_DONTWAIT);
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, at++)
			assert_int_equal(have[i], (uint8_t)(at * 7 + at / 256));
	}
	assert_at_end(f, f->program);
}

static void more_than_there_is_room_for_ends_the_connection(void **state)
{
	struct fixture *f = connected(state);

	fill_up(f);
	put_bytes(f, "x", 1);
	receive(f, VIRTIO_VSOCK_OP_RST);
}

static void when_there_is_room_again_the_guest_is_told(void **state)
{
	struct fixture *f = connected(state);
	uint32_t total = fill_up(f), before, at = 0;
	static uint8_t have[65536];

	put_op(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	receive(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	before = le32toh(f->got.fwd_cnt);
	assert_int_equal(before, total - ROOM);
	while (at < total) {
		ssize_t n = recv(f->program, have, sizeof(have), MSG_DONTWAIT);

		assert_true(n > 0);
		at += (uint32_t)n;
		driver_settle(&f->driver);
	}
	receive(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_true(le32toh(f->got.fwd_cnt) > before);
}

static void a_program_that_is_gone_is_told_to_the_guest(void **state)
{
	struct fixture *f = connected(state);

	fd_close(&f->program);
	receive(f, VIRTIO_VSOCK_OP_SHUTDOWN);
	if (le32toh(f->got.flags) != 3)
		receive(f, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(le32toh(f->got.flags), 3);
	/* What was under way is dropped. */
	put_bytes(f, "late", 4);
	assert_silent(f);
	put_op(f, VIRTIO_VSOCK_OP_RST, 0);
	assert_silent(f);
}

static void packets_that_no_driver_sends_harm_their_connection_alone(void **state)
{
	struct fixture *f = connected(state);
	struct virtio_vsock_hdr h = header(f, VIRTIO_VSOCK_OP_RW, PORT);
	struct driver_buf stub = { TX_AT, 20, false };
	int program = f->program;

	/* Without a header, and from another: nobody to answer. */
	driver_request(&f->driver, TX, &stub, 1);
	h.src_cid = htole64(CID + 1);
	put_packet(f, h, NULL, 0);
	assert_silent(f);
	/* To another machine, and of another type: refused. */
	h = header(f, VIRTIO_VSOCK_OP_REQUEST, PORT);
	h.dst_cid = htole64(99);
	put_packet(f, h, NULL, 0);
	receive(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le64toh(f->got.src_cid), 99);
	/* The connection lives. */
	put_bytes(f, "here", 4);
	assert_reads(f, f->program, "here");
	/* Fewer bytes than it says. */
	h = header(f, VIRTIO_VSOCK_OP_RW, PORT);
	h.len = htole32(5);
	put_packet(f, h, "four", 4);
	receive(f, VIRTIO_VSOCK_OP_RST);
	assert_at_end(f, program);
	/* An operation that there is not; a second REQUEST; RESPONSE to nothing. */
	for (unsigned i = 0; i < 3; i++) {
		static const uint16_t ops[] = { 77, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE };

		put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
		receive(f, VIRTIO_VSOCK_OP_RESPONSE);
		put_op(f, ops[i], 0);
		receive(f, VIRTIO_VSOCK_OP_RST);
	}
}

static void bytes_outside_memory_end_their_connection_alone(void **state)
{
	struct fixture *f = connected(state);
	struct virtio_vsock_hdr h = header(f, VIRTIO_VSOCK_OP_RW, PORT);
	struct driver_buf bufs[] = { { TX_AT, HDR, false }, { UINT64_C(1) << 40, 100, false } };

	h.len = htole32(100);
	memcpy(f->driver.ram + TX_AT, &h, HDR);
	driver_request(&f->driver, TX, bufs, 2);
	receive(f, VIRTIO_VSOCK_OP_RST);
	assert_at_end(f, f->program);
	put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	receive(f, VIRTIO_VSOCK_OP_RESPONSE);
}

static void without_buffers_for_answers_no_packets_are_taken(void **state)
{
	struct fixture *f = *state;
	struct virtio_vsock_hdr h = header(f, VIRTIO_VSOCK_OP_RW, PORT);
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
		give(f, 1);
		receive(f, VIRTIO_VSOCK_OP_RST);
	}
	assert_silent(f);
}

static void a_buffer_without_room_breaks_the_queue(void **state)
{
	struct fixture *f = *state;
	struct driver_buf buf = { RX_AT, HDR, true };

	driver_add(&f->driver, RX, &buf, 1, 0);
	driver_kick(&f->driver, RX);
	put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	driver_settle(&f->driver);
	assert_int_not_equal(fd_drain(f->driver.queues[RX].err), 0);
}

static void a_new_driver_knows_no_connection(void **state)
{
	struct fixture *f = connected(state);

	driver_stop_queue(&f->driver, RX);
	driver_stop_queue(&f->driver, TX);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, f->driver.features), 0);
	assert_at_end(f, f->program);
	f->given = 0;
	driver_start_queue(&f->driver, RX, 128);
	driver_start_queue(&f->driver, TX, 128);
	give(f, RX_BUFS);
	assert_silent(f);
	put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	receive(f, VIRTIO_VSOCK_OP_RESPONSE);
}

static void programs_wait_for_the_next_guest(void **state)
{
	struct fixture *f = *state;

	f->program = call(f, "CONNECT 1000\n");
	driver_settle(&f->driver);
	driver_stop_queue(&f->driver, RX);
	driver_stop_queue(&f->driver, TX);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, f->driver.features), 0);
	driver_start_queue(&f->driver, RX, 128);
	driver_start_queue(&f->driver, TX, 128);
	give(f, 2);
	receive(f, VIRTIO_VSOCK_OP_REQUEST);
}

static void programs_that_say_nothing_leave_room_for_others(void **state)
{
	struct fixture *f = *state;
	int silent[64];

	for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
		silent[i] = call(f, "");
		driver_settle(&f->driver);
	}
	f->program = call(f, "CONNECT 1000\n");
	assert_silent(f);
	/* The guest's are not held up. */
	listen_at_port(f);
	put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	receive(f, VIRTIO_VSOCK_OP_RESPONSE);
	fd_close(&silent[0]);
	receive(f, VIRTIO_VSOCK_OP_REQUEST);
	for (size_t i = 1; i < ARRAY_SIZE(silent); i++)
		fd_close(&silent[i]);
}

static void hundreds_of_connections_at_once(void **state)
{
	struct fixture *f = *state;
	enum { MANY = 300 };
	int programs[MANY];

	listen_at_port(f);
	for (uint32_t i = 0; i < MANY; i++) {
		struct virtio_vsock_hdr h = header(f, VIRTIO_VSOCK_OP_REQUEST, PORT);

		h.src_port = htole32(i);
		put_packet(f, h, NULL, 0);
		receive(f, VIRTIO_VSOCK_OP_RESPONSE);
		give(f, 1);
		programs[i] = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(write(programs[i], &i, sizeof(i)), sizeof(i));
		receive(f, VIRTIO_VSOCK_OP_RW);
		assert_int_equal(le32toh(f->got.dst_port), i);
		assert_memory_equal(f->bytes, &i, sizeof(i));
		give(f, 1);
	}
	for (uint32_t i = 0; i < MANY; i++)
		fd_close(&programs[i]);
}

static void paths_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = *state;
	static char longest[108];
	struct options o = f->options;
	struct backend_device dev;
	struct err e;

	o.uds_path = "/nonexistent/v";
	assert_true(vsock_device.open(&o, &f->loop, &dev, &e) < 0);
	assert_non_null(strstr(e.msg, "--uds-path /nonexistent/v"));
	memset(longest, 'v', 100);
	o.uds_path = longest;
	assert_int_equal(vsock_device.open(&o, &f->loop, &dev, &e), -ENAMETOOLONG);
	/* Somebody listens there. */
	o.uds_path = f->path;
	assert_int_equal(vsock_device.open(&o, &f->loop, &dev, &e), -EADDRINUSE);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define BARE(fn) cmocka_unit_test_setup_teardown(fn, setup_without_buffers, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_config_is_the_guest_s_address),
		CASE(the_guest_connects_to_a_port_of_the_host),
		CASE(where_nobody_listens_the_guest_is_refused),
		CASE(the_host_connects_to_a_port_of_the_guest),
		CASE(a_guest_that_refuses_ends_the_host_s_connection),
		CASE(a_program_that_gives_up_before_is_forgotten),
		CASE(lines_that_are_no_call_end_the_connection),
		CASE(a_line_may_come_in_pieces),
		CASE(each_side_may_end_its_half_first),
		CASE(what_a_program_wrote_before_it_ended_arrives_first),
		CASE(the_guest_gets_no_more_than_it_has_room_for),
		CASE(a_program_that_is_slow_loses_nothing),
		CASE(more_than_there_is_room_for_ends_the_connection),
		CASE(when_there_is_room_again_the_guest_is_told),
		CASE(a_program_that_is_gone_is_told_to_the_guest),
		CASE(packets_that_no_driver_sends_harm_their_connection_alone),
		CASE(bytes_outside_memory_end_their_connection_alone),
		BARE(without_buffers_for_answers_no_packets_are_taken),
		BARE(a_buffer_without_room_breaks_the_queue),
		CASE(a_new_driver_knows_no_connection),
		BARE(programs_wait_for_the_next_guest),
		CASE(programs_that_say_nothing_leave_room_for_others),
		CASE(hundreds_of_connections_at_once),
		CASE(paths_that_cannot_be_are_refused),
	};

	log_setup("test_backend_vsock", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_vsock", tests, NULL, NULL);
}
