/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/backends/vsock.h"

/* What one packet for the guest has at most, so that every connection gets its turn. */
enum { PACKET_MAX = 65536 };

static struct vsock_conn **bucket(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	return &v->buckets[(host_port * UINT32_C(31) + guest_port) % VSOCK_BUCKETS];
}

static void link_conn(struct vsock_conn *c)
{
	struct vsock_conn **at = bucket(c->v, c->host_port, c->guest_port);

	c->next = *at;
	*at = c;
}

static void unlink_conn(struct vsock_conn *c)
{
	struct vsock_conn **at = bucket(c->v, c->host_port, c->guest_port);

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
}

struct vsock_conn *vsock_conn_find(const struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_conn *c = *bucket((struct vsock *)(uintptr_t)v, host_port, guest_port);

	while (c && (c->host_port != host_port || c->guest_port != guest_port ||
		     c->state == VSOCK_HELLO || c->state == VSOCK_DRAINING))
		c = c->next;
	return c;
}

/* ---- The list of those with something for the guest ---- */

static void list_ready(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	if (!c->is_ready) {
		c->is_ready = true;
		c->next_ready = NULL;
		*v->ready_end = c;
		v->ready_end = &c->next_ready;
	}
	vsock_wake(v, VSOCK_RX);
}

static void unlist_ready(struct vsock_conn *c)
{
	struct vsock *v = c->v;
	struct vsock_conn **at = &v->ready;

	if (!c->is_ready)
		return;
	while (*at != c)
		at = &(*at)->next_ready;
	*at = c->next_ready;
	if (v->ready_end == &c->next_ready)
		v->ready_end = at;
	c->is_ready = false;
}

struct vsock_conn *vsock_conn_next_ready(struct vsock *v)
{
	struct vsock_conn *c = v->ready;

	if (c)
		unlist_ready(c);
	return c;
}

/* ---- What there is to do ---- */

/* Bytes the guest has room for. */
static uint32_t room(const struct vsock_conn *c)
{
	uint32_t under_way = c->sent - c->peer_forwarded;

	return under_way < c->peer_alloc ? c->peer_alloc - under_way : 0;
}

void vsock_conn_credit(struct vsock_conn *c, uint32_t alloc, uint32_t forwarded)
{
	if (alloc != c->peer_alloc || forwarded != c->peer_forwarded)
		c->asked = false;
	c->peer_alloc = alloc;
	c->peer_forwarded = forwarded;
}

static uint32_t shutdown_due(const struct vsock_conn *c)
{
	uint32_t due = c->ended ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0;

	/* No news to a guest that sends no more, when both halves of the socket are closed. */
	if (c->hung_up && !(c->shutdown_got & VIRTIO_VSOCK_SHUTDOWN_SEND))
		due |= VIRTIO_VSOCK_SHUTDOWN_RCV;
	return due & ~c->shutdown_sent;
}

static bool has_packet(const struct vsock_conn *c)
{
	switch (c->state) {
	case VSOCK_CALLING:
		return true;
	case VSOCK_OPEN:
		return c->respond || c->update || shutdown_due(c) ||
		       (c->readable && !c->ended && (room(c) || !c->asked));
	case VSOCK_HELLO:
	case VSOCK_CALLED:
	case VSOCK_DRAINING:
		break;
	}
	return false;
}

static void watch(struct vsock_conn *c)
{
	bool in = c->state == VSOCK_HELLO || (c->state == VSOCK_OPEN && !c->ended && !c->paused);
	uint32_t events = (in ? EPOLLIN : 0) | (c->used ? EPOLLOUT : 0);
	struct loop *l = c->v->loop;
	struct err e;

	/* That the program hangs up is told again and again, whatever is asked for. */
	if (!events && c->hung_up) {
		if (c->watch.fd >= 0)
			loop_unwatch(l, &c->watch);
		return;
	}
	if (c->watch.fd >= 0) {
		if (events != c->watch.events)
			loop_watch_events(l, &c->watch, events);
		return;
	}
	c->watch.fd = c->sock;
	c->watch.events = events;
	if (!loop_watch(l, &c->watch, &e))
		return;
	if (misuse_first(&c->v->unwatched))
		log_warn("vsock: a connection to port %u of the guest ends: %s", c->guest_port, e.msg);
	c->watch.fd = -1;
	c->ended = c->hung_up = true;
}

void vsock_conn_update(struct vsock_conn *c)
{
	watch(c);
	if (has_packet(c))
		list_ready(c);
	else
		unlist_ready(c);
}

/* ---- Bytes of the guest ---- */

/* Bytes were taken by the program: whether the guest has to be told. */
static void count_forwarded(struct vsock_conn *c, uint32_t n)
{
	c->forwarded += n;
	if (c->received - c->told > VSOCK_BUFFER / 2 && c->forwarded != c->told)
		c->update = true;
}

/* Gives the program @n pieces of @len bytes; returns how many bytes are done with. A program that
 * is gone is given nothing: the guest is told that, and what it still sends is dropped. */
static uint32_t put(struct vsock_conn *c, struct iovec *iov, size_t n, uint32_t len)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t r = 0;

	while (!c->hung_up) {
		r = sendmsg(c->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		/* The kernel's want of memory is not the program's end. */
		if (r >= 0 || errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
			break;
		c->hung_up = errno != EINTR;
	}
	r = c->hung_up ? len : r < 0 ? 0 : r;
	count_forwarded(c, (uint32_t)r);
	return (uint32_t)r;
}

/* Puts @len bytes at @off of the chain behind those that wait already; there is room. */
static bool keep(struct vsock_conn *c, uint64_t off, uint32_t len)
{
	uint32_t at = (c->start + c->used) % VSOCK_BUFFER;
	uint32_t first = (uint32_t)min_u64(len, VSOCK_BUFFER - at);

	if (!c->buffer)
		c->buffer = malloc(VSOCK_BUFFER);
	if (!c->buffer)
		return false;
	ring_chain_read(&c->v->chain, off, c->buffer + at, first);
	ring_chain_read(&c->v->chain, off + first, c->buffer, len - first);
	c->used += len;
	return true;
}

bool vsock_conn_take(struct vsock_conn *c, uint64_t off, uint32_t len)
{
	struct vsock *v = c->v;
	uint32_t n = 0;

	c->received += len;
	if (!c->used)
		n = put(c, v->iov, ring_slice(v->chain.iov, v->chain.n_out, off, len, v->iov), len);
	return n == len || keep(c, off + n, len - n);
}

/* Gives the program what waits. */
static void flush(struct vsock_conn *c)
{
	while (c->used) {
		uint32_t first = (uint32_t)min_u64(c->used, VSOCK_BUFFER - c->start);
		struct iovec iov[] = { { c->buffer + c->start, first },
				       { c->buffer, c->used - first } };
		uint32_t n = put(c, iov, 2, c->used);

		if (!n)
			return;
		c->start = (c->start + n) % VSOCK_BUFFER;
		c->used -= n;
	}
	free(c->buffer);
	c->buffer = NULL;
	if (c->shutdown_got & VIRTIO_VSOCK_SHUTDOWN_SEND)
		shutdown(c->sock, SHUT_WR);
}

void vsock_conn_shut(struct vsock_conn *c, uint32_t flags)
{
	const uint32_t both = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND;

	c->shutdown_got |= flags & both;
	if (c->shutdown_got == both) {
		/* "A clean disconnect": RST confirms it. */
		vsock_reset(c->v, &(struct vsock_reset){ VSOCK_CID_HOST, c->host_port,
							 c->guest_port, VIRTIO_VSOCK_TYPE_STREAM });
		return vsock_conn_drain(c);
	}
	if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		shutdown(c->sock, SHUT_RD);
		c->ended = true;
		c->shutdown_sent |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	} else if (flags & VIRTIO_VSOCK_SHUTDOWN_SEND && !c->used) {
		shutdown(c->sock, SHUT_WR);
	}
	vsock_conn_update(c);
}

/* ---- Packets for the guest ---- */

/* Reads from the socket into the chain, behind the header. Bytes, or 0. */
static uint32_t fetch(struct vsock_conn *c)
{
	struct vsock *v = c->v;
	const uint64_t off = sizeof(struct virtio_vsock_hdr);
	uint64_t most = min_u64(room(c), min_u64(v->chain.in_len - off, PACKET_MAX));
	struct msghdr m = { .msg_iov = v->iov };
	ssize_t n;

	m.msg_iovlen = ring_slice(v->chain.iov + v->chain.n_out, v->chain.n_in, off, most, v->iov);
	do {
		n = recvmsg(c->sock, &m, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	c->paused = false;
	c->readable = n > 0 && (uint64_t)n == most;
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		c->ended = true;
		c->hung_up |= n < 0;
	}
	return n > 0 ? (uint32_t)n : 0;
}

static uint16_t choose(struct vsock_conn *c, struct virtio_vsock_hdr *h)
{
	uint32_t n;

	if (c->state == VSOCK_CALLING) {
		c->state = VSOCK_CALLED;
		return VIRTIO_VSOCK_OP_REQUEST;
	}
	if (c->respond) {
		c->respond = false;
		return VIRTIO_VSOCK_OP_RESPONSE;
	}
	/* That it takes no bytes is news at once; that it sends none, when all are sent. */
	n = shutdown_due(c) || !c->readable || c->ended || !room(c) ? 0 : fetch(c);
	if (n) {
		h->len = htole32(n);
		c->sent += n;
		return VIRTIO_VSOCK_OP_RW;
	}
	if (shutdown_due(c)) {
		c->shutdown_sent |= shutdown_due(c);
		h->flags = htole32(c->shutdown_sent);
		return VIRTIO_VSOCK_OP_SHUTDOWN;
	}
	if (c->readable && !c->ended && !c->asked) {
		c->asked = true;
		return VIRTIO_VSOCK_OP_CREDIT_REQUEST;
	}
	/* Also when a socket that was readable is not after all: the buffer is taken by then. */
	return VIRTIO_VSOCK_OP_CREDIT_UPDATE;
}

void vsock_conn_fill(struct vsock_conn *c, struct virtio_vsock_hdr *h)
{
	*h = (struct virtio_vsock_hdr){
		.src_cid = htole64(VSOCK_CID_HOST),
		.dst_cid = htole64(c->v->guest_cid),
		.src_port = htole32(c->host_port),
		.dst_port = htole32(c->guest_port),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.buf_alloc = htole32(VSOCK_BUFFER),
		.fwd_cnt = htole32(c->forwarded),
	};
	h->op = htole16(choose(c, h));
	c->told = c->forwarded;
	c->update = false;
}

/* ---- Life ---- */

static void socket_ready(void *arg, uint32_t events)
{
	struct vsock_conn *c = arg;

	if (c->state == VSOCK_HELLO)
		return vsock_host_hello(c);
	c->hung_up |= (events & (EPOLLHUP | EPOLLERR)) != 0;
	if (c->state == VSOCK_OPEN) {
		c->paused = c->readable;
		c->readable |= (events & ~(uint32_t)EPOLLOUT) != 0;
	} else if (c->hung_up) {
		/* Before it was accepted, or before all was taken. */
		return vsock_conn_reset(c);
	}
	if (c->used)
		flush(c);
	if (c->state == VSOCK_DRAINING && !c->used)
		return vsock_conn_free(c);
	vsock_conn_update(c);
}

struct vsock_conn *vsock_conn_new(struct vsock *v, int *sock, enum vsock_state state,
				  uint32_t host_port, uint32_t guest_port)
{
	struct vsock_conn *c = v->conns < v->conns_max ? calloc(1, sizeof(*c)) : NULL;

	if (!c)
		return NULL;
	*c = (struct vsock_conn){ .v = v, .state = state, .sock = fd_take(sock),
				  .host_port = host_port, .guest_port = guest_port };
	c->watch = (struct loop_watch){ .fd = -1, .ready = socket_ready, .arg = c };
	link_conn(c);
	v->conns++;
	v->hellos += state == VSOCK_HELLO;
	return c;
}

void vsock_conn_set_ports(struct vsock_conn *c, uint32_t host_port, uint32_t guest_port)
{
	unlink_conn(c);
	c->host_port = host_port;
	c->guest_port = guest_port;
	link_conn(c);
}

void vsock_conn_free(struct vsock_conn *c)
{
	struct vsock *v = c->v;

	if (c->watch.fd >= 0)
		loop_unwatch(v->loop, &c->watch);
	/* The connector may have it open for a moment yet. */
	shutdown(c->sock, SHUT_RDWR);
	fd_close(&c->sock);
	unlist_ready(c);
	unlink_conn(c);
	v->hellos -= c->state == VSOCK_HELLO;
	v->conns--;
	free(c->buffer);
	free(c);
	v->accept_failed = false;
	vsock_host_listen(v);
}

void vsock_conn_reset(struct vsock_conn *c)
{
	if (c->state == VSOCK_CALLED || c->state == VSOCK_OPEN)
		vsock_reset(c->v, &(struct vsock_reset){ VSOCK_CID_HOST, c->host_port,
							 c->guest_port, VIRTIO_VSOCK_TYPE_STREAM });
	vsock_conn_free(c);
}

void vsock_conn_drain(struct vsock_conn *c)
{
	if (!c->used || c->hung_up)
		return vsock_conn_free(c);
	c->state = VSOCK_DRAINING;
	vsock_conn_update(c);
}

void vsock_conn_drop(struct vsock *v, bool all)
{
	for (unsigned i = 0; i < VSOCK_BUCKETS; i++) {
		struct vsock_conn *next;

		for (struct vsock_conn *c = v->buckets[i]; c; c = next) {
			next = c->next;
			if (all)
				vsock_conn_free(c);
			else if (c->state == VSOCK_CALLED || c->state == VSOCK_OPEN)
				vsock_conn_reset(c);
		}
	}
}
