/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection of events-peer=: takes another VM's doorbells from its events= socket and makes
 * them interrupts of this one, event n vector n + 1, by irqfds: the kernel then carries them from
 * guest to guest. Of the other VM's interrupts, which a program of the host would ring, nothing is
 * kept, nor of the objects that it opens. A VM may be its own peer.
 *
 * The other VM is not trusted: what it sends is checked, and nothing is ever written to an eventfd
 * of it, since it could make that wait. It knows no more of this one than that it is there. It need
 * not be: the link tries until it is, and again when it has gone, without a word but for the first
 * try that fails for another reason.
 *
 * Under the device lock, in the loop.
 */
#ifndef DEVICES_VMSHM_PEER_H
#define DEVICES_VMSHM_PEER_H

#include <stdbool.h>

#include "base/loop.h"
#include "devices/msix.h"
#include "devices/vhost_user_link.h"
#include "guest/vmshm/vmshm_events.h"

struct vmshm_peer {
	struct loop *loop;		/* NULL: not initialised */
	const char *name;		/* borrowed: the device's id */
	struct msix *msix;
	unsigned max;			/* this device's events */
	struct vhost_user_link link;	/* knows when to try */
	int sock;			/* owned; -1: not connected */
	bool up;			/* the eventfds came */
	int eventfds[VMSHM_EVENTS_MAX];	/* owned; the first count are connected to vectors */
	unsigned count;
	struct loop_watch watch;
};

/* Not connected. @loop, @name and @msix are borrowed until vmshm_peer_fini. */
void vmshm_peer_init(struct vmshm_peer *p, struct loop *loop, const char *name, struct msix *msix,
		     unsigned max);
/* Set-up. Connects when the loop runs, by @dialer to its socket @number (vhost_user_link_begin).
 * @path is that socket's, for the log. */
void vmshm_peer_dial(struct vmshm_peer *p, const struct vhost_user_dialer *dialer, void *ctx,
		     unsigned number, const char *path);
/* Closes all and calls nobody; the interrupts end with the machine. Works on a zeroed struct,
 * twice. */
void vmshm_peer_fini(struct vmshm_peer *p);

/* After msix_reset, which disconnected what was connected to vectors. */
void vmshm_peer_rewire(struct vmshm_peer *p);

#endif
