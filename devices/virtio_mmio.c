/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio_mmio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include <linux/virtio_mmio.h>

#include "base/fd.h"
#include "base/range.h"

enum { MAGIC = 0x74726976, VERSION = 2, VENDOR = 0x4d564d4d /* "MMVM" */ };

uint64_t virtio_mmio_address(unsigned n)
{
	return VIRTIO_MMIO_BASE + (uint64_t)n * VIRTIO_MMIO_SIZE;
}

unsigned virtio_mmio_gsi(unsigned n)
{
	return VIRTIO_MMIO_GSI_FIRST + n % VIRTIO_MMIO_GSI_COUNT;
}

/* Doorbells */

static struct machine_doorbell transport_doorbell(const struct virtio_dev *d, unsigned queue)
{
	const struct virtio_mmio *t = d->transport_arg;

	return (struct machine_doorbell){ .addr = t->range.base + VIRTIO_MMIO_QUEUE_NOTIFY,
					  .one_value = true,
					  .value = queue };
}

/* The pin */

static const struct virtio_mmio *same_pin(const struct virtio_mmio *t)
{
	const struct virtio_mmio *other = t->machine->mmio_last;

	while (other && other->gsi != t->gsi)
		other = other->before;
	return other;
}

/* Set-up. The pin's eventfd, with its irqfd, becomes the call of every queue. */
static int join_pin(struct virtio_mmio *t, struct virtio_dev *d, struct err *e)
{
	const struct virtio_mmio *other = same_pin(t);
	struct machine *m = t->machine;
	int r;

	t->call = other ? fcntl(other->call, F_DUPFD_CLOEXEC, 0) : fd_eventfd();
	if (t->call < 0) {
		r = other ? -errno : t->call;
		return err_set(e, r, "device %s: no eventfd: %s (see ulimit -n)", d->name,
			       strerror(-r));
	}
	r = other ? 0 : m->ops->irqfd_add(m->ctx, t->gsi, t->call, -1);
	if (r)
		return err_set(e, r, "device %s: no irqfd: %s", d->name, strerror(-r));
	for (unsigned i = 0; i < d->n_queues; i++) {
		if (dup3(t->call, d->queues[i].call, O_CLOEXEC) < 0)
			return err_sys(e, "device %s: queue %u has no eventfd", d->name, i);
	}
	return 0;
}

static void leave(struct virtio_mmio *t)
{
	struct virtio_mmio **p = &t->machine->mmio_last;

	while (*p && *p != t)
		p = &(*p)->before;
	if (*p)
		*p = t->before;
}

/* Transport operations */

static void transport_disconnect(struct virtio_dev *d)
{
	struct virtio_mmio *t = d->transport_arg;

	t->connected = false;
	virtio_del_doorbells(d);
}

static int transport_connect(struct virtio_dev *d, struct err *e)
{
	struct virtio_mmio *t = d->transport_arg;

	(void)e;
	t->connected = true;
	virtio_add_doorbells(d, &t->refused);
	return 0;
}

static void transport_config_interrupt(struct virtio_dev *d)
{
	struct virtio_mmio *t = d->transport_arg;

	t->config_changed = true;
	loop_signal(t->machine->loop, t->call);
}

static void power_on(struct virtio_mmio *t)
{
	t->device_features_sel = t->driver_features_sel = t->queue_sel = t->shm_sel = 0;
	t->config_changed = false;
}

static void transport_reset_done(struct virtio_dev *d)
{
	struct virtio_mmio *t = d->transport_arg;

	power_on(t);
	machine_wake(t->machine);
}

static void transport_reset(struct virtio_dev *d)
{
	power_on(d->transport_arg);
}

/* The irqfd ends with the last copy of its eventfd, which does not take milliseconds. */
static void transport_fini(struct virtio_dev *d)
{
	struct virtio_mmio *t = d->transport_arg;

	if (!t->virtio)
		return;
	virtio_del_doorbells(d);
	leave(t);
	bus_del(&t->machine->mmio, &t->range);
	fd_close(&t->call);
	t->virtio = NULL;
}

static const struct virtio_transport_ops transport_ops = {
	.connect = transport_connect,
	.disconnect = transport_disconnect,
	.doorbell = transport_doorbell,
	.config_interrupt = transport_config_interrupt,
	.reset_done = transport_reset_done,
	.reset = transport_reset,
	.fini = transport_fini,
};

/* Registers (4.2.2), of 32 bits each */

static uint32_t interrupt_status(const struct virtio_mmio *t)
{
	return (t->connected ? VIRTIO_MMIO_INT_VRING : 0) |
	       (t->config_changed ? VIRTIO_MMIO_INT_CONFIG : 0);
}

/* Of a region that is not there length and base are all ones. */
static uint32_t shm_read(const struct virtio_mmio *t, uint64_t off)
{
	const struct shmem *s = t->virtio->shmem;
	const struct shmem_region *r = s ? shmem_find(s, t->shm_sel) : NULL;
	uint64_t len = r ? r->size : UINT64_MAX;
	uint64_t base = r ? s->window.window.gpa + r->offset : UINT64_MAX;

	switch (off) {
	case VIRTIO_MMIO_SHM_LEN_LOW:
		return (uint32_t)len;
	case VIRTIO_MMIO_SHM_LEN_HIGH:
		return (uint32_t)(len >> 32);
	case VIRTIO_MMIO_SHM_BASE_LOW:
		return (uint32_t)base;
	}
	return (uint32_t)(base >> 32);
}

static uint32_t reg_read(const struct virtio_mmio *t, uint64_t off)
{
	struct virtio_dev *d = t->virtio;
	const struct virtio_queue *q = virtio_queue_at(d, t->queue_sel);

	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return d->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_features_half(d->offered, t->device_features_sel);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q ? q->max_size : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return q && q->enabled;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return interrupt_status(t);
	case VIRTIO_MMIO_STATUS:
		return virtio_get_status(d);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return d->generation;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return shm_read(t, off);
	}
	return 0;
}

static void set_half(uint64_t *field, bool high, uint32_t value)
{
	unsigned shift = high ? 32 : 0;

	*field = (*field & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

static void queue_reg_write(struct virtio_mmio *t, uint64_t off, uint32_t value)
{
	struct virtio_queue *q = virtio_queue_at(t->virtio, t->queue_sel);

	if (!q)
		return;
	if (off == VIRTIO_MMIO_QUEUE_READY && !value) {
		virtio_queue_disable(t->virtio, t->queue_sel);
		return;
	}
	if (!virtio_queue_writable(t->virtio, q))
		return;
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NUM:
		q->size = (uint16_t)min_u64(value, UINT16_MAX);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		virtio_queue_enable(t->virtio, t->queue_sel);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&q->desc, off == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&q->avail, off == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&q->used, off == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	}
}

static bool is_not_resetting(void *arg)
{
	return !((struct virtio_dev *)arg)->resetting;
}

static void status_write(struct virtio_mmio *t, uint32_t value)
{
	struct virtio_dev *d = t->virtio;

	/* Only 0 resets: what sets none of the eight bits says nothing. */
	if (value && !(value & UINT8_MAX))
		return;
	virtio_set_status(d, (uint8_t)value);
	if (d->resetting)
		machine_wait_until(t->machine, is_not_resetting, d, NULL);
}

static void reg_write(struct virtio_mmio *t, uint64_t off, uint32_t value)
{
	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		t->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		t->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_set_features_half(t->virtio, t->driver_features_sel, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		t->queue_sel = value;
		break;
	case VIRTIO_MMIO_SHM_SEL:
		t->shm_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		virtio_queue_kick(t->virtio, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		if (value & VIRTIO_MMIO_INT_CONFIG)
			t->config_changed = false;
		break;
	case VIRTIO_MMIO_STATUS:
		status_write(t, value);
		break;
	default:
		queue_reg_write(t, off, value);
	}
}

/* 4.2.2.2: registers are accessed by 32 bits, aligned; the device's config space in any way. */
static bool is_register(struct virtio_mmio *t, uint64_t off, unsigned size)
{
	if (size == 4 && off % 4 == 0)
		return true;
	if (misuse_first(&t->misshapen))
		log_warn("device %s: the driver accessed %u bytes of the register at %#llx: ignored",
			 t->virtio->name, size, (unsigned long long)off);
	return false;
}

static uint64_t mmio_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_mmio *t = dev;

	if (off >= VIRTIO_MMIO_CONFIG)
		return virtio_config_read(t->virtio, off - VIRTIO_MMIO_CONFIG, size);
	return is_register(t, off, size) ? reg_read(t, off) : 0;
}

static void mmio_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct virtio_mmio *t = dev;

	if (off >= VIRTIO_MMIO_CONFIG)
		virtio_config_write(t->virtio, off - VIRTIO_MMIO_CONFIG, size, value);
	else if (is_register(t, off, size))
		reg_write(t, off, (uint32_t)value);
}

static const struct bus_ops mmio_ops = { mmio_read, mmio_write };

/* Set-up */

/* A place for good; the guest moves nothing here. */
static int place_window(struct machine *m, struct shmem *s, struct err *e)
{
	uint64_t size = shmem_size(s), at = align_up(VIRTIO_MMIO_WINDOWS + m->mmio_windows, size);

	if (at > VIRTIO_MMIO_WINDOWS_END || size > VIRTIO_MMIO_WINDOWS_END - at)
		return err_set(e, -ENOSPC, "device %s: there is no room left for its shared memory"
			       " regions: use transport=pci for some", s->window.params.name);
	guest_window_move(&s->window, at);
	if (s->window.window.gpa != at)
		return err_set(e, -ENXIO, "device %s: its shared memory regions cannot be at 0x%"
			       PRIx64, s->window.params.name, at);
	m->mmio_windows = at + size - VIRTIO_MMIO_WINDOWS;
	return 0;
}

int virtio_mmio_init(struct virtio_mmio *t, struct virtio_dev *d, struct err *e)
{
	struct machine *m = d->machine;
	unsigned n = m->mmio_devices;
	int r;

	*t = (struct virtio_mmio){ .machine = m, .gsi = virtio_mmio_gsi(n), .call = -1 };
	d->transport = &transport_ops;
	d->transport_arg = t;
	t->range = (struct bus_range){ .base = virtio_mmio_address(n), .len = VIRTIO_MMIO_SIZE,
				       .ops = &mmio_ops, .dev = t, .name = d->name };
	r = join_pin(t, d, e);
	if (!r && d->shmem)
		r = place_window(m, d->shmem, e);
	if (!r)
		r = bus_add(&m->mmio, &t->range, e);
	if (r) {
		fd_close(&t->call);
		return r;
	}
	t->virtio = d;
	t->before = m->mmio_last;
	m->mmio_last = t;
	m->mmio_devices++;
	return 0;
}
