/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pci.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "base/range.h"
#include "devices/pci_config.h"
#include "devices/pci_intx.h"

enum {
	CAPABILITIES_START = 0x40, CAPABILITIES_END = 0x100,
	BRIDGE_VENDOR = 0x8086, BRIDGE_DEVICE = 0x0d57, BRIDGE_CLASS = 0x060000,
	BAR_SIZE_MIN = 16,
};

uint64_t pci_dev_get(const struct pci_dev *d, unsigned off, unsigned len)
{
	uint64_t value = 0;

	assert(len <= 8 && range_ok(off, len, PCI_CONFIG_SIZE));
	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)d->config[off + i] << (8 * i);
	return value;
}

void pci_dev_set(struct pci_dev *d, unsigned off, unsigned len, uint64_t value)
{
	assert(len <= 8 && range_ok(off, len, PCI_CONFIG_SIZE));
	for (unsigned i = 0; i < len; i++)
		d->config[off + i] = (uint8_t)(value >> (8 * i));
}

static unsigned bar_off(unsigned bar)
{
	return PCI_BASE_ADDRESS_0 + 4 * bar;
}

/* The address the guest wrote; its low bits are read-only, so only flags are to be cut off. */
static uint64_t bar_register(const struct pci_dev *d, unsigned bar)
{
	return pci_dev_get(d, bar_off(bar), d->bars[bar].is_64 ? 8 : 4) & ~UINT64_C(0xf);
}

static uint64_t bar_wanted(const struct pci_dev *d, unsigned bar)
{
	if (!(d->config[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		return PCI_UNMAPPED;
	return bar_register(d, bar);
}

static void bar_move(struct pci_dev *d, unsigned n, uint64_t addr)
{
	struct pci_bar *bar = &d->bars[n];
	struct bus *mmio = &d->bus->machine->mmio;
	struct err e;

	if (bar->ops && bar->addr != PCI_UNMAPPED)
		bus_del(mmio, &bar->range);
	if (bar->ops && addr != PCI_UNMAPPED) {
		bar->range.base = addr;
		if (bus_add(mmio, &bar->range, &e))
			addr = PCI_UNMAPPED;
	}
	bar->addr = addr;
	if (bar->mapped)
		bar->mapped(d, n, addr);
}

/* Whether @size bytes at @addr are a place for BARs at all. */
static bool in_pci_window(const struct pci_bus *b, uint64_t addr, uint64_t size)
{
	const struct guest_mem *mem = b->machine->mem;

	if (range_ok(addr - PCI_MMIO_BASE, size, PCI_MMIO_END - PCI_MMIO_BASE))
		return true;
	if (addr < MEM_HIGH_START || !range_ok(addr, size, b->mmio64_end))
		return false;
	for (unsigned i = 0; mem && i < mem->count; i++) {
		if (range_overlaps(addr, size, mem->regions[i].gpa, mem->regions[i].size))
			return false;
	}
	return true;
}

/*
 * Whether BAR @n of @d can decode at @addr now: every BAR in the way either is where its register
 * says, and stays, or is not, and is unmapped. What is on the MMIO bus then is no BAR and stays.
 */
static bool make_room(struct pci_bus *b, const struct pci_dev *d, unsigned n, uint64_t addr)
{
	uint64_t size = d->bars[n].size;

	for (unsigned i = 0; i < PCI_SLOTS * PCI_BARS; i++) {
		struct pci_dev *other = b->slots[i / PCI_BARS];
		unsigned k = i % PCI_BARS;
		const struct pci_bar *bar = other ? &other->bars[k] : NULL;

		if (!bar || !bar->size || bar->addr == PCI_UNMAPPED || bar == &d->bars[n])
			continue;
		if (!range_overlaps(addr, size, bar->addr, bar->size))
			continue;
		if (bar->addr == bar_wanted(other, k))
			return false;
		bar_move(other, k, PCI_UNMAPPED);
	}
	return !bus_overlap(&b->machine->mmio, addr, size);
}

/* Brings one BAR to where its register says, if it can be there. */
static void settle(struct pci_bus *b, struct pci_dev *d, unsigned n)
{
	uint64_t want = bar_wanted(d, n);
	const struct pci_bar *bar = &d->bars[n];

	if (!bar->size || bar->addr == want)
		return;
	/* All-ones of a guest that sizes is outside of every window: not worth a word. */
	if (want != PCI_UNMAPPED && !in_pci_window(b, want, bar->size))
		return;
	if (want != PCI_UNMAPPED && !make_room(b, d, n, want)) {
		if (misuse_first(&d->collisions))
			log_warn("%s: the guest put BAR %u at %#" PRIx64
				 ", which is taken; it does not decode there", d->name, n, want);
		return;
	}
	bar_move(d, n, want);
}

/*
 * All BARs of all devices: one that left may have made room for any other. One pass is enough: what
 * keeps a BAR away is only another that is where its register says, and none of those leaves.
 */
void pci_bus_remap(struct pci_bus *b)
{
	for (unsigned i = 0; i < PCI_SLOTS * PCI_BARS; i++) {
		struct pci_dev *d = b->slots[i / PCI_BARS];

		if (d)
			settle(b, d, i % PCI_BARS);
	}
}

/* 64-bit BARs begin above RAM, at a GiB boundary so that page tables of the guest stay large. */
static uint64_t mmio64_base(const struct guest_mem *mem)
{
	uint64_t base = PCI_MMIO64_BASE;

	for (unsigned i = 0; mem && i < mem->count; i++) {
		uint64_t end = mem->regions[i].gpa + mem->regions[i].size;

		if (end > base)
			base = align_up(end, GIB(1));
	}
	return base;
}

int pci_bus_init(struct pci_bus *b, struct machine *m, bool ecam, struct err *e)
{
	int r;

	*b = (struct pci_bus){
		.machine = m,
		.conf1 = { PCI_CONF1_PORT, 8, &pci_config_conf1_ops, b, "PCI configuration ports", NULL },
		.ecam = { PCI_ECAM_BASE, PCI_ECAM_SIZE, &pci_config_ecam_ops, b, "PCI ECAM", NULL },
		.mmio64_base = mmio64_base(m->mem),
		.mmio64_end = PCI_MMIO64_END,
	};
	for (unsigned i = 0; i < PCI_INTX_LINES; i++)
		b->intx[i] = (struct intx_line){ .gsi = pci_intx_gsi[i], .eventfd = -1,
						 .resample = -1, .watch.fd = -1, .bus = b };
	pci_dev_init(&b->bridge, "host bridge", BRIDGE_VENDOR, BRIDGE_DEVICE, BRIDGE_CLASS, 0);
	b->bridge.bus = b;
	b->slots[0] = &b->bridge;
	r = bus_add(&m->pio, &b->conf1, e);
	if (!r && ecam)
		r = bus_add(&m->mmio, &b->ecam, e);
	if (r)
		pci_bus_fini(b);
	return r;
}

void pci_bus_fini(struct pci_bus *b)
{
	if (!b->machine)
		return;
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		if (b->slots[i])
			pci_dev_del(b->slots[i]);
	}
	for (unsigned i = 0; i < PCI_INTX_LINES; i++)
		pci_intx_disconnect(&b->intx[i]);
	bus_del(&b->machine->pio, &b->conf1);
	bus_del(&b->machine->mmio, &b->ecam);
	b->machine = NULL;
}

void pci_bus_reset(struct pci_bus *b)
{
	b->config_address = 0;
	for (unsigned i = 0; i < PCI_SLOTS; i++) {
		if (b->slots[i])
			pci_dev_reset(b->slots[i]);
	}
}

void pci_dev_init(struct pci_dev *d, const char *name, uint16_t vendor, uint16_t device,
		  uint32_t class_code, uint8_t revision)
{
	memset(d, 0, sizeof(*d));
	d->name = name;
	pci_dev_set(d, PCI_VENDOR_ID, 2, vendor);
	pci_dev_set(d, PCI_DEVICE_ID, 2, device);
	pci_dev_set(d, PCI_CLASS_REVISION, 4, class_code << 8 | revision);
	d->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	d->cap_end = CAPABILITIES_START;
	d->last_cap = &d->config[PCI_CAPABILITY_LIST];
	for (unsigned i = 0; i < PCI_BARS; i++)
		d->bars[i].addr = PCI_UNMAPPED;
}

void pci_dev_bar(struct pci_dev *d, unsigned bar, struct pci_bar desc)
{
	uint64_t mask = ~(desc.size - 1);
	unsigned len = desc.is_64 ? 8 : 4;
	uint8_t flags = PCI_BASE_ADDRESS_SPACE_MEMORY;

	assert(!d->bus && bar + len / 4 <= PCI_BARS && !d->bars[bar].size);
	assert(is_pow2(desc.size) && desc.size >= BAR_SIZE_MIN);
	assert(desc.is_64 || desc.size <= PCI_MMIO_END - PCI_MMIO_BASE);
	if (desc.is_64)
		flags |= PCI_BASE_ADDRESS_MEM_TYPE_64;
	if (desc.prefetch)
		flags |= PCI_BASE_ADDRESS_MEM_PREFETCH;
	d->config[bar_off(bar)] = flags;
	for (unsigned i = 0; i < len; i++)
		d->wmask[bar_off(bar) + i] = (uint8_t)(mask >> (8 * i));
	d->wmask[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	desc.addr = PCI_UNMAPPED;
	desc.range = (struct bus_range){ .len = desc.size, .ops = desc.ops, .dev = desc.dev,
					 .name = d->name };
	d->bars[bar] = desc;
}

unsigned pci_dev_capability(struct pci_dev *d, uint8_t id, unsigned len)
{
	unsigned off = d->cap_end;

	assert(len >= 2 && off + len <= CAPABILITIES_END);
	d->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	*d->last_cap = (uint8_t)off;
	d->config[off + PCI_CAP_LIST_ID] = id;
	d->last_cap = &d->config[off + PCI_CAP_LIST_NEXT];
	d->cap_end = (uint16_t)align_up(off + len, 4);
	return off;
}

/* A BAR's home that shares a byte with [addr, addr + size), or NULL. */
static const struct pci_bar *home_overlap(const struct pci_bus *b, uint64_t addr, uint64_t size)
{
	for (unsigned i = 0; i < PCI_SLOTS * PCI_BARS; i++) {
		const struct pci_dev *d = b->slots[i / PCI_BARS];
		const struct pci_bar *bar = d ? &d->bars[i % PCI_BARS] : NULL;

		if (bar && bar->size && range_overlaps(addr, size, bar->home, bar->size))
			return bar;
	}
	return NULL;
}

/* First fit. Every BAR and register range found in the way is stepped over, so this ends. */
static int assign_bar(const struct pci_bus *b, struct pci_dev *d, unsigned n, struct err *e)
{
	struct pci_bar *bar = &d->bars[n];
	uint64_t addr = bar->is_64 ? b->mmio64_base : PCI_MMIO_BASE;
	uint64_t end = bar->is_64 ? b->mmio64_end : PCI_MMIO_END;

	addr = align_up(addr, bar->size);
	while (range_ok(addr, bar->size, end)) {
		const struct pci_bar *other = home_overlap(b, addr, bar->size);
		const struct bus_range *r = bus_overlap(&b->machine->mmio, addr, bar->size);

		if (!other && !r) {
			bar->home = addr;
			pci_dev_set(d, bar_off(n), bar->is_64 ? 8 : 4,
				    addr | (d->config[bar_off(n)] & 0xf));
			return 0;
		}
		addr = align_up(other ? other->home + other->size : r->base + r->len, bar->size);
	}
	return err_set(e, -ENOSPC, "%s: no room for BAR %u of %" PRIu64 " MiB below %#" PRIx64
		       "; use fewer or smaller devices", d->name, n,
		       (bar->size + MIB(1) - 1) / MIB(1), end);
}

int pci_dev_add(struct pci_bus *b, struct pci_dev *d, struct err *e)
{
	unsigned slot = 0;
	int r;

	assert(!d->bus);
	while (slot < PCI_SLOTS && b->slots[slot])
		slot++;
	if (slot == PCI_SLOTS)
		return err_set(e, -ENOSPC, "%s: all %d PCI slots are taken; use fewer devices", d->name,
			       PCI_SLOTS - 1);
	r = d->no_intx ? 0 : pci_intx_connect(&b->intx[slot % PCI_INTX_LINES], e);
	if (r)
		return err_prefix(e, r, "%s: ", d->name);

	/* On the bus first: a device's own BARs must not meet either. */
	for (unsigned i = 0; i < PCI_BARS; i++)
		d->bars[i].home = PCI_UNMAPPED;
	d->slot = slot;
	b->slots[slot] = d;
	for (unsigned i = 0; i < PCI_BARS; i++) {
		r = d->bars[i].size ? assign_bar(b, d, i, e) : 0;
		if (r) {
			b->slots[slot] = NULL;
			return r;
		}
	}
	d->bus = b;
	d->wmask[PCI_COMMAND] |= PCI_COMMAND_MASTER;
	if (d->no_intx)
		return 0;
	d->wmask[PCI_COMMAND + 1] |= PCI_COMMAND_INTX_DISABLE >> 8;
	d->wmask[PCI_INTERRUPT_LINE] = 0xff;
	d->config[PCI_INTERRUPT_PIN] = 1;
	d->config[PCI_INTERRUPT_LINE] = (uint8_t)pci_intx_line(d)->gsi;
	return 0;
}

void pci_dev_del(struct pci_dev *d)
{
	if (!d->bus)
		return;
	pci_dev_reset(d);
	d->bus->slots[d->slot] = NULL;
	d->bus = NULL;
}

void pci_dev_intx(struct pci_dev *d, bool level)
{
	d->intx = level;
	if (level)
		d->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		d->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	pci_intx_update(d);
}

void pci_dev_reset(struct pci_dev *d)
{
	pci_dev_set(d, PCI_COMMAND, 2, 0);
	d->config[PCI_CACHE_LINE_SIZE] = 0;
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &d->bars[i];

		if (bar->size && d->bus)
			pci_dev_set(d, bar_off(i), bar->is_64 ? 8 : 4,
				    bar->home | (d->config[bar_off(i)] & 0xf));
	}
	if (d->bus) {
		pci_bus_remap(d->bus);
		if (d->config[PCI_INTERRUPT_PIN])
			d->config[PCI_INTERRUPT_LINE] = (uint8_t)pci_intx_line(d)->gsi;
	}
	pci_dev_intx(d, false);
}
