/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/scripted_daemon.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"

static bool acked(const struct scripted_daemon *d, enum vu_protocol_feature pf)
{
	return d->protocol_acked & BIT64(pf);
}

static void hang_up(struct scripted_daemon *d)
{
	loop_unwatch(d->loop, &d->watch);
	vu_channel_fini(&d->channel);
	vu_channel_fini(&d->back);
}

static void send_raw(struct scripted_daemon *d, const void *bytes, size_t len, const int *fds,
		     size_t nfds)
{
	ssize_t n = fd_send(d->channel.sock, bytes, len, fds, nfds);

	/* The front end may have gone; a socket that is full means a test that sends too much. */
	assert(n == (ssize_t)len || n == -EPIPE || n == -ECONNRESET);
}

void scripted_daemon_send(struct scripted_daemon *d, const void *bytes, size_t len)
{
	send_raw(d, bytes, len, NULL, 0);
}

static void send_bytewise(struct scripted_daemon *d, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		send_raw(d, bytes + i, 1, NULL, 0);
}

/* Sends more fds than one message may have: the same one again and again. */
static void send_with_fds(struct scripted_daemon *d, const uint8_t *bytes, size_t len, size_t nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			      .msg_controllen = CMSG_SPACE(nfds * sizeof(int)) };

	assert(nfds <= 64);
	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(nfds * sizeof(int));
	for (size_t i = 0; i < nfds; i++)
		memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &(int){ STDERR_FILENO },
		       sizeof(int));
	sendmsg(d->channel.sock, &msg, MSG_NOSIGNAL);
}

/* The faults that only change what the answer says. */
static void bend_answer(struct vu_msg *m, enum scripted_fault fault)
{
	struct vu_header *h = &m->header;

	if (fault == FAULT_VERSION)
		h->flags = 2 | VU_FLAG_REPLY;
	if (fault == FAULT_NO_REPLY_FLAG)
		h->flags = VU_FLAG_VERSION;
	if (fault == FAULT_NEED_REPLY)
		h->flags |= VU_FLAG_NEED_REPLY;
	if (fault == FAULT_ID)
		h->request = h->request == VU_GET_FEATURES ? VU_GET_QUEUE_NUM : VU_GET_FEATURES;
	if (fault == FAULT_SMALL)
		h->size -= 1;
	if (fault == FAULT_BIG)
		h->size += 8;
	if (fault == FAULT_HUGE)
		h->size = 0x7fffffff;
	if (fault == FAULT_REFUSE && h->request == VU_GET_CONFIG)
		h->size = 0;
	if (fault == FAULT_REFUSE && !vu_msg_types[h->request].replies)
		m->payload.u64 = 22;
}

static void send_faulty(struct scripted_daemon *d, struct vu_msg *m, enum scripted_fault fault)
{
	uint8_t bytes[sizeof(struct vu_header) + VU_PAYLOAD_MAX] = { 0 };
	const size_t head = sizeof(m->header);
	size_t len;

	bend_answer(m, fault);
	len = head + (m->header.size > VU_PAYLOAD_MAX ? 0 : m->header.size);
	memcpy(bytes, &m->header, head);
	memcpy(bytes + head, &m->payload, len - head);
	switch (fault) {
	case FAULT_CLOSE:
		hang_up(d);
		return;
	case FAULT_SHORT_HEADER:
		send_raw(d, bytes, head / 2, NULL, 0);
		hang_up(d);
		return;
	case FAULT_CUT:
		send_raw(d, bytes, head + (len - head) / 2, NULL, 0);
		hang_up(d);
		return;
	case FAULT_ONE_FD:
		send_with_fds(d, bytes, len, 1);
		return;
	case FAULT_NINE_FDS:
		send_with_fds(d, bytes, len, 9);
		return;
	case FAULT_MANY_FDS:
		send_with_fds(d, bytes, len, 64);
		return;
	case FAULT_LATE_FD:
		send_raw(d, bytes, head, NULL, 0);
		send_with_fds(d, bytes + head, len - head, 1);
		return;
	case FAULT_TWICE:
		send_raw(d, bytes, len, NULL, 0);
		send_raw(d, bytes, len, NULL, 0);
		return;
	case FAULT_SILENT:
		d->silent = true;
		d->held[d->n_held++] = *m;
		return;
	case FAULT_BYTEWISE:
		d->bytewise = true;
		send_bytewise(d, bytes, len);
		return;
	case FAULT_NONE: case FAULT_VERSION: case FAULT_NO_REPLY_FLAG: case FAULT_NEED_REPLY:
	case FAULT_ID: case FAULT_SMALL: case FAULT_BIG: case FAULT_HUGE: case FAULT_REFUSE:
	case FAULTS:
		send_raw(d, bytes, len, NULL, 0);
		return;
	}
}

/* Whether the fault can be told from a good answer to this request. */
static bool fault_fits(const struct scripted_daemon *d, uint32_t request)
{
	if (d->fault == FAULT_REFUSE)
		return !vu_msg_types[request].replies || request == VU_GET_CONFIG;
	return true;
}

static void answer(struct scripted_daemon *d, struct vu_msg *m)
{
	uint8_t bytes[sizeof(struct vu_header) + VU_PAYLOAD_MAX];
	bool due = d->fault_on ? m->header.request == d->fault_on : d->received >= d->fault_at;

	m->header.flags = VU_FLAG_VERSION | VU_FLAG_REPLY;
	m->nfds = 0;
	if (m->header.request == VU_GET_INFLIGHT_FD && d->inflight_fd >= 0)
		m->fds[m->nfds++] = d->inflight_fd;
	if (d->silent) {
		assert(d->n_held < SCRIPTED_HELD_MAX);
		d->held[d->n_held++] = *m;
		return;
	}
	if (d->fault != FAULT_NONE && !d->faulted && due && fault_fits(d, m->header.request)) {
		d->faulted = true;
		send_faulty(d, m, d->fault);
		return;
	}
	memcpy(bytes, &m->header, sizeof(m->header));
	memcpy(bytes + sizeof(m->header), &m->payload, m->header.size);
	if (d->bytewise)
		send_bytewise(d, bytes, sizeof(m->header) + m->header.size);
	else
		send_raw(d, bytes, sizeof(m->header) + m->header.size, m->fds, m->nfds);
}

static void answer_u64(struct scripted_daemon *d, struct vu_msg *m, uint64_t value)
{
	m->header.size = sizeof(value);
	m->payload.u64 = value;
	answer(d, m);
}

void scripted_daemon_give(struct scripted_daemon *d)
{
	unsigned n = d->n_held;

	d->silent = false;
	d->n_held = 0;
	for (unsigned i = 0; i < n; i++)
		answer(d, &d->held[i]);
}

static void replace_fd(int *fd, struct vu_msg *m)
{
	fd_close(fd);
	*fd = vu_msg_take_fd(m, 0);
}

static void take_ring_message(struct scripted_daemon *d, struct vu_msg *m)
{
	struct scripted_ring *r = &d->rings[m->payload.state.index & VU_VRING_IDX_MASK];

	switch (m->header.request) {
	case VU_SET_VRING_NUM:
		r->num = m->payload.state.num;
		break;
	case VU_SET_VRING_BASE:
		r->base = m->payload.state.num;
		break;
	case VU_SET_VRING_ADDR:
		r->addr = m->payload.addr;
		break;
	case VU_SET_VRING_ENABLE:
		r->enabled = m->payload.state.num;
		break;
	case VU_SET_VRING_KICK:
		replace_fd(&r->kick, m);
		r->started = true;
		break;
	case VU_SET_VRING_CALL:
		replace_fd(&r->call, m);
		break;
	case VU_SET_VRING_ERR:
		replace_fd(&r->err, m);
		break;
	}
}

static void drop_region(struct scripted_daemon *d, unsigned i)
{
	fd_close(&d->region_fds[i]);
	d->n_regions--;
	d->regions[i] = d->regions[d->n_regions];
	d->region_fds[i] = d->region_fds[d->n_regions];
}

/* "Memory region description": nothing is in a table twice. */
static void judge_region(struct scripted_daemon *d, const struct vu_mem_region *r)
{
	for (unsigned i = 0; i < d->n_regions; i++)
		if (range_overlaps(d->regions[i].gpa, d->regions[i].size, r->gpa, r->size))
			err_set(&d->illegal, -EPROTO, "ADD_MEM_REG of a region that is there");
}

static void take_memory_message(struct scripted_daemon *d, struct vu_msg *m)
{
	const struct vu_mem_region *r = &m->payload.mem_reg.region;

	switch (m->header.request) {
	case VU_SET_MEM_TABLE:
		while (d->n_regions)
			drop_region(d, d->n_regions - 1);
		for (unsigned i = 0; i < m->payload.mem_table.count && i < m->nfds; i++) {
			d->regions[i] = m->payload.mem_table.regions[i];
			d->region_fds[i] = vu_msg_take_fd(m, i);
			d->n_regions++;
		}
		break;
	case VU_ADD_MEM_REG:
		assert(d->n_regions < ARRAY_SIZE(d->regions));
		judge_region(d, r);
		d->regions[d->n_regions] = *r;
		d->region_fds[d->n_regions++] = vu_msg_take_fd(m, 0);
		break;
	case VU_REM_MEM_REG:
		for (unsigned i = d->n_regions; i-- > 0;)
			if (d->regions[i].gpa == r->gpa && d->regions[i].size == r->size &&
			    d->regions[i].user_addr == r->user_addr)
				drop_region(d, i);
		break;
	}
}

static void take_inflight(struct scripted_daemon *d, const struct vu_msg *m)
{
	struct stat st;

	d->inflight_set = m->payload.inflight;
	if (m->nfds == 1 && fstat(m->fds[0], &st) == 0)
		d->inflight_inode = st.st_ino;
}

static void take_message(struct scripted_daemon *d, struct vu_msg *m)
{
	int fd;

	switch (m->header.request) {
	case VU_SET_FEATURES:
		d->acked = m->payload.u64;
		break;
	case VU_SET_PROTOCOL_FEATURES:
		d->protocol_acked = m->payload.u64;
		break;
	case VU_GET_INFLIGHT_FD:
		d->inflight_asked = m->payload.inflight;
		break;
	case VU_SET_INFLIGHT_FD:
		take_inflight(d, m);
		break;
	case VU_SET_STATUS:
		d->status = m->payload.u64;
		break;
	case VU_SET_BACKEND_REQ_FD:
		fd = vu_msg_take_fd(m, 0);
		vu_channel_fini(&d->back);
		vu_channel_init(&d->back, &fd);
		break;
	case VU_SET_CONFIG:
		if (range_ok(m->payload.config.head.offset, m->payload.config.head.size,
			     VU_CONFIG_MAX))
			memcpy(d->config + m->payload.config.head.offset, m->payload.config.data,
			       m->payload.config.head.size);
		break;
	default:
		take_ring_message(d, m);
		take_memory_message(d, m);
	}
}

static void answer_message(struct scripted_daemon *d, struct vu_msg *m)
{
	struct scripted_ring *r = &d->rings[m->payload.state.index & VU_VRING_IDX_MASK];

	switch (m->header.request) {
	case VU_GET_FEATURES:
		answer_u64(d, m, d->features);
		return;
	case VU_GET_PROTOCOL_FEATURES:
		answer_u64(d, m, d->protocol);
		return;
	case VU_GET_QUEUE_NUM:
		answer_u64(d, m, d->queues);
		return;
	case VU_GET_MAX_MEM_SLOTS:
		answer_u64(d, m, d->slots);
		return;
	case VU_GET_STATUS:
		answer_u64(d, m, d->refuse_features_ok ? d->status & ~UINT64_C(8) : d->status);
		return;
	case VU_GET_VRING_BASE:
		r->started = false;
		m->payload.state.num = r->base;
		answer(d, m);
		return;
	case VU_GET_INFLIGHT_FD:
		m->payload.inflight = d->inflight;
		answer(d, m);
		return;
	case VU_GET_SHMEM_CONFIG:
		m->header.size = sizeof(d->shmem);
		m->payload.shmem = d->shmem;
		answer(d, m);
		return;
	case VU_GET_CONFIG:
		memcpy(m->payload.config.data, d->config, m->payload.config.head.size);
		answer(d, m);
		return;
	}
	if (acked(d, VU_PF_REPLY_ACK) && m->header.flags & VU_FLAG_NEED_REPLY)
		answer_u64(d, m, 0);
}

static void judge(struct scripted_daemon *d, const struct vu_msg *m)
{
	const char *name = vu_request_name(m->header.request);
	int8_t gate;

	if (d->illegal.msg[0] ||
	    vu_msg_check_request(m, vu_msg_types, VU_REQUEST_END, &d->illegal) < 0)
		return;
	gate = vu_msg_types[m->header.request].feature;
	if (gate == VU_PF_SHMEM && d->shmem_bit)
		gate = (int8_t)d->shmem_bit;
	if (gate >= 0 && !(d->protocol_acked & BIT64(gate)))
		err_set(&d->illegal, -EPROTO, "%s without its protocol feature", name);
	if (m->header.flags & VU_FLAG_NEED_REPLY && !acked(d, VU_PF_REPLY_ACK))
		err_set(&d->illegal, -EPROTO, "%s asks for an answer without REPLY_ACK", name);
}

static void remember(struct scripted_daemon *d, const struct vu_msg *m)
{
	struct scripted_seen *s = &d->seen[d->n_seen];

	assert(d->n_seen < SCRIPTED_SEEN_MAX);
	d->n_seen++;
	d->received++;
	*s = (struct scripted_seen){ .header = m->header, .u64 = m->payload.u64,
				     .region = m->payload.mem_reg.region, .nfds = m->nfds };
}

static void socket_ready(void *arg, uint32_t events)
{
	struct scripted_daemon *d = arg;

	(void)events;
	for (;;) {
		struct vu_msg m;
		struct err e;
		int r = vu_channel_recv(&d->channel, &m, &e);

		if (r < 0) {
			d->closed = true;
			loop_unwatch(d->loop, &d->watch);
		}
		if (r <= 0)
			return;
		remember(d, &m);
		judge(d, &m);
		take_message(d, &m);
		vu_msg_close_fds(&m);
		answer_message(d, &m);
		/* Single bytes fill a socket: the front end gets its turn after each message. */
		if (d->channel.sock < 0 || d->bytewise)
			return;
	}
}

int scripted_daemon_init(struct scripted_daemon *d, struct loop *loop)
{
	struct err e;
	int pair[2];
	int r;

	memset(d, 0, sizeof(*d));
	d->loop = loop;
	d->features = BIT64(32) | BIT64(VU_F_PROTOCOL_FEATURES);
	d->protocol = BIT64(VU_PF_MQ) | BIT64(VU_PF_REPLY_ACK) | BIT64(VU_PF_CONFIG) |
		      BIT64(VU_PF_BACKEND_REQ) | BIT64(VU_PF_BACKEND_SEND_FD) |
		      BIT64(VU_PF_CONFIGURE_MEM_SLOTS);
	d->inflight_fd = -1;
	d->queues = 64;
	d->slots = 32;
	for (unsigned i = 0; i < ARRAY_SIZE(d->rings); i++)
		d->rings[i] = (struct scripted_ring){ .kick = -1, .call = -1, .err = -1 };
	r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	assert(r == 0);
	vu_channel_init(&d->channel, &pair[0]);
	vu_channel_init(&d->back, &(int){ -1 });
	d->watch = (struct loop_watch){ .fd = d->channel.sock, .events = EPOLLIN,
					.ready = socket_ready, .arg = d };
	r = loop_watch(loop, &d->watch, &e);
	assert(r == 0);
	return pair[1];
}

void scripted_daemon_fini(struct scripted_daemon *d)
{
	if (!d->loop)
		return;
	hang_up(d);
	while (d->n_regions)
		drop_region(d, d->n_regions - 1);
	for (unsigned i = 0; i < ARRAY_SIZE(d->rings); i++) {
		fd_close(&d->rings[i].kick);
		fd_close(&d->rings[i].call);
		fd_close(&d->rings[i].err);
	}
	d->loop = NULL;
}

void scripted_settle(struct loop *loop)
{
	struct pollfd p = { .fd = loop->epoll, .events = POLLIN };

	for (int i = 0; poll(&p, 1, 0) > 0; i++) {
		assert(i < 100000);
		loop_once(loop, 0);
	}
}

const char *scripted_daemon_order(struct scripted_daemon *d)
{
	static char order[32 * SCRIPTED_SEEN_MAX];
	size_t at = 0;

	order[0] = '\0';
	for (unsigned i = 0; i < d->n_seen; i++)
		at += (size_t)snprintf(order + at, sizeof(order) - at, "%s%s", i ? " " : "",
				       vu_request_name(d->seen[i].header.request));
	d->n_seen = 0;
	return order;
}

unsigned scripted_daemon_count(const struct scripted_daemon *d, uint32_t request)
{
	unsigned n = 0;

	for (unsigned i = 0; i < d->n_seen; i++)
		n += d->seen[i].header.request == request;
	return n;
}

const struct scripted_seen *scripted_daemon_last(const struct scripted_daemon *d, uint32_t request)
{
	for (unsigned i = d->n_seen; i-- > 0;)
		if (d->seen[i].header.request == request)
			return &d->seen[i];
	return NULL;
}

void scripted_daemon_back_request(struct scripted_daemon *d, uint32_t request, uint32_t flags,
				  const void *payload, uint32_t size, const int *fds, size_t nfds)
{
	struct vu_header h = { .request = request, .flags = flags, .size = size };
	uint8_t bytes[sizeof(h) + VU_PAYLOAD_MAX];
	size_t len = sizeof(h) + (payload ? size : 0);
	ssize_t n;

	assert(len <= sizeof(bytes));
	memcpy(bytes, &h, sizeof(h));
	if (payload)
		memcpy(bytes + sizeof(h), payload, size);
	n = fd_send(d->back.sock, bytes, len, fds, nfds);
	assert(n == (ssize_t)len || n == -EPIPE);
}

int scripted_daemon_back_answer(struct scripted_daemon *d, uint32_t request, uint64_t *ret)
{
	struct vu_msg m;
	struct err e;
	int r = vu_channel_recv(&d->back, &m, &e);

	if (r <= 0)
		return r < 0 ? -1 : 0;
	assert(m.nfds == 0 && m.header.request == request && m.header.size == sizeof(*ret));
	assert(m.header.flags == (VU_FLAG_VERSION | VU_FLAG_REPLY));
	*ret = m.payload.u64;
	return 1;
}
