/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of rings that stop, start anew, and devices that are reset. */
#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

enum { BASE = 7, SERVED = 3 };

/* GET_VRING_BASE: 0 with the base in *@ret. */
static int stop(struct check *c, unsigned queue, uint32_t *ret)
{
	struct vu_msg m = vu_client_msg_state(VU_GET_VRING_BASE, queue, 0);
	int r = vu_client_ask(&c->client, &m, &c->e);

	if (r)
		return r;
	vu_msg_close_fds(&m);
	if (m.payload.state.index != queue)
		return check_fail(c, "the answer about queue %u names queue %u", queue,
				  m.payload.state.index);
	*ret = m.payload.state.num;
	return 0;
}

static int expect_base(struct check *c, unsigned queue, uint32_t want, const char *when)
{
	uint32_t got;
	int r = stop(c, queue, &got);

	if (r || got == want)
		return r;
	return check_fail(c, "%s, GET_VRING_BASE gives %u, not %u", when, got, want);
}

static int base_kept(struct check *c)
{
	int r = check_start(c, 1, BASE);

	return r ? r : expect_base(c, 0, BASE, "of a ring that was started there and not used");
}

static int base_after(struct check *c)
{
	int r = 0;

	for (unsigned i = 0; i < SERVED && !r; i++)
		r = check_serve(c);
	return r ? r : expect_base(c, c->ring->index, SERVED, "after 3 requests");
}

static int untouched(struct check *c)
{
	uint32_t base;
	int r = check_serve(c);

	if (!r)
		r = stop(c, c->ring->index, &base);
	if (r)
		return r;
	check_add(c);
	fd_signal(c->ring->kick);
	return check_untouched(c, (uint16_t)(c->ring->avail - 1), "after GET_VRING_BASE");
}

/* Stops every ring and starts the one of the requests where its driver is. */
static int restart(struct check *c)
{
	uint32_t base;
	int r = check_serve(c);

	if (!r)
		r = stop(c, c->ring->index, &base);
	if (!r)
		r = check_start_ring(c, c->ring, c->ring->avail);
	if (!r)
		r = check_enable(c, true);
	return r ? r : check_serve(c);
}

static int reset_stops(struct check *c)
{
	int r = check_serve(c);

	if (!r)
		r = check_tell(c, vu_client_msg(VU_RESET_DEVICE));
	if (r)
		return r;
	check_add(c);
	fd_signal(c->ring->kick);
	return check_untouched(c, (uint16_t)(c->ring->avail - 1), "after RESET_DEVICE");
}

static int reset_restart(struct check *c)
{
	uint32_t base;
	int r = check_serve(c);

	for (unsigned i = 0; i < c->device->queues && !r; i++)
		r = stop(c, i, &base);
	if (!r)
		r = check_tell(c, vu_client_msg(VU_RESET_DEVICE));
	if (!r)
		r = check_tell(c, vu_client_msg_u64(VU_SET_FEATURES, c->acked));
	if (!r)
		r = check_start(c, c->device->queues, 0);
	if (!r)
		r = check_enable(c, true);
	return r ? r : check_serve(c);
}

/* The next front end finds a device that nobody has used. */
static int fresh_after_close(struct check *c)
{
	int r = check_serve(c);

	if (!r)
		r = check_reconnect(c);
	if (!r)
		r = check_negotiate(c, check_known_features(c), 0);
	if (!r)
		r = check_give_memory(c);
	if (!r)
		r = check_start(c, c->device->queues, 0);
	if (!r)
		r = check_enable(c, true);
	return r ? r : check_serve(c);
}

#define STOP "Front-end message types: GET_VRING_BASE"
#define RESET "Front-end message types: RESET_DEVICE"

const struct check_rule check_stop_rules[] = {
	{ "stop.base-kept", STOP, "a ring that was not used stops where it was started",
	  .from = CHECK_FROM_MEMORY, .form = true, .run = base_kept },
	{ "stop.base", STOP, "the base of a ring that stops counts what was served",
	  .from = CHECK_FROM_RUNNING, .requests = true, .run = base_after },
	{ "stop.untouched", STOP, "a ring that was stopped is not served",
	  .from = CHECK_FROM_RUNNING, .requests = true, .run = untouched },
	{ "stop.restart", "Ring states", "a ring that was stopped goes on at the base it is given",
	  .from = CHECK_FROM_RUNNING, .requests = true, .run = restart },
	{ "stop.reset", RESET, "a device that is reset serves no ring",
	  .from = CHECK_FROM_RUNNING, .protocol = BIT64(VU_PF_RESET_DEVICE), .requests = true,
	  .run = reset_stops },
	{ "stop.reset-restart", RESET, "a device that was reset is set up again and serves",
	  .from = CHECK_FROM_RUNNING, .protocol = BIT64(VU_PF_RESET_DEVICE), .requests = true,
	  .run = reset_restart },
	{ "life.fresh", "Communication",
	  "after a connection that ended with rings running, the next one's are served",
	  .from = CHECK_FROM_RUNNING, .requests = true, .run = fresh_after_close },
	{ .id = NULL },
};
