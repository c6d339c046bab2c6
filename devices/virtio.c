/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/range.h"

enum {
	STATUS_DRIVERS = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK |
			 VIRTIO_CONFIG_S_FAILED,	/* bits that the driver sets */
};

static void queue_init(struct virtio_queue *q, uint16_t max_size)
{
	*q = (struct virtio_queue){
		.max_size = max_size, .size = max_size, .vector = VIRTIO_NO_VECTOR,
		.kick = -1, .call = -1
	};
}

int virtio_init(struct virtio_dev *d, const char *name, uint16_t id, unsigned n_queues,
		uint16_t queue_size, unsigned config_size, struct machine *m, struct err *e)
{
	assert(n_queues <= VIRTIO_QUEUES_MAX && config_size <= VIRTIO_CONFIG_MAX);
	*d = (struct virtio_dev){
		.name = name, .id = id, .machine = m, .n_queues = n_queues,
		.config_size = config_size
	};
	for (unsigned i = 0; i < n_queues; i++)
		queue_init(&d->queues[i], queue_size);

	for (unsigned i = 0; i < n_queues; i++) {
		struct virtio_queue *q = &d->queues[i];

		q->kick = fd_eventfd();
		q->call = q->kick < 0 ? q->kick : fd_eventfd();
		if (q->call < 0) {
			int r = q->call;

			virtio_fini(d);
			return err_set(e, r, "device %s: no eventfd for queue %u: %s (see ulimit -n)",
				       name, i, strerror(-r));
		}
	}
	return 0;
}

void virtio_fini(struct virtio_dev *d)
{
	for (unsigned i = 0; i < d->n_queues; i++) {
		fd_close(&d->queues[i].kick);
		fd_close(&d->queues[i].call);
	}
	d->n_queues = 0;
}

static void misused(struct virtio_dev *d, const char *what)
{
	if (misuse_first(&d->misuse))
		log_warn("device %s: the driver %s: ignored", d->name, what);
}

uint32_t virtio_features_half(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

void virtio_set_features_half(struct virtio_dev *d, uint32_t select, uint32_t value)
{
	unsigned shift = 32 * select;

	if (select > 1 || d->resetting || d->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	d->acked = (d->acked & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

static bool features_valid(const struct virtio_dev *d)
{
	return !(d->acked & ~d->offered) && d->acked & BIT64(VIRTIO_F_VERSION_1);
}

/* Drops the bits of @value that may not be set yet. */
static uint8_t status_allowed(struct virtio_dev *d, uint8_t value)
{
	uint8_t gained = value & ~d->status;

	if (gained & VIRTIO_CONFIG_S_FEATURES_OK && !features_valid(d)) {
		misused(d, "acked features that were not offered, or not VIRTIO_F_VERSION_1");
		value &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	if (gained & VIRTIO_CONFIG_S_DRIVER_OK && !(value & VIRTIO_CONFIG_S_FEATURES_OK)) {
		misused(d, "set DRIVER_OK without FEATURES_OK");
		value &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	}
	return value;
}

void virtio_set_status(struct virtio_dev *d, uint8_t status)
{
	uint8_t value, gained;

	if (d->resetting)
		return;
	if (!status) {
		virtio_reset(d);
		return;
	}
	/* NEEDS_RESET is the device's: a driver that did not see it yet does not clear it. */
	value = (status & STATUS_DRIVERS) | (d->status & VIRTIO_CONFIG_S_NEEDS_RESET);
	if (d->status & ~value) {
		misused(d, "cleared a status bit (VIRTIO 1.3, 2.1.1)");
		return;
	}
	value = status_allowed(d, value);
	gained = value & ~d->status;
	d->status = value;
	if (gained & VIRTIO_CONFIG_S_DRIVER_OK && !(value & VIRTIO_CONFIG_S_NEEDS_RESET)) {
		d->live = true;
		d->backend->start(d);
	}
}

uint8_t virtio_get_status(const struct virtio_dev *d)
{
	/* 0 written to a live device changes nothing here before the reset is done. */
	return d->status;
}

void virtio_reset(struct virtio_dev *d)
{
	if (d->resetting)
		return;
	if (!d->live) {
		virtio_reset_done(d);
		return;
	}
	d->resetting = true;
	d->backend->stop(d);
}

void virtio_reset_done(struct virtio_dev *d)
{
	bool was_live = d->live;

	d->status = 0;
	d->acked = 0;
	d->live = d->resetting = false;
	for (unsigned i = 0; i < d->n_queues; i++) {
		struct virtio_queue *q = &d->queues[i];
		int kick = q->kick, call = q->call;

		queue_init(q, q->max_size);
		q->kick = kick;
		q->call = call;
		/* A kick or a call of the old life must not reach the new one. A device that had no
		 * life is reset on the vCPU itself, which may not read. */
		if (was_live) {
			fd_drain_shared(kick);
			fd_drain_shared(call);
		}
	}
	d->transport->reset_done(d);
}

uint64_t virtio_config_bytes(const struct virtio_dev *d, uint64_t off, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++) {
		if (range_ok(off, i + 1, d->config_size))
			value |= (uint64_t)d->config[off + i] << (8 * i);
	}
	return value;
}

uint64_t virtio_config_read(struct virtio_dev *d, uint64_t off, unsigned size)
{
	if (d->backend->config_reading)
		d->backend->config_reading(d, off, size);
	return virtio_config_bytes(d, off, size);
}

static bool config_writable(const struct virtio_dev *d)
{
	const struct virtio_config_window *w = &d->config_window;

	return w->len && !d->resetting && d->status & VIRTIO_CONFIG_S_FEATURES_OK &&
	       (d->acked & w->needs) == w->needs;
}

void virtio_config_write(struct virtio_dev *d, uint64_t off, unsigned size, uint64_t value)
{
	const struct virtio_config_window *w = &d->config_window;
	unsigned first = VIRTIO_CONFIG_MAX, len = 0;

	if (!config_writable(d))
		return;
	for (unsigned i = 0; i < size; i++) {
		if (!range_ok(off, i + 1, d->config_size) || off + i < w->off ||
		    off + i >= (unsigned)w->off + w->len)
			continue;
		d->config[off + i] = (uint8_t)(value >> (8 * i));
		if (!len++)
			first = (unsigned)off + i;
	}
	if (len && d->backend->config_write)
		d->backend->config_write(d, first, len);
}

struct virtio_queue *virtio_queue_at(struct virtio_dev *d, unsigned index)
{
	return index < d->n_queues ? &d->queues[index] : NULL;
}

bool virtio_vector_writable(const struct virtio_dev *d)
{
	return !d->resetting && !(d->status & VIRTIO_CONFIG_S_DRIVER_OK);
}

bool virtio_queue_writable(const struct virtio_dev *d, const struct virtio_queue *q)
{
	return !q->enabled && virtio_vector_writable(d);
}

/* Whether the @len bytes at @gpa are aligned and in RAM. The pointer is only compared: reading RAM
 * through it is forbidden once the guest runs. */
static bool ring_part_ok(const struct virtio_dev *d, uint64_t gpa, uint64_t len, uint64_t align)
{
	return gpa % align == 0 && mem_ptr(d->machine->mem, gpa, len);
}

/* What is wrong with the queue, or NULL. Sizes and alignments: VIRTIO 1.3, 2.7 and 2.8. */
static const char *queue_fault(const struct virtio_dev *d, const struct virtio_queue *q)
{
	bool packed = d->acked & BIT64(VIRTIO_F_RING_PACKED);
	uint64_t n = q->size;

	if (!n || n > q->max_size || (!packed && !is_pow2(n)))
		return "enabled a queue whose size is not a power of two within the maximum";
	/* Address 0 means "no queue" to daemons, which would leave it dead without a word. */
	if (!q->desc || !ring_part_ok(d, q->desc, 16 * n, 16))
		return "enabled a queue whose descriptors are at 0, not aligned or not in RAM";
	if (!ring_part_ok(d, q->avail, packed ? 4 : 6 + 2 * n, packed ? 4 : 2))
		return "enabled a queue whose driver area is not aligned or not in RAM";
	if (!ring_part_ok(d, q->used, packed ? 4 : 6 + 8 * n, 4))
		return "enabled a queue whose device area is not aligned or not in RAM";
	return NULL;
}

void virtio_queue_enable(struct virtio_dev *d, unsigned index)
{
	struct virtio_queue *q = virtio_queue_at(d, index);
	const char *fault;

	if (!q || !virtio_queue_writable(d, q))
		return;
	fault = queue_fault(d, q);
	if (fault) {
		virtio_needs_reset(d, fault);
		return;
	}
	q->enabled = true;
}

void virtio_queue_disable(struct virtio_dev *d, unsigned index)
{
	struct virtio_queue *q = virtio_queue_at(d, index);

	if (q && virtio_vector_writable(d))
		q->enabled = false;
}

void virtio_queue_kick(struct virtio_dev *d, unsigned index)
{
	const struct virtio_queue *q = virtio_queue_at(d, index);

	if (q && q->enabled && !d->resetting)
		loop_signal(d->machine->loop, q->kick);
}

void virtio_add_doorbells(struct virtio_dev *d, struct misuse *refused)
{
	const struct machine *m = d->machine;

	for (unsigned i = 0; i < d->n_queues; i++) {
		struct machine_doorbell bell = d->transport->doorbell(d, i);
		int r;

		if (!d->queues[i].enabled)
			continue;
		r = m->ops->ioeventfd_add(m->ctx, &bell, d->queues[i].kick);
		if (!r)
			d->doorbells |= BIT64(i);
		else if (misuse_first(refused))
			log_warn("device %s: no ioeventfd for queue %u: %s: its doorbell is slower",
				 d->name, i, strerror(-r));
	}
}

void virtio_del_doorbells(struct virtio_dev *d)
{
	const struct machine *m = d->machine;

	for (unsigned i = 0; i < d->n_queues; i++) {
		struct machine_doorbell bell = d->transport->doorbell(d, i);

		if (d->doorbells & BIT64(i))
			m->ops->ioeventfd_del(m->ctx, &bell, d->queues[i].kick);
	}
	d->doorbells = 0;
}

void virtio_needs_reset(struct virtio_dev *d, const char *what)
{
	if (d->resetting || d->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	if (misuse_first(&d->broken) && what)
		log_warn("device %s: the driver %s: the device does nothing until it is reset",
			 d->name, what);
	d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK)
		d->transport->config_interrupt(d);
}

void virtio_config_changed(struct virtio_dev *d)
{
	d->generation++;
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK && !d->resetting)
		d->transport->config_interrupt(d);
}
