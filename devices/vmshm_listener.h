/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The socket of events=: gives one program of the host at a time a VMShm device's eventfds, and
 * tells it what the guest has open (guest/vmshm/vmshm_events.h has the messages).
 *
 * Nothing is read from who is connected, so there is nothing he could say. A newcomer meanwhile is
 * sent away at once: whoever may connect could otherwise take the events from another. When the one
 * before has ended, his end is seen before a newcomer is judged, so a program that crashed can come
 * again. Who does not read is told nothing until there is room; then what is true by then. He is
 * not cut off: a guest could have that done to him, by opening and closing faster than he reads.
 *
 * Under the device lock, in the loop.
 */
#ifndef DEVICES_VMSHM_LISTENER_H
#define DEVICES_VMSHM_LISTENER_H

#include <stdbool.h>

#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "guest/vmshm/vmshm_events.h"

/* What the guest has open; told to who takes the events. */
struct vmshm_news {
	int fd;				/* borrowed during the call; -1: nothing is open */
	struct vmshm_msg msg;		/* flags, generation, size, offset, mapped, name are read */
};

struct vmshm_listener_params {
	struct loop *loop;
	const char *name;		/* borrowed: the device's id */
	unsigned count;			/* events each way */
	const int *kick, *call;		/* borrowed: their eventfds */
	/* What the guest has open now. @ret->fd is borrowed until the loop goes on. */
	void (*news)(void *arg, struct vmshm_news *ret);
	/* Somebody came or went. */
	void (*changed)(void *arg);
	void *arg;
};

struct vmshm_listener {
	struct vmshm_listener_params params;
	int sock, peer;			/* owned; -1: none */
	bool behind;			/* the peer has not been told the last news */
	struct loop_watch watch, peer_watch;
	struct loop_timer rest;		/* after there was no fd for a newcomer */
	struct misuse refused, failed;
};

/* Dead values: nobody listens. @p is copied. */
void vmshm_listener_init(struct vmshm_listener *l, const struct vmshm_listener_params *p);
/* Set-up, once. Takes *@sock, a listening non-blocking SOCK_SEQPACKET socket. 0 or -errno with
 * @e. */
int vmshm_listener_listen(struct vmshm_listener *l, int *sock, struct err *e);
/* Closes both sockets and calls nobody. Works on a zeroed struct, twice. */
void vmshm_listener_fini(struct vmshm_listener *l);

/* Any thread. Whether somebody is connected. */
bool vmshm_listener_has_peer(const struct vmshm_listener *l);
/* Tells who is connected, now or as soon as he reads. */
void vmshm_listener_tell(struct vmshm_listener *l, const struct vmshm_news *n);

#endif
