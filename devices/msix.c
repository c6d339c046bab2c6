/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/msix.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "base/fd.h"
#include "base/range.h"

enum { ENTRY_DWORDS = MSIX_ENTRY_SIZE / 4 };

/* Whether the guest wants interrupts of this vector now. */
static bool is_open(const struct msix *x, const struct msix_vector *v)
{
	return x->enabled && !x->function_masked && !v->masked;
}

static bool is_used(const struct msix_vector *v)
{
	return v->sources || v->own_eventfd >= 0 || v->pending;
}

static uint64_t address(const struct msix_vector *v)
{
	return (uint64_t)v->address_hi << 32 | v->address_lo;
}

/* An irqfd of the vector to signal from here, or -1. */
static int vector_eventfd(const struct msix *x, const struct msix_vector *v)
{
	if (v->own_eventfd >= 0)
		return v->own_eventfd;
	for (unsigned i = 0; v->sources && i < x->n_sources; i++) {
		if (&x->vectors[x->sources[i].vector] == v)
			return x->sources[i].eventfd;
	}
	return -1;
}

/* Loop. */
static int need_gsi(struct msix *x, struct msix_vector *v)
{
	if (v->gsi < 0) {
		int gsi = machine_alloc_gsi(x->machine);

		if (gsi < 0)
			return gsi;
		v->gsi = gsi;
	}
	return 0;
}

/* Loop. */
static int need_own_eventfd(struct msix *x, struct msix_vector *v)
{
	const struct machine *m = x->machine;
	autoclose int fd = fd_eventfd();
	int r;

	if (fd < 0)
		return fd;
	r = m->ops->irqfd_add(m->ctx, (unsigned)v->gsi, fd, -1);
	if (r)
		return r;
	v->own_eventfd = fd_take(&fd);
	return 0;
}

/* Loop. The kernel's route as @on and the table say; no call when it is so already. */
static int set_route(struct msix *x, struct msix_vector *v, bool on)
{
	const struct machine *m = x->machine;
	int r;

	if (!on && !v->routed)
		return 0;
	if (on && v->routed && v->route_address == address(v) && v->route_data == v->data)
		return 0;
	r = m->ops->msi_route(m->ctx, (unsigned)v->gsi, on, address(v), v->data);
	v->routed = on && !r;
	v->route_address = address(v);
	v->route_data = v->data;
	return r;
}

/* Loop. Opens a vector that the guest wants; what may have been lost before is raised. */
static int open_vector(struct msix *x, struct msix_vector *v)
{
	bool raise = v->pending || (!v->routed && v->sources);
	int r = need_gsi(x, v);

	if (!r)
		r = set_route(x, v, true);
	if (!r && raise && vector_eventfd(x, v) < 0)
		r = need_own_eventfd(x, v);
	if (r)
		return r;
	if (raise)
		loop_signal(x->machine->loop, vector_eventfd(x, v));
	v->pending = false;
	return 0;
}

static void refuse(struct msix *x, const struct msix_vector *v, int error)
{
	if (misuse_first(&x->refused))
		log_warn("%s: MSI-X vector %u cannot be delivered: %s", x->dev->name,
			 (unsigned)(v - x->vectors), strerror(-error));
}

/* Loop. */
static void sync_routes(void *arg)
{
	struct msix *x = arg;

	for (unsigned i = 0; i < x->count; i++) {
		struct msix_vector *v = &x->vectors[i];
		int r;

		if (!is_used(v))
			continue;
		r = is_open(x, v) ? open_vector(x, v) : set_route(x, v, false);
		if (r) {
			v->pending = false;
			refuse(x, v, r);
		}
	}
}

static bool is_in_line(const struct msix *x, const struct msix_vector *v)
{
	if (!is_used(v))
		return true;
	if (!is_open(x, v))
		return !v->routed;
	return v->routed && !v->pending && v->route_address == address(v) &&
	       v->route_data == v->data;
}

/* After a change of vectors [first, end): the kernel follows, before the exit ends if it must. */
static void follow(struct msix *x, unsigned first, unsigned end)
{
	struct machine *m = x->machine;
	bool begin = false, stop = false;

	for (unsigned i = first; i < end; i++) {
		const struct msix_vector *v = &x->vectors[i];

		if (is_in_line(x, v))
			continue;
		if (is_open(x, v))
			begin = true;
		else
			stop = true;
	}
	if (stop || (begin && !m->ops->in_vcpu(m->ctx)))
		machine_run_in_loop(m, &x->sync);
	else if (begin)
		loop_post(m->loop, &x->sync);
}

static void power_on(struct msix *x)
{
	x->enabled = false;
	x->function_masked = false;
	for (unsigned i = 0; i < x->count; i++) {
		struct msix_vector *v = &x->vectors[i];

		v->address_lo = 0;
		v->address_hi = 0;
		v->data = 0;
		v->masked = true;
		v->pending = false;
	}
	pci_dev_set(x->dev, x->cap + PCI_MSIX_FLAGS, 2, x->count - 1);
}

int msix_init(struct msix *x, struct pci_dev *d, struct machine *m, unsigned bar,
	      uint32_t table_off, uint32_t pba_off, unsigned count, struct err *e)
{
	uint64_t size = bar < PCI_BARS ? d->bars[bar].size : 0;

	*x = (struct msix){ 0 };
	if (count == 0 || count > MSIX_VECTORS_MAX)
		return err_set(e, -EINVAL, "%s: %u interrupt vectors; possible are 1 to %d", d->name,
			       count, MSIX_VECTORS_MAX);
	if (!range_ok(table_off, MSIX_TABLE_SIZE(count), size) || table_off % 8 ||
	    !range_ok(pba_off, MSIX_PBA_SIZE(count), size) || pba_off % 8 ||
	    range_overlaps(table_off, MSIX_TABLE_SIZE(count), pba_off, MSIX_PBA_SIZE(count)))
		return err_set(e, -EINVAL, "%s: the MSI-X table of %u vectors at %#x and its pending bits"
			       " at %#x do not fit into BAR %u", d->name, count, table_off, pba_off,
			       bar);
	x->dev = d;
	x->machine = m;
	x->table_off = table_off;
	x->pba_off = pba_off;
	x->count = count;
	x->sync = (struct loop_job){ .run = sync_routes, .arg = x };
	for (unsigned i = 0; i < count; i++) {
		x->vectors[i].gsi = -1;
		x->vectors[i].own_eventfd = -1;
	}
	x->cap = pci_dev_capability(d, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	pci_dev_set(d, x->cap + PCI_MSIX_TABLE, 4, table_off | bar);
	pci_dev_set(d, x->cap + PCI_MSIX_PBA, 4, pba_off | bar);
	d->wmask[x->cap + PCI_MSIX_FLAGS + 1] =
		(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	power_on(x);
	return 0;
}

void msix_fini(struct msix *x)
{
	if (!x->dev)
		return;
	loop_cancel(x->machine->loop, &x->sync);
	for (unsigned i = 0; i < x->count; i++)
		fd_close(&x->vectors[i].own_eventfd);
	x->dev = NULL;
}

static uint32_t table_dword(const struct msix_vector *v, unsigned dword)
{
	const uint32_t dwords[ENTRY_DWORDS] = { v->address_lo, v->address_hi, v->data, v->masked };

	return dwords[dword];
}

static uint8_t table_byte(const struct msix *x, uint64_t off)
{
	const struct msix_vector *v = &x->vectors[off / MSIX_ENTRY_SIZE];

	return (uint8_t)(table_dword(v, off % MSIX_ENTRY_SIZE / 4) >> (8 * (off % 4)));
}

static uint8_t pba_byte(const struct msix *x, uint64_t off)
{
	uint8_t byte = 0;

	for (unsigned bit = 0; bit < 8; bit++) {
		uint64_t vector = 8 * off + bit;

		if (vector < x->count && x->vectors[vector].pending)
			byte |= (uint8_t)(1u << bit);
	}
	return byte;
}

static bool in_table(const struct msix *x, uint64_t off, unsigned size)
{
	return range_overlaps(off, size, x->table_off, MSIX_TABLE_SIZE(x->count));
}

static bool in_pba(const struct msix *x, uint64_t off, unsigned size)
{
	return range_overlaps(off, size, x->pba_off, MSIX_PBA_SIZE(x->count));
}

bool msix_read(struct msix *x, uint64_t off, unsigned size, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (!in_table(x, off, size) && !in_pba(x, off, size))
		return false;
	for (unsigned i = 0; i < size; i++) {
		uint64_t byte = 0;

		if (in_table(x, off + i, 1))
			byte = table_byte(x, off + i - x->table_off);
		else if (in_pba(x, off + i, 1))
			byte = pba_byte(x, off + i - x->pba_off);
		value |= byte << (8 * i);
	}
	*ret_value = value;
	return true;
}

static void table_write(struct msix *x, uint64_t off, uint32_t value)
{
	struct msix_vector *v = &x->vectors[off / MSIX_ENTRY_SIZE];

	switch (off % MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		/* A message is one aligned dword. */
		v->address_lo = value & ~UINT32_C(3);
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		v->address_hi = value;
		break;
	case PCI_MSIX_ENTRY_DATA:
		v->data = value;
		break;
	case PCI_MSIX_ENTRY_VECTOR_CTRL:
		v->masked = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		break;
	}
}

bool msix_write(struct msix *x, uint64_t off, unsigned size, uint64_t value)
{
	if (!in_table(x, off, size))
		return in_pba(x, off, size);
	off -= x->table_off;
	if (size < 4 || off % size || !range_ok(off, size, MSIX_TABLE_SIZE(x->count)))
		return true;
	table_write(x, off, (uint32_t)value);
	if (size == 8)
		table_write(x, off + 4, (uint32_t)(value >> 32));
	follow(x, (unsigned)(off / MSIX_ENTRY_SIZE), (unsigned)(off / MSIX_ENTRY_SIZE) + 1);
	return true;
}

void msix_config_written(struct msix *x, unsigned off, unsigned len)
{
	uint64_t flags = pci_dev_get(x->dev, x->cap + PCI_MSIX_FLAGS, 2);

	if (!range_overlaps(off, len, x->cap + PCI_MSIX_FLAGS, 2))
		return;
	x->enabled = flags & PCI_MSIX_FLAGS_ENABLE;
	x->function_masked = flags & PCI_MSIX_FLAGS_MASKALL;
	/* A driver that turns to another kind of interrupt has no use for what waited. */
	for (unsigned i = 0; !x->enabled && i < x->count; i++)
		x->vectors[i].pending = false;
	follow(x, 0, x->count);
}

bool msix_enabled(const struct msix *x)
{
	return x->enabled;
}

int msix_connect(struct msix *x, unsigned vector, int eventfd, struct err *e)
{
	const struct machine *m = x->machine;
	struct msix_vector *v;
	int r;

	if (vector == MSIX_NO_VECTOR)
		return 0;
	if (vector >= x->count)
		return err_set(e, -EINVAL, "%s: interrupt vector %u of %u", x->dev->name, vector,
			       x->count);
	if (x->n_sources == MSIX_SOURCES_MAX)
		return err_set(e, -ENOSPC, "%s: more than %d interrupt sources", x->dev->name,
			       MSIX_SOURCES_MAX);
	v = &x->vectors[vector];
	r = need_gsi(x, v);
	if (r)
		return err_set(e, r, "%s: all %d interrupt numbers of the machine are taken; use fewer"
			       " devices or queues", x->dev->name,
			       MACHINE_GSI_MAX - MACHINE_GSI_MSI_FIRST);
	/* The route first: what is signalled already is delivered as the irqfd is added. */
	if (is_open(x, v)) {
		r = set_route(x, v, true);
		if (r)
			refuse(x, v, r);
	}
	r = m->ops->irqfd_add(m->ctx, (unsigned)v->gsi, eventfd, -1);
	if (r)
		return err_set(e, r, "%s: the kernel refuses the irqfd of interrupt vector %u: %s",
			       x->dev->name, vector, strerror(-r));
	x->sources[x->n_sources++] = (struct msix_source){ .vector = vector, .eventfd = eventfd };
	v->sources++;
	return 0;
}

static void disconnect_source(struct msix *x, unsigned i)
{
	const struct machine *m = x->machine;
	struct msix_source s = x->sources[i];
	struct msix_vector *v = &x->vectors[s.vector];

	m->ops->irqfd_del(m->ctx, (unsigned)v->gsi, s.eventfd);
	x->sources[i] = x->sources[--x->n_sources];
	v->sources--;
	/* Not left to a later mask, for which a vCPU would wait. */
	if (!is_used(v))
		set_route(x, v, false);
}

void msix_disconnect(struct msix *x, unsigned vector, int eventfd)
{
	for (unsigned i = 0; i < x->n_sources; i++) {
		if (x->sources[i].vector == vector && x->sources[i].eventfd == eventfd) {
			disconnect_source(x, i);
			return;
		}
	}
}

void msix_raise(struct msix *x, unsigned vector)
{
	struct msix_vector *v;
	int fd;

	if (vector >= x->count || !x->enabled)
		return;
	v = &x->vectors[vector];
	fd = vector_eventfd(x, v);
	if (fd >= 0 && v->routed && is_in_line(x, v)) {
		loop_signal(x->machine->loop, fd);
		return;
	}
	v->pending = true;
	follow(x, vector, vector + 1);
}

void msix_reset(struct msix *x)
{
	while (x->n_sources > 0)
		disconnect_source(x, x->n_sources - 1);
	power_on(x);
	sync_routes(x);
}
