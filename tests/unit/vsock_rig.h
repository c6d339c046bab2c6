/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of minivmm-backend's vsock device, and programs of the host, for its unit tests. What
 * does not come as it should ends the test.
 */
#ifndef TESTS_UNIT_VSOCK_RIG_H
#define TESTS_UNIT_VSOCK_RIG_H

#include <linux/virtio_vsock.h>
#include <stdint.h>

#include "driver.h"
#include "vhost/backend.h"
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

struct vsock_rig {
	char dir[64], path[80];
	struct options options;
	struct loop loop;
	void *dev;
	struct backend backend;
	struct driver driver;
	uint32_t alloc, forwarded;	/* of the guest's next packets */
	unsigned given;			/* rx buffers, as they are used in order */
	struct virtio_vsock_hdr got;	/* by vsock_rig_receive() */
	const uint8_t *bytes;		/* behind it */
	int listener;			/* of a program at PORT; -1: none */
	int program;			/* connected; -1: none */
};
/* cmocka's: a device and a driver whose queues run, with and without buffers for packets. */
int vsock_rig_setup(void **state);
int vsock_rig_setup_without_buffers(void **state);
int vsock_rig_teardown(void **state);
/* Gives the device @n buffers for packets. */
void vsock_rig_give(struct vsock_rig *f, unsigned n);

/* A program of the host listens at PORT; one calls and writes @line, and its socket is returned. */
void vsock_rig_listen_at_port(struct vsock_rig *f);
int vsock_rig_call(struct vsock_rig *f, const char *line);
/* What the program at @sock reads now: @want, or that the other side has ended. */
void vsock_rig_assert_reads(struct vsock_rig *f, int sock, const char *want);
void vsock_rig_assert_at_end(struct vsock_rig *f, int sock);

/* The guest's header for @host_port. */
struct virtio_vsock_hdr vsock_rig_header(const struct vsock_rig *f, uint16_t op,
					 uint32_t host_port);
/* The guest sends: @h and @there bytes; an operation to PORT; bytes to PORT. */
void vsock_rig_put_packet(struct vsock_rig *f, struct virtio_vsock_hdr h, const void *bytes,
			  uint32_t there);
void vsock_rig_put_op(struct vsock_rig *f, uint16_t op, uint32_t flags);
void vsock_rig_put_bytes(struct vsock_rig *f, const void *bytes, uint32_t len);
/* Waits for the device's next packet, which is @op, into f->got and f->bytes; of bytes, @want. */
void vsock_rig_receive(struct vsock_rig *f, uint16_t op);
void vsock_rig_receive_bytes(struct vsock_rig *f, const char *want);
/* No packet comes. */
void vsock_rig_assert_silent(struct vsock_rig *f);
/* A connection from the guest to a program, f->program. */
struct vsock_rig *vsock_rig_connected(void **state);

#endif
