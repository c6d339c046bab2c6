/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting to a Unix socket by its path: a daemon's, or another machine's. Needs what the loop's
 * filter forbids: set-up only, and the supervisor.
 */
#ifndef DEVICES_UNIX_CONNECT_H
#define DEVICES_UNIX_CONNECT_H

#include "base/err.h"

/*
 * A socket of @type (SOCK_STREAM: a daemon's; SOCK_SEQPACKET) connected to who listens at @path, or
 * -errno with @e saying what is wrong with the path. Waits at most 10 seconds for one that is busy;
 * with SOCK_NONBLOCK in @type not at all: -EAGAIN when he has not yet accepted who came before. The
 * caller owns it.
 */
int unix_connect(const char *path, int type, struct err *e);

#endif
