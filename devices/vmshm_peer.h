/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection of events-peer=: takes another VM's doorbells from its events= socket and makes
 * them interrupts of this one, event n vector n + 1, by irqfds: the kernel then carries them from
 * guest to guest. Of the other VM's interrupts, which a program of the host would ring, nothing is
 * kept, nor of the objects that it opens. A VM may be its own peer.
 *
 *     off --try--> waiting for the eventfds --they came--> up
 *      ^                      |                            |
 *      +------- failed -------+----------- lost -----------+
 *
 * The other VM is not trusted: what it sends is checked, and nothing is ever written to an eventfd
 * of it, since it could make that wait. It knows no more of this one than that it is there.
 *
 * When to try, and with what socket, is the link's business. Under the device lock, in the loop.
 */
#ifndef DEVICES_VMSHM_PEER_H
#define DEVICES_VMSHM_PEER_H

#include <stdbool.h>

#include "base/log.h"
#include "base/loop.h"
#include "devices/msix.h"
#include "guest/vmshm/vmshm_events.h"

/* Who knows when to try again: told of each try's end. Another may follow, not from inside. */
struct vmshm_peer_ops {
	void (*up)(void *arg);
	/* It was not up: one sentence. */
	void (*failed)(void *arg, const char *why);
	/* It was up. */
	void (*lost)(void *arg);
};

struct vmshm_peer {
	struct loop *loop;		/* NULL: not initialised */
	const char *name;		/* borrowed: the device's id */
	struct msix *msix;
	unsigned max;			/* this device's events */
	const struct vmshm_peer_ops *ops;
	void *arg;
	int sock;			/* owned; -1: off */
	bool up;
	int eventfds[VMSHM_EVENTS_MAX];	/* owned; the first count are connected to vectors */
	unsigned count;
	struct loop_watch watch;
	struct misuse nonsense;
};

/* Off. @loop, @name, @msix and @arg are borrowed until vmshm_peer_fini. */
void vmshm_peer_init(struct vmshm_peer *p, struct loop *loop, const char *name, struct msix *msix,
		     unsigned max, const struct vmshm_peer_ops *ops, void *arg);
/* Closes all and calls nobody; the interrupts end with the machine. Works on a zeroed struct,
 * twice. */
void vmshm_peer_fini(struct vmshm_peer *p);

/* While off. Takes *@sock, a connection to the other VM's socket; an op follows, maybe from
 * inside. */
void vmshm_peer_try(struct vmshm_peer *p, int *sock);
/* After msix_reset, which disconnected what was connected to vectors. */
void vmshm_peer_rewire(struct vmshm_peer *p);

#endif
