/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control queue of a network interface (VIRTIO 1.3, 5.1.6.5), which vhost-user leaves to the
 * front end: a device of that one queue, on the same library as any daemon (backend.h), for a
 * process of its own, since the VMM walks no ring (vmm/helper.h).
 *
 * It decides nothing: what a command wants done is asked of the VMM over a socket of packets, one
 * question at a time, and the driver gets the VMM's answer. Who owns this process owns the guest,
 * as any daemon does, and can ask for what is below and nothing else. A command that is not below
 * is answered with an error.
 */
#ifndef VHOST_CONTROL_H
#define VHOST_CONTROL_H

#include <stdint.h>

#include "vhost/backend.h"

enum control_request {
	CONTROL_PAIRS = 1,	/* `value` pairs of queues are used from now on; at least 1 */
	CONTROL_ANNOUNCED,	/* the guest has announced itself; `value` is 0 */
};

/* One packet each, and one answer to each question, in the host's byte order. */
struct control_question {
	uint32_t request;	/* enum control_request */
	uint32_t value;
};

struct control_answer {
	uint32_t done;		/* 1; 0: it cannot be done */
};

struct control {
	int sock;		/* where it asks; borrowed */
	struct ring_chain chain;
};

/* Describes the device in *@ret. @sock, connected, SOCK_SEQPACKET and blocking, is borrowed as long
 * as it is served, and @c must not move. Who does not answer holds it up. */
void control_init(struct control *c, int sock, struct backend_device *ret);

#endif
