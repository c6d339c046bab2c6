/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/range.h"
#include "vhost/backends/net.h"

/* The next chain of the guest's into the window; false: none, or the window is full. */
static bool add_chain(struct net *n, struct backend_queue *q)
{
	struct net_window *w = &n->window;
	struct ring_chain *c = &n->chain;

	if (w->first + w->n == BACKEND_BATCH || !backend_queue_has_chain(q) ||
	    !backend_queue_pop(q, c))
		return false;
	if (c->outside || !c->in_len || c->n_in == RING_SEGMENTS_MAX) {
		backend_queue_unpop(q, c->head);
		backend_queue_break(q, "a buffer for packets has no room for one, or is not in memory");
		return false;
	}
	if (w->at + w->pieces + c->n_in > RING_SEGMENTS_MAX - 1) {
		backend_queue_unpop(q, c->head);
		return false;
	}
	memcpy(w->iov + w->at + w->pieces, c->iov + c->n_out, c->n_in * sizeof(w->iov[0]));
	w->chains[w->first + w->n].head = c->head;
	w->chains[w->first + w->n].pieces = c->n_in;
	w->chains[w->first + w->n++].len = c->in_len;
	w->pieces += c->n_in;
	w->bytes += c->in_len;
	return true;
}

/* Room for @want bytes if there is; a packet has one chain unless chains are mergeable. */
static bool fill(struct net *n, struct backend_queue *q, size_t want)
{
	struct net_window *w = &n->window;

	while (w->bytes < want && (n->mergeable || !w->n) && add_chain(n, q))
		;
	return w->bytes >= want;
}

/* What is left goes back as if it had never been taken. */
static void empty(struct net *n, struct backend_queue *q)
{
	struct net_window *w = &n->window;

	while (w->n)
		backend_queue_unpop(q, w->chains[w->first + --w->n].head);
	w->first = w->at = w->pieces = 0;
	w->bytes = 0;
}

/* The window's first @len bytes are a packet: the guest has it. */
static void deliver(struct net *n, struct backend_queue *q, size_t len)
{
	struct net_window *w = &n->window;
	unsigned chains = 0;
	uint16_t buffers;

	for (size_t room = 0; room < len; chains++)
		room += w->chains[w->first + chains].len;
	buffers = htole16((uint16_t)chains);
	if (n->header == NET_HEADER)
		ring_pieces_write(w->iov + w->at, w->pieces,
				  offsetof(struct virtio_net_hdr_v1, num_buffers), &buffers,
				  sizeof(buffers));
	for (; chains; chains--, w->first++, w->n--) {
		size_t part = (size_t)min_u64(w->chains[w->first].len, len);

		backend_queue_push(q, w->chains[w->first].head, (uint32_t)part);
		len -= part;
		w->at += w->chains[w->first].pieces;
		w->pieces -= w->chains[w->first].pieces;
		w->bytes -= w->chains[w->first].len;
	}
	if (!w->n)
		w->first = w->at = 0;
}

/* The guest has too few buffers: the packet, @in_window of whose bytes are in the window and the
 * rest in the spill, waits for more of them. */
static void keep(struct net_pair *p, size_t len, size_t in_window)
{
	const struct net_window *w = &p->net->window;

	ring_pieces_read(w->iov + w->at, w->pieces, 0, p->kept, in_window);
	memcpy(p->kept + in_window, p->net->spill, len - in_window);
	p->kept_len = len;
	p->tries = NET_KEEP_TRIES;
}

static bool give_kept(struct net_pair *p, struct backend_queue *q)
{
	struct net *n = p->net;

	if (fill(n, q, p->kept_len)) {
		ring_pieces_write(n->window.iov, n->window.pieces, 0, p->kept, p->kept_len);
		deliver(n, q, p->kept_len);
	} else if (p->tries) {
		return false;
	} else {
		net_pair_drop(&n->dropped_rx, "it is larger than the guest's buffers");
	}
	p->kept_len = 0;
	return true;
}

/* By the clock: the library asks for no kicks while there are any buffers. */
static bool wait_for_buffers(struct net_pair *p)
{
	p->tries--;
	loop_timer_set(p->net->loop, &p->retry, clock_ns() + MS_TO_NS(NET_KEEP_MS));
	return false;
}

/* A packet of @got bytes, of which @room are in the window; false: it is kept. */
static bool take(struct net_pair *p, struct backend_queue *q, size_t got, size_t room)
{
	struct net *n = p->net;

	if (got < n->header || got > NET_PACKET_MAX) {
		net_pair_drop(&n->dropped_rx, got < n->header ? "it has no header" :
								"it is longer than one can be");
		return true;
	}
	if (got > room && !n->mergeable) {
		net_pair_drop(&n->dropped_rx, "it is larger than the guest's buffers");
		return true;
	}
	if (got > room && !fill(n, q, got)) {
		keep(p, got, room);
		return false;
	}
	if (got > room)
		ring_pieces_write(n->window.iov + n->window.at, n->window.pieces, room, n->spill,
				  got - room);
	p->usual = got > NET_USUAL_MIN ? got : NET_USUAL_MIN;
	deliver(n, q, got);
	return true;
}

/* Packet after packet, each into the window; as handle_queue. */
static bool receive(struct net_pair *p, struct backend_queue *q)
{
	struct net *n = p->net;
	struct net_window *w = &n->window;

	for (unsigned i = 0; i < BACKEND_BATCH; i++) {
		size_t room;
		ssize_t got;

		/* Enough for now: this goes on at once, with room again. */
		if (!fill(n, q, n->mergeable ? p->usual : 1) && !q->budget && w->n < BACKEND_BATCH)
			return true;
		if (!w->n) {
			p->rx_waits = false;
			return true;
		}
		room = w->bytes;
		w->iov[w->at + w->pieces] = (struct iovec){ n->spill, sizeof(n->spill) };
		got = readv(p->fd, w->iov + w->at, (int)w->pieces + 1);
		if (got > 0) {
			if (!take(p, q, (size_t)got, room))
				return wait_for_buffers(p);
		} else if (got < 0 && errno == EAGAIN) {
			p->rx_waits = true;
			return false;
		} else if (got == 0) {
			net_pair_lose(p);
			return false;
		} else if (errno == EFAULT || errno == EINVAL) {
			net_pair_drop(&n->dropped_rx, strerror(errno));
		} else if (errno != EINTR) {
			net_pair_lose(p);
			return false;
		}
	}
	return true;
}

bool net_receive(struct net_pair *p, struct backend_queue *q)
{
	bool done = false;

	p->rx = q;
	p->woken = false;
	if (p->lost)
		return false;
	if (p->kept_len && !give_kept(p, q))
		done = wait_for_buffers(p);
	else
		done = receive(p, q);
	empty(p->net, q);
	net_pair_update(p);
	return done;
}
