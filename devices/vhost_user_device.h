/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device whose queues a vhost-user daemon serves: joins registers (virtio.h), their
 * transport (virtio_pci.h, virtio_mmio.h) and the connection (vhost/frontend.h).
 *
 * Theory of operation. The data path is not here: guest -> ioeventfd -> daemon -> irqfd -> guest.
 * What is here is the life cycle. A vCPU that writes the status register only posts `work`, which
 * looks at what the driver wants and does the next step in the loop:
 *
 *     idle --DRIVER_OK--> starting --started--> running
 *      ^                     |                    |
 *      +------stopped----- stopping <--status 0---+      any but idle --connection gone--> lost
 *
 * Kicks of the time between wait in their eventfds. Status 0 is answered by a register that reads
 * non-zero until the daemon has given back every ring (and by MMIO by an exit that ends then, as
 * drivers ask there but once). A lost connection never ends the VMM unless it shall (on-lost=exit).
 * A reset after it is complete only when the daemon is known to touch guest memory no more, since a
 * guest that waits is better than a guest that is corrupted.
 *
 * From then on the link (vhost_user_link.h) looks for the next daemon (vhost_user_again.h). One
 * that offers less than the guest was told of the device is turned away; one that fits is the
 * device's. With on-lost=wait it goes on with the rings, and the guest saw a stall. Else, or when
 * it cannot, DEVICE_NEEDS_RESET is set, and what ran is LOST until the driver resets it, and starts
 * afresh then. A device that was idle notices nothing. A start without a connection waits for one,
 * IDLE:
 *
 *     lost --new daemon, on-lost=wait--> starting
 *     lost --status 0, daemon dead--> idle --DRIVER_OK--> idle, waits --new daemon--> starting
 *
 * A device with shared memory regions is the exception to "posts and goes on": its driver may touch
 * a region right after DRIVER_OK, and the daemon fills it before it answers SET_VRING_ENABLE, so
 * that exit ends when the device runs, or never will; for want of a daemon it waits 10 seconds, and
 * the device needs a reset then. Mappings end with the life they were made in: when the device
 * stops or its connection is lost. Until a lost device is reset the next daemon maps nothing. Of a
 * device with shmem-share=on they are shared with other daemons, and a stop is complete only when
 * those have let go (shmem_share.h).
 *
 * Its config space is in vhost_user_config.h. All under the device lock, and in the loop unless
 * marked "set-up".
 */
#ifndef DEVICES_VHOST_USER_DEVICE_H
#define DEVICES_VHOST_USER_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/shmem.h"
#include "devices/shmem_share.h"
#include "devices/vhost_user_control.h"
#include "devices/vhost_user_display.h"
#include "devices/vhost_user_link.h"
#include "devices/vhost_user_options.h"
#include "devices/virtio.h"
#include "devices/virtio_mmio.h"
#include "devices/virtio_pci.h"
#include "vhost/frontend.h"

enum vhost_user_run {
	VHOST_USER_IDLE,	/* the daemon has no ring */
	VHOST_USER_STARTING,
	VHOST_USER_RUNNING,
	VHOST_USER_STOPPING,
	VHOST_USER_LOST,	/* was one of the three above when the connection ended; there
				 * may be another one by now, with a daemon that has no ring */
};

/* A vCPU's read of config that waits for the daemon. */
struct vhost_user_read {
	enum {
		VHOST_USER_READ_NONE,
		VHOST_USER_READ_ASKED,
		VHOST_USER_READ_ANSWERED,	/* the vCPU has not gone on yet */
	} state;
	uint64_t off;
	unsigned size;
	uint64_t value;			/* what it gets */
};

struct vhost_user_device {
	char id[VHOST_USER_ID_MAX + 1];
	const struct vhost_user_options *options;	/* borrowed */
	const struct vu_device_type *type;
	char place[64];			/* "fd 5", or "exec=" and the program */
	const char *where;		/* the daemon is: path or place */
	struct machine *machine;
	struct pci_bus *bus;

	unsigned counted;		/* so many of its queues are those that queues= counts */
	struct vhost_user_control control;	/* often none */
	struct vu_tap *tap;		/* set before it is connected; borrowed; often NULL */
	struct vu_frontend frontend;
	struct virtio_dev virtio;
	struct shmem shmem;		/* regions the daemon has; often none */
	struct shmem_share share;
	union {
		struct virtio_pci pci;
		struct virtio_mmio mmio;
	};				/* as options->transport says */

	/* What the wiring waits for after vhost_user_device_connect: one of the two. */
	bool ready;			/* the daemon has said what it offers: realize comes next */
	bool failed;			/* the connection was lost before realize; the sentence: */
	struct err why;

	bool realized;			/* the guest sees the device */
	struct vhost_user_link link;	/* connects again; see vhost_user_device_connect */
	struct vhost_user_display display;	/* of type gpu */
	enum vhost_user_on_lost on_lost;
	struct vu_inflight_buffer inflight;	/* of this life's requests */
	bool lost;			/* there is no connection that fits */
	bool daemon_dead;		/* of LOST: the daemon touches guest memory no more */
	enum vhost_user_run run;
	bool emptying;			/* stopped, but the window is not empty yet */
	struct loop_timer patience;	/* of an exit that waits for a start, which for a daemon */
	unsigned refusals;		/* starts in a row to which daemons said no */
	struct misuse not_started;	/* DRIVER_OKs that came to nothing */
	struct loop_job work;
	uint64_t config_dirty[VIRTIO_CONFIG_MAX / 64];	/* vhost_user_config.c's: bytes written,
							 * not handed on yet */
	struct vhost_user_read read;	/* vhost_user_config.c's */
	void (*reset_done)(void *arg);	/* of vhost_user_device_reset; NULL: none under way */
	void *reset_arg;
};

/* Set-up. Dead values. @o (parsed, number and vcpus set), @m and @bus are borrowed, and @dev must
 * not move, until vhost_user_device_fini. */
void vhost_user_device_init(struct vhost_user_device *dev, const struct vhost_user_options *o,
			    struct machine *m, struct pci_bus *bus);
/* Set-up. Takes the connected *@sock and begins to negotiate: run the loop until ready or failed. 0
 * or -errno with @e. What is to connect again later is then given by vhost_user_link_use; instead
 * of this call, what is to connect at all by vhost_user_link_begin: then a daemon that cannot be
 * used is followed by another. */
int vhost_user_device_connect(struct vhost_user_device *dev, int *sock, struct err *e);
/* Set-up, after ready. Checks what the daemon offers against options and type, and puts the device
 * on its bus. 0 or -errno with @e: what is missing, and what to do. */
int vhost_user_device_realize(struct vhost_user_device *dev, struct err *e);
/* Set-up, and loop after vu_frontend_fini. Begins to negotiate with the daemon at *@sock, taken;
 * @pidfd as vu_frontend_params has it. 0 or -errno with @e. */
int vhost_user_device_negotiate(struct vhost_user_device *dev, int *sock, int *pidfd,
				struct err *e);
/* Loop. Describes the driver's queues to the front end, each as a fresh ring. */
void vhost_user_device_latch(struct vhost_user_device *dev);
/* Ends connection and device at once. Works on a half-built or zeroed struct, twice. */
void vhost_user_device_fini(struct vhost_user_device *dev);

/*
 * The machine's reset (guest reboot), vCPUs stopped: gets the rings back, then everything is as
 * after power on; the connection is kept. @done is called in the loop, never from inside this call,
 * and not before a daemon that does not answer is known dead. One reset at a time.
 */
void vhost_user_device_reset(struct vhost_user_device *dev, void (*done)(void *arg), void *arg);

#endif
