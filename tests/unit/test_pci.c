/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"
#include "tests/unit/pci_cards.h"

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
	struct bus *mmio = &f->fake.machine.mmio;

	assert_int_equal(conf1_read(f, 1, PCI_VENDOR_ID, 4), 0x10421af4);
	assert_int_equal(fake_vcpu_read(&f->fake, mmio, ecam(1, 0), 4), 0x10421af4);
	assert_int_equal(conf1_read(f, 1, PCI_CLASS_REVISION, 4), 0x01800001);
	fake_vcpu_write(&f->fake, mmio, ecam(1, PCI_INTERRUPT_LINE), 1, 7);
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
	assert_int_equal(fake_vcpu_read(&f->fake, mmio, PCI_ECAM_BASE + PCI_ECAM_SIZE, 4),
			 0xffffffff);
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
			uint64_t got, vendor;

			fake_vcpu_write(&f->fake, pio, 0xcf8, 4, config_address(1, PCI_VENDOR_ID));
			got = fake_vcpu_read(&f->fake, pio, port, size);
			vendor = in_data ? pci_dev_get(&f->a.pci, (unsigned)port - 0xcfc, size) : 0;
			if (in_data)
				assert_true(got == vendor);
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

			/* The live register counts reads. */
			if (range_overlaps(reg, size, 0xf0, 1))
				continue;
			if (reg + size <= PCI_CONFIG_SIZE)
				expect = pci_dev_get(&f->a.pci, reg, size);
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

	assert_int_equal(conf1_read(f, 3, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST,
			 PCI_STATUS_CAP_LIST);
	assert_int_equal(conf1_read(f, 3, PCI_CAPABILITY_LIST, 1), first);
	assert_int_equal(conf1_read(f, 3, first, 2), second << 8 | 0x09);
	assert_int_equal(conf1_read(f, 3, second, 2), 0x11);
	assert_int_equal(first % 4 + second % 4, 0);
	assert_true(second >= first + 15);
	pci_dev_del(&c->pci);
	free(c);
}

/* ---- INTx ---- */

static unsigned gsi_of(const struct card *c)
{
	return pci_intx_gsi[c->pci.slot % PCI_INTX_LINES];
}

static void a_device_without_a_pin_has_no_line(void **state)
{
	struct fixture *f = *state;
	struct card *c = calloc(1, sizeof(*c));
	unsigned calls;

	card_init(c, "card without a pin");
	c->pci.no_intx = true;
	calls = f->fake.irqfd_adds;
	assert_int_equal(pci_dev_add(&f->bus, &c->pci, &f->e), 0);
	assert_int_equal(f->fake.irqfd_adds, calls);
	pci_dev_reset(&c->pci);
	conf1_write(f, c->pci.slot, PCI_INTERRUPT_LINE, 1, 7);
	conf1_write(f, c->pci.slot, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(conf1_read(f, c->pci.slot, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(conf1_read(f, c->pci.slot, PCI_INTERRUPT_LINE, 1), 0);
	assert_int_equal(conf1_read(f, c->pci.slot, PCI_COMMAND, 2),
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	pci_dev_del(&c->pci);
	free(c);
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
	assert_int_equal(conf1_read(f, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT,
			 PCI_STATUS_INTERRUPT);
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
	assert_int_equal(conf1_read(f, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT,
			 PCI_STATUS_INTERRUPT);

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

#define CASE(f) cmocka_unit_test_setup_teardown(f, pci_cards_setup, pci_cards_teardown)

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
		CASE(a_device_without_a_pin_has_no_line),
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
