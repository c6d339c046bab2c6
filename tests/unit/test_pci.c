/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/range.h"
#include "devices/pci.h"
#include "tests/unit/fake_machine.h"

enum { REG_BAR = 0, WINDOW_BAR = 2, REG_SIZE = 0x1000, WINDOW_SIZE = 0x100000 };

/* A device with a 32-bit register BAR and a 64-bit window BAR. */
struct card {
	struct pci_dev pci;
	unsigned maps;			/* calls of `mapped` for the window */
	uint64_t mapped_at;		/* its last address */
	unsigned reg_reads, reg_writes;
	unsigned written, reading;	/* calls of the config hooks */
	unsigned written_off, written_len;
};

struct fixture {
	struct fake_machine fake;
	struct pci_bus bus;
	struct card a, b;
	struct err e;
};

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
	struct card *c = dev;

	(void)off;
	(void)size;
	(void)value;
	c->reg_writes++;
}

static const struct bus_ops reg_ops = { reg_read, reg_write };

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

static void config_reading(struct pci_dev *d, unsigned off, unsigned len)
{
	struct card *c = (struct card *)d;

	(void)len;
	c->reading++;
	if (off == 0xf0)
		d->config[0xf0] = (uint8_t)c->reading;
}

static void card_init(struct card *c, const char *name)
{
	pci_dev_init(&c->pci, name, 0x1af4, 0x1042, 0x018000, 1);
	pci_dev_bar(&c->pci, REG_BAR,
		    (struct pci_bar){ .size = REG_SIZE, .ops = &reg_ops, .dev = c });
	pci_dev_bar(&c->pci, WINDOW_BAR,
		    (struct pci_bar){ .size = WINDOW_SIZE, .is_64 = true, .prefetch = true,
				      .mapped = window_mapped });
	c->pci.config_written = config_written;
	c->pci.config_reading = config_reading;
	c->mapped_at = PCI_UNMAPPED;
}

static int setup(void **state)
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

static int teardown(void **state)
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

static uint32_t config_address(unsigned slot, unsigned reg)
{
	return UINT32_C(0x80000000) | slot << 11 | (reg & 0xfc);
}

static uint64_t conf1_read(struct fixture *f, unsigned slot, unsigned reg, unsigned size)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.pio, 0xcf8, 4, config_address(slot, reg));
	return fake_vcpu_read(&f->fake, &f->fake.machine.pio, 0xcfc + (reg & 3), size);
}

static void conf1_write(struct fixture *f, unsigned slot, unsigned reg, unsigned size, uint64_t value)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.pio, 0xcf8, 4, config_address(slot, reg));
	fake_vcpu_write(&f->fake, &f->fake.machine.pio, 0xcfc + (reg & 3), size, value);
}

static uint64_t ecam(unsigned slot, unsigned reg)
{
	return PCI_ECAM_BASE + (slot << 15) + reg;
}

static void set_command(struct fixture *f, struct card *c, unsigned command)
{
	conf1_write(f, c->pci.slot, PCI_COMMAND, 2, command);
}

static void write_bar(struct fixture *f, struct card *c, unsigned bar, uint32_t value)
{
	conf1_write(f, c->pci.slot, PCI_BASE_ADDRESS_0 + 4 * bar, 4, value);
}

static uint32_t read_bar(struct fixture *f, struct card *c, unsigned bar)
{
	return (uint32_t)conf1_read(f, c->pci.slot, PCI_BASE_ADDRESS_0 + 4 * bar, 4);
}

static void write_bar64(struct fixture *f, struct card *c, unsigned bar, uint64_t value)
{
	write_bar(f, c, bar + 1, (uint32_t)(value >> 32));
	write_bar(f, c, bar, (uint32_t)value);
}

static bool registers_answer(struct fixture *f, struct card *c, uint64_t addr)
{
	unsigned before = c->reg_reads;

	return fake_vcpu_read(&f->fake, &f->fake.machine.mmio, addr, 1) == 0x5a &&
	       c->reg_reads == before + 1;
}

/* ---- configuration access ---- */

static void linux_finds_mechanism_1_and_a_host_bridge(void **state)
{
	struct fixture *f = *state;
	struct bus *pio = &f->fake.machine.pio;

	fake_vcpu_write(&f->fake, pio, 0xcfb, 1, 0x01);
	fake_vcpu_write(&f->fake, pio, 0xcf8, 4, 0x80000000);
	assert_int_equal(fake_vcpu_read(&f->fake, pio, 0xcf8, 4), 0x80000000);
	assert_int_equal(conf1_read(f, 0, PCI_CLASS_DEVICE, 2), 0x0600);
	assert_int_equal(conf1_read(f, 0, PCI_HEADER_TYPE, 1), 0);
}

static void both_mechanisms_reach_the_same_registers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(conf1_read(f, 1, PCI_VENDOR_ID, 4), 0x10421af4);
	assert_int_equal(fake_vcpu_read(&f->fake, &f->fake.machine.mmio, ecam(1, 0), 4), 0x10421af4);
	assert_int_equal(conf1_read(f, 1, PCI_CLASS_REVISION, 4), 0x01800001);
	fake_vcpu_write(&f->fake, &f->fake.machine.mmio, ecam(1, PCI_INTERRUPT_LINE), 1, 7);
	assert_int_equal(conf1_read(f, 1, PCI_INTERRUPT_LINE, 1), 7);
}

static void what_is_absent_reads_all_ones(void **state)
{
	struct fixture *f = *state;
	struct bus *pio = &f->fake.machine.pio, *mmio = &f->fake.machine.mmio;
	static const uint32_t absent[] = {
		0x80000000 | 9 << 11,		/* no device */
		0x80000000 | 1 << 11 | 1 << 8,	/* no function 1 */
		0x80000000 | 1 << 11 | 1 << 16,	/* no bus 1 */
		1 << 11,			/* not enabled */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
		fake_vcpu_write(&f->fake, pio, 0xcf8, 4, absent[i]);
		assert_int_equal(fake_vcpu_read(&f->fake, pio, 0xcfc, 4), 0xffffffff);
		fake_vcpu_write(&f->fake, pio, 0xcfc, 4, 0);
	}
	assert_int_equal(fake_vcpu_read(&f->fake, mmio, ecam(9, 0), 4), 0xffffffff);
	assert_int_equal(fake_vcpu_read(&f->fake, mmio, ecam(1, 0) + 0x1000, 4), 0xffffffff);
	assert_int_equal(fake_vcpu_read(&f->fake, mmio, PCI_ECAM_BASE + PCI_ECAM_SIZE, 4), 0xffffffff);
	assert_int_equal(f->a.written, 0);
}

static void without_ecam_nothing_is_on_the_mmio_bus(void **state)
{
	struct fake_machine fake;
	struct pci_bus *bus = calloc(1, sizeof(*bus));
	struct err e;

	(void)state;
	fake_machine_init(&fake);
	assert_int_equal(pci_bus_init(bus, &fake.machine, false, &e), 0);
	assert_null(fake.machine.mmio.ranges);
	pci_bus_fini(bus);
	fake_machine_fini(&fake);
	free(bus);
}

/* What reading byte by byte gives is what every width must give. */
static void every_width_at_every_port_offset_is_safe(void **state)
{
	struct fixture *f = *state;
	struct bus *pio = &f->fake.machine.pio;

	for (uint64_t port = 0xcf0; port < 0xd08; port++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			bool in_data = port >= 0xcfc && port + size <= 0xd00;
			uint64_t got;

			fake_vcpu_write(&f->fake, pio, 0xcf8, 4, config_address(1, PCI_VENDOR_ID));
			got = fake_vcpu_read(&f->fake, pio, port, size);
			if (in_data)
				assert_true(got == pci_dev_get(&f->a.pci, (unsigned)(port - 0xcfc), size));
			else if (port != 0xcf8 || size != 4)
				assert_true(got == (UINT64_MAX >> (64 - 8 * size)));
			fake_vcpu_write(&f->fake, pio, port, size, UINT64_MAX);
		}
	}
	assert_int_equal(conf1_read(f, 1, PCI_VENDOR_ID, 4), 0x10421af4);
}

static void every_width_at_every_ecam_offset_is_safe(void **state)
{
	struct fixture *f = *state;
	struct bus *mmio = &f->fake.machine.mmio;

	for (unsigned reg = 0; reg < PCI_CONFIG_SIZE; reg++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			uint64_t expect = UINT64_MAX >> (64 - 8 * size);

			if (reg != 0xf0 && reg + size <= PCI_CONFIG_SIZE && !range_overlaps(reg, size, 0xf0, 1))
				expect = pci_dev_get(&f->a.pci, reg, size);
			else if (reg + size <= PCI_CONFIG_SIZE)
				continue;
			assert_true(fake_vcpu_read(&f->fake, mmio, ecam(1, reg), size) == expect);
		}
	}
}

static void only_writable_bits_change_whatever_is_written(void **state)
{
	struct fixture *f = *state;
	static const uint64_t values[] = { UINT64_MAX, 0, 0x5aa55aa55aa55aa5 };
	uint8_t before[PCI_CONFIG_SIZE];

	memcpy(before, f->a.pci.config, sizeof(before));
	for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
		for (unsigned reg = 0; reg < PCI_CONFIG_SIZE; reg++) {
			for (unsigned size = 1; size <= 8; size *= 2)
				fake_vcpu_write(&f->fake, &f->fake.machine.mmio, ecam(1, reg), size,
						values[v]);
		}
	}
	for (unsigned reg = 0; reg < PCI_CONFIG_SIZE; reg++) {
		uint8_t fixed = (uint8_t)~f->a.pci.wmask[reg];

		assert_int_equal(f->a.pci.config[reg] & fixed, before[reg] & fixed);
	}
}

static void write_one_to_clear_bits_clear_and_never_set(void **state)
{
	struct fixture *f = *state;

	f->a.pci.w1c[0x80] = 0x0f;
	f->a.pci.config[0x80] = 0x05;
	conf1_write(f, 1, 0x80, 1, 0x03);
	assert_int_equal(f->a.pci.config[0x80], 0x04);
	conf1_write(f, 1, 0x80, 1, 0xf0);
	assert_int_equal(f->a.pci.config[0x80], 0x04);
}

static void the_hook_comes_for_every_write_of_writable_bits(void **state)
{
	struct fixture *f = *state;

	f->a.pci.wmask[0x90] = 0xff;
	conf1_write(f, 1, 0x90, 1, 3);
	conf1_write(f, 1, 0x90, 1, 3);
	assert_int_equal(f->a.written, 2);
	assert_int_equal(f->a.written_off, 0x90);
	assert_int_equal(f->a.written_len, 1);
	conf1_write(f, 1, PCI_VENDOR_ID, 4, 0);
	assert_int_equal(f->a.written, 2);
}

static void live_registers_are_filled_before_they_are_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(conf1_read(f, 1, 0xf0, 1), 1);
	assert_int_equal(conf1_read(f, 1, 0xf0, 1), 2);
}

static uint64_t fake_reset_control(void *dev, uint64_t off, unsigned size)
{
	assert_int_equal(off, 0);
	assert_int_equal(size, 1);
	return *(uint8_t *)dev;
}

static void fake_reset_control_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	assert_int_equal(off, 0);
	assert_int_equal(size, 1);
	*(uint8_t *)dev = (uint8_t)value;
}

static void a_byte_at_0xcf9_is_reset_control_and_a_dword_is_not(void **state)
{
	static const struct bus_ops ops = { fake_reset_control, fake_reset_control_write };
	struct fixture *f = *state;
	struct bus *pio = &f->fake.machine.pio;
	uint8_t reset = 0;

	f->bus.reset_control = &ops;
	f->bus.reset_control_dev = &reset;
	fake_vcpu_write(&f->fake, pio, 0xcf8, 4, 0x80000600);
	assert_int_equal(reset, 0);
	fake_vcpu_write(&f->fake, pio, 0xcf9, 1, 0x02);
	assert_int_equal(reset, 2);
	assert_int_equal(fake_vcpu_read(&f->fake, pio, 0xcf9, 1), 2);
	assert_int_equal(fake_vcpu_read(&f->fake, pio, 0xcf8, 4), 0x80000600);
	fake_vcpu_write(&f->fake, pio, 0xcf9, 2, 0x0606);
	assert_int_equal(reset, 2);
}

static void capabilities_form_a_list(void **state)
{
	struct fixture *f = *state;
	struct card *c = calloc(1, sizeof(*c));
	unsigned first, second;

	card_init(c, "card c");
	assert_int_equal(pci_dev_get(&c->pci, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	first = pci_dev_capability(&c->pci, 0x09, 15);
	second = pci_dev_capability(&c->pci, 0x11, 12);
	assert_int_equal(pci_dev_add(&f->bus, &c->pci, &f->e), 0);

	assert_int_equal(conf1_read(f, 3, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST);
	assert_int_equal(conf1_read(f, 3, PCI_CAPABILITY_LIST, 1), first);
	assert_int_equal(conf1_read(f, 3, first, 2), second << 8 | 0x09);
	assert_int_equal(conf1_read(f, 3, second, 2), 0x11);
	assert_int_equal(first % 4 + second % 4, 0);
	assert_true(second >= first + 15);
	pci_dev_del(&c->pci);
	free(c);
}

/* ---- BARs ---- */

static void bars_are_assigned_before_boot_and_decode_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t home = f->a.pci.bars[REG_BAR].home;

	assert_true(range_ok(home - PCI_MMIO_BASE, REG_SIZE, PCI_MMIO_END - PCI_MMIO_BASE));
	assert_int_equal(read_bar(f, &f->a, REG_BAR), home);
	assert_true(f->a.pci.bars[WINDOW_BAR].home >= PCI_MMIO64_BASE);
	assert_int_equal(read_bar(f, &f->a, WINDOW_BAR),
			 (f->a.pci.bars[WINDOW_BAR].home & 0xffffffff) | 0xc);
	assert_true(home != f->b.pci.bars[REG_BAR].home);
	assert_true(f->a.pci.bars[WINDOW_BAR].home != f->b.pci.bars[WINDOW_BAR].home);
	assert_false(registers_answer(f, &f->a, home));
	assert_int_equal(f->a.maps, 0);
}

static void memory_decode_maps_and_unmaps(void **state)
{
	struct fixture *f = *state;
	uint64_t home = f->a.pci.bars[REG_BAR].home;

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	assert_true(registers_answer(f, &f->a, home));
	assert_true(f->a.mapped_at == f->a.pci.bars[WINDOW_BAR].home);

	set_command(f, &f->a, PCI_COMMAND_MASTER);
	assert_int_equal(fake_vcpu_read(&f->fake, &f->fake.machine.mmio, home, 4), 0xffffffff);
	assert_true(f->a.mapped_at == PCI_UNMAPPED);

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	assert_true(registers_answer(f, &f->a, home));
	assert_true(f->a.mapped_at == f->a.pci.bars[WINDOW_BAR].home);
	assert_int_equal(f->a.maps, 3);
	assert_int_equal(fake_machine_calls(&f->fake), f->fake.irqfd_adds);
}

static void a_register_bar_answers_in_all_of_it_and_only_there(void **state)
{
	struct fixture *f = *state;
	uint64_t home = f->a.pci.bars[REG_BAR].home;

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	assert_true(registers_answer(f, &f->a, home + REG_SIZE - 1));
	assert_int_equal(fake_vcpu_read(&f->fake, &f->fake.machine.mmio, home + REG_SIZE - 1, 2), 0xffff);
	assert_false(registers_answer(f, &f->a, home + REG_SIZE));
}

static const uint32_t probe_values[] = { 0xffffffff, 0xfffffff0, 0xfffff000, 0xf0000000 };

static void sizing_gives_the_mask_for_every_probe_value(void **state)
{
	struct fixture *f = *state;

	for (unsigned decode = 0; decode < 2; decode++) {
		set_command(f, &f->a, decode ? PCI_COMMAND_MEMORY : 0);
		for (unsigned i = 0; i < ARRAY_SIZE(probe_values); i++) {
			uint32_t reg = read_bar(f, &f->a, REG_BAR), low = read_bar(f, &f->a, WINDOW_BAR),
				 high = read_bar(f, &f->a, WINDOW_BAR + 1);

			write_bar(f, &f->a, REG_BAR, probe_values[i]);
			assert_int_equal(read_bar(f, &f->a, REG_BAR), probe_values[i] & ~(REG_SIZE - 1u));
			write_bar(f, &f->a, REG_BAR, reg);
			write_bar(f, &f->a, WINDOW_BAR, probe_values[i]);
			assert_int_equal(read_bar(f, &f->a, WINDOW_BAR),
					 (probe_values[i] & ~(WINDOW_SIZE - 1u)) | 0xc);
			write_bar(f, &f->a, WINDOW_BAR, low);
			write_bar(f, &f->a, WINDOW_BAR + 1, probe_values[i]);
			assert_int_equal(read_bar(f, &f->a, WINDOW_BAR + 1), probe_values[i]);
			write_bar(f, &f->a, WINDOW_BAR + 1, high);
			assert_int_equal(read_bar(f, &f->a, REG_BAR), reg);
		}
	}
}

static void sizing_without_decode_maps_nothing(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(probe_values); i++) {
		write_bar64(f, &f->a, WINDOW_BAR, probe_values[i] | (uint64_t)probe_values[i] << 32);
		write_bar(f, &f->a, REG_BAR, probe_values[i]);
	}
	assert_int_equal(f->a.maps, 0);
	assert_true(f->a.pci.bars[REG_BAR].addr == PCI_UNMAPPED);
}

static void sizing_while_it_decodes_leaves_the_bar_working(void **state)
{
	struct fixture *f = *state;
	uint64_t reg = f->a.pci.bars[REG_BAR].home, window = f->a.pci.bars[WINDOW_BAR].home;

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	for (unsigned i = 0; i < ARRAY_SIZE(probe_values); i++) {
		write_bar(f, &f->a, REG_BAR, probe_values[i]);
		assert_true(registers_answer(f, &f->a, reg));
		write_bar(f, &f->a, REG_BAR, (uint32_t)reg);
		write_bar64(f, &f->a, WINDOW_BAR, UINT64_MAX);
		write_bar64(f, &f->a, WINDOW_BAR, window);
		assert_true(registers_answer(f, &f->a, reg));
		assert_true(f->a.mapped_at == window);
	}
}

static void a_bar_that_decodes_moves_with_its_register(void **state)
{
	struct fixture *f = *state;
	uint64_t old = f->a.pci.bars[REG_BAR].home;

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	write_bar(f, &f->a, REG_BAR, 0xd0000000);
	assert_true(registers_answer(f, &f->a, 0xd0000000));
	assert_false(registers_answer(f, &f->a, old));
	write_bar64(f, &f->a, WINDOW_BAR, UINT64_C(0x4123400000));
	assert_true(f->a.mapped_at == UINT64_C(0x4123400000));
}

static void a_bar_put_on_another_stays_until_there_is_room(void **state)
{
	struct fixture *f = *state;
	uint64_t a = f->a.pci.bars[REG_BAR].home, b = f->b.pci.bars[REG_BAR].home;

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	set_command(f, &f->b, PCI_COMMAND_MEMORY);

	write_bar(f, &f->a, REG_BAR, (uint32_t)b);
	assert_true(registers_answer(f, &f->b, b));
	assert_true(registers_answer(f, &f->a, a));
	assert_int_equal(f->a.pci.collisions.count, 1);

	write_bar(f, &f->b, REG_BAR, 0xd0000000);
	assert_true(registers_answer(f, &f->a, b));
	assert_true(registers_answer(f, &f->b, 0xd0000000));
	assert_false(registers_answer(f, &f->a, a));
}

static void two_bars_can_change_places(void **state)
{
	struct fixture *f = *state;
	uint64_t a = f->a.pci.bars[REG_BAR].home, b = f->b.pci.bars[REG_BAR].home;

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	set_command(f, &f->b, PCI_COMMAND_MEMORY);
	write_bar(f, &f->a, REG_BAR, (uint32_t)b);
	write_bar(f, &f->b, REG_BAR, (uint32_t)a);
	assert_true(registers_answer(f, &f->a, b));
	assert_true(registers_answer(f, &f->b, a));
}

static void a_bar_switched_off_makes_room_for_one_that_waits(void **state)
{
	struct fixture *f = *state;
	uint64_t b = f->b.pci.bars[WINDOW_BAR].home;

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	set_command(f, &f->b, PCI_COMMAND_MEMORY);
	write_bar64(f, &f->a, WINDOW_BAR, b);
	assert_true(f->b.mapped_at == b);
	set_command(f, &f->b, 0);
	assert_true(f->b.mapped_at == PCI_UNMAPPED);
	assert_true(f->a.mapped_at == b);
	set_command(f, &f->b, PCI_COMMAND_MEMORY);
	assert_true(f->b.mapped_at == PCI_UNMAPPED);
}

static void a_bar_never_decodes_outside_the_pci_windows(void **state)
{
	static const uint64_t places[] = {
		0, 0x100000, PCI_MMIO_BASE - WINDOW_SIZE, PCI_ECAM_BASE, 0xfec00000, 0xfee00000,
		GIB(4), GIB(5) - WINDOW_SIZE, PCI_MMIO64_END, UINT64_C(0xfffffffffff00000),
	};
	struct fixture *f = *state;
	uint64_t home = f->a.pci.bars[WINDOW_BAR].home;

	f->fake.mem.count = 1;
	f->fake.mem.regions[0] = (struct mem_region){ .gpa = GIB(4), .size = GIB(1) };
	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		write_bar64(f, &f->a, WINDOW_BAR, home);
		assert_true(f->a.mapped_at == home);
		write_bar64(f, &f->a, WINDOW_BAR, places[i]);
		assert_true(f->a.mapped_at != places[i]);
	}
	write_bar64(f, &f->a, WINDOW_BAR, GIB(5));
	assert_true(f->a.mapped_at == GIB(5));
}

static void a_bar_never_covers_other_registers(void **state)
{
	struct fixture *f = *state;
	struct bus_range other = { 0xd0000800, 0x200, &reg_ops, &f->b, "other", NULL };
	uint64_t home = f->a.pci.bars[REG_BAR].home;

	assert_int_equal(bus_add(&f->fake.machine.mmio, &other, &f->e), 0);
	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	write_bar(f, &f->a, REG_BAR, 0xd0000000);
	assert_true(registers_answer(f, &f->b, 0xd0000800));
	assert_true(registers_answer(f, &f->a, home));
	bus_del(&f->fake.machine.mmio, &other);
}

static void ram_beyond_the_64_bit_window_moves_its_start(void **state)
{
	struct fake_machine fake;
	struct pci_bus *bus = calloc(1, sizeof(*bus));
	struct card *c = calloc(1, sizeof(*c));
	struct err e;

	(void)state;
	fake_machine_init(&fake);
	fake.mem.count = 1;
	fake.mem.regions[0] = (struct mem_region){ .gpa = GIB(4), .size = GIB(300) + MIB(1) };
	assert_int_equal(pci_bus_init(bus, &fake.machine, false, &e), 0);
	card_init(c, "card");
	assert_int_equal(pci_dev_add(bus, &c->pci, &e), 0);
	assert_true(c->pci.bars[WINDOW_BAR].home == GIB(305));
	pci_bus_fini(bus);
	fake_machine_fini(&fake);
	free(c);
	free(bus);
}

static void reset_brings_back_the_addresses_of_boot(void **state)
{
	struct fixture *f = *state;
	uint64_t home = f->a.pci.bars[REG_BAR].home;

	set_command(f, &f->a, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	write_bar(f, &f->a, REG_BAR, 0xd0000000);
	write_bar64(f, &f->a, WINDOW_BAR, UINT64_C(0x4123400000));
	conf1_write(f, 1, PCI_INTERRUPT_LINE, 1, 0x33);

	pci_bus_reset(&f->bus);

	assert_int_equal(conf1_read(f, 1, PCI_COMMAND, 2), 0);
	assert_int_equal(read_bar(f, &f->a, REG_BAR), home);
	assert_int_equal(conf1_read(f, 1, PCI_INTERRUPT_LINE, 1), pci_intx_gsi[1]);
	assert_true(f->a.mapped_at == PCI_UNMAPPED);
	assert_false(registers_answer(f, &f->a, 0xd0000000));
	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	assert_true(registers_answer(f, &f->a, home));
}

static void a_bar_too_large_for_the_window_is_refused_by_name(void **state)
{
	struct fixture *f = *state;
	struct card *c = calloc(1, sizeof(*c));

	pci_dev_init(&c->pci, "huge card", 1, 2, 3, 4);
	pci_dev_bar(&c->pci, 0, (struct pci_bar){ .size = PCI_MMIO64_END, .is_64 = true });
	assert_int_equal(pci_dev_add(&f->bus, &c->pci, &f->e), -ENOSPC);
	assert_non_null(strstr(f->e.msg, "huge card"));
	assert_null(f->bus.slots[3]);
	free(c);
}

static void a_deleted_device_gives_back_slot_and_addresses(void **state)
{
	struct fixture *f = *state;
	uint64_t home = f->a.pci.bars[REG_BAR].home;
	struct card *c = calloc(1, sizeof(*c));

	set_command(f, &f->a, PCI_COMMAND_MEMORY);
	pci_dev_del(&f->a.pci);
	pci_dev_del(&f->a.pci);
	assert_int_equal(conf1_read(f, 1, PCI_VENDOR_ID, 4), 0xffffffff);
	assert_false(registers_answer(f, &f->a, home));
	assert_true(f->a.mapped_at == PCI_UNMAPPED);

	card_init(c, "card c");
	assert_int_equal(pci_dev_add(&f->bus, &c->pci, &f->e), 0);
	assert_int_equal(c->pci.slot, 1);
	assert_true(c->pci.bars[REG_BAR].home == home);
	pci_dev_del(&c->pci);
	free(c);
}

static void the_bus_takes_31_devices_and_refuses_the_next(void **state)
{
	struct fixture *f = *state;
	struct card *cards = calloc(30, sizeof(*cards));

	for (unsigned i = 0; i < 29; i++) {
		card_init(&cards[i], "card");
		assert_int_equal(pci_dev_add(&f->bus, &cards[i].pci, &f->e), 0);
		set_command(f, &cards[i], PCI_COMMAND_MEMORY);
		assert_true(cards[i].mapped_at != PCI_UNMAPPED);
		assert_true(registers_answer(f, &cards[i], cards[i].pci.bars[REG_BAR].home));
	}
	card_init(&cards[29], "one too many");
	assert_int_equal(pci_dev_add(&f->bus, &cards[29].pci, &f->e), -ENOSPC);
	assert_non_null(strstr(f->e.msg, "one too many"));
	pci_bus_fini(&f->bus);
	free(cards);
}

/* ---- INTx ---- */

static unsigned gsi_of(const struct card *c)
{
	return pci_intx_gsi[c->pci.slot % PCI_INTX_LINES];
}

static void a_pin_raises_the_line_that_its_registers_name(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(conf1_read(f, 1, PCI_INTERRUPT_PIN, 1), 1);
	assert_int_equal(conf1_read(f, 1, PCI_INTERRUPT_LINE, 1), gsi_of(&f->a));
	assert_true(gsi_of(&f->a) != gsi_of(&f->b));
	f->fake.in_vcpu = true;
	pci_dev_intx(&f->a.pci, true);
	f->fake.in_vcpu = false;
	assert_true(fake_machine_line(&f->fake, gsi_of(&f->a)));
	assert_false(fake_machine_line(&f->fake, gsi_of(&f->b)));
	assert_int_equal(conf1_read(f, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
}

static void a_pin_still_up_at_eoi_interrupts_again(void **state)
{
	struct fixture *f = *state;
	unsigned gsi = gsi_of(&f->a);

	pci_dev_intx(&f->a.pci, true);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 1);
	fake_machine_eoi(&f->fake, gsi);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 1);
	assert_true(fake_machine_line(&f->fake, gsi));
}

static void a_pin_down_at_eoi_stays_down(void **state)
{
	struct fixture *f = *state;
	unsigned gsi = gsi_of(&f->a);

	pci_dev_intx(&f->a.pci, true);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 1);
	pci_dev_intx(&f->a.pci, false);
	fake_machine_eoi(&f->fake, gsi);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 0);
	assert_false(fake_machine_line(&f->fake, gsi));
	assert_int_equal(conf1_read(f, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
}

static void a_shared_line_stays_up_for_the_other_device(void **state)
{
	struct fixture *f = *state;
	struct card *cards = calloc(3, sizeof(*cards));
	unsigned gsi = gsi_of(&f->a);

	for (unsigned i = 0; i < 3; i++) {
		card_init(&cards[i], "card");
		assert_int_equal(pci_dev_add(&f->bus, &cards[i].pci, &f->e), 0);
	}
	assert_int_equal(gsi_of(&cards[2]), gsi);
	assert_int_equal(f->fake.irqfd_adds, PCI_INTX_LINES);
	pci_dev_intx(&f->a.pci, true);
	pci_dev_intx(&cards[2].pci, true);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 1);
	pci_dev_intx(&f->a.pci, false);
	fake_machine_eoi(&f->fake, gsi);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 1);
	pci_dev_intx(&cards[2].pci, false);
	fake_machine_eoi(&f->fake, gsi);
	fake_machine_run_loop(&f->fake);
	assert_false(fake_machine_line(&f->fake, gsi));
	pci_bus_fini(&f->bus);
	free(cards);
}

static void command_can_disable_intx(void **state)
{
	struct fixture *f = *state;
	unsigned gsi = gsi_of(&f->a);

	set_command(f, &f->a, PCI_COMMAND_INTX_DISABLE);
	pci_dev_intx(&f->a.pci, true);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 0);
	assert_int_equal(conf1_read(f, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);

	set_command(f, &f->a, 0);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 1);

	set_command(f, &f->a, PCI_COMMAND_INTX_DISABLE);
	fake_machine_eoi(&f->fake, gsi);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(fake_machine_interrupts(&f->fake, gsi), 0);
}

static void reset_and_removal_lower_the_pin(void **state)
{
	struct fixture *f = *state;

	pci_dev_intx(&f->a.pci, true);
	pci_dev_intx(&f->b.pci, true);
	pci_dev_reset(&f->a.pci);
	pci_dev_del(&f->b.pci);
	fake_machine_eoi(&f->fake, gsi_of(&f->a));
	fake_machine_eoi(&f->fake, gsi_of(&f->b));
	fake_machine_run_loop(&f->fake);
	assert_false(fake_machine_line(&f->fake, gsi_of(&f->a)));
	assert_false(fake_machine_line(&f->fake, gsi_of(&f->b)));
}

static void an_irqfd_the_kernel_refuses_is_an_error_that_names_the_device(void **state)
{
	struct fixture *f = *state;
	struct card *c = calloc(1, sizeof(*c));

	card_init(c, "card c");
	f->fake.fail = -ENOMEM;
	assert_int_equal(pci_dev_add(&f->bus, &c->pci, &f->e), -ENOMEM);
	assert_non_null(strstr(f->e.msg, "card c"));
	f->fake.fail = 0;
	assert_int_equal(pci_dev_add(&f->bus, &c->pci, &f->e), 0);
	pci_dev_del(&c->pci);
	free(c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(linux_finds_mechanism_1_and_a_host_bridge),
		CASE(both_mechanisms_reach_the_same_registers),
		CASE(what_is_absent_reads_all_ones),
		CASE(without_ecam_nothing_is_on_the_mmio_bus),
		CASE(every_width_at_every_port_offset_is_safe),
		CASE(every_width_at_every_ecam_offset_is_safe),
		CASE(only_writable_bits_change_whatever_is_written),
		CASE(write_one_to_clear_bits_clear_and_never_set),
		CASE(the_hook_comes_for_every_write_of_writable_bits),
		CASE(live_registers_are_filled_before_they_are_read),
		CASE(a_byte_at_0xcf9_is_reset_control_and_a_dword_is_not),
		CASE(capabilities_form_a_list),
		CASE(bars_are_assigned_before_boot_and_decode_nothing),
		CASE(memory_decode_maps_and_unmaps),
		CASE(a_register_bar_answers_in_all_of_it_and_only_there),
		CASE(sizing_gives_the_mask_for_every_probe_value),
		CASE(sizing_without_decode_maps_nothing),
		CASE(sizing_while_it_decodes_leaves_the_bar_working),
		CASE(a_bar_that_decodes_moves_with_its_register),
		CASE(a_bar_put_on_another_stays_until_there_is_room),
		CASE(two_bars_can_change_places),
		CASE(a_bar_switched_off_makes_room_for_one_that_waits),
		CASE(a_bar_never_decodes_outside_the_pci_windows),
		CASE(a_bar_never_covers_other_registers),
		CASE(ram_beyond_the_64_bit_window_moves_its_start),
		CASE(reset_brings_back_the_addresses_of_boot),
		CASE(a_bar_too_large_for_the_window_is_refused_by_name),
		CASE(a_deleted_device_gives_back_slot_and_addresses),
		CASE(the_bus_takes_31_devices_and_refuses_the_next),
		CASE(a_pin_raises_the_line_that_its_registers_name),
		CASE(a_pin_still_up_at_eoi_interrupts_again),
		CASE(a_pin_down_at_eoi_stays_down),
		CASE(a_shared_line_stays_up_for_the_other_device),
		CASE(command_can_disable_intx),
		CASE(reset_and_removal_lower_the_pin),
		CASE(an_irqfd_the_kernel_refuses_is_an_error_that_names_the_device),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
