/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the screen of a device of type gpu is: a program at a socket (display=), to which this VMM
 * connects and of which it knows nothing else: its daemon is given the connection (GPU_SET_SOCKET),
 * one in its life, since there are daemons that take no other. The first is made in set-up. For the
 * next daemon a new one is made once it is there, and it waits until there is one, with pauses and
 * words as a link has them (vhost_user_link.h).
 *
 * Under the device lock, in the loop, but for what is marked set-up.
 */
#ifndef DEVICES_VHOST_USER_DISPLAY_H
#define DEVICES_VHOST_USER_DISPLAY_H

#include <stdbool.h>

#include "devices/device_id.h"
#include "devices/vhost_user_link.h"

struct vhost_user_device;

struct vhost_user_display {
	char name[DEVICE_ID_MAX + 16];	/* for messages: the device's, and what this is */
	struct vhost_user_link link;
	int sock;			/* a connection that no daemon has been given; -1 */
	int daemon, pidfd;		/* who waits, as vhost_user_link_ops.try has them; -1 */
};

/* Set-up. There is none. @dev has its name and must not move. */
void vhost_user_display_init(struct vhost_user_device *dev);
/* Set-up. *@sock, taken, is for the first daemon; @dialer, borrowed, makes those for the next. */
void vhost_user_display_use(struct vhost_user_device *dev, int *sock,
			    const struct vhost_user_dialer *dialer, void *ctx, unsigned number);
/* Whether the next daemon has to wait, since there is no connection for it. */
bool vhost_user_display_lacks(const struct vhost_user_device *dev);
/* Takes that daemon's *@sock and *@pidfd, as vhost_user_link_ops.try has them, and asks for a
 * connection: vhost_user_again_try follows, or _failed when none will ever be. */
void vhost_user_display_await(struct vhost_user_device *dev, int *sock, int *pidfd);
/* Works twice. */
void vhost_user_display_fini(struct vhost_user_device *dev);

#endif
