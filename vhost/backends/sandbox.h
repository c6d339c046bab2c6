/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the program gives up before it meets a front end: capabilities, new privileges, paths, and
 * every system call that its device does not need. What it keeps: the fds it has, memory, and the
 * right to remove the names of its own sockets.
 */
#ifndef VHOST_BACKENDS_SANDBOX_H
#define VHOST_BACKENDS_SANDBOX_H

#include "base/err.h"
#include "vhost/backends/device.h"

/*
 * The last act of set-up, in the program's only thread. @dirs: fds of the directories whose entries
 * it removes at the end, @n_dirs of them. 0 or -errno with @e.
 */
int sandbox_enter(const struct device_type *type, const int *dirs, size_t n_dirs,
		  enum seccomp_mode mode, struct err *e);
/*
 * The same for a process that does one thing for a device: it may make the calls of @rules and no
 * others, opens and removes nothing, and stays in its working directory. @kind names it in reports.
 */
int sandbox_enter_helper(const char *kind, const struct seccomp_rule *rules, size_t n_rules,
			 enum seccomp_mode mode, struct err *e);

#endif
