/* SPDX-License-Identifier: Apache-2.0 */
/* What rules are written with: the way of a connection to running rings, and requests on them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

enum { VERSION_1 = 32, LOOK_MS = 20 };

/* Acked of what a daemon offers: what rules are about and what no further step is owed for. Who
 * acks STATUS owes DRIVER_OK before a ring is served, so that only its own rules do. */
static const uint64_t known_protocol =
	BIT64(VU_PF_MQ) | BIT64(VU_PF_REPLY_ACK) | BIT64(VU_PF_BACKEND_REQ) | BIT64(VU_PF_CONFIG) |
	BIT64(VU_PF_BACKEND_SEND_FD) | BIT64(VU_PF_RESET_DEVICE) | BIT64(VU_PF_INFLIGHT_SHMFD) |
	BIT64(VU_PF_CONFIGURE_MEM_SLOTS) | BIT64(VU_PF_SHMEM);

static int say(struct check *c, int result, const char *fmt, va_list args)
{
	vsnprintf(c->e.msg, sizeof(c->e.msg), fmt, args);
	return result;
}

int check_skip(struct check *c, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(c, CHECK_SKIP, fmt, args);
	va_end(args);
	return CHECK_SKIP;
}

int check_fail(struct check *c, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(c, -EINVAL, fmt, args);
	va_end(args);
	return -EINVAL;
}

uint64_t check_known_features(const struct check *c)
{
	uint64_t known = BIT64(VERSION_1) | BIT64(VU_F_PROTOCOL_FEATURES);

	return c->features & (known | (c->device ? c->device->features : 0));
}

static int give_back_channel(struct check *c)
{
	struct vu_msg m = vu_client_msg(VU_SET_BACKEND_REQ_FD);
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(&c->e, "socketpair");
	vu_channel_fini(&c->client.back);
	vu_channel_init(&c->client.back, &pair[0]);
	m.fds[0] = pair[1];
	m.nfds = 1;
	r = check_tell(c, m);
	fd_close(&pair[1]);
	return r;
}

/* What a rule is blocked by, when every rule is, and fails by else. */
static int step(struct check *c, int r)
{
	c->step_failed |= r < 0;
	return r;
}

int check_negotiate(struct check *c, uint64_t features, uint64_t protocol)
{
	int r = 0;

	if (c->features & BIT64(VU_F_PROTOCOL_FEATURES)) {
		uint64_t acked;
		struct vu_msg m;

		r = vu_client_get(&c->client, VU_GET_PROTOCOL_FEATURES, &c->protocol, &c->e);
		if (r)
			return step(c, r);
		acked = c->protocol & (known_protocol | protocol);
		for (unsigned i = 0; i < VU_PF_END; i++)
			if (vu_features[i].needs & ~acked)
				acked &= ~BIT64(i);
		m = vu_client_msg_u64(VU_SET_PROTOCOL_FEATURES, acked);
		r = vu_client_send(&c->client, &m, &c->e);
		c->client.protocol = acked;
	}
	if (!r)
		r = check_tell(c, vu_client_msg(VU_SET_OWNER));
	if (!r && c->client.protocol & BIT64(VU_PF_BACKEND_REQ))
		r = give_back_channel(c);
	if (!r)
		r = check_tell(c, vu_client_msg_u64(VU_SET_FEATURES, features));
	c->acked = features;
	c->user_base = c->client.protocol & BIT64(VU_PF_GPA_ADDRESSES) ? 0 : CHECK_USER_BASE;
	return step(c, r);
}

int check_give_memory(struct check *c)
{
	struct vu_msg m = vu_client_msg(VU_SET_MEM_TABLE);
	const struct mem_region *ram = &c->ram.regions[0];

	m.payload.mem_table.count = 1;
	m.payload.mem_table.regions[0] = (struct vu_mem_region){
		.gpa = ram->gpa, .size = ram->size, .user_addr = c->user_base + ram->gpa,
		.mmap_offset = ram->fd_offset,
	};
	m.header.size = 8 + sizeof(struct vu_mem_region);
	m.fds[0] = ram->fd;
	m.nfds = 1;
	return step(c, check_tell(c, m));
}

static struct vu_msg ring_addr(const struct check *c, const struct driver_ring *r)
{
	struct vu_msg m = vu_client_msg(VU_SET_VRING_ADDR);

	m.payload.addr = (struct vu_vring_addr){
		.index = r->index,
		.desc = c->user_base + driver_ring_desc(r),
		.avail = c->user_base + driver_ring_avail(r),
		.used = c->user_base + driver_ring_used(r),
	};
	m.header.size = sizeof(m.payload.addr);
	return m;
}

int check_start_ring(struct check *c, struct driver_ring *r, uint16_t base)
{
	int code = check_tell(c, vu_client_msg_state(VU_SET_VRING_NUM, r->index, DRIVER_RING_SIZE));

	if (!code)
		code = check_tell(c, vu_client_msg_state(VU_SET_VRING_BASE, r->index, base));
	if (!code)
		code = check_tell(c, ring_addr(c, r));
	if (!code)
		code = check_tell(c, vu_client_msg_fd(VU_SET_VRING_ERR, r->index, r->err));
	if (!code)
		code = check_tell(c, vu_client_msg_fd(VU_SET_VRING_CALL, r->index, r->call));
	if (!code)
		code = check_tell(c, vu_client_msg_fd(VU_SET_VRING_KICK, r->index, r->kick));
	return step(c, code);
}

int check_start(struct check *c, unsigned count, uint16_t base)
{
	for (unsigned i = 0; i < count; i++) {
		/* Nothing lies where an address forgotten, 0, would lead. */
		uint64_t gpa = MIB(1) + i * KIB(256);
		int r;

		driver_ring_fini(&c->rings[i]);
		r = driver_ring_init(&c->rings[i], &c->ram, i, gpa, gpa + KIB(64), base, &c->e);
		if (!r)
			r = check_start_ring(c, &c->rings[i], base);
		if (r)
			return r;
	}
	return 0;
}

int check_enable(struct check *c, bool on)
{
	unsigned count = c->device ? c->device->queues : 1;

	if (!(c->acked & BIT64(VU_F_PROTOCOL_FEATURES)))
		return 0;
	for (unsigned i = 0; i < count; i++) {
		int r = check_tell(c, vu_client_msg_state(VU_SET_VRING_ENABLE, i, on));

		if (r)
			return step(c, r);
	}
	return 0;
}

int check_reconnect(struct check *c)
{
	unsigned timeout_ms = (unsigned)c->options->timeout * 1000;
	uint64_t end = clock_ns() + MS_TO_NS(timeout_ms);
	int r;

	c->acked = c->protocol = 0;
	/* A daemon that listens anew for each connection drops who came to the old socket. */
	do {
		vu_client_close(&c->client);
		r = vu_client_connect(&c->client, c->options->socket, timeout_ms, &c->e);
		if (!r)
			r = vu_client_get(&c->client, VU_GET_FEATURES, &c->features, &c->e);
	} while (r == -ECONNRESET && clock_ns() < end);
	return r;
}

int check_tell(struct check *c, struct vu_msg m)
{
	return vu_client_tell(&c->client, &m, &c->e);
}

int check_try(struct check *c, struct vu_msg m)
{
	return vu_client_try(&c->client, &m, &c->e);
}

int check_refused(struct check *c, struct vu_msg m)
{
	int r = check_try(c, m);

	if (r < 0)
		return r;
	if (r == VU_CLIENT_TAKEN)
		return check_fail(c, "%s is answered with 0, as if it had been obeyed",
				  vu_request_name(m.header.request));
	return 0;
}

int check_barrier(struct check *c)
{
	uint64_t features;

	return vu_client_get(&c->client, VU_GET_FEATURES, &features, &c->e);
}

void check_add(struct check *c)
{
	struct driver_part parts[DRIVER_CHAIN_MAX] = { { .off = 0 } };
	unsigned n = c->device->request(driver_ring_slot(c->ring), parts);

	driver_ring_add(c->ring, parts, n);
}

int check_wait_used(struct check *c)
{
	uint64_t end = clock_ns() + MS_TO_NS(c->client.timeout_ms);
	uint16_t got;

	/* The call is another rule's matter: who does not is looked at from time to time. */
	while ((got = driver_ring_used_idx(c->ring)) != c->ring->avail) {
		if (clock_ns() >= end)
			return step(c, err_set(&c->e, -ETIMEDOUT, "the used index of queue %u is %u,"
					       " not %u, after %u ms", c->ring->index, got,
					       c->ring->avail, c->client.timeout_ms));
		if (vu_client_wait(&c->client, c->ring->call, LOOK_MS))
			fd_drain(c->ring->call);
	}
	return 0;
}

int check_serve(struct check *c)
{
	check_add(c);
	fd_signal(c->ring->kick);
	return check_wait_used(c);
}

int check_untouched(struct check *c, uint16_t idx, const char *when)
{
	uint16_t got;
	int r = 0;

	/*
	 * A daemon of one loop hears of the kick with the first of these messages or before it,
	 * and has acted on that when it hears of the third, however little time it gets; the rest
	 * is for threads.
	 */
	for (unsigned i = 0; i < 3 && r == 0; i++)
		r = check_barrier(c);
	if (r)
		return r;
	vu_client_wait(&c->client, -1, CHECK_QUIET_MS);
	got = driver_ring_used_idx(c->ring);
	if (got == idx)
		return 0;
	return check_fail(c, "queue %u is served %s: its used index went from %u to %u",
			  c->ring->index, when, idx, got);
}
