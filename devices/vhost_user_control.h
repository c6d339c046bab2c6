/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control queue of a vhost-user device, which vhost-user leaves to the front end: served by a
 * process of its own, since no ring is walked here (vmm/helper.h starts it, vhost/control.h is what
 * it does). To this process it is one more daemon, with a front end of its own that gives it that
 * one queue; and what the driver's commands want done it asks over a second socket.
 *
 * It is trusted no more than a daemon. A question is one packet of fixed size, one of the two of
 * vhost/control.h; it has one answer, and what it asks for is nothing that the guest's driver may
 * not ask for: how many pairs of queues are used (the daemon's SET_VRING_ENABLE), and that it has
 * announced itself. Anything else is refused and counted.
 *
 * When the process ends, so does the queue: a device that uses it needs a reset, and a driver is
 * offered no control queue from then on, with which it has one pair of queues.
 *
 * Under the device lock, in the loop unless marked "set-up".
 */
#ifndef DEVICES_VHOST_USER_CONTROL_H
#define DEVICES_VHOST_USER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "devices/vhost_user_options.h"
#include "vhost/frontend.h"

struct vhost_user_device;

struct vhost_user_control {
	bool given;			/* the device has a control queue, its last */
	bool ready;			/* the process has said what it offers ... */
	bool gone;			/* ... or is lost; the sentence: */
	struct err why;
	bool has_ring;			/* it was given the queue, and may touch guest memory */
	bool dead;			/* of gone: it does not */
	bool owes;			/* a question about pairs waits for the daemon */
	unsigned pairs;			/* of queues, that the driver uses */
	bool announce;			/* the driver is to announce the interface */
	struct vu_frontend frontend;
	struct loop_watch questions;	/* of the socket, owned; -1: none */
	struct misuse refused;
	char name[DEVICE_ID_MAX + 24];	/* "net0: control queue" */
};

/* Whether a device of @o is to have a control queue. */
bool vhost_user_control_is_needed(const struct vhost_user_options *o);
/* Set-up, after vhost_user_device_init and before it is realized. Takes the sockets to the process,
 * for vhost-user and for its questions (SOCK_SEQPACKET, non-blocking), and begins to negotiate: run
 * the loop until vhost_user_control_is_settled. 0 or -errno with @e. */
int vhost_user_control_connect(struct vhost_user_device *dev, int *sock, int *questions,
			       struct err *e);
/* Set-up. Whether it is ready, lost or was never there. */
bool vhost_user_control_is_settled(const struct vhost_user_device *dev);
/* Closes everything at once. Works on a zeroed struct, twice. */
void vhost_user_control_fini(struct vhost_user_device *dev);

/* Set-up and loop. What a driver is offered of @offered and beside it. */
uint64_t vhost_user_control_features(const struct vhost_user_device *dev, uint64_t offered);
/* How many queues are the daemon's in this life of the driver's; the control queue, if it is used,
 * comes after them (VIRTIO 1.3, 5.1.2). */
unsigned vhost_user_control_rings(const struct vhost_user_device *dev);
/* Whether the daemon's ring @i is not to be enabled yet. */
bool vhost_user_control_is_idle(const struct vhost_user_device *dev, unsigned i);

/* The driver has set DRIVER_OK: hands the queue over, if it uses it. 0 or -errno with @e. */
int vhost_user_control_start(struct vhost_user_device *dev, struct err *e);
/* The driver resets the device: takes it back. True when nobody touches it any more, and all is as
 * before the first start; else the device's work is posted when this is worth asking again. */
bool vhost_user_control_stop(struct vhost_user_device *dev);
/* The daemon has obeyed vu_frontend_switch; or is lost, and the next one is told at its start. */
void vhost_user_control_switched(struct vhost_user_device *dev);

#endif
