/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of rings that start and run. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

enum { NUM_ODD = 3, NUM_LARGE = 65536, QUEUE_FAR = 255, NEAR_WRAP = 65533, AROUND_WRAP = 8 };

static unsigned started(const struct check *c)
{
	return c->device ? c->device->queues : 1;
}

static int starts(struct check *c)
{
	return check_start(c, started(c), 0);
}

static int enables(struct check *c)
{
	return check_enable(c, true);
}

static int served(struct check *c)
{
	int r = check_serve(c);

	if (!r && driver_ring_used_len(c->ring, c->ring->avail) < 0)
		return check_fail(c, "the used ring names a descriptor that begins no chain");
	return r;
}

static int called(struct check *c)
{
	int r = check_barrier(c);

	fd_drain(c->ring->call);
	if (r)
		return r;
	check_add(c);
	fd_signal(c->ring->kick);
	if (vu_client_wait(&c->client, c->ring->call, c->client.timeout_ms))
		return 0;
	if (driver_ring_used_idx(c->ring) != c->ring->avail)
		return check_skip(c, "the request is not served at all");
	return check_fail(c, "a request is used, but the call eventfd is not signalled");
}

/* Moves the ring's call eventfd to a new one; the old one stays open and is given back. */
static int swap_call(struct check *c, int *ret_old)
{
	int fd = fd_eventfd();

	if (fd < 0)
		return check_fail(c, "eventfd: %s", strerror(-fd));
	*ret_old = c->ring->call;
	c->ring->call = fd;
	return check_tell(c, vu_client_msg_fd(VU_SET_VRING_CALL, c->ring->index, fd));
}

static int call_swapped(struct check *c)
{
	autoclose int old = -1;
	int r = swap_call(c, &old);

	if (r)
		return r;
	/* The new one may be signalled at once, for what nobody may have heard of. */
	fd_drain(c->ring->call);
	check_add(c);
	fd_signal(c->ring->kick);
	if (vu_client_wait(&c->client, c->ring->call, c->client.timeout_ms))
		return 0;
	return check_fail(c, "the call eventfd given while the ring runs is not signalled");
}

static int kicked_disabled(struct check *c)
{
	int r = check_barrier(c);

	if (r)
		return r;
	check_add(c);
	fd_signal(c->ring->kick);
	return check_untouched(c, 0, "before it is enabled");
}

/* As the kick that a front end injects after SET_VRING_KICK. The daemon gets time to take it. */
static int injected_kick(struct check *c)
{
	int r = check_barrier(c);

	if (r)
		return r;
	check_add(c);
	fd_signal(c->ring->kick);
	vu_client_wait(&c->client, -1, CHECK_QUIET_MS);
	r = check_enable(c, true);
	return r ? r : check_wait_used(c);
}

static int disabled(struct check *c)
{
	int r = check_enable(c, false);

	if (r)
		return r;
	check_add(c);
	fd_signal(c->ring->kick);
	return check_untouched(c, (uint16_t)(c->ring->avail - 1), "while it is disabled");
}

static int enabled_again(struct check *c)
{
	int r = check_enable(c, false);

	if (!r)
		r = check_enable(c, true);
	return r ? r : check_serve(c);
}

static int wraps(struct check *c)
{
	int r = check_start(c, started(c), NEAR_WRAP);

	if (!r)
		r = check_enable(c, true);
	for (unsigned i = 0; i < AROUND_WRAP && !r; i++)
		r = check_serve(c);
	return r;
}

/* Without bit 30 in SET_FEATURES a ring is enabled from its start. */
static int without_gate(struct check *c)
{
	int r = check_negotiate(c, check_known_features(c) & ~BIT64(VU_F_PROTOCOL_FEATURES), 0);

	if (!r)
		r = check_give_memory(c);
	if (!r)
		r = check_start(c, started(c), 0);
	return r ? r : check_serve(c);
}

static int many(struct check *c)
{
	for (unsigned i = 0; i < DRIVER_SLOTS; i++)
		check_add(c);
	fd_signal(c->ring->kick);
	return check_wait_used(c);
}

/* A number of entries that no ring can have may be refused where it is told, or later. */
static int bad_num(struct check *c, uint32_t num)
{
	int r = check_try(c, vu_client_msg_state(VU_SET_VRING_NUM, 0, num));

	if (r < 0)
		return r;
	if (r == VU_CLIENT_TAKEN)
		return check_fail(c, "a ring of %u entries is taken", num);
	return 0;
}

static int num_odd(struct check *c)
{
	return bad_num(c, NUM_ODD);
}

static int num_large(struct check *c)
{
	return bad_num(c, NUM_LARGE);
}

static int far_queue(struct check *c)
{
	return check_refused(c, vu_client_msg_state(VU_SET_VRING_NUM, QUEUE_FAR, DRIVER_RING_SIZE));
}

static int outside(struct check *c)
{
	struct driver_ring *r = c->ring;
	struct vu_msg m = vu_client_msg(VU_SET_VRING_ADDR);
	int code = check_tell(c, vu_client_msg_state(VU_SET_VRING_NUM, r->index, DRIVER_RING_SIZE));

	if (code)
		return code;
	code = driver_ring_init(r, &c->ram, r->index, MIB(1), MIB(2), 0, &c->e);
	if (code)
		return code;
	m.payload.addr = (struct vu_vring_addr){
		.index = r->index, .desc = c->user_base + CHECK_RAM_SIZE,
		.avail = c->user_base + CHECK_RAM_SIZE + 0x1000,
		.used = c->user_base + CHECK_RAM_SIZE + 0x2000,
	};
	m.header.size = sizeof(m.payload.addr);
	code = check_try(c, m);
	if (code == VU_CLIENT_TAKEN || code == VU_CLIENT_UNKNOWN)
		code = check_try(c, vu_client_msg_fd(VU_SET_VRING_KICK, r->index, r->kick));
	if (code == VU_CLIENT_TAKEN || code == VU_CLIENT_UNKNOWN)
		code = check_try(c, vu_client_msg_state(VU_SET_VRING_ENABLE, r->index, 1));
	/* Refused, closed, or broken when the ring is looked at: all the same, while it lives. */
	return code < 0 ? code : check_reconnect(c);
}

#define ENABLE "Front-end message types: SET_VRING_ENABLE"

const struct check_rule check_ring_rules[] = {
	{ "ring.start", "Ring states", "a ring is set up and started", .from = CHECK_FROM_MEMORY,
	  .own = true, .run = starts },
	{ "ring.enable", ENABLE, "a started ring is enabled", .from = CHECK_FROM_STARTED,
	  .gate = true, .own = true, .run = enables },
	{ "ring.served", "Ring states", "a ring that is started and enabled is served",
	  .from = CHECK_FROM_RUNNING, .requests = true, .own = true, .run = served },
	{ "ring.call", "Front-end message types: SET_VRING_CALL",
	  "what is used is told by the call eventfd", .from = CHECK_FROM_RUNNING,
	  .requests = true, .run = called },
	{ "ring.call-swap", "Front-end message types: SET_VRING_CALL",
	  "a call eventfd that is given while the ring runs is the one signalled",
	  .from = CHECK_FROM_SERVING, .requests = true, .run = call_swapped },
	{ "ring.many", "VIRTIO 2.7", "requests that one kick tells of are all served",
	  .from = CHECK_FROM_SERVING, .requests = true, .run = many },
	{ "ring.disabled-at-start", "Ring states",
	  "a ring that is started and kicked is not served before it is enabled",
	  .from = CHECK_FROM_STARTED, .gate = true, .requests = true, .run = kicked_disabled },
	{ "ring.kick-before-enable", "Ring states",
	  "what was kicked before the ring is enabled is served then",
	  .from = CHECK_FROM_STARTED, .gate = true, .requests = true, .run = injected_kick },
	{ "ring.disable", ENABLE, "a ring that is disabled is not served",
	  .from = CHECK_FROM_SERVING, .gate = true, .requests = true, .run = disabled },
	{ "ring.enable-again", ENABLE, "a ring that is enabled again is served",
	  .from = CHECK_FROM_SERVING, .gate = true, .requests = true, .run = enabled_again },
	{ "ring.without-gate", "Ring states",
	  "when feature bit 30 is not acked, rings are enabled from the start", .gate = true,
	  .requests = true, .run = without_gate },
	{ "ring.wrap", "VIRTIO 2.7", "ring indices go on from 65535 with 0",
	  .from = CHECK_FROM_MEMORY, .requests = true, .run = wraps },
	{ "ring.num-power", "Front-end message types: SET_VRING_NUM",
	  "a number of entries that is no power of two is refused", .from = CHECK_FROM_MEMORY,
	  .protocol = BIT64(VU_PF_REPLY_ACK), .run = num_odd },
	{ "ring.num-limit", "Front-end message types: SET_VRING_NUM",
	  "more than 32768 entries are refused", .from = CHECK_FROM_MEMORY,
	  .protocol = BIT64(VU_PF_REPLY_ACK), .run = num_large },
	{ "ring.index", "Multiple queue support", "a queue that is not there is refused",
	  .from = CHECK_FROM_MEMORY, .protocol = BIT64(VU_PF_REPLY_ACK), .run = far_queue },
	{ "ring.outside", "Front-end message types: SET_VRING_ADDR",
	  "a ring outside of memory is refused or broken, without the daemon's end",
	  .from = CHECK_FROM_MEMORY, .run = outside },
	{ .id = NULL },
};
