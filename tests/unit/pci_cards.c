/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/pci_cards.h"

#include <linux/pci_regs.h>
#include <stdlib.h>

static uint64_t reg_read(void *dev, uint64_t off, unsigned size)
{
	struct card *c = dev;

	(void)off;
	(void)size;
	c->reg_reads++;
	return 0x5a;
}

static void reg_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	(void)dev;
	(void)off;
	(void)size;
	(void)value;
}

const struct bus_ops card_registers = { reg_read, reg_write };

static void window_mapped(struct pci_dev *d, unsigned bar, uint64_t addr)
{
	struct card *c = (struct card *)d;

	assert_int_equal(bar, WINDOW_BAR);
	assert_true(d->bars[bar].addr == addr);
	c->maps++;
	c->mapped_at = addr;
}

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct card *c = (struct card *)d;

	c->written++;
	c->written_off = off;
	c->written_len = len;
}

/* A live register at 0xf0: how often config space was read. */
static void config_reading(struct pci_dev *d, unsigned off, unsigned len)
{
	struct card *c = (struct card *)d;

	(void)len;
	c->reading++;
	if (off == 0xf0)
		d->config[0xf0] = (uint8_t)c->reading;
}

void card_init(struct card *c, const char *name)
{
	pci_dev_init(&c->pci, name, 0x1af4, 0x1042, 0x018000, 1);
	pci_dev_bar(&c->pci, REG_BAR,
		    (struct pci_bar){ .size = REG_SIZE, .ops = &card_registers, .dev = c });
	pci_dev_bar(&c->pci, WINDOW_BAR,
		    (struct pci_bar){ .size = WINDOW_SIZE, .is_64 = true, .prefetch = true,
				      .mapped = window_mapped });
	c->pci.config_written = config_written;
	c->pci.config_reading = config_reading;
	c->mapped_at = PCI_UNMAPPED;
}

int pci_cards_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_machine_init(&f->fake);
	assert_int_equal(pci_bus_init(&f->bus, &f->fake.machine, true, &f->e), 0);
	card_init(&f->a, "card a");
	card_init(&f->b, "card b");
	assert_int_equal(pci_dev_add(&f->bus, &f->a.pci, &f->e), 0);
	assert_int_equal(pci_dev_add(&f->bus, &f->b.pci, &f->e), 0);
	*state = f;
	return 0;
}

int pci_cards_teardown(void **state)
{
	struct fixture *f = *state;

	pci_bus_fini(&f->bus);
	pci_bus_fini(&f->bus);
	assert_null(f->fake.machine.pio.ranges);
	assert_null(f->fake.machine.mmio.ranges);
	fake_machine_fini(&f->fake);
	free(f);
	return 0;
}

bool registers_answer(struct fixture *f, struct card *c, uint64_t addr)
{
	unsigned before = c->reg_reads;

	return fake_vcpu_read(&f->fake, &f->fake.machine.mmio, addr, 1) == 0x5a &&
	       c->reg_reads == before + 1;
}

uint32_t config_address(unsigned slot, unsigned reg)
{
	return UINT32_C(0x80000000) | slot << 11 | (reg & 0xfc);
}

uint64_t conf1_read(struct fixture *f, unsigned slot, unsigned reg, unsigned size)
{
	struct bus *pio = &f->fake.machine.pio;

	fake_vcpu_write(&f->fake, pio, PCI_CONF1_PORT, 4, config_address(slot, reg));
	return fake_vcpu_read(&f->fake, pio, PCI_CONF1_PORT + 4 + (reg & 3), size);
}

void conf1_write(struct fixture *f, unsigned slot, unsigned reg, unsigned size, uint64_t value)
{
	struct bus *pio = &f->fake.machine.pio;

	fake_vcpu_write(&f->fake, pio, PCI_CONF1_PORT, 4, config_address(slot, reg));
	fake_vcpu_write(&f->fake, pio, PCI_CONF1_PORT + 4 + (reg & 3), size, value);
}

uint64_t ecam(unsigned slot, unsigned reg)
{
	return PCI_ECAM_BASE + (slot << 15) + reg;
}

void set_command(struct fixture *f, struct card *c, unsigned command)
{
	conf1_write(f, c->pci.slot, PCI_COMMAND, 2, command);
}
