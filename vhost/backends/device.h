/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kind of device this program can be: one const row each, in its own file; main.c lists them.
 * A new kind is a new file and a line there.
 */
#ifndef VHOST_BACKENDS_DEVICE_H
#define VHOST_BACKENDS_DEVICE_H

#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/seccomp.h"
#include "vhost/backend.h"
#include "vhost/backends/options.h"

enum { DEVICE_DIRS_MAX = PORTS_MAX };

struct device_type {
	const char *name;		/* first word of the command line */
	const char *capabilities;	/* what --print-capabilities answers, JSON */
	/* Opens what @o names, describes the device in *@ret; ret->arg is it. 0 or -errno, @e. */
	int (*open)(const struct options *o, struct loop *loop, struct backend_device *ret,
		    struct err *e);
	void (*close)(void *dev);
	/* SIGHUP: looks at what it serves again; true when the config changed. May be NULL. */
	bool (*reload)(void *dev);
	/* The directories, fds that stay the device's, of sockets that close() removes; returns how
	 * many. May be NULL. */
	unsigned (*socket_dirs)(const void *dev, int ret_dirs[DEVICE_DIRS_MAX]);
	/* System calls it makes while serving, beside those of every device (sandbox.c). */
	const struct seccomp_rule *rules;
	size_t n_rules;
};

extern const struct device_type blk_device, console_device, net_device, pmem_device, rng_device,
	vsock_device;

#endif
