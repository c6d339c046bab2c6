/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judging a socket to a daemon that was inherited. Set-up only.
 */
#ifndef DEVICES_VHOST_USER_SOCKET_H
#define DEVICES_VHOST_USER_SOCKET_H

#include "base/err.h"

/* Before anything is opened here: an fd that nobody handed over would be one of our own later. 0
 * when @fd is a connected Unix stream socket, or -errno with @e. */
int vhost_user_check_inherited(int fd, struct err *e);

#endif
