/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of rings that stop, start anew, and devices that are reset. */
#include <errno.h>

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
	*ret = m.payload.state.num;
	return 0;
}

static int base_kept(struct check *c)
{
	struct vu_msg m = vu_client_msg_state(VU_GET_VRING_BASE, 0, 0);
	int r = check_start(c, 1, BASE);

	if (!r)
		r = vu_client_ask(&c->client, &m, &c->e);
	if (r)
		return r;
	vu_msg_close_fds(&m);
	if (m.payload.state.index || m.payload.state.num != BASE)
		return check_fail(c, "queue 0, started at %d and not used, stops as queue %u at %u",
				  BASE, m.payload.state.index, m.payload.state.num);
	return 0;
}

static int base_after(struct check *c)
{
	uint32_t base = 0;
	int r = 0;

	for (unsigned i = 1; i < SERVED && !r; i++)
		r = check_serve(c);
	if (!r)
		r = stop(c, c->ring->index, &base);
	if (r || base == SERVED)
		return r;
	return check_fail(c, "after %d requests, GET_VRING_BASE gives %u", SERVED, base);
}

static int untouched(struct check *c)
{
	uint32_t base;
	int r = stop(c, c->ring->index, &base);

	if (r)
		return r;
	check_add(c);
	fd_signal(c->ring->kick);
	return check_untouched(c, (uint16_t)(c->ring->avail - 1), "after GET_VRING_BASE");
}

/* Stops the ring of the requests and starts it where its driver is; others run on. */
static int restart(struct check *c)
{
	uint32_t base;
	int r = stop(c, c->ring->index, &base);

	if (!r)
		r = check_start_ring(c, c->ring, c->ring->avail);
	if (!r)
		r = check_enable(c, true);
	if (!r)
		r = check_serve(c);
	return r ? r : check_untouched(c, c->ring->avail, "with what was served before");
}

static int reset_stops(struct check *c)
{
	int r = check_tell(c, vu_client_msg(VU_RESET_DEVICE));

	if (r)
		return r;
	check_add(c);
	fd_signal(c->ring->kick);
	return check_untouched(c, (uint16_t)(c->ring->avail - 1), "after RESET_DEVICE");
}

static int reset_restart(struct check *c)
{
	uint32_t base;
	int r = 0;

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

#define STOP "Front-end message types: GET_VRING_BASE"
#define RESET "Front-end message types: RESET_DEVICE"

const struct check_rule check_stop_rules[] = {
	{ "stop.base-kept", STOP, "a ring that was not used stops where it was started",
	  .from = CHECK_FROM_MEMORY, .run = base_kept },
	{ "stop.base", STOP, "the base of a ring that stops counts what was served",
	  .from = CHECK_FROM_SERVING, .requests = true, .run = base_after },
	{ "stop.untouched", STOP, "a ring that was stopped is not served",
	  .from = CHECK_FROM_SERVING, .requests = true, .run = untouched },
	{ "stop.restart", "Ring states", "a ring that was stopped goes on at the base it is given",
	  .from = CHECK_FROM_SERVING, .requests = true, .run = restart },
	{ "stop.reset", RESET, "a device that is reset serves no ring",
	  .from = CHECK_FROM_SERVING, .protocol = BIT64(VU_PF_RESET_DEVICE), .requests = true,
	  .run = reset_stops },
	{ "stop.reset-restart", RESET, "a device that was reset is set up again and serves",
	  .from = CHECK_FROM_SERVING, .protocol = BIT64(VU_PF_RESET_DEVICE), .requests = true,
	  .run = reset_restart },
	{ .id = NULL },
};
