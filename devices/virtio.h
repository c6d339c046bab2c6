/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio device as a driver sees it, without its transport: features, status, queues, config
 * (VIRTIO 1.3, chapter 2). The VMM never touches a ring; it latches what the driver says about one
 * and hands it on.
 *
 * Queue registers are latched when the queue is enabled and unwritable after; nothing about a queue
 * changes after DRIVER_OK. Runs under the device lock: in a vCPU's exit unless it says "loop".
 */
#ifndef DEVICES_VIRTIO_H
#define DEVICES_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_config.h>

#include "base/log.h"
#include "devices/machine.h"
#include "devices/shmem.h"

enum { VIRTIO_QUEUES_MAX = 64, VIRTIO_CONFIG_MAX = 256, VIRTIO_NO_VECTOR = 0xffff };

/* Bit numbers that older kernel headers do not have (VIRTIO 1.3, 6). */
#ifndef VIRTIO_F_NOTIFICATION_DATA
#define VIRTIO_F_NOTIFICATION_DATA 38
#endif
#ifndef VIRTIO_F_NOTIF_CONFIG_DATA
#define VIRTIO_F_NOTIF_CONFIG_DATA 39
#endif
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif
#ifndef VIRTIO_F_ADMIN_VQ
#define VIRTIO_F_ADMIN_VQ 41
#endif

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
	/* The driver wrote 0 (or the machine resets) after a start. Begins to stop;
	 * virtio_reset_done follows, now or later, when no one touches the rings any more. */
	void (*stop)(struct virtio_dev *d);
	/* The driver wrote config bytes [off, off + len); d->config holds them. May be NULL. */
	void (*config_write)(struct virtio_dev *d, unsigned off, unsigned len);
	/* The driver reads @size bytes of config at @off: the last moment to bring d->config up to
	 * date. May be NULL. */
	void (*config_reading)(struct virtio_dev *d, uint64_t off, unsigned size);
};

/* What the transport does for the device. */
struct virtio_transport_ops {
	/* Loop. Joins kick to the doorbell and call to the interrupt of every enabled queue. 0 or
	 * -errno with @e, and then nothing is joined. */
	int (*connect)(struct virtio_dev *d, struct err *e);
	/* Loop. Undoes it; harmless when not connected. */
	void (*disconnect)(struct virtio_dev *d);
	/* Loop. Where queue @queue is rung, between virtio_add_doorbells and _del_. */
	struct machine_doorbell (*doorbell)(const struct virtio_dev *d, unsigned queue);
	/* Any thread. Configuration change interrupt. */
	void (*config_interrupt)(struct virtio_dev *d);
	/* Any thread. The reset the driver asked for is complete. */
	void (*reset_done)(struct virtio_dev *d);
	/* Loop. The machine's own reset, after that of the device is complete. */
	void (*reset)(struct virtio_dev *d);
	/* Loop. Disconnects and leaves its bus. Works after an init that failed, twice. */
	void (*fini)(struct virtio_dev *d);
};

/* The bytes of config space that the driver may write; len 0: none. */
struct virtio_config_window {
	uint16_t off, len;
	uint64_t needs;			/* mask of features that the driver must have acked */
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
	uint64_t acked;			/* what the driver wrote; unwritable from FEATURES_OK on */
	uint8_t status;
	bool live;			/* the backend was told to start and not yet stopped */
	bool resetting;			/* 0 was written, the backend has not finished */
	uint32_t generation;		/* of the config space */
	unsigned n_queues;
	struct virtio_queue queues[VIRTIO_QUEUES_MAX];
	uint64_t doorbells;		/* mask of queues whose doorbell is an ioeventfd */
	unsigned config_size;
	uint8_t config[VIRTIO_CONFIG_MAX];
	bool read_now;			/* the read under way cannot have its value later */
	struct virtio_config_window config_window;
	struct shmem *shmem;		/* borrowed: for the transport to show; NULL: none */
	struct misuse misuse;		/* what the driver has no right to do */
	struct misuse broken;		/* times the device came to need a reset */
};

/* Set-up: dead values; creates the eventfds of @n_queues queues of at most @queue_size. @name and
 * @m are borrowed until virtio_fini. The caller then sets backend, offered, config, config_window;
 * the transport's init sets transport. 0 or -errno with @e. */
int virtio_init(struct virtio_dev *d, const char *name, uint16_t id, unsigned n_queues,
		uint16_t queue_size, unsigned config_size, struct machine *m, struct err *e);
/* Closes the eventfds. The backend is stopped and the transport disconnected by then. Works on a
 * zeroed struct, twice. */
void virtio_fini(struct virtio_dev *d);

/* Driver's side, called by the transport. */

/* Half @select of a 64-bit feature word; there are two, and the others are 0. */
uint32_t virtio_features_half(uint64_t features, uint32_t select);
/* Half @select of the driver's features; ignored after FEATURES_OK and while a reset is under
 * way. */
void virtio_set_features_half(struct virtio_dev *d, uint32_t select, uint32_t value);
/* The status register (2.1): 0 resets; a write that clears a bit is ignored; FEATURES_OK stays
 * clear when the features are not a subset of the offered ones with VERSION_1 among them. */
void virtio_set_status(struct virtio_dev *d, uint8_t status);
/* What the status register reads: non-zero until a reset is complete. */
uint8_t virtio_get_status(const struct virtio_dev *d);
/* Config space: any offset, size 1, 2, 4 or 8. Bytes behind its end read 0 and are not written. */
uint64_t virtio_config_read(struct virtio_dev *d, uint64_t off, unsigned size);
/* What such a read gives of d->config as it is. */
uint64_t virtio_config_bytes(const struct virtio_dev *d, uint64_t off, unsigned size);
void virtio_config_write(struct virtio_dev *d, uint64_t off, unsigned size, uint64_t value);
/* Queue @index, or NULL when there is none. */
struct virtio_queue *virtio_queue_at(struct virtio_dev *d, unsigned index);
/* Whether size and addresses of @q may be written now: not enabled, no DRIVER_OK, no reset. */
bool virtio_queue_writable(const struct virtio_dev *d, const struct virtio_queue *q);
/* Whether the vector of a queue may be written now: until DRIVER_OK, enabled or not. */
bool virtio_vector_writable(const struct virtio_dev *d);
/* Enables a queue after checking size (at most max_size; a power of two unless the ring is packed)
 * and addresses (aligned, in RAM). A bad one stays disabled and the device needs a reset. */
void virtio_queue_enable(struct virtio_dev *d, unsigned index);
/* Takes that back, until DRIVER_OK; later only a reset does. */
void virtio_queue_disable(struct virtio_dev *d, unsigned index);
/* A doorbell that reached the VMM: signals the kick of queue @index when it is enabled. */
void virtio_queue_kick(struct virtio_dev *d, unsigned index);
/* Loop. Makes ioeventfds of the enabled queues' doorbells. Without its own a doorbell still works,
 * by virtio_queue_kick: an error is only logged, the first time by @refused. */
void virtio_add_doorbells(struct virtio_dev *d, struct misuse *refused);
/* Loop. Undoes it; harmless when there are none. */
void virtio_del_doorbells(struct virtio_dev *d);
/* The same as writing 0 to the status register; for the machine's own reset. */
void virtio_reset(struct virtio_dev *d);

/* Backend's side. */

/* The stop is complete: everything as after power on, but for config and its generation. The
 * transport is disconnected by then. */
void virtio_reset_done(struct virtio_dev *d);
/* DEVICE_NEEDS_RESET, and after DRIVER_OK a config interrupt (2.1.2). @what the driver did
 * ("enabled a queue ...") is logged the first time; NULL when it is no fault of the driver's. */
void virtio_needs_reset(struct virtio_dev *d, const char *what);
/* New bytes are in d->config: generation and, after DRIVER_OK, interrupt. */
void virtio_config_changed(struct virtio_dev *d);

#endif
