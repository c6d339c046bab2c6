/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock_rig.h"

#include <endian.h>
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
#include "vhost/backends/device.h"
#include "vhost/backends/options.h"

void vsock_rig_give(struct vsock_rig *f, unsigned n)
{
	for (; n; n--) {
		struct driver_buf buf = { RX_AT + f->given++ % RX_BUFS * RX_SIZE, RX_SIZE, true };

		driver_add(&f->driver, RX, &buf, 1, 0);
	}
	driver_kick(&f->driver, RX);
}

int vsock_rig_setup_without_buffers(void **state)
{
	struct vsock_rig *f = test_calloc(1, sizeof(*f));
	struct backend_device dev;
	struct err e = { "" };

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
	driver_serve(&f->driver, &f->backend, &f->loop, &dev);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, RX, 128);
	driver_start_queue(&f->driver, TX, 128);
	*state = f;
	return 0;
}

int vsock_rig_setup(void **state)
{
	vsock_rig_setup_without_buffers(state);
	vsock_rig_give(*state, RX_BUFS);
	return 0;
}

int vsock_rig_teardown(void **state)
{
	struct vsock_rig *f = *state;
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

static struct sockaddr_un name(const struct vsock_rig *f, const char *port)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%s%s", f->path, port);
	return a;
}

void vsock_rig_listen_at_port(struct vsock_rig *f)
{
	char port[16];
	struct sockaddr_un a;

	snprintf(port, sizeof(port), "_%d", PORT);
	a = name(f, port);
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(f->listener, 8), 0);
}

int vsock_rig_call(struct vsock_rig *f, const char *line)
{
	struct sockaddr_un a = name(f, "");
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(connect(sock, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(write(sock, line, strlen(line)), strlen(line));
	return sock;
}

void vsock_rig_assert_reads(struct vsock_rig *f, int sock, const char *want)
{
	char have[64] = "";

	driver_settle(&f->driver);
	assert_int_equal(recv(sock, have, sizeof(have) - 1, MSG_DONTWAIT), strlen(want));
	assert_string_equal(have, want);
}

void vsock_rig_assert_at_end(struct vsock_rig *f, int sock)
{
	char byte;

	driver_settle(&f->driver);
	assert_int_equal(recv(sock, &byte, 1, MSG_DONTWAIT), 0);
}

/* ---- The guest ---- */

void vsock_rig_put_packet(struct vsock_rig *f, struct virtio_vsock_hdr h, const void *bytes,
		       uint32_t there)
{
	struct driver_buf bufs[] = { { TX_AT, HDR, false }, { TX_AT + HDR, there, false } };

	memcpy(f->driver.ram + TX_AT, &h, HDR);
	if (there)
		memcpy(f->driver.ram + TX_AT + HDR, bytes, there);
	driver_request(&f->driver, TX, bufs, there ? 2 : 1);
}

struct virtio_vsock_hdr vsock_rig_header(const struct vsock_rig *f, uint16_t op, uint32_t host_port)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(CID), .dst_cid = htole64(2),
		.src_port = htole32(GUEST_PORT), .dst_port = htole32(host_port),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM), .op = htole16(op),
		.buf_alloc = htole32(f->alloc), .fwd_cnt = htole32(f->forwarded),
	};
}

void vsock_rig_put_op(struct vsock_rig *f, uint16_t op, uint32_t flags)
{
	struct virtio_vsock_hdr h = vsock_rig_header(f, op, PORT);

	h.flags = htole32(flags);
	vsock_rig_put_packet(f, h, NULL, 0);
}

void vsock_rig_put_bytes(struct vsock_rig *f, const void *bytes, uint32_t len)
{
	struct virtio_vsock_hdr h = vsock_rig_header(f, VIRTIO_VSOCK_OP_RW, PORT);

	h.len = htole32(len);
	vsock_rig_put_packet(f, h, bytes, len);
}

void vsock_rig_receive(struct vsock_rig *f, uint16_t op)
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

void vsock_rig_assert_silent(struct vsock_rig *f)
{
	uint16_t head;
	uint32_t len;

	driver_settle(&f->driver);
	assert_false(driver_used(&f->driver, RX, &head, &len));
}

void vsock_rig_receive_bytes(struct vsock_rig *f, const char *want)
{
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RW);
	assert_int_equal(le32toh(f->got.len), strlen(want));
	assert_memory_equal(f->bytes, want, strlen(want));
}

/* A connection from the guest to a program. */
struct vsock_rig *vsock_rig_connected(void **state)
{
	struct vsock_rig *f = *state;

	vsock_rig_listen_at_port(f);
	vsock_rig_put_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
	vsock_rig_receive(f, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(le32toh(f->got.buf_alloc), ROOM);
	f->program = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(f->program >= 0);
	return f;
}
