/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's vsock device: a guest's packets on one side, Unix sockets on the other. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "vhost/backends/device.h"
#include "vsock_rig.h"

static void the_config_is_the_guest_s_address(void **state)
{
	struct vsock_rig *f = *state;
	uint8_t config[VU_CONFIG_MAX] = { 0 };
	uint64_t cid;

	f->backend.dev.ops->config_read(f->dev, config);
	memcpy(&cid, config, sizeof(cid));
	assert_int_equal(le64toh(cid), CID);
}

static void the_guest_connects_to_a_port_of_the_host(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);

	vsock_rig_put_bytes(f, "hello", 5);
	vsock_rig_assert_reads(f, f->program, "hello");
	assert_int_equal(write(f->program, "world", 5), 5);
	vsock_rig_receive_bytes(f, "world");
	assert_int_equal(le32toh(f->got.src_port), PORT);
	assert_int_equal(le32toh(f->got.dst_port), GUEST_PORT);
	assert_int_equal(le32toh(f->got.fwd_cnt), 5);
}

static void where_nobody_listens_the_guest_is_refused(void **state)
{
	struct vsock_rig *f = *state;

	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le32toh(f->got.src_port), PORT);
	/* The device's own socket is no port. */
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_RW, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
}

/* Lines that @doing logs. */
static unsigned lines_of(struct vsock_rig *f, void (*doing)(struct vsock_rig *f))
{
	int errors = dup(STDERR_FILENO), file = memfd_create("log", MFD_CLOEXEC);
	char text[4096];
	unsigned n = 0;
	ssize_t len;

	assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
	log_setup("test", LOG_INFO);
	doing(f);
	log_setup("test", LOG_WARN);
	assert_int_equal(dup2(errors, STDERR_FILENO), STDERR_FILENO);
	len = pread(file, text, sizeof(text), 0);
	assert_in_range(len, 0, sizeof(text) - 1);
	for (ssize_t i = 0; i < len; i++)
		n += text[i] == '\n';
	fd_close(&errors);
	fd_close(&file);
	return n;
}

static void calls_to_nobody(struct vsock_rig *f)
{
	for (int i = 0; i < 3; i++) {
		vsock_rig_put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
		vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	}
}

static void calls_without_a_port(struct vsock_rig *f)
{
	for (int i = 0; i < 3; i++) {
		f->program = vsock_rig_call(f, "hello\n");
		driver_settle(&f->driver);
		fd_close(&f->program);
	}
}

static void what_comes_to_nothing_again_and_again_is_logged_once(void **state)
{
	assert_int_equal(lines_of(*state, calls_to_nobody), 1);
	assert_int_equal(lines_of(*state, calls_without_a_port), 1);
}

/* To the packet received last. */
static void answer(struct vsock_rig *f, uint16_t op)
{
	vsock_rig_put_packet(f, vsock_rig_header(f, op, le32toh(f->got.src_port)), NULL, 0);
}

static void the_host_connects_to_a_port_of_the_guest(void **state)
{
	struct vsock_rig *f = *state;
	char want[32];

	/* What follows the line is the guest's, whether it has accepted or not. */
	f->program = vsock_rig_call(f, "CONNECT 1000\nearly");
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(le32toh(f->got.dst_port), GUEST_PORT);
	assert_int_equal(le64toh(f->got.src_cid), 2);
	vsock_rig_assert_silent(f);
	answer(f, VIRTIO_VSOCK_OP_RESPONSE);
	snprintf(want, sizeof(want), "OK %u\n", le32toh(f->got.src_port));
	vsock_rig_assert_reads(f, f->program, want);
	vsock_rig_receive_bytes(f, "early");
}

static void a_guest_that_refuses_ends_the_host_s_connection(void **state)
{
	struct vsock_rig *f = *state;

	f->program = vsock_rig_call(f, "CONNECT 1000\n");
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_REQUEST);
	answer(f, VIRTIO_VSOCK_OP_RST);
	vsock_rig_assert_at_end(f, f->program);
}

static void a_program_that_gives_up_before_is_forgotten(void **state)
{
	struct vsock_rig *f = *state;

	f->program = vsock_rig_call(f, "CONNECT 1000\n");
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_REQUEST);
	fd_close(&f->program);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
}

static void lines_that_are_no_call_end_the_connection(void **state)
{
	static const char *const bad[] = { "CONNECT\n", "CONNECT x\n", "CONNECT -1\n", "CONNECT 4294967295\n", "GET / HTTP/1.1\n",
					   "CONNECT 10 20\n", "\n", "CONNECT 00000000000000000000000000001000\n" };
	struct vsock_rig *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ssize_t n;
		char byte;

		f->program = vsock_rig_call(f, bad[i]);
		driver_settle(&f->driver);
		n = read(f->program, &byte, 1);
		/* What was not read may make it a reset instead of an end. */
		assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
		fd_close(&f->program);
	}
	vsock_rig_assert_silent(f);
}

static void a_line_may_come_in_pieces(void **state)
{
	struct vsock_rig *f = *state;

	f->program = vsock_rig_call(f, "CONN");
	vsock_rig_assert_silent(f);
	assert_int_equal(write(f->program, "ECT 1000", 8), 8);
	vsock_rig_assert_silent(f);
	assert_int_equal(write(f->program, "\n", 1), 1);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_REQUEST);
}

static void packets_that_no_driver_sends_harm_their_connection_alone(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);
	struct virtio_vsock_hdr h = vsock_rig_header(f, VIRTIO_VSOCK_OP_RW, PORT);
	struct driver_buf stub = { TX_AT, 20, false };
	int program = f->program;

	/* Without a header, and from another: nobody to answer. */
	driver_request(&f->driver, TX, &stub, 1);
	h.src_cid = htole64(CID + 1);
	vsock_rig_put_packet(f, h, NULL, 0);
	vsock_rig_assert_silent(f);
	/* To another machine, and of another type: refused. */
	h = vsock_rig_header(f, VIRTIO_VSOCK_OP_REQUEST, PORT);
	h.dst_cid = htole64(99);
	vsock_rig_put_packet(f, h, NULL, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le64toh(f->got.src_cid), 99);
	/* The connection lives. */
	vsock_rig_put_bytes(f, "here", 4);
	vsock_rig_assert_reads(f, f->program, "here");
	/* Fewer bytes than it says. */
	h = vsock_rig_header(f, VIRTIO_VSOCK_OP_RW, PORT);
	h.len = htole32(5);
	vsock_rig_put_packet(f, h, "four", 4);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	vsock_rig_assert_at_end(f, program);
	/* An operation that there is not; a second REQUEST; RESPONSE to nothing. */
	for (unsigned i = 0; i < 3; i++) {
		static const uint16_t ops[] = { 77, VIRTIO_VSOCK_OP_REQUEST,
						VIRTIO_VSOCK_OP_RESPONSE };

		vsock_rig_put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
		vsock_rig_receive(f, VIRTIO_VSOCK_OP_RESPONSE);
		vsock_rig_put_op(f, ops[i], 0);
		vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	}
}

static void bytes_outside_memory_end_their_connection_alone(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);
	struct virtio_vsock_hdr h = vsock_rig_header(f, VIRTIO_VSOCK_OP_RW, PORT);
	struct driver_buf bufs[] = { { TX_AT, HDR, false }, { UINT64_C(1) << 40, 100, false } };

	h.len = htole32(100);
	memcpy(f->driver.ram + TX_AT, &h, HDR);
	driver_request(&f->driver, TX, bufs, 2);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	vsock_rig_assert_at_end(f, f->program);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RESPONSE);
}

static void a_buffer_without_room_breaks_the_queue(void **state)
{
	struct vsock_rig *f = *state;
	struct driver_buf buf = { RX_AT, HDR, true };

	driver_add(&f->driver, RX, &buf, 1, 0);
	driver_kick(&f->driver, RX);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	driver_settle(&f->driver);
	assert_int_not_equal(fd_drain(f->driver.queues[RX].err), 0);
}

/* It may be the same one, whose front end connected again. */
static void the_next_driver_is_told_that_connections_ended(void **state)
{
	struct vsock_rig *f = vsock_rig_connected(state);

	driver_stop_queue(&f->driver, RX);
	driver_stop_queue(&f->driver, TX);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, f->driver.features), 0);
	vsock_rig_assert_at_end(f, f->program);
	f->given = 0;
	driver_start_queue(&f->driver, RX, 128);
	driver_start_queue(&f->driver, TX, 128);
	vsock_rig_give(f, RX_BUFS);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le32toh(f->got.dst_port), GUEST_PORT);
	assert_int_equal(le32toh(f->got.src_port), PORT);
	vsock_rig_assert_silent(f);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RESPONSE);
}

static void programs_wait_for_the_next_guest(void **state)
{
	struct vsock_rig *f = *state;

	f->program = vsock_rig_call(f, "CONNECT 1000\n");
	driver_settle(&f->driver);
	driver_stop_queue(&f->driver, RX);
	driver_stop_queue(&f->driver, TX);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, f->driver.features), 0);
	driver_start_queue(&f->driver, RX, 128);
	driver_start_queue(&f->driver, TX, 128);
	vsock_rig_give(f, 2);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_REQUEST);
}

static void programs_that_say_nothing_leave_room_for_others(void **state)
{
	struct vsock_rig *f = *state;
	int silent[64];

	for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
		silent[i] = vsock_rig_call(f, "");
		driver_settle(&f->driver);
	}
	f->program = vsock_rig_call(f, "CONNECT 1000\n");
	vsock_rig_assert_silent(f);
	/* The guest's are not held up. */
	vsock_rig_listen_at_port(f);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RESPONSE);
	fd_close(&silent[0]);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_REQUEST);
	for (size_t i = 1; i < ARRAY_SIZE(silent); i++)
		fd_close(&silent[i]);
}

static void one_whom_no_descriptor_was_left_for_is_taken_later(void **state)
{
	struct vsock_rig *f = *state;
	struct rlimit all, few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
	f->program = vsock_rig_call(f, "CONNECT 1000\n");
	few = all;
	few.rlim_cur = (rlim_t)f->program + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	driver_settle(&f->driver);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_REQUEST);
}

static void paths_that_cannot_be_are_refused(void **state)
{
	struct vsock_rig *f = *state;
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

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, vsock_rig_setup, vsock_rig_teardown)
#define BARE(fn)                                                             \
	cmocka_unit_test_setup_teardown(fn, vsock_rig_setup_without_buffers, \
					vsock_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_config_is_the_guest_s_address),
		CASE(the_guest_connects_to_a_port_of_the_host),
		CASE(where_nobody_listens_the_guest_is_refused),
		CASE(what_comes_to_nothing_again_and_again_is_logged_once),
		CASE(the_host_connects_to_a_port_of_the_guest),
		CASE(a_guest_that_refuses_ends_the_host_s_connection),
		CASE(a_program_that_gives_up_before_is_forgotten),
		CASE(lines_that_are_no_call_end_the_connection),
		CASE(a_line_may_come_in_pieces),
		CASE(packets_that_no_driver_sends_harm_their_connection_alone),
		CASE(bytes_outside_memory_end_their_connection_alone),
		BARE(a_buffer_without_room_breaks_the_queue),
		CASE(the_next_driver_is_told_that_connections_ended),
		BARE(programs_wait_for_the_next_guest),
		CASE(programs_that_say_nothing_leave_room_for_others),
		CASE(one_whom_no_descriptor_was_left_for_is_taken_later),
		CASE(paths_that_cannot_be_are_refused),
	};

	log_setup("test_backend_vsock", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_vsock", tests, NULL, NULL);
}
