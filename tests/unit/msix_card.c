/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/msix_card.h"

#include <linux/pci_regs.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/range.h"

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	struct fixture *f = dev;
	uint64_t value;

	return msix_read(&f->msix, off, size, &value) ? value : 0x77;
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct fixture *f = dev;

	msix_write(&f->msix, off, size, value);
}

static const struct bus_ops bar_ops = { bar_read, bar_write };

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct fixture *f = (struct fixture *)((char *)d - offsetof(struct fixture, dev));

	msix_config_written(&f->msix, off, len);
}

void config_write(struct fixture *f, unsigned reg, unsigned size, uint64_t value)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.mmio, PCI_ECAM_BASE + (f->dev.slot << 15) + reg,
			size, value);
}

void set_control(struct fixture *f, unsigned flags)
{
	config_write(f, f->msix.cap + PCI_MSIX_FLAGS, 2, flags);
}

uint64_t mmio_read(struct fixture *f, uint64_t off, unsigned size)
{
	return fake_vcpu_read(&f->fake, &f->fake.machine.mmio, f->dev.bars[0].addr + off, size);
}

void mmio_write(struct fixture *f, uint64_t off, unsigned size, uint64_t value)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.mmio, f->dev.bars[0].addr + off, size, value);
}

uint64_t entry(unsigned vector, unsigned field)
{
	return TABLE + vector * MSIX_ENTRY_SIZE + field;
}

void set_message(struct fixture *f, unsigned vector, uint64_t address, uint32_t data)
{
	mmio_write(f, entry(vector, PCI_MSIX_ENTRY_LOWER_ADDR), 4, address);
	mmio_write(f, entry(vector, PCI_MSIX_ENTRY_UPPER_ADDR), 4, address >> 32);
	mmio_write(f, entry(vector, PCI_MSIX_ENTRY_DATA), 4, data);
}

void set_mask(struct fixture *f, unsigned vector, bool masked)
{
	mmio_write(f, entry(vector, PCI_MSIX_ENTRY_VECTOR_CTRL), 4, masked);
}

void guest_sets_up(struct fixture *f)
{
	set_control(f, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	for (unsigned v = 0; v < VECTORS; v++)
		set_mask(f, v, true);
	set_control(f, PCI_MSIX_FLAGS_ENABLE);
	for (unsigned v = 0; v < VECTORS; v++) {
		set_message(f, v, 0xfee00000 + 0x1000 * v, 0x40 + v);
		set_mask(f, v, false);
	}
}

bool pending(struct fixture *f, unsigned vector)
{
	return mmio_read(f, PBA, 8) >> vector & 1;
}

unsigned interrupts(struct fixture *f, unsigned vector)
{
	int gsi = f->msix.vectors[vector].gsi;

	return gsi < 0 ? 0 : fake_machine_interrupts(&f->fake, (unsigned)gsi);
}

void connect_queue(struct fixture *f, unsigned vector, unsigned queue)
{
	assert_int_equal(msix_connect(&f->msix, vector, f->queue[queue], &f->e), 0);
}

int msix_card_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_machine_init(&f->fake);
	assert_int_equal(pci_bus_init(&f->bus, &f->fake.machine, true, &f->e), 0);
	pci_dev_init(&f->dev, "card", 1, 2, 3, 4);
	pci_dev_bar(&f->dev, 0, (struct pci_bar){ .size = BAR_SIZE, .ops = &bar_ops, .dev = f });
	f->dev.config_written = config_written;
	assert_int_equal(msix_init(&f->msix, &f->dev, &f->fake.machine, 0, TABLE, PBA, VECTORS,
				   &f->e), 0);
	assert_int_equal(pci_dev_add(&f->bus, &f->dev, &f->e), 0);
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (unsigned i = 0; i < ARRAY_SIZE(f->queue); i++)
		f->queue[i] = fd_eventfd();
	f->fake.irqfd_adds = 0;
	*state = f;
	return 0;
}

int msix_card_teardown(void **state)
{
	struct fixture *f = *state;

	msix_fini(&f->msix);
	msix_fini(&f->msix);
	pci_bus_fini(&f->bus);
	fake_machine_fini(&f->fake);
	for (unsigned i = 0; i < ARRAY_SIZE(f->queue); i++)
		fd_close(&f->queue[i]);
	free(f);
	return 0;
}
