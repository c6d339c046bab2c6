/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio_pci.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "base/range.h"

enum {
	VENDOR = 0x1af4, DEVICE_BASE = 0x1040, REVISION = 1,
	ISR_QUEUE = 1, ISR_CONFIG = 2,
	CAP_SIZE = sizeof(struct virtio_pci_cap),
	CAP_CFG_DATA = CAP_SIZE,	/* of PCI_CFG: the window */
	CAP_ID = 5,			/* of a region; <linux> may not know it yet */
	CAP64_SIZE = CAP_SIZE + 8,
};

/* Interrupts */

static void intx_update(struct virtio_pci *p)
{
	pci_dev_intx(&p->pci, p->isr && !msix_enabled(&p->msix));
}

/* Loop: a daemon signalled a queue, and there is no MSI-X. */
static void called(void *arg, uint32_t events)
{
	struct virtio_pci_call *c = arg;

	(void)events;
	fd_drain_shared(c->watch.fd);
	c->p->isr |= ISR_QUEUE;
	intx_update(c->p);
}

static void unwatch_calls(struct virtio_pci *p)
{
	for (unsigned i = 0; i < p->virtio->n_queues; i++)
		loop_unwatch(p->machine->loop, &p->calls[i].watch);
}

static int watch_calls(struct virtio_pci *p, struct err *e)
{
	for (unsigned i = 0; i < p->virtio->n_queues; i++) {
		struct virtio_pci_call *c = &p->calls[i];
		int r;

		if (!p->virtio->queues[i].enabled)
			continue;
		c->p = p;
		c->watch = (struct loop_watch){ .fd = p->virtio->queues[i].call, .events = EPOLLIN,
						.ready = called, .arg = c };
		r = loop_watch(p->machine->loop, &c->watch, e);
		if (r) {
			c->watch.fd = -1;
			unwatch_calls(p);
			return r;
		}
	}
	return 0;
}

static void disconnect_vectors(struct virtio_pci *p)
{
	for (unsigned i = 0; i < p->virtio->n_queues; i++) {
		const struct virtio_queue *q = &p->virtio->queues[i];

		if (q->enabled)
			msix_disconnect(&p->msix, q->vector, q->call);
	}
}

static int connect_vectors(struct virtio_pci *p, struct err *e)
{
	for (unsigned i = 0; i < p->virtio->n_queues; i++) {
		const struct virtio_queue *q = &p->virtio->queues[i];
		int r = q->enabled ? msix_connect(&p->msix, q->vector, q->call, e) : 0;

		if (r) {
			disconnect_vectors(p);
			return r;
		}
	}
	return 0;
}

static enum virtio_pci_join join_wanted(const struct virtio_pci *p)
{
	if (!p->connected)
		return VIRTIO_PCI_APART;
	return msix_enabled(&p->msix) ? VIRTIO_PCI_MSIX : VIRTIO_PCI_INTX;
}

/* Loop. */
static int sync_interrupts(struct virtio_pci *p, struct err *e)
{
	enum virtio_pci_join want = join_wanted(p);
	int r = 0;

	if (p->joined == want)
		return 0;
	if (p->joined == VIRTIO_PCI_INTX)
		unwatch_calls(p);
	else if (p->joined == VIRTIO_PCI_MSIX)
		disconnect_vectors(p);
	if (want == VIRTIO_PCI_INTX)
		r = watch_calls(p, e);
	else if (want == VIRTIO_PCI_MSIX)
		r = connect_vectors(p, e);
	p->joined = r ? VIRTIO_PCI_APART : want;
	return r;
}

/* Doorbells */

static uint64_t doorbells_wanted(const struct virtio_pci *p)
{
	return p->connected ? p->pci.bars[VIRTIO_PCI_BAR].addr : PCI_UNMAPPED;
}

static struct machine_doorbell transport_doorbell(const struct virtio_dev *d, unsigned queue)
{
	const struct virtio_pci *p = d->transport_arg;

	return (struct machine_doorbell){ .addr = p->doorbells_at + VIRTIO_PCI_NOTIFY +
						  queue * VIRTIO_PCI_NOTIFY_STRIDE };
}

/* Loop. */
static void sync_doorbells(struct virtio_pci *p)
{
	uint64_t want = doorbells_wanted(p);

	if (p->doorbells_at == want)
		return;
	virtio_del_doorbells(p->virtio);
	p->doorbells_at = want;
	if (want != PCI_UNMAPPED)
		virtio_add_doorbells(p->virtio, &p->refused);
}

/* Loop. What the guest moved after DRIVER_OK. */
static void sync_run(void *arg)
{
	struct virtio_pci *p = arg;
	struct err e;

	sync_doorbells(p);
	if (sync_interrupts(p, &e)) {
		if (misuse_first(&p->refused))
			log_warn("device %s: %s", p->pci.name, e.msg);
		virtio_needs_reset(p->virtio, NULL);
	}
}

static void sync_if_needed(struct virtio_pci *p)
{
	if (p->joined != join_wanted(p) || p->doorbells_at != doorbells_wanted(p))
		machine_run_in_loop(p->machine, &p->sync);
}

/* Transport operations */

static void transport_disconnect(struct virtio_dev *d)
{
	struct virtio_pci *p = d->transport_arg;
	struct err e;

	p->connected = false;
	sync_doorbells(p);
	sync_interrupts(p, &e);		/* taking apart does not fail */
}

static int transport_connect(struct virtio_dev *d, struct err *e)
{
	struct virtio_pci *p = d->transport_arg;
	int r;

	p->connected = true;
	r = sync_interrupts(p, e);
	if (r) {
		transport_disconnect(d);
		return r;
	}
	sync_doorbells(p);
	return 0;
}

static void transport_config_interrupt(struct virtio_dev *d)
{
	struct virtio_pci *p = d->transport_arg;

	p->isr |= ISR_CONFIG;
	intx_update(p);
	msix_raise(&p->msix, p->config_vector);
}

static void power_on(struct virtio_pci *p)
{
	p->device_feature_select = p->driver_feature_select = 0;
	p->queue_select = 0;
	p->config_vector = VIRTIO_NO_VECTOR;
	p->isr = 0;
}

static void transport_reset_done(struct virtio_dev *d)
{
	struct virtio_pci *p = d->transport_arg;

	power_on(p);
	intx_update(p);
}

static void transport_fini(struct virtio_dev *d)
{
	struct virtio_pci *p = d->transport_arg;

	if (!p->virtio)
		return;
	/* The irqfds end when their eventfds are closed, which does not take milliseconds. */
	p->connected = false;
	unwatch_calls(p);
	p->joined = VIRTIO_PCI_APART;
	sync_doorbells(p);
	pci_dev_del(&p->pci);
	msix_fini(&p->msix);
	loop_cancel(p->machine->loop, &p->sync);
	p->virtio = NULL;
}

static void transport_reset(struct virtio_dev *d)
{
	struct virtio_pci *p = d->transport_arg;

	power_on(p);
	pci_dev_set(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_BAR, 1, VIRTIO_PCI_BAR);
	pci_dev_set(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_OFFSET, 4, 0);
	pci_dev_set(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_LENGTH, 4, 0);
	pci_dev_set(&p->pci, p->cfg_cap + CAP_CFG_DATA, 4, 0);
	pci_dev_reset(&p->pci);
	msix_reset(&p->msix);
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

/* The other parts of the BAR */

/* ISR status: VIRTIO 1.3, 4.1.4.5. Reading it acknowledges. */
static uint64_t isr_read(struct virtio_pci *p, uint64_t off, unsigned size)
{
	uint8_t isr = p->isr;

	(void)size;
	if (off > 0)
		return 0;
	p->isr = 0;
	intx_update(p);
	return isr;
}

static void isr_write(struct virtio_pci *p, uint64_t off, unsigned size, uint64_t value)
{
	(void)p, (void)off, (void)size, (void)value;
}

static uint64_t device_config_read(struct virtio_pci *p, uint64_t off, unsigned size)
{
	return virtio_config_read(p->virtio, off, size);
}

static void device_config_write(struct virtio_pci *p, uint64_t off, unsigned size, uint64_t value)
{
	virtio_config_write(p->virtio, off, size, value);
}

static uint64_t notify_read(struct virtio_pci *p, uint64_t off, unsigned size)
{
	(void)p, (void)off, (void)size;
	return 0;
}

/* The address says which queue: what is written is the driver's business. */
static void notify_write(struct virtio_pci *p, uint64_t off, unsigned size, uint64_t value)
{
	(void)size, (void)value;
	if (off % VIRTIO_PCI_NOTIFY_STRIDE == 0)
		virtio_queue_kick(p->virtio, (unsigned)(off / VIRTIO_PCI_NOTIFY_STRIDE));
}

/* The BAR */

static const struct bar_part {
	uint32_t off, len;	/* beside each other nothing is: no access reaches two */
	uint64_t (*read)(struct virtio_pci *p, uint64_t off, unsigned size);
	void (*write)(struct virtio_pci *p, uint64_t off, unsigned size, uint64_t value);
} bar_parts[] = {
	{ VIRTIO_PCI_COMMON, VIRTIO_PCI_COMMON_SIZE, virtio_pci_common_read,
	  virtio_pci_common_write },
	{ VIRTIO_PCI_ISR_OFF, 1, isr_read, isr_write },
	{ VIRTIO_PCI_DEVICE_CONFIG, VIRTIO_CONFIG_MAX, device_config_read, device_config_write },
	{ VIRTIO_PCI_NOTIFY, VIRTIO_QUEUES_MAX * VIRTIO_PCI_NOTIFY_STRIDE, notify_read,
	  notify_write },
};

static const struct bar_part *bar_part(uint64_t off)
{
	for (size_t i = 0; i < ARRAY_SIZE(bar_parts); i++) {
		if (range_ok(off - bar_parts[i].off, 1, bar_parts[i].len))
			return &bar_parts[i];
	}
	return NULL;
}

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	struct virtio_pci *p = dev;
	const struct bar_part *part = bar_part(off);
	uint64_t value = 0;

	if (part)
		return part->read(p, off - part->off, size);
	msix_read(&p->msix, off, size, &value);
	return value;
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct virtio_pci *p = dev;
	const struct bar_part *part = bar_part(off);

	if (part)
		part->write(p, off - part->off, size, value);
	else
		msix_write(&p->msix, off, size, value);
}

static const struct bus_ops bar_ops = { bar_read, bar_write };

static void bar_mapped(struct pci_dev *d, unsigned bar, uint64_t addr)
{
	struct virtio_pci *p = d->bars[bar].dev;

	(void)addr;
	sync_if_needed(p);
}

/* The PCI_CFG window: VIRTIO 1.3, 4.1.4.9 */

/* The access its fields describe; false when it is not one that the BAR takes. */
static bool cfg_access(const struct virtio_pci *p, uint32_t *ret_off, unsigned *ret_size)
{
	uint64_t bar = pci_dev_get(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_BAR, 1);
	uint64_t off = pci_dev_get(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_OFFSET, 4);
	uint64_t len = pci_dev_get(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_LENGTH, 4);

	if (bar != VIRTIO_PCI_BAR || (len != 1 && len != 2 && len != 4))
		return false;
	if (off % len || !range_ok(off, len, VIRTIO_PCI_BAR_SIZE))
		return false;
	*ret_off = (uint32_t)off;
	*ret_size = (unsigned)len;
	return true;
}

static bool in_cfg_data(const struct virtio_pci *p, unsigned off, unsigned len)
{
	return range_overlaps(off, len, p->cfg_cap + CAP_CFG_DATA, 4);
}

static void config_reading(struct pci_dev *d, unsigned off, unsigned len)
{
	struct virtio_pci *p = d->bars[VIRTIO_PCI_BAR].dev;
	uint32_t at;
	unsigned size;

	if (!in_cfg_data(p, off, len) || !cfg_access(p, &at, &size))
		return;
	p->virtio->read_now = true;
	pci_dev_set(d, p->cfg_cap + CAP_CFG_DATA, size, bar_read(p, at, size));
	p->virtio->read_now = false;
}

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct virtio_pci *p = d->bars[VIRTIO_PCI_BAR].dev;
	uint32_t at;
	unsigned size;

	msix_config_written(&p->msix, off, len);
	intx_update(p);
	sync_if_needed(p);
	if (in_cfg_data(p, off, len) && cfg_access(p, &at, &size))
		bar_write(p, at, size, pci_dev_get(d, p->cfg_cap + CAP_CFG_DATA, size));
}

/* Set-up */

/* Appends a virtio_pci_cap of @len bytes that points to @size bytes at @off of the BAR. */
static unsigned add_cap(struct virtio_pci *p, uint8_t type, unsigned len, uint32_t off,
			uint32_t size)
{
	unsigned cap = pci_dev_capability(&p->pci, PCI_CAP_ID_VNDR, len);

	pci_dev_set(&p->pci, cap + VIRTIO_PCI_CAP_LEN, 1, len);
	pci_dev_set(&p->pci, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1, type);
	pci_dev_set(&p->pci, cap + VIRTIO_PCI_CAP_BAR, 1, VIRTIO_PCI_BAR);
	pci_dev_set(&p->pci, cap + VIRTIO_PCI_CAP_OFFSET, 4, off);
	pci_dev_set(&p->pci, cap + VIRTIO_PCI_CAP_LENGTH, 4, size);
	return cap;
}

static void add_caps(struct virtio_pci *p)
{
	const struct virtio_dev *d = p->virtio;
	unsigned cap;

	add_cap(p, VIRTIO_PCI_CAP_COMMON_CFG, CAP_SIZE, VIRTIO_PCI_COMMON, VIRTIO_PCI_COMMON_SIZE);
	cap = add_cap(p, VIRTIO_PCI_CAP_NOTIFY_CFG, CAP_SIZE + 4, VIRTIO_PCI_NOTIFY,
		      d->n_queues * VIRTIO_PCI_NOTIFY_STRIDE);
	pci_dev_set(&p->pci, cap + CAP_SIZE, 4, VIRTIO_PCI_NOTIFY_STRIDE);
	add_cap(p, VIRTIO_PCI_CAP_ISR_CFG, CAP_SIZE, VIRTIO_PCI_ISR_OFF, 1);
	if (d->config_size)
		add_cap(p, VIRTIO_PCI_CAP_DEVICE_CFG, CAP_SIZE, VIRTIO_PCI_DEVICE_CONFIG,
			d->config_size);
	p->cfg_cap = add_cap(p, VIRTIO_PCI_CAP_PCI_CFG, CAP_SIZE + 4, 0, 0);
	p->pci.wmask[p->cfg_cap + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(&p->pci.wmask[p->cfg_cap + VIRTIO_PCI_CAP_OFFSET], 0xff, 4);
	memset(&p->pci.wmask[p->cfg_cap + VIRTIO_PCI_CAP_LENGTH], 0xff, 4);
	memset(&p->pci.wmask[p->cfg_cap + CAP_CFG_DATA], 0xff, 4);
}

static void window_mapped(struct pci_dev *pci, unsigned bar, uint64_t addr)
{
	struct shmem *s = pci->bars[bar].dev;

	guest_window_move(&s->window, addr == PCI_UNMAPPED ? GUEST_WINDOW_NOWHERE : addr);
}

/* virtio_pci_cap64: the upper halves of offset and length follow. */
static void add_region(struct virtio_pci *p, const struct shmem_region *r)
{
	unsigned cap = add_cap(p, VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, CAP64_SIZE, (uint32_t)r->offset,
			       (uint32_t)r->size);

	pci_dev_set(&p->pci, cap + VIRTIO_PCI_CAP_BAR, 1, VIRTIO_PCI_SHMEM_BAR);
	pci_dev_set(&p->pci, cap + CAP_ID, 1, r->id);
	pci_dev_set(&p->pci, cap + CAP_SIZE, 4, r->offset >> 32);
	pci_dev_set(&p->pci, cap + CAP_SIZE + 4, 4, r->size >> 32);
}

static int add_shmem(struct virtio_pci *p, struct shmem *s, struct err *e)
{
	if (s->count > VIRTIO_PCI_REGIONS_MAX)
		return err_set(e, -E2BIG, "device %s: it has %u shared memory regions, and PCI's"
			       " configuration space has room for %u: use transport=mmio",
			       p->virtio->name, s->count, VIRTIO_PCI_REGIONS_MAX);
	pci_dev_bar(&p->pci, VIRTIO_PCI_SHMEM_BAR, (struct pci_bar){
		.size = shmem_size(s), .is_64 = true, .prefetch = true, .dev = s,
		.mapped = window_mapped });
	for (unsigned i = 0; i < s->count; i++)
		add_region(p, &s->regions[i]);
	return 0;
}

int virtio_pci_init(struct virtio_pci *p, struct virtio_dev *d, struct pci_bus *bus,
		    uint32_t class_code, struct err *e)
{
	uint16_t id = (uint16_t)(DEVICE_BASE + d->id);
	int r;

	*p = (struct virtio_pci){ .virtio = d, .machine = d->machine, .joined = VIRTIO_PCI_APART,
				  .doorbells_at = PCI_UNMAPPED };
	p->sync = (struct loop_job){ .run = sync_run, .arg = p };
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		p->calls[i].watch.fd = -1;
	d->transport = &transport_ops;
	d->transport_arg = p;
	power_on(p);

	pci_dev_init(&p->pci, d->name, VENDOR, id, class_code, REVISION);
	pci_dev_set(&p->pci, PCI_SUBSYSTEM_VENDOR_ID, 2, VENDOR);
	pci_dev_set(&p->pci, PCI_SUBSYSTEM_ID, 2, id);
	p->pci.config_written = config_written;
	p->pci.config_reading = config_reading;
	pci_dev_bar(&p->pci, VIRTIO_PCI_BAR, (struct pci_bar){
		.size = VIRTIO_PCI_BAR_SIZE, .ops = &bar_ops, .dev = p, .mapped = bar_mapped });
	/* First in the list: the driver walks it to a region twice, to each other part once, and
	 * every step is an exit. */
	r = d->shmem ? add_shmem(p, d->shmem, e) : 0;
	add_caps(p);
	if (!r)
		r = msix_init(&p->msix, &p->pci, d->machine, VIRTIO_PCI_BAR, VIRTIO_PCI_MSIX_TABLE,
			      VIRTIO_PCI_MSIX_PBA, d->n_queues + 1, e);
	if (!r)
		r = pci_dev_add(bus, &p->pci, e);
	if (r)
		transport_fini(d);
	return r;
}
