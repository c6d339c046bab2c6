/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where daemons connect to us (server=on): a listening socket, and a dialer of the device's link
 * (vhost_user_link.h). Asked for a connection, it takes the next daemon that comes, whenever that
 * is; while the device has one, another that comes waits in the socket's queue.
 *
 * Under the device lock, in the loop.
 */
#ifndef DEVICES_VHOST_USER_DOOR_H
#define DEVICES_VHOST_USER_DOOR_H

#include "base/err.h"
#include "base/loop.h"
#include "devices/vhost_user_link.h"

struct vhost_user_door {
	int sock;			/* owned, listening, not blocking; -1 */
	struct loop *loop;
	struct loop_watch watch;	/* while somebody is asked for; else its fd is -1 */
	struct vhost_user_link *asking;
};

/* Its ctx is a struct vhost_user_door. */
extern const struct vhost_user_dialer vhost_user_door_dialer;

/* Set-up. Takes the listening *@sock; @loop is borrowed until vhost_user_door_fini. */
void vhost_user_door_init(struct vhost_user_door *d, struct loop *loop, int *sock);
/* After vhost_user_link_fini: nobody is let in any more, who waits to be is sent away. Works on a
 * zeroed struct, twice. */
void vhost_user_door_fini(struct vhost_user_door *d);

#endif
