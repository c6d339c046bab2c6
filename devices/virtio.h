/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio device as a driver sees it, without its transport: features, status, queues, config
 * (VIRTIO 1.3, chapter 2). The VMM never touches a ring; it latches what the driver says about one
 * and hands it on.
 *
 * Queue registers are latched when the queue is enabled and unwritable after; nothing about a queue
 * changes after DRIVER_OK. Runs under the device lock.
 */
#ifndef DEVICES_VIRTIO_H
#define DEVICES_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "devices/machine.h"

enum { VIRTIO_QUEUES_MAX = 64, VIRTIO_CONFIG_MAX = 256, VIRTIO_NO_VECTOR = 0xffff };

struct virtio_dev;

struct virtio_queue {
	uint16_t max_size;		/* 0: the queue does not exist */
	uint16_t size;			/* what the driver chose */
	uint16_t vector;		/* transport's interrupt vector, VIRTIO_NO_VECTOR */
	bool enabled;
	uint64_t desc, avail, used;	/* guest-physical */
	int kick, call;			/* eventfds, owned; exist from set-up on */
};

/* What is behind the registers (vhost_user_device.c). */
struct virtio_backend_ops {
	/* The driver wrote DRIVER_OK. Begins to start; returns at once. */
	void (*start)(struct virtio_dev *d);
	/* The driver wrote 0 (or the machine resets). Begins to stop; virtio_reset_done follows, now
	 * or later, when no one touches the rings any more. */
	void (*stop)(struct virtio_dev *d);
	/* The driver wrote config bytes [off, off + len); d->config already holds them. May be NULL. */
	void (*config_write)(struct virtio_dev *d, unsigned off, unsigned len);
};

/* What the transport does for the device. */
struct virtio_transport_ops {
	/* Loop. Joins kick to the doorbell and call to the interrupt of every enabled queue. 0 or -errno with @e. */
	int (*connect)(struct virtio_dev *d, struct err *e);
	/* Loop. Undoes it. */
	void (*disconnect)(struct virtio_dev *d);
	/* Any thread. Configuration change interrupt. */
	void (*config_interrupt)(struct virtio_dev *d);
	/* Any thread. The reset the driver asked for is complete. */
	void (*reset_done)(struct virtio_dev *d);
};

struct virtio_dev {
	const char *name;		/* borrowed: the device's id */
	uint16_t id;			/* virtio device id */
	struct machine *machine;
	const struct virtio_backend_ops *backend;
	void *backend_arg;
	const struct virtio_transport_ops *transport;
	void *transport_arg;

	uint64_t offered;		/* features, VIRTIO_F_VERSION_1 always among them */
	uint64_t acked;			/* latched at FEATURES_OK */
	uint8_t status;
	bool resetting;			/* 0 was written, the backend has not finished */
	uint32_t generation;		/* of the config space */
	unsigned n_queues;
	struct virtio_queue queues[VIRTIO_QUEUES_MAX];
	unsigned config_size;
	uint8_t config[VIRTIO_CONFIG_MAX];
	struct misuse misuse;		/* accesses the driver has no right to */
};

/* Set-up: dead values; creates the eventfds of @n_queues queues of at most @queue_size. 0 or -errno with @e. */
int virtio_init(struct virtio_dev *d, const char *name, uint16_t id, unsigned n_queues,
		uint16_t queue_size, unsigned config_size, struct machine *m, struct err *e);
void virtio_fini(struct virtio_dev *d);

/* Driver's side, called by the transport. */
void virtio_set_features(struct virtio_dev *d, uint64_t features);	/* ignored after FEATURES_OK */
void virtio_set_status(struct virtio_dev *d, uint8_t status);
/* What the status register reads: non-zero until a reset is complete. */
uint8_t virtio_get_status(const struct virtio_dev *d);
uint64_t virtio_config_read(struct virtio_dev *d, uint64_t off, unsigned size);
void virtio_config_write(struct virtio_dev *d, uint64_t off, unsigned size, uint64_t value);
/* Whether queue registers of @q may be written now. */
bool virtio_queue_writable(const struct virtio_dev *d, const struct virtio_queue *q);
/* Enables a queue after checking size (power of two, at most max_size) and addresses (aligned, in RAM). A bad one
 * stays disabled and the device needs a reset. */
void virtio_queue_enable(struct virtio_dev *d, unsigned index);

/* Backend's side. */
void virtio_reset_done(struct virtio_dev *d);		/* the stop is complete: everything as after power on */
void virtio_needs_reset(struct virtio_dev *d, const char *why);	/* DEVICE_NEEDS_RESET + config interrupt, logged once */
void virtio_config_changed(struct virtio_dev *d);	/* new bytes are in d->config: generation + interrupt */

#endif
