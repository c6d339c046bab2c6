/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of drivers that do wrong: the queue, or the connection, may suffer, the daemon may not. */
#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

enum { LEN = 512, LOOP = 3, JUMP = 1000 };

/* The driver has done it: whether the daemon still answers, here or on a new connection. */
static int survives(struct check *c)
{
	fd_signal(c->ring->kick);
	vu_client_wait(&c->client, -1, CHECK_QUIET_MS);
	return check_reconnect(c);
}

static int buffer_outside(struct check *c)
{
	static const struct driver_part parts[] = {
		{ .len = LEN, .elsewhere = true, .gpa = BIT64(52) },
		{ .len = LEN, .in = true, .elsewhere = true, .gpa = BIT64(52) + LEN },
	};

	driver_ring_slot(c->ring);
	driver_ring_add(c->ring, parts, ARRAY_SIZE(parts));
	return survives(c);
}

static int chain_loops(struct check *c)
{
	static const struct driver_part parts[LOOP] = {
		{ .len = LEN }, { .off = LEN, .len = LEN }, { .off = 2 * LEN, .len = LEN },
	};

	driver_ring_slot(c->ring);
	driver_ring_add_loop(c->ring, parts, LOOP);
	return survives(c);
}

static int index_jumps(struct check *c)
{
	driver_ring_lie(c->ring, JUMP);
	return survives(c);
}

static int empty_buffers(struct check *c)
{
	static const struct driver_part parts[] = { { .len = 0 }, { .len = 0, .in = true } };

	driver_ring_slot(c->ring);
	driver_ring_add(c->ring, parts, ARRAY_SIZE(parts));
	return survives(c);
}

#define HOSTILE .from = CHECK_FROM_SERVING, .requests = true

const struct check_rule check_hostile_rules[] = {
	{ "driver.outside", "VIRTIO 2.7.5", "a buffer outside of memory does not end the daemon",
	  HOSTILE, .run = buffer_outside },
	{ "driver.loop", "VIRTIO 2.7.5", "a chain that loops does not end or hang the daemon",
	  HOSTILE, .run = chain_loops },
	{ "driver.index", "VIRTIO 2.7.6",
	  "an available index that jumps does not end or hang the daemon", HOSTILE,
	  .run = index_jumps },
	{ "driver.empty", "VIRTIO 2.7.5", "empty buffers do not end the daemon", HOSTILE,
	  .run = empty_buffers },
	{ .id = NULL },
};
