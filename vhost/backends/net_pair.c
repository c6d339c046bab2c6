/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fd.h"
#include "vhost/backends/net.h"

void net_pair_drop(struct misuse *m, const char *why)
{
	if (misuse_first(m))
		log_warn("net: a packet is dropped: %s; this is logged once", why);
}

void net_pair_update(struct net_pair *p)
{
	uint32_t events = (p->rx_waits ? EPOLLIN : 0u) | (p->tx_waits ? EPOLLOUT : 0u);

	if (p->watch.fd >= 0 && events != p->watch.events)
		loop_watch_events(p->net->loop, &p->watch, events);
	p->watch.events = events;
}

void net_pair_lose(struct net_pair *p)
{
	if (!p->lost)
		log_error("net: the tap is gone; no packet comes through any more");
	p->lost = true;
	p->rx_waits = p->tx_waits = false;
	if (p->watch.fd >= 0)
		loop_unwatch(p->net->loop, &p->watch);
	/* What the guest sends is dropped from now on. */
	if (p->tx)
		backend_queue_wake(p->tx);
}

static void ready(void *arg, uint32_t events)
{
	struct net_pair *p = arg;

	if (events & (EPOLLERR | EPOLLHUP))
		return net_pair_lose(p);
	if (events & EPOLLOUT) {
		p->tx_waits = false;
		backend_queue_wake(p->tx);
	}
	/* Who was woken and has not come does not run: the packets stay where they are. */
	if (events & EPOLLIN && p->woken) {
		p->rx_waits = false;
	} else if (events & EPOLLIN) {
		p->woken = true;
		backend_queue_wake(p->rx);
	}
	net_pair_update(p);
}

static void try_kept(void *arg)
{
	struct net_pair *p = arg;

	backend_queue_wake(p->rx);
}

bool net_pair_send(struct net_pair *p, struct backend_queue *q)
{
	struct ring_chain *c = &p->net->chain;

	p->tx = q;
	while (backend_queue_has_chain(q) && backend_queue_pop(q, c)) {
		if (c->outside || c->out_len <= p->net->header) {
			net_pair_drop(&p->net->dropped_tx, "the guest's is not in memory, or is empty");
		} else if (p->lost) {
			net_pair_drop(&p->net->dropped_tx, "the tap is gone");
		} else if (writev(p->fd, c->iov, (int)c->n_out) < 0) {
			if (errno == EAGAIN) {
				backend_queue_unpop(q, c->head);
				p->tx_waits = true;
				net_pair_update(p);
				return false;
			}
			net_pair_drop(&p->net->dropped_tx, strerror(errno));
		}
		backend_queue_push(q, c->head, 0);
	}
	return true;
}

void net_pair_reset(struct net_pair *p)
{
	p->kept_len = 0;
	loop_timer_cancel(p->net->loop, &p->retry);
	p->rx_waits = p->tx_waits = p->woken = false;
	p->rx = p->tx = NULL;
	net_pair_update(p);
}

int net_pair_init(struct net_pair *p, struct err *e)
{
	p->usual = NET_USUAL_MIN;
	p->retry = (struct loop_timer){ .expired = try_kept, .arg = p };
	p->watch = (struct loop_watch){ .fd = p->fd, .events = 0, .ready = ready, .arg = p };
	return loop_watch(p->net->loop, &p->watch, e);
}

void net_pair_fini(struct net_pair *p)
{
	if (p->watch.fd >= 0)
		loop_unwatch(p->net->loop, &p->watch);
	loop_timer_cancel(p->net->loop, &p->retry);
	fd_close(&p->fd);
}
