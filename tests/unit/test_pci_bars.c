/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"
#include "tests/unit/pci_cards.h"

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
	assert_int_equal(fake_vcpu_read(&f->fake, &f->fake.machine.mmio, home + REG_SIZE - 1, 2),
			 0xffff);
	assert_false(registers_answer(f, &f->a, home + REG_SIZE));
}

static const uint32_t probe_values[] = { 0xffffffff, 0xfffffff0, 0xfffff000, 0xf0000000 };

static void sizing_gives_the_mask_for_every_probe_value(void **state)
{
	struct fixture *f = *state;

	for (unsigned decode = 0; decode < 2; decode++) {
		set_command(f, &f->a, decode ? PCI_COMMAND_MEMORY : 0);
		for (unsigned i = 0; i < ARRAY_SIZE(probe_values); i++) {
			uint32_t probe = probe_values[i], reg = read_bar(f, &f->a, REG_BAR);
			uint32_t low = read_bar(f, &f->a, WINDOW_BAR);
			uint32_t high = read_bar(f, &f->a, WINDOW_BAR + 1);

			write_bar(f, &f->a, REG_BAR, probe);
			assert_int_equal(read_bar(f, &f->a, REG_BAR), probe & ~(REG_SIZE - 1u));
			write_bar(f, &f->a, REG_BAR, reg);
			write_bar(f, &f->a, WINDOW_BAR, probe);
			assert_int_equal(read_bar(f, &f->a, WINDOW_BAR),
					 (probe & ~(WINDOW_SIZE - 1u)) | 0xc);
			write_bar(f, &f->a, WINDOW_BAR, low);
			write_bar(f, &f->a, WINDOW_BAR + 1, probe);
			assert_int_equal(read_bar(f, &f->a, WINDOW_BAR + 1), probe);
			write_bar(f, &f->a, WINDOW_BAR + 1, high);
			assert_int_equal(read_bar(f, &f->a, REG_BAR), reg);
		}
	}
}

static void sizing_without_decode_maps_nothing(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(probe_values); i++) {
		uint32_t probe = probe_values[i];

		write_bar64(f, &f->a, WINDOW_BAR, probe | (uint64_t)probe << 32);
		write_bar(f, &f->a, REG_BAR, probe);
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
	struct bus_range other = { 0xd0000800, 0x200, &card_registers, &f->b, "other", NULL };
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

#define CASE(f) cmocka_unit_test_setup_teardown(f, pci_cards_setup, pci_cards_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests_name("pci_bars", tests, NULL, NULL);
}
