/* SPDX-License-Identifier: Apache-2.0 */
#include "net_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/range.h"
#include "vhost/backends/device.h"

int net_rig_setup(void **state)
{
	struct net_rig *f = test_calloc(1, sizeof(*f));

	f->options = (struct options){ .type = OPTION_NET, .fd = -1 };
	f->host = -1;
	*state = f;
	return 0;
}

int net_rig_teardown(void **state)
{
	struct net_rig *f = *state;

	if (f->net) {
		backend_fini(&f->backend);
		net_device.close(f->net);
		loop_fini(&f->loop);
		driver_fini(&f->driver);
	}
	fd_close(&f->host);
	test_free(f);
	return 0;
}

void net_rig_serve(struct net_rig *f, uint64_t features)
{
	struct backend_device dev;
	struct err e = { "" };

	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	if (net_device.open(&f->options, &f->loop, &dev, &e))
		fail_msg("%s", e.msg);
	f->net = dev.arg;
	driver_serve(&f->driver, &f->backend, &f->loop, &dev);
	driver_negotiate(&f->driver, features | BIT64(BACKEND_F_VERSION_1));
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, NET_RX, NET_ENTRIES);
	driver_start_queue(&f->driver, NET_TX, NET_ENTRIES);
}

struct net_rig *net_rig_start(void **state, uint64_t features)
{
	struct net_rig *f = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f->host = pair[0];
	f->options.tap_fds[0] = pair[1];
	f->options.n_tap_fds = 1;
	net_rig_serve(f, features);
	return f;
}

void net_rig_give(struct net_rig *f, uint32_t len)
{
	struct driver_buf buf = { NET_RX_AT + f->given, len, true };

	memset(f->driver.ram + buf.gpa, 0xee, len);
	driver_add(&f->driver, NET_RX, &buf, 1, 0);
	driver_kick(&f->driver, NET_RX);
	f->given += len;
}

void net_rig_assert_arrives(struct net_rig *f, unsigned buffers, uint32_t len, uint8_t fill,
			    size_t size)
{
	const uint8_t *at = f->driver.ram + NET_RX_AT + f->taken;
	struct virtio_net_hdr_v1 h;
	size_t left = NET_HEADER + size;
	uint16_t head;

	for (unsigned i = 0; i < buffers; i++) {
		uint32_t want = (uint32_t)min_u64(left, len);

		assert_int_equal(driver_wait_used(&f->driver, NET_RX, &head), want);
		left -= want;
	}
	assert_int_equal(left, 0);
	memcpy(&h, at, sizeof(h));
	assert_int_equal(h.num_buffers, buffers);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(at[NET_HEADER + i], fill);
	f->taken += buffers * len;
}

void net_rig_assert_silent(struct net_rig *f)
{
	uint16_t head;
	uint32_t len;

	driver_settle(&f->driver);
	assert_false(driver_used(&f->driver, NET_RX, &head, &len));
}
