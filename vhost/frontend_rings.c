/* SPDX-License-Identifier: Apache-2.0 */
/* Start and stop ("Ring states", "Starting and stopping rings" and the vring messages). */
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "vhost/frontend_private.h"

/*
 * Where a fresh ring starts, as SET_VRING_BASE writes it: a split ring at index 0, a packed one at
 * index 0 with both wrap counters set (bits 15 and 31). ring.base is the difference from this, so
 * that 0 means fresh for either.
 */
static uint32_t fresh_base(const struct vu_frontend *f)
{
	return f->acked & BIT64(VIRTIO_F_RING_PACKED) ? 0x80008000u : 0;
}

static void fill_state(struct vu_msg *m, unsigned ring, uint32_t num)
{
	m->header.size = sizeof(m->payload.state);
	m->payload.state = (struct vu_vring_state){ .index = ring, .num = num };
}

static int fill_num(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)e;
	fill_state(m, ring, f->rings[ring].size);
	return 1;
}

static int fill_base(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)e;
	fill_state(m, ring, f->rings[ring].base ^ fresh_base(f));
	return 1;
}

/* Bytes of the three parts of a ring (VIRTIO 1.3, 2.7 and 2.8). */
static void ring_sizes(const struct vu_frontend *f, const struct vu_ring *r, uint64_t ret[3])
{
	bool packed = f->acked & BIT64(VIRTIO_F_RING_PACKED);

	ret[0] = UINT64_C(16) * r->size;
	ret[1] = packed ? 4 : 6 + UINT64_C(2) * r->size;
	ret[2] = packed ? 4 : 6 + UINT64_C(8) * r->size;
}

/* The payload of SET_VRING_ADDR; checked by check_ring before anything is sent. */
static int ring_addr(const struct vu_frontend *f, unsigned ring, struct vu_vring_addr *ret)
{
	const struct vu_ring *r = &f->rings[ring];
	uint64_t size[3];

	ring_sizes(f, r, size);
	*ret = (struct vu_vring_addr){ .index = ring };
	if (vu_memory_user_addr(f, r->desc, size[0], &ret->desc) < 0 ||
	    vu_memory_user_addr(f, r->avail, size[1], &ret->avail) < 0 ||
	    vu_memory_user_addr(f, r->used, size[2], &ret->used) < 0)
		return -EINVAL;
	return 0;
}

static int fill_addr(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	m->header.size = sizeof(m->payload.addr);
	if (ring_addr(f, ring, &m->payload.addr) < 0)
		return err_set(e, -EINVAL, "ring %u has left guest RAM", ring);
	return 1;
}

static void fill_ring_fd(struct vu_msg *m, unsigned ring, int fd)
{
	m->header.size = sizeof(m->payload.u64);
	m->payload.u64 = ring | (fd < 0 ? VU_VRING_NOFD : 0);
	m->fds[0] = fd;
	m->nfds = fd < 0 ? 0 : 1;
}

static int fill_err(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)e;
	fill_ring_fd(m, ring, f->ring_err);
	return 1;
}

static int fill_call(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)e;
	fill_ring_fd(m, ring, f->rings[ring].call);
	return 1;
}

static int fill_kick(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)e;
	fill_ring_fd(m, ring, f->rings[ring].kick);
	f->started |= BIT64(ring);
	return 1;
}

static int fill_enable(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)e;
	if (f->rings[ring].idle)
		return 0;
	fill_state(m, ring, 1);
	f->on |= BIT64(ring);
	return f->has_protocol;
}

static int fill_rarp(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	m->header.size = sizeof(m->payload.u64);
	m->payload.u64 = f->rarp;
	f->rarp = 0;
	return m->payload.u64 != 0;
}

static int fill_disable(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)e;
	fill_state(m, ring, 0);
	return f->has_protocol;
}

static int fill_get_base(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)f;
	(void)e;
	fill_state(m, ring, 0);
	return 1;
}

static int got_base(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		    struct err *e)
{
	const struct vu_vring_state *s = &m->payload.state;

	if (s->index != p->at)
		return err_set(e, -EPROTO, "the answer to GET_VRING_BASE of ring %u names ring %u",
			       p->at, s->index);
	if (!fresh_base(f) && s->num > UINT16_MAX)
		return err_set(e, -EPROTO, "the daemon stopped ring %u at %u, a split ring ends "
			       "at 65535", p->at, s->num);
	f->rings[p->at].base = s->num ^ fresh_base(f);
	return 0;
}

/* Without bit 30 acked to the daemon its rings would be enabled before they exist. */
static int fill_features(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	(void)ring;
	(void)e;
	m->header.size = sizeof(m->payload.u64);
	m->payload.u64 = f->acked | (f->has_protocol ? BIT64(VU_F_PROTOCOL_FEATURES) : 0);
	return 1;
}

static int fill_status(struct vu_msg *m, uint8_t status)
{
	m->header.size = sizeof(m->payload.u64);
	m->payload.u64 = status;
	return 1;
}

enum {
	STATUS_DRIVER = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
	STATUS_FEATURES = STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
	STATUS_RUNNING = STATUS_FEATURES | VIRTIO_CONFIG_S_DRIVER_OK,
};

#define STATUS_FILL(name, value)								\
	static int name(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)	\
	{											\
		(void)f;									\
		(void)ring;									\
		(void)e;									\
		return fill_status(m, (value));							\
	}

STATUS_FILL(fill_status_driver, STATUS_DRIVER)
STATUS_FILL(fill_status_features, STATUS_FEATURES)
STATUS_FILL(fill_status_running, STATUS_RUNNING)
STATUS_FILL(fill_status_zero, 0)

static int got_status(struct vu_frontend *f, const struct vu_pending *p, const struct vu_msg *m,
		      struct err *e)
{
	(void)p;
	if (m->payload.u64 & VIRTIO_CONFIG_S_FEATURES_OK)
		return 0;
	return err_set(e, -EPROTO, "the daemon does not accept the features 0x%" PRIx64
		       " the guest chose", f->acked);
}

#define NEEDS(name) .needs = BIT64(VU_PF_##name)

/*
 * Each ring is told of wholly before the next, as daemons are used to; none is enabled before all
 * have started. ERR and CALL come before KICK, which starts the ring. The in-flight buffer comes
 * after SET_FEATURES, since its layout is that of a split or a packed ring, and after a first word
 * of each ring: there are daemons (DPDK's library) that make a ring when they hear of it, and give
 * their parts of the buffer to the rings there are.
 */
static const struct vu_step start_steps[] = {
	{ VU_SET_STATUS, NEEDS(STATUS), .fill = fill_status_driver },
	{ VU_SET_FEATURES, .fill = fill_features },
	{ VU_SET_STATUS, NEEDS(STATUS), .fill = fill_status_features },
	{ VU_GET_STATUS, NEEDS(STATUS), .answer = got_status },
	{ VU_SET_VRING_CALL, NEEDS(INFLIGHT_SHMFD), .group = 1, .fill = fill_call },
	{ VU_GET_INFLIGHT_FD, NEEDS(INFLIGHT_SHMFD), .fill = vu_inflight_fill_get, .hold = true,
	  .answer = vu_inflight_got },
	{ VU_SET_INFLIGHT_FD, NEEDS(INFLIGHT_SHMFD), .fill = vu_inflight_fill_set },
	{ VU_SET_MEM_TABLE, .fill = vu_memory_fill_table },
	{ VU_REM_MEM_REG, NEEDS(CONFIGURE_MEM_SLOTS), .fill = vu_memory_fill_rem, .repeat = true,
	  .answer = vu_memory_removed },
	{ VU_ADD_MEM_REG, NEEDS(CONFIGURE_MEM_SLOTS), .fill = vu_memory_fill_add, .repeat = true,
	  .answer = vu_memory_added },
	{ VU_SET_VRING_NUM, .group = 2, .fill = fill_num },
	{ VU_SET_VRING_BASE, .group = 2, .fill = fill_base },
	{ VU_SET_VRING_ADDR, .group = 2, .fill = fill_addr },
	{ VU_SET_VRING_ERR, .group = 2, .fill = fill_err },
	{ VU_SET_VRING_CALL, .group = 2, .fill = fill_call },
	{ VU_SET_VRING_KICK, .group = 2, .fill = fill_kick },
	{ VU_SET_VRING_ENABLE, .group = 3, .after_config = true, .fill = fill_enable },
	{ VU_SET_STATUS, NEEDS(STATUS), .fill = fill_status_running },
	{ VU_SEND_RARP, NEEDS(RARP), .fill = fill_rarp },
	{ 0 },
};

/* A stop is a reset: afterwards the daemon is as before the first start, but keeps the table. */
static const struct vu_step stop_steps[] = {
	{ VU_SET_VRING_ENABLE, .group = 1, .fill = fill_disable },
	{ VU_GET_VRING_BASE, .group = 2, .fill = fill_get_base, .answer = got_base },
	{ VU_RESET_DEVICE, NEEDS(RESET_DEVICE) },
	{ VU_SET_STATUS, NEEDS(STATUS), .fill = fill_status_zero },
	{ 0 },
};

/*
 * A kick is injected into every ring whose buffers are requests ("Ring states": for back ends that
 * start a ring at its first kick). It comes last because a daemon may have taken the guest's own
 * kick while the ring was not enabled, and forgotten it.
 */
static void ring_started(struct vu_frontend *f)
{
	for (unsigned i = 0; i < f->n_rings; i++)
		if (f->started & BIT64(i) && f->rings[i].kick >= 0 && !f->rings[i].waiting)
			loop_signal(f->loop, f->rings[i].kick);
	f->state = VU_RUNNING;
	vu_frontend_notify(f, VU_NOTICE_STARTED);
}

static void ring_stopped(struct vu_frontend *f)
{
	f->started = f->on = 0;
	f->state = VU_READY;
	vu_frontend_notify(f, VU_NOTICE_STOPPED);
}

static bool is_used(const struct vu_ring *r)
{
	return r->enabled && r->desc;
}

static int check_ring(const struct vu_frontend *f, unsigned ring, struct err *e)
{
	const struct vu_ring *r = &f->rings[ring];
	bool packed = f->acked & BIT64(VIRTIO_F_RING_PACKED);
	struct vu_vring_addr addr;

	if (ring >= f->queues_max)
		return err_set(e, -EINVAL, "%s: the guest uses queue %u, the daemon serves %u",
			       f->params.name, ring, f->queues_max);
	if (!r->size || r->size > 32768 || (!packed && !is_pow2(r->size)))
		return err_set(e, -EINVAL, "%s: queue %u has %u entries, a power of two up to "
			       "32768 is legal", f->params.name, ring, r->size);
	if (ring_addr(f, ring, &addr) < 0)
		return err_set(e, -EINVAL, "%s: queue %u does not lie in guest RAM (descriptors 0x%"
			       PRIx64 ", available 0x%" PRIx64 ", used 0x%" PRIx64 ")",
			       f->params.name, ring, r->desc, r->avail, r->used);
	return 0;
}

/* The mask of rings to start. */
static int check_start(const struct vu_frontend *f, uint64_t *ret, struct err *e)
{
	*ret = 0;
	if (f->acked & ~f->features)
		return err_set(e, -EINVAL, "%s: the guest chose features 0x%" PRIx64
			       " that the daemon does not offer",
			       f->params.name, f->acked & ~f->features);
	if (f->n_rings > VU_RINGS_MAX)
		return err_set(e, -EINVAL, "%s: %u rings, at most %d are supported",
			       f->params.name, f->n_rings, VU_RINGS_MAX);
	for (unsigned i = 0; i < f->n_rings; i++) {
		int r = is_used(&f->rings[i]) ? check_ring(f, i, e) : 0;

		if (r < 0)
			return r;
		if (is_used(&f->rings[i]))
			*ret |= BIT64(i);
	}
	return 0;
}

int vu_frontend_start(struct vu_frontend *f, uint64_t acked, struct err *e)
{
	uint64_t rings;
	int r;

	if (f->state != VU_READY)
		return err_set(e, -EBUSY, "%s: cannot start while %s", f->params.name,
			       vu_state_name(f->state));
	f->acked = acked;
	r = check_start(f, &rings, e);
	if (r < 0)
		return r;
	f->state = VU_STARTING;
	vu_engine_script(f, start_steps, rings, ring_started);
	return 0;
}

void vu_frontend_stop(struct vu_frontend *f)
{
	if (f->state == VU_READY) {
		vu_frontend_notify(f, VU_NOTICE_STOPPED);
		return;
	}
	if (f->state != VU_STARTING && f->state != VU_RUNNING)
		return;
	/* Answers to a start that is cut short come before the answers to the stop. */
	f->notices &= ~(1u << VU_NOTICE_STARTED | 1u << VU_NOTICE_SWITCHED);
	vu_switch_cancel(f);
	f->state = VU_STOPPING;
	vu_engine_script(f, stop_steps, f->started, ring_stopped);
}

static void err_ready(void *arg, uint32_t events)
{
	struct vu_frontend *f = arg;

	(void)events;
	fd_drain_shared(f->ring_err);
	if (!f->started)
		return;
	if (misuse_first(&f->ring_errors))
		log_warn("%s (socket %s): the daemon reports an error on a ring; its own log may "
			 "say why", f->params.name, f->params.socket);
	vu_frontend_notify(f, VU_NOTICE_RING_ERROR);
}

int vu_rings_init(struct vu_frontend *f, struct err *e)
{
	f->ring_err = fd_eventfd();
	if (f->ring_err < 0)
		return err_set(e, f->ring_err, "%s: no eventfd: %s", f->params.name,
			       strerror(-f->ring_err));
	f->ring_err_watch = (struct loop_watch){ .fd = f->ring_err, .events = EPOLLIN,
						 .ready = err_ready, .arg = f };
	if (loop_watch(f->loop, &f->ring_err_watch, e) == 0)
		return 0;
	f->ring_err_watch.fd = -1;
	return err_prefix(e, -EIO, "%s: ", f->params.name);
}

void vu_rings_fini(struct vu_frontend *f)
{
	loop_unwatch(f->loop, &f->ring_err_watch);
	fd_close(&f->ring_err);
}
