/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "devices/virtio_mmio.h"
#include "tests/unit/boot_guest.h"
#include "vmm/layout.h"
#include "vmm/mptable.h"

/* What a guest finds: entries by type, and where interrupts go. */
struct found {
	unsigned cpus, boot_cpus, buses, ioapics, interrupts, locals;
	unsigned serial_pin;
	unsigned pci_pin[PCI_SLOTS];
	uint32_t mmio_pins;		/* mask */
};

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len-- > 0)
		s = (uint8_t)(s + *p++);
	return s;
}

static void count_entry(struct found *f, const uint8_t *p)
{
	switch (p[0]) {
	case 0:
		assert_int_equal(p[1], f->cpus);
		f->cpus++;
		f->boot_cpus += p[3] >> 1 & 1;
		break;
	case 1:
		f->buses++;
		break;
	case 2:
		f->ioapics++;
		assert_int_equal(p[4] | p[5] << 8 | p[6] << 16 | (unsigned)p[7] << 24, 0xfec00000);
		break;
	case 3:
		f->interrupts++;
		if (p[4] == 1 && p[5] >= VIRTIO_MMIO_GSI_FIRST) {
			assert_int_equal(p[5], p[7]);
			assert_int_equal(p[2], 5);	/* active high, edge */
			f->mmio_pins |= 1u << p[7];
		} else if (p[4] == 1)
			f->serial_pin = p[7];
		else
			f->pci_pin[p[5] >> 2] = p[7];
		break;
	case 4:
		f->locals++;
		break;
	default:
		fail_msg("entry of type %u", p[0]);
	}
}

/* Searches the last KiB of base RAM as the specification says, and reads the table. */
static struct found read_table(unsigned cpus, uint32_t slots, unsigned mmio_devices)
{
	struct boot_guest g;
	struct found f = { 0 };
	const uint8_t *fp = NULL, *table, *p;
	unsigned len, entries;

	boot_guest_init(&g, MIB(4), cpus, false);
	g.desc.pci_slots = slots;
	g.desc.mmio_devices = mmio_devices;
	if (mptable_write(&g.desc, &g.place, &g.err) < 0)
		fail_msg("%s", g.err.msg);
	for (uint64_t at = 639 << 10; at < 640 << 10 && !fp; at += 16)
		if (!memcmp(boot_guest_at(&g, at, 16), "_MP_", 4))
			fp = boot_guest_at(&g, at, 16);
	assert_non_null(fp);
	assert_int_equal(sum(fp, 16), 0);
	assert_int_equal(fp[9], 4);
	assert_int_equal(fp[12], 0);	/* virtual wire mode */

	table = boot_guest_at(&g, (uint64_t)(fp[4] | fp[5] << 8 | fp[6] << 16), 44);
	len = (unsigned)(table[4] | table[5] << 8);
	assert_memory_equal(table, "PCMP", 4);
	assert_true(table + len <= boot_guest_at(&g, LAYOUT_MP_POINTER, 1));
	assert_int_equal(sum(table, len), 0);

	entries = (unsigned)(table[34] | table[35] << 8);
	p = table + 44;
	for (unsigned i = 0; i < entries; i++) {
		count_entry(&f, p);
		p += p[0] == 0 ? 20 : 8;
	}
	assert_ptr_equal(p, table + len);
	boot_guest_fini(&g);
	return f;
}

/* 64-bit Linux takes no PIC interrupt while it finds an MP table without an IOAPIC. */
static void one_cpu_has_an_ioapic_too(void **state)
{
	struct found f = read_table(1, UINT32_MAX, 0);

	(void)state;
	assert_int_equal(f.cpus, 1);
	assert_int_equal(f.ioapics, 1);
	assert_int_equal(f.serial_pin, MACHINE_GSI_SERIAL);
	assert_int_equal(f.locals, 2);
}

static void only_slots_with_a_device_have_an_interrupt(void **state)
{
	struct found f = read_table(1, 1u << 0 | 1u << 3, 0);

	(void)state;
	assert_int_equal(f.interrupts, 2);
	assert_int_equal(f.pci_pin[3], pci_intx_gsi[3]);
}

static void more_cpus_have_an_ioapic_with_serial_and_pci_lines(void **state)
{
	struct found f = read_table(4, UINT32_MAX, 0);

	(void)state;
	assert_int_equal(f.cpus, 4);
	assert_int_equal(f.boot_cpus, 1);
	assert_int_equal(f.buses, 2);
	assert_int_equal(f.ioapics, 1);
	assert_int_equal(f.serial_pin, MACHINE_GSI_SERIAL);
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
		assert_int_equal(f.pci_pin[slot], pci_intx_gsi[slot % PCI_INTX_LINES]);
}

static void mmio_devices_have_pins_of_their_own_until_there_are_too_many(void **state)
{
	(void)state;
	assert_int_equal(read_table(1, 1, 0).mmio_pins, 0);
	assert_int_equal(read_table(1, 1, 2).mmio_pins, 0x30000);
	assert_int_equal(read_table(1, 1, 9).mmio_pins, 0xff0000);
	assert_int_equal(read_table(1, 1, 9).interrupts, 1 + VIRTIO_MMIO_GSI_COUNT);
}

static void the_most_cpus_and_devices_fit(void **state)
{
	struct found f = read_table(DESC_CPUS_MAX, UINT32_MAX, 32);

	(void)state;
	assert_int_equal(f.cpus, DESC_CPUS_MAX);
	assert_int_equal(f.ioapics, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_cpu_has_an_ioapic_too),
		cmocka_unit_test(only_slots_with_a_device_have_an_interrupt),
		cmocka_unit_test(more_cpus_have_an_ioapic_with_serial_and_pci_lines),
		cmocka_unit_test(mmio_devices_have_pins_of_their_own_until_there_are_too_many),
		cmocka_unit_test(the_most_cpus_and_devices_fit),
	};

	return cmocka_run_group_tests_name("mptable", tests, NULL, NULL);
}
