/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of minivmm-backend's net device for its unit tests. What does not come as it should ends
 * the test.
 */
#ifndef TESTS_UNIT_NET_RIG_H
#define TESTS_UNIT_NET_RIG_H

#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "driver.h"
#include "vhost/backend.h"
#include "vhost/backends/net.h"

enum {
	NET_RX, NET_TX,
	NET_RX_AT = DRIVER_DATA, NET_TX_AT = DRIVER_DATA + 0x200000,
	NET_ENTRIES = 64,		/* of a queue */
};

struct net_rig {
	struct options options;
	struct loop loop;
	struct net *net;		/* NULL: not started */
	struct backend backend;
	struct driver driver;
	int host;			/* the other end of the only socket; -1: none */
	uint32_t given;			/* bytes of buffers, from NET_RX_AT on */
	uint32_t taken;			/* of packets that were looked at, as buffers were given */
};

int net_rig_setup(void **state);
int net_rig_teardown(void **state);
/* The device with the options of @f, negotiated (what of @features it has); its first pair runs. */
void net_rig_serve(struct net_rig *f, uint64_t features);
/* The same on a socket, whose other end is `host`. */
struct net_rig *net_rig_start(void **state, uint64_t features);

/* The driver gives a buffer of @len bytes. */
void net_rig_give(struct net_rig *f, uint32_t len);
/* A packet arrives in the next @buffers of @len bytes each, header and @size bytes all of which are
 * @fill. */
void net_rig_assert_arrives(struct net_rig *f, unsigned buffers, uint32_t len, uint8_t fill,
			    size_t size);
/* None has arrived. */
void net_rig_assert_silent(struct net_rig *f);

#endif
