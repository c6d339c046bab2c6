/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who connects to the sockets of the host that a guest's connections lead to.
 *
 * A process of its own, forked before the sandbox, that may do nothing but that: it is told a port,
 * a number, and never a path. So the process that a guest talks to needs no right to connect to
 * anything, and whoever has taken it over reaches the sockets PATH_PORT, which the guest reaches
 * anyway. It ends with the other process, whose end of the channel it sees closing.
 */
#ifndef VHOST_BACKENDS_VSOCK_CONNECTOR_H
#define VHOST_BACKENDS_VSOCK_CONNECTOR_H

#include <stdint.h>

#include "base/err.h"
#include "base/listener.h"
#include "base/seccomp.h"

struct vsock_connector {
	int channel;		/* owned; -1: there is none, or it has failed */
};

/*
 * Set-up, while there is one thread. Ports are those beside @at's socket, whose name and directory
 * are borrowed for the call. 0 or -errno with @e.
 */
int vsock_connector_start(struct vsock_connector *c, const struct listener *at,
			  enum seccomp_mode mode, struct err *e);
/* Works on { .channel = -1 }, twice. */
void vsock_connector_stop(struct vsock_connector *c);

/* A non-blocking socket that is connected to PATH_@port, the caller's; or -errno: -ENOENT and
 * -ECONNREFUSED: nobody listens; -EAGAIN: too many wait there already; -EPIPE: the connector has
 * failed, now or before. Waits for a connect(2) that does not wait itself. */
int vsock_connector_connect(struct vsock_connector *c, uint32_t port);

#endif
