/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/vsock.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/range.h"
#include "vhost/backends/device.h"

/* Descriptors kept for the front end: memory, eventfds, itself. */
enum { FDS_RESERVED = 192 };

static_assert(sizeof(struct virtio_vsock_hdr) == 44, "VIRTIO 1.3, 5.10.6");

void vsock_wake(struct vsock *v, unsigned queue)
{
	if (v->queues[queue])
		backend_queue_wake(v->queues[queue]);
}

void vsock_reset(struct vsock *v, const struct vsock_reset *r)
{
	assert(v->n_resets < VSOCK_RESETS_MAX);
	v->resets[(v->reset_at + v->n_resets++) % VSOCK_RESETS_MAX] = *r;
	vsock_wake(v, VSOCK_RX);
}

static void fill_reset(struct vsock *v, struct virtio_vsock_hdr *h)
{
	const struct vsock_reset *r = &v->resets[v->reset_at];

	*h = (struct virtio_vsock_hdr){
		.src_cid = htole64(r->host_cid),
		.dst_cid = htole64(v->guest_cid),
		.src_port = htole32(r->host_port),
		.dst_port = htole32(r->guest_port),
		.type = htole16(r->type),
		.op = htole16(VIRTIO_VSOCK_OP_RST),
	};
	v->reset_at = (v->reset_at + 1) % VSOCK_RESETS_MAX;
	if (v->n_resets-- == VSOCK_RESETS_PAUSE)
		vsock_wake(v, VSOCK_TX);
}

/* Packets for the guest, one a buffer. */
static bool serve_rx(struct vsock *v, struct backend_queue *q)
{
	while (v->n_resets || v->ready) {
		struct vsock_conn *c = NULL;
		struct virtio_vsock_hdr h;

		if (!backend_queue_has_chain(q) || !backend_queue_pop(q, &v->chain))
			return true;
		if (v->chain.outside || v->chain.in_len <= sizeof(h)) {
			backend_queue_push(q, v->chain.head, 0);
			backend_queue_break(q, "a buffer for packets has no room for one, or is not in memory");
			return true;
		}
		if (v->n_resets) {
			fill_reset(v, &h);
		} else {
			c = vsock_conn_next_ready(v);
			vsock_conn_fill(c, &h);
		}
		ring_chain_write(&v->chain, 0, &h, sizeof(h));
		backend_queue_push(q, v->chain.head, (uint32_t)sizeof(h) + le32toh(h.len));
		if (c)
			vsock_conn_update(c);
	}
	return false;
}

static void misused(struct vsock *v, const char *what)
{
	if (misuse_first(&v->misuse))
		log_warn("vsock: the guest sent %s; this is logged once", what);
}

/* A packet that is about no connection. */
static void take_stray(struct vsock *v, const struct virtio_vsock_hdr *h)
{
	struct vsock_reset r = { le64toh(h->dst_cid), le32toh(h->dst_port), le32toh(h->src_port),
				 le16toh(h->type) };
	struct vsock_conn *c = NULL;

	if (le16toh(h->op) == VIRTIO_VSOCK_OP_RST)
		return;
	if (le16toh(h->op) == VIRTIO_VSOCK_OP_REQUEST && r.type == VIRTIO_VSOCK_TYPE_STREAM &&
	    r.host_cid == VSOCK_CID_HOST)
		c = vsock_host_connect(v, r.host_port, r.guest_port);
	if (!c)
		return vsock_reset(v, &r);
	vsock_conn_credit(c, le32toh(h->buf_alloc), le32toh(h->fwd_cnt));
	c->respond = true;
	vsock_conn_update(c);
}

/* Bytes for the program. What a buffer outside memory should have had is not in out_len, so a
 * packet that has such a one lacks bytes. */
static bool take_bytes(struct vsock_conn *c, uint32_t len)
{
	struct vsock *v = c->v;
	const char *wrong = NULL;

	if (c->state != VSOCK_OPEN || c->shutdown_got & VIRTIO_VSOCK_SHUTDOWN_SEND)
		wrong = "bytes on a connection that is not open for them";
	else if (len > v->chain.out_len - sizeof(struct virtio_vsock_hdr))
		wrong = "a packet that lacks bytes";
	else if (len > VSOCK_BUFFER - c->used)
		wrong = "more bytes than there is room for";
	if (wrong)
		misused(v, wrong);
	return !wrong && vsock_conn_take(c, sizeof(struct virtio_vsock_hdr), len);
}

static void take_packet(struct vsock_conn *c, const struct virtio_vsock_hdr *h)
{
	bool good = false;

	vsock_conn_credit(c, le32toh(h->buf_alloc), le32toh(h->fwd_cnt));
	switch (le16toh(h->op)) {
	case VIRTIO_VSOCK_OP_RST:
		return vsock_conn_drain(c);
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		if (c->state == VSOCK_OPEN)
			return vsock_conn_shut(c, le32toh(h->flags));
		break;
	case VIRTIO_VSOCK_OP_RESPONSE:
		good = c->state == VSOCK_CALLED && vsock_host_accepted(c);
		break;
	case VIRTIO_VSOCK_OP_RW:
		good = take_bytes(c, le32toh(h->len));
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		c->update = true;
		good = true;
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		good = true;
		break;
	}
	if (good)
		vsock_conn_update(c);
	else
		vsock_conn_reset(c);
}

/* Packets of the guest. */
static bool serve_tx(struct vsock *v, struct backend_queue *q)
{
	while (backend_queue_has_chain(q)) {
		struct virtio_vsock_hdr h;
		struct vsock_conn *c = NULL;

		if (v->n_resets >= VSOCK_RESETS_PAUSE)
			return false;
		if (!backend_queue_pop(q, &v->chain))
			break;
		if (ring_chain_read(&v->chain, 0, &h, sizeof(h)) < sizeof(h) ||
		    le64toh(h.src_cid) != v->guest_cid) {
			misused(v, "a packet without a header, or with another's address");
		} else {
			if (le64toh(h.dst_cid) == VSOCK_CID_HOST &&
			    le16toh(h.type) == VIRTIO_VSOCK_TYPE_STREAM)
				c = vsock_conn_find(v, le32toh(h.dst_port), le32toh(h.src_port));
			if (c)
				take_packet(c, &h);
			else
				take_stray(v, &h);
		}
		backend_queue_push(q, v->chain.head, 0);
	}
	return true;
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct vsock *v = arg;

	v->queues[q->index] = q;
	if (q->index == VSOCK_RX)
		return serve_rx(v, q);
	if (q->index == VSOCK_TX)
		return serve_tx(v, q);
	/* The event queue: this device is never moved to another host, so there are none. */
	return false;
}

/*
 * Another driver, which knows nothing of the connections of the one before, and ignores that they
 * are reset; or the same one behind a connection made again, which would wait for ever.
 */
static void negotiated(void *arg, uint64_t features)
{
	struct vsock *v = arg;

	/* The same features once more, while it runs. */
	if (features && v->queues[VSOCK_TX] && v->queues[VSOCK_TX]->started)
		return;
	if (!features)
		memset(v->queues, 0, sizeof(v->queues));
	vsock_conn_drop(v, false);
}

static void config_read(void *arg, uint8_t config[VU_CONFIG_MAX])
{
	const struct vsock *v = arg;
	uint64_t cid = htole64(v->guest_cid);

	memcpy(config, &cid, sizeof(cid));
}

static const struct backend_ops ops = {
	.handle_queue = handle_queue, .negotiated = negotiated, .config_read = config_read,
};

/* How many connections this process may have of descriptors, as many as it can be allowed. */
static unsigned find_conns_max(void)
{
	struct rlimit l = { 0, 0 };
	rlim_t want = VSOCK_CONNS_MAX + FDS_RESERVED;

	if (!getrlimit(RLIMIT_NOFILE, &l) && l.rlim_cur < want) {
		l.rlim_cur = l.rlim_max < want ? l.rlim_max : want;
		if (setrlimit(RLIMIT_NOFILE, &l))
			getrlimit(RLIMIT_NOFILE, &l);
	}
	if (l.rlim_cur >= want)
		return VSOCK_CONNS_MAX;
	return l.rlim_cur > FDS_RESERVED ? (unsigned)(l.rlim_cur - FDS_RESERVED) : 1;
}

static void vsock_close(void *dev)
{
	struct vsock *v = dev;

	vsock_conn_drop(v, true);
	vsock_host_fini(v);
	free(v);
}

static int vsock_open(const struct options *o, struct loop *loop, struct backend_device *ret,
		      struct err *e)
{
	struct vsock *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_set(e, -ENOMEM, "vsock: out of memory");
	v->loop = loop;
	v->guest_cid = o->guest_cid;
	v->conns_max = find_conns_max();
	v->ready_end = &v->ready;
	v->listener.dir = -1;
	v->listen_sock = -1;
	v->listen_watch.fd = -1;
	v->connector.channel = -1;
	r = vsock_host_init(v, o->uds_path, (enum seccomp_mode)o->seccomp, e);
	if (r) {
		vsock_close(v);
		return r;
	}
	*ret = (struct backend_device){ .name = "vsock", .queues = VSOCK_QUEUES, .ops = &ops,
					.arg = v, .refuses_outside = true };
	return 0;
}

static unsigned vsock_socket_dirs(const void *dev, int ret_dirs[DEVICE_DIRS_MAX])
{
	const struct vsock *v = dev;

	ret_dirs[0] = v->listener.dir;
	return 1;
}

static const struct seccomp_rule rules[] = {
	{ SYS_shutdown, SECCOMP_ANY, 0 },
};

const struct device_type vsock_device = {
	.name = "vsock",
	.capabilities = "{\n  \"type\": \"vsock\"\n}\n",
	.open = vsock_open,
	.close = vsock_close,
	.socket_dirs = vsock_socket_dirs,
	.rules = rules,
	.n_rules = ARRAY_SIZE(rules),
};
