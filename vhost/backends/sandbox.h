/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program gives up before it meets a front end: capabilities, new privileges, paths, and
 * every system call that its device does not need. What it keeps: the fds it has, memory, and the
 * right to remove its own socket's name.
 */
#ifndef VHOST_BACKENDS_SANDBOX_H
#define VHOST_BACKENDS_SANDBOX_H

#include "base/err.h"
#include "vhost/backends/device.h"

/*
 * The last act of set-up, in the program's only thread. @socket_dir: fd of the directory whose
 * entry it removes at the end, -1 for none. 0 or -errno with @e.
 */
int sandbox_enter(const struct device_type *type, int socket_dir, enum seccomp_mode mode,
		  struct err *e);

#endif
