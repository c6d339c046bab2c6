/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `--vhost-user WORD[,key=value...]`: one device served by a daemon.
 *
 * A first word that is a device type or a number (a virtio device id) is the type, and the daemon
 * is found by socket=, fd= or exec=; anything else is the path of a socket and means blk.
 */
#ifndef DEVICES_VHOST_USER_OPTIONS_H
#define DEVICES_VHOST_USER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/keyval.h"
#include "devices/device_id.h"
#include "devices/device_types.h"
#include "devices/exec_command.h"
#include "vhost/quirk.h"

enum { VHOST_USER_ID_MAX = DEVICE_ID_MAX, VHOST_USER_TAG_MAX = 36 };

/* What becomes of a device that runs when its daemon ends. */
enum vhost_user_on_lost {
	VHOST_USER_WAIT,	/* it stands still until the next daemon goes on with its rings */
	VHOST_USER_RESET,	/* it asks the driver for a reset */
	VHOST_USER_EXIT,	/* the machine ends */
};

enum vhost_user_transport { VHOST_USER_PCI, VHOST_USER_MMIO };

struct vhost_user_options {
	char *word;			/* type as written, NULL: none; owned */
	const struct vu_device_type *type;
	char *socket;			/* path, or NULL when fd_given or exec; owned */
	char *exec;			/* command that starts the daemon, or NULL; owned */
	struct exec_command command;	/* of it */
	uint64_t fd;			/* of a connected socket that we inherited */
	char *quirk_word;		/* as written, NULL: none; owned */
	const struct vu_quirk *quirk;	/* that the daemon has; NULL: none */
	char *tag;			/* of fs, 1 to VHOST_USER_TAG_MAX bytes; else NULL; owned */
	char *display;			/* of gpu, the path of its screen's socket; else NULL;
					 * owned */
	char *mac;			/* of net, as written, NULL: none; owned */
	uint8_t mac_bytes[6];		/* of it */
	uint64_t mtu;			/* of net; 0: not given */
	char *id;			/* NULL: the type's name and `number`; owned */
	uint64_t queues, queue_size, config_size, virtio_id;
	uint64_t shmem_max;		/* bytes of all shared memory regions together */
	uint64_t window_idle_max;	/* bytes of host memory their window may cost */
	int transport;			/* enum vhost_user_transport */
	int on_lost;			/* enum vhost_user_on_lost, if given */
	bool server;			/* the daemon connects to us, at `socket` */
	bool shmem_share;		/* what is mapped into them is other daemons' memory, too */
	bool reconnect;			/* default: on, but with fd */
	bool fd_given, queues_given, queue_size_given, config_size_given, virtio_id_given;
	bool mtu_given, transport_given;
	bool reconnect_given, on_lost_given;

	/* Not parsed: the caller sets these before vhost_user_device_init. */
	unsigned number;		/* which --vhost-user of the command line, from 0 */
	unsigned vcpus;			/* of the machine; 0 counts as 1 */
};

/* The keys, for --help and the manual page. */
extern const struct keyval vhost_user_keys[];

/* Parses and checks everything that can be known without the daemon; queue_size, config_size and
 * virtio_id have their defaults then. 0 or -EINVAL with @e; free either way. */
int vhost_user_options_parse(struct vhost_user_options *o, const char *text, struct err *e);
/* The device's name in messages: id, or type and number. */
void vhost_user_options_name(const struct vhost_user_options *o,
			     char ret_name[VHOST_USER_ID_MAX + 1]);
/* Whether @n parsed devices, their numbers set, can be in one machine: no two have one name or one
 * inherited socket. 0 or -EINVAL with @e. */
int vhost_user_options_check(const struct vhost_user_options *o, unsigned n, struct err *e);
/* Works on a zeroed struct, twice. */
void vhost_user_options_free(struct vhost_user_options *o);

#endif
