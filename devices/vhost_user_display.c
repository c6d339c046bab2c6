/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_display.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/fd.h"
#include "devices/vhost_user_again.h"
#include "devices/vhost_user_device.h"

static void go_on(struct vhost_user_device *dev)
{
	int sock = fd_take(&dev->display.daemon), pidfd = fd_take(&dev->display.pidfd);

	vhost_user_again_try(dev, &sock, &pidfd);
	fd_close(&pidfd);
}

static void connected(void *arg, int *sock, int *pidfd)
{
	struct vhost_user_device *dev = arg;

	fd_close(pidfd);
	/* A daemon writes to it as to the first one, and waits when the screen is slow. */
	fcntl(*sock, F_SETFL, fcntl(*sock, F_GETFL) & ~O_NONBLOCK);
	dev->display.sock = fd_take(sock);
	vhost_user_link_up(&dev->display.link, "");
	go_on(dev);
}

/* The daemon is told by the end of its connection. */
static void hopeless(void *arg)
{
	struct vhost_user_device *dev = arg;

	fd_close(&dev->display.daemon);
	fd_close(&dev->display.pidfd);
	vhost_user_again_failed(dev, "its display cannot be connected any more");
}

static const struct vhost_user_link_ops link_ops = { .try = connected, .hopeless = hopeless };

void vhost_user_display_init(struct vhost_user_device *dev)
{
	struct vhost_user_display *d = &dev->display;

	*d = (struct vhost_user_display){ .sock = -1, .daemon = -1, .pidfd = -1 };
	snprintf(d->name, sizeof(d->name), "%s's display", dev->id);
	vhost_user_link_init(&d->link, dev->machine->loop, d->name, &link_ops, dev);
	d->link.tells_absence = true;
}

void vhost_user_display_use(struct vhost_user_device *dev, int *sock,
			    const struct vhost_user_dialer *dialer, void *ctx, unsigned number)
{
	dev->display.sock = fd_take(sock);
	vhost_user_link_use(&dev->display.link, dialer, ctx, number);
}

bool vhost_user_display_lacks(const struct vhost_user_device *dev)
{
	return dev->options->display && dev->display.sock < 0;
}

void vhost_user_display_await(struct vhost_user_device *dev, int *sock, int *pidfd)
{
	struct vhost_user_display *d = &dev->display;

	d->daemon = fd_take(sock);
	d->pidfd = fd_take(pidfd);
	if (vhost_user_link_is_on(&d->link))
		vhost_user_link_lost(&d->link);
	else
		hopeless(dev);
}

void vhost_user_display_fini(struct vhost_user_device *dev)
{
	struct vhost_user_display *d = &dev->display;

	vhost_user_link_fini(&d->link);
	fd_close(&d->sock);
	fd_close(&d->daemon);
	fd_close(&d->pidfd);
}
