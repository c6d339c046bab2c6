/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pci_config.h"

#include <linux/pci_regs.h>

#include "base/range.h"
#include "devices/pci_intx.h"

enum { CONF1_ENABLE_BIT = 31 };

/* The guest's access; @len is 1, 2, 4 or 8 and [off, off + len) within config space. */
static uint64_t config_read(struct pci_dev *d, unsigned off, unsigned len)
{
	if (d->config_reading)
		d->config_reading(d, off, len);
	return pci_dev_get(d, off, len);
}

static void config_write(struct pci_dev *d, unsigned off, unsigned len, uint64_t value)
{
	bool writable = false, changed = false;

	for (unsigned i = 0; i < len; i++) {
		uint8_t old = d->config[off + i], v = (uint8_t)(value >> (8 * i));
		uint8_t mask = d->wmask[off + i], clear = d->w1c[off + i];
		uint8_t now = (uint8_t)(((old & ~mask) | (v & mask)) & ~(v & clear));

		writable |= mask || clear;
		changed |= now != old;
		d->config[off + i] = now;
	}
	if (!writable)
		return;
	if (changed && range_overlaps(off, len, PCI_COMMAND, 2))
		pci_intx_update(d);
	if (changed && (range_overlaps(off, len, PCI_COMMAND, 2) ||
			range_overlaps(off, len, PCI_BASE_ADDRESS_0, 4 * PCI_BARS)))
		pci_bus_remap(d->bus);
	if (d->config_written)
		d->config_written(d, off, len);
}

/* The device behind dword port 0xcfc and the register selected there, or NULL. */
static struct pci_dev *conf1_target(const struct pci_bus *b, uint64_t port_off, unsigned size,
				    unsigned *ret_off)
{
	uint32_t a = b->config_address;

	if (port_off < 4 || !range_ok(port_off - 4, size, 4))
		return NULL;
	/* Enabled, bus 0, function 0. */
	if (!(a >> CONF1_ENABLE_BIT) || (a & 0x00ffff00) != (a & 0x0000f800))
		return NULL;
	*ret_off = (a & 0xfc) + (unsigned)(port_off - 4);
	return b->slots[(a >> 11) & 0x1f];
}

static bool is_reset_control(const struct pci_bus *b, uint64_t off, unsigned size)
{
	return off == PCI_RESET_CONTROL_PORT - PCI_CONF1_PORT && size == 1 && b->reset_control;
}

static uint64_t conf1_read(void *dev, uint64_t off, unsigned size)
{
	const struct pci_bus *b = dev;
	struct pci_dev *d;
	unsigned reg;

	if (off == 0 && size == 4)
		return b->config_address;
	if (is_reset_control(b, off, size))
		return b->reset_control->read(b->reset_control_dev, 0, 1);
	d = conf1_target(b, off, size, &reg);
	return d ? config_read(d, reg, size) : UINT64_MAX;
}

static void conf1_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct pci_bus *b = dev;
	struct pci_dev *d;
	unsigned reg;

	if (off == 0 && size == 4) {
		/* Bits 30-24 and 1-0 are reserved and read 0. */
		b->config_address = (uint32_t)value & 0x80fffffc;
		return;
	}
	if (is_reset_control(b, off, size)) {
		b->reset_control->write(b->reset_control_dev, 0, 1, value);
		return;
	}
	d = conf1_target(b, off, size, &reg);
	if (d)
		config_write(d, reg, size, value);
}

/* The device at ECAM offset @off, or NULL; functions other than 0 are absent. */
static struct pci_dev *ecam_target(const struct pci_bus *b, uint64_t off, unsigned size,
				   unsigned *ret_off)
{
	*ret_off = off & (PCI_CONFIG_SIZE - 1);
	if ((off >> 12) & 7 || !range_ok(*ret_off, size, PCI_CONFIG_SIZE))
		return NULL;
	return b->slots[(off >> 15) & 0x1f];
}

static uint64_t ecam_read(void *dev, uint64_t off, unsigned size)
{
	unsigned reg;
	struct pci_dev *d = ecam_target(dev, off, size, &reg);

	return d ? config_read(d, reg, size) : UINT64_MAX;
}

static void ecam_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	unsigned reg;
	struct pci_dev *d = ecam_target(dev, off, size, &reg);

	if (d)
		config_write(d, reg, size, value);
}

const struct bus_ops pci_config_conf1_ops = { conf1_read, conf1_write };
const struct bus_ops pci_config_ecam_ops = { ecam_read, ecam_write };
