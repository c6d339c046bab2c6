/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets to daemons: making a connection, and judging one that was inherited. Needs what the
 * loop's filter forbids: set-up only, and the supervisor.
 */
#ifndef DEVICES_VHOST_USER_SOCKET_H
#define DEVICES_VHOST_USER_SOCKET_H

#include "base/err.h"

/*
 * A stream socket connected to the daemon that listens at @path, or -errno with @e saying what is
 * wrong with the path. Waits at most 10 seconds for a daemon that is busy. The caller owns it.
 */
int vhost_user_connect(const char *path, struct err *e);
/* The same without a wait: -EAGAIN when the daemon has not yet accepted who came before. */
int vhost_user_connect_now(const char *path, struct err *e);
/* Before anything is opened here: an fd that nobody handed over would be one of our own later. 0
 * when @fd is a connected Unix stream socket, or -errno with @e. */
int vhost_user_check_inherited(int fd, struct err *e);

#endif
