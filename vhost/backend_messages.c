/* SPDX-License-Identifier: Apache-2.0 */
/* What a front end may ask: one function a message, one table. vhost-user specification,
 * "Front-end message types". */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/backend_internal.h"

/* A handler obeys @m or refuses it with -errno and @e; WAIT: chains in flight must end first. */
enum { WAIT = 1 };

typedef int handler(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e);

static int reply_u64(struct vu_msg *reply, uint64_t value)
{
	reply->payload.u64 = value;
	reply->header.size = sizeof(value);
	return 0;
}

static struct backend_queue *queue(struct backend *b, uint64_t index, struct err *e)
{
	if (index < b->dev.queues)
		return &b->queues[index];
	err_set(e, -EINVAL, "queue %" PRIu64 " of %u", index, b->dev.queues);
	return NULL;
}

static bool any_started(const struct backend *b)
{
	for (unsigned i = 0; i < b->dev.queues; i++)
		if (b->queues[i].started)
			return true;
	return false;
}

static int get_features(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	(void)m;
	(void)e;
	return reply_u64(reply, backend_features(b));
}

static int set_features(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	uint64_t acked = m->payload.u64, wrong = acked & ~backend_features(b);

	(void)reply;
	if (wrong)
		return err_set(e, -EINVAL, "features 0x%" PRIx64 " were not offered", wrong);
	if (any_started(b) && acked != b->acked)
		return err_set(e, -EBUSY, "features change while a queue runs");
	b->acked = acked;
	/* "Ring states": without protocol features every ring is enabled. */
	for (unsigned i = 0; i < b->dev.queues && !(acked & BIT64(VU_F_PROTOCOL_FEATURES)); i++) {
		b->queues[i].enabled = true;
		backend_queue_update(&b->queues[i]);
	}
	if (b->dev.ops->negotiated)
		b->dev.ops->negotiated(b->dev.arg, acked & ~BIT64(VU_F_PROTOCOL_FEATURES));
	return 0;
}

static int get_protocol_features(struct backend *b, struct vu_msg *m, struct vu_msg *reply,
				 struct err *e)
{
	(void)m;
	(void)e;
	return reply_u64(reply, backend_protocol_features(b));
}

static int set_protocol_features(struct backend *b, struct vu_msg *m, struct vu_msg *reply,
				 struct err *e)
{
	uint64_t acked = m->payload.u64, wrong = acked & ~backend_protocol_features(b);

	(void)reply;
	if (wrong)
		return err_set(e, -EINVAL, "protocol features 0x%" PRIx64 " were not offered", wrong);
	if (any_started(b) && acked != b->protocol)
		return err_set(e, -EBUSY, "protocol features change while a queue runs");
	b->protocol = acked;
	return 0;
}

static int set_owner(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	(void)b;
	(void)m;
	(void)reply;
	(void)e;
	return 0;	/* whoever is connected owns the device */
}

/* Deprecated; what is left of it is that every ring is disabled. */
static int reset_owner(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	(void)m;
	(void)reply;
	(void)e;
	for (unsigned i = 0; i < b->dev.queues; i++) {
		b->queues[i].enabled = false;
		backend_queue_update(&b->queues[i]);
	}
	return 0;
}

static int get_queue_num(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	(void)m;
	(void)e;
	return reply_u64(reply, b->dev.queues);
}

static int check_region(const struct backend *b, const struct vu_mem_region *r, struct err *e)
{
	if (b->protocol & BIT64(VU_PF_GPA_ADDRESSES) && r->gpa != r->user_addr)
		return err_set(e, -EINVAL, "memory region 0x%" PRIx64 " has another user address: 0x%" PRIx64,
			       r->gpa, r->user_addr);
	return 0;
}

static void place_queues(struct backend *b)
{
	for (unsigned i = 0; i < b->dev.queues; i++)
		backend_queue_place(&b->queues[i]);
}

/* The new table is mapped whole before the old one goes, so a bad one changes nothing. */
static int set_mem_table(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	const struct vu_mem_table *t = &m->payload.mem_table;
	struct guest_map next = { .count = 0 }, old = b->map;
	int r = 0;

	(void)reply;
	if (t->count > VU_MEM_TABLE_MAX || m->nfds != t->count ||
	    m->header.size <
		    offsetof(struct vu_mem_table, regions) + t->count * sizeof(t->regions[0]))
		return err_set(e, -EINVAL, "%u memory regions in %u bytes with %zu fds", t->count,
			       m->header.size, m->nfds);
	if (backend_in_flight(b))
		return WAIT;
	for (unsigned i = 0; i < t->count && !r; i++) {
		r = check_region(b, &t->regions[i], e);
		if (!r)
			r = guest_map_add(&next, &t->regions[i], m->fds[i], e);
	}
	if (r) {
		guest_map_clear(&next);
		return r;
	}
	b->map = next;
	place_queues(b);
	guest_map_clear(&old);
	return 0;
}

static int get_max_mem_slots(struct backend *b, struct vu_msg *m, struct vu_msg *reply,
			     struct err *e)
{
	(void)b;
	(void)m;
	(void)e;
	return reply_u64(reply, GUEST_MAP_REGIONS_MAX);
}

static int add_mem_reg(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	int r = check_region(b, &m->payload.mem_reg.region, e);

	(void)reply;
	return r ? r : guest_map_add(&b->map, &m->payload.mem_reg.region, m->fds[0], e);
}

static int rem_mem_reg(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	int r;

	(void)reply;
	if (backend_in_flight(b))
		return WAIT;
	r = guest_map_del(&b->map, &m->payload.mem_reg.region, e);
	if (!r)
		place_queues(b);
	return r;
}

static int set_vring_num(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	struct backend_queue *q = queue(b, m->payload.state.index, e);
	uint32_t num = m->payload.state.num;

	(void)reply;
	if (!q)
		return -EINVAL;
	if (q->started)
		return err_set(e, -EBUSY, "queue %u runs", q->index);
	if (!is_pow2(num) || num > RING_SIZE_MAX)
		return err_set(e, -EINVAL, "%u entries are not a power of two up to %d", num, RING_SIZE_MAX);
	q->size = (uint16_t)num;
	return 0;
}

static int set_vring_addr(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	const struct vu_vring_addr *a = &m->payload.addr;
	struct backend_queue *q = queue(b, a->index, e);

	(void)reply;
	if (!q)
		return -EINVAL;
	if (a->flags)
		return err_set(e, -EINVAL, "flags 0x%x: logging was not negotiated", a->flags);
	if (q->started &&
	    (a->desc != q->addr.desc || a->avail != q->addr.avail || a->used != q->addr.used))
		return err_set(e, -EBUSY, "queue %u runs", q->index);
	q->addr = *a;
	q->has_addr = true;
	return 0;
}

static int set_vring_base(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	struct backend_queue *q = queue(b, m->payload.state.index, e);

	(void)reply;
	if (!q)
		return -EINVAL;
	if (q->started)
		return err_set(e, -EBUSY, "queue %u runs", q->index);
	if (m->payload.state.num > UINT16_MAX)
		return err_set(e, -EINVAL, "base %u is no index of a split queue", m->payload.state.num);
	q->base = (uint16_t)m->payload.state.num;
	return 0;
}

static int get_vring_base(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	struct backend_queue *q = queue(b, m->payload.state.index, e);

	if (!q)
		return -EINVAL;
	if (q->ring.in_flight)
		return WAIT;
	backend_queue_stop(q);
	reply->payload.state = (struct vu_vring_state){ q->index, q->base };
	reply->header.size = sizeof(reply->payload.state);
	return 0;
}

/* The fd of KICK, CALL or ERR in *@ret, -1 for none, and its queue. Made non-blocking: a full
 * counter or an empty one must not hold this thread. */
static struct backend_queue *queue_fd(struct backend *b, struct vu_msg *m, int *ret, struct err *e)
{
	struct backend_queue *q = queue(b, m->payload.u64 & VU_VRING_IDX_MASK, e);
	bool none = m->payload.u64 & VU_VRING_NOFD;
	int flags;

	if (!q)
		return NULL;
	if (m->payload.u64 & ~(uint64_t)(VU_VRING_IDX_MASK | VU_VRING_NOFD) || m->nfds != !none) {
		err_set(e, -EINVAL, "0x%" PRIx64 " with %zu fds", m->payload.u64, m->nfds);
		return NULL;
	}
	*ret = none ? -1 : vu_msg_take_fd(m, 0);
	if (*ret < 0)
		return q;
	flags = fcntl(*ret, F_GETFL);
	if (flags < 0 || fcntl(*ret, F_SETFL, flags | O_NONBLOCK) < 0) {
		err_sys(e, "an eventfd that does not stop blocking");
		fd_close(ret);
		return NULL;
	}
	return q;
}

/* Only what epoll can wait for can kick; found out here, where it can still be refused. */
static int check_watchable(struct backend *b, int fd, struct err *e)
{
	struct loop_watch trial = { .fd = fd, .events = EPOLLIN };
	int r;

	if (fd < 0)
		return 0;
	r = loop_watch(b->loop, &trial, e);
	if (!r)
		loop_unwatch(b->loop, &trial);
	return r;
}

static int set_vring_kick(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	autoclose int fd = -1;
	struct backend_queue *q = queue_fd(b, m, &fd, e);
	int r;

	(void)reply;
	if (!q)
		return -EINVAL;
	r = check_watchable(b, fd, e);
	if (r)
		return r;
	if (q->watch.fd >= 0)
		loop_unwatch(b->loop, &q->watch);
	fd_close(&q->kick);
	q->kick = fd_take(&fd);
	if (q->started) {
		backend_queue_update(q);
		return 0;
	}
	r = backend_queue_start(q, e);
	if (r)
		fd_close(&q->kick);
	return r;
}

static int set_vring_call(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	autoclose int fd = -1;
	struct backend_queue *q = queue_fd(b, m, &fd, e);

	(void)reply;
	if (!q)
		return -EINVAL;
	fd_close(&q->call);
	q->call = fd_take(&fd);
	backend_queue_call_resumed(q);
	return 0;
}

static int set_vring_err(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	autoclose int fd = -1;
	struct backend_queue *q = queue_fd(b, m, &fd, e);

	(void)reply;
	if (!q)
		return -EINVAL;
	fd_close(&q->err);
	q->err = fd_take(&fd);
	return 0;
}

static int set_vring_enable(struct backend *b, struct vu_msg *m, struct vu_msg *reply,
			    struct err *e)
{
	struct backend_queue *q = queue(b, m->payload.state.index, e);

	(void)reply;
	if (!q)
		return -EINVAL;
	if (!(b->acked & BIT64(VU_F_PROTOCOL_FEATURES)))
		return err_set(e, -EINVAL, "feature bit %d was not acknowledged", VU_F_PROTOCOL_FEATURES);
	if (m->payload.state.num > 1)
		return err_set(e, -EINVAL, "%u is neither 0 nor 1", m->payload.state.num);
	if (b->dev.ops->enable) {
		int r = b->dev.ops->enable(b->dev.arg, q, m->payload.state.num, e);

		if (r)
			return r;
	}
	q->enabled = m->payload.state.num;
	backend_queue_update(q);
	return 0;
}

static int set_backend_req_fd(struct backend *b, struct vu_msg *m, struct vu_msg *reply,
			      struct err *e)
{
	int fd = vu_msg_take_fd(m, 0);

	(void)reply;
	return backend_back_take(b, &fd, e);
}

/* Whether the bytes that @m's header names are there and lie in what a config space can have. */
static bool config_ok(const struct vu_msg *m)
{
	const struct vu_config *c = &m->payload.config.head;

	return m->header.size == sizeof(*c) + (uint64_t)c->size &&
	       range_ok(c->offset, c->size, VU_CONFIG_MAX);
}

/* Bytes behind the device's last field read as 0: a front end may know more fields than we do. */
static int get_config(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	const struct vu_config *c = &m->payload.config.head;
	uint8_t config[VU_CONFIG_MAX] = { 0 };

	(void)e;
	/* A reply without payload says that it failed. */
	if (!b->dev.ops->config_read || !config_ok(m))
		return 0;
	b->dev.ops->config_read(b->dev.arg, config);
	reply->payload.config.head = *c;
	memcpy(reply->payload.config.data, config + c->offset, c->size);
	reply->header.size = m->header.size;
	return 0;
}

static int set_config(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	const struct vu_config *c = &m->payload.config.head;

	(void)reply;
	if (!config_ok(m) || !b->dev.ops->config_write ||
	    b->dev.ops->config_write(b->dev.arg, c->offset, m->payload.config.data, c->size))
		return err_set(e, -EINVAL, "config bytes %u+%u cannot be written", c->offset, c->size);
	return 0;
}

/* The index is the shmid; nregions counts those that are there. */
static int get_shmem_config(struct backend *b, struct vu_msg *m, struct vu_msg *reply,
			    struct err *e)
{
	struct vu_shmem_config *c = &reply->payload.shmem;

	(void)m;
	(void)e;
	*c = (struct vu_shmem_config){ .nregions = 0 };
	for (unsigned i = 0; i < VU_SHMEM_REGIONS; i++) {
		c->sizes[i] = b->dev.shmem[i];
		c->nregions += b->dev.shmem[i] != 0;
	}
	reply->header.size = sizeof(*c);
	return 0;
}

/* A buffer changes only under rings that stand still. */
static int check_idle(const struct backend *b, struct err *e)
{
	return any_started(b) ? err_set(e, -EBUSY, "the in-flight buffer changes while a queue runs") : 0;
}

static int get_inflight_fd(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	const struct vu_inflight *d = &m->payload.inflight;
	int r = check_idle(b, e);

	if (!r && (!d->num_queues || d->num_queues > b->dev.queues || !d->queue_size ||
		   d->queue_size > RING_SIZE_MAX))
		r = err_set(e, -EINVAL, "%u queues of %u entries: the device has %u of up to %d",
			    d->num_queues, d->queue_size, b->dev.queues, RING_SIZE_MAX);
	if (!r)
		r = inflight_new(&b->inflight, d->num_queues, d->queue_size,
				 &reply->payload.inflight, e);
	if (r)
		return r;
	reply->header.size = sizeof(reply->payload.inflight);
	reply->fds[0] = b->inflight.fd;
	reply->nfds = 1;
	return 0;
}

static int set_inflight_fd(struct backend *b, struct vu_msg *m, struct vu_msg *reply, struct err *e)
{
	int fd = vu_msg_take_fd(m, 0), r = check_idle(b, e);

	(void)reply;
	if (!r)
		r = inflight_take(&b->inflight, &m->payload.inflight, &fd, e);
	fd_close(&fd);
	return r;
}

static handler *const handlers[VU_REQUEST_END] = {
	[VU_GET_FEATURES] = get_features,
	[VU_SET_FEATURES] = set_features,
	[VU_SET_OWNER] = set_owner,
	[VU_RESET_OWNER] = reset_owner,
	[VU_SET_MEM_TABLE] = set_mem_table,
	[VU_SET_VRING_NUM] = set_vring_num,
	[VU_SET_VRING_ADDR] = set_vring_addr,
	[VU_SET_VRING_BASE] = set_vring_base,
	[VU_GET_VRING_BASE] = get_vring_base,
	[VU_SET_VRING_KICK] = set_vring_kick,
	[VU_SET_VRING_CALL] = set_vring_call,
	[VU_SET_VRING_ERR] = set_vring_err,
	[VU_GET_PROTOCOL_FEATURES] = get_protocol_features,
	[VU_SET_PROTOCOL_FEATURES] = set_protocol_features,
	[VU_GET_QUEUE_NUM] = get_queue_num,
	[VU_SET_VRING_ENABLE] = set_vring_enable,
	[VU_SET_BACKEND_REQ_FD] = set_backend_req_fd,
	[VU_GET_CONFIG] = get_config,
	[VU_SET_CONFIG] = set_config,
	[VU_GET_INFLIGHT_FD] = get_inflight_fd,
	[VU_SET_INFLIGHT_FD] = set_inflight_fd,
	[VU_GET_MAX_MEM_SLOTS] = get_max_mem_slots,
	[VU_ADD_MEM_REG] = add_mem_reg,
	[VU_REM_MEM_REG] = rem_mem_reg,
	[VU_GET_SHMEM_CONFIG] = get_shmem_config,
};

enum backend_verdict backend_message(struct backend *b, struct vu_msg *m, struct vu_msg *reply,
				     struct err *e)
{
	const struct vu_msg_type *type = &vu_msg_types[m->header.request];
	int r;

	if (type->feature >= 0 && !(b->protocol & BIT64(type->feature)))
		r = err_set(e, -EPROTO, "protocol feature %s was not negotiated", vu_features[type->feature].name);
	else if (!handlers[m->header.request])
		r = err_set(e, -EOPNOTSUPP, "not supported");
	else
		r = handlers[m->header.request](b, m, reply, e);
	if (r == WAIT)
		return BACKEND_HELD;
	return r ? BACKEND_REFUSED : BACKEND_DONE;
}
