/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/boot_guest.h"
#include "vmm/acpi.h"
#include "vmm/aml.h"
#include "vmm/layout.h"

static int setup(void **state)
{
	struct boot_guest *g = malloc(sizeof(*g));

	assert_non_null(g);
	boot_guest_init(g, MIB(4), 1, false);
	g->desc.acpi = g->desc.ecam = true;
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	boot_guest_fini(*state);
	free(*state);
	return 0;
}

static void write_tables(struct boot_guest *g)
{
	if (acpi_write(&g->desc, &g->place, &g->err) < 0)
		fail_msg("%s", g->err.msg);
}

static void assert_sums_to_zero(const struct boot_guest *g, uint64_t gpa, uint64_t len)
{
	const uint8_t *p = boot_guest_at(g, gpa, len);
	uint8_t sum = 0;

	for (uint64_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	assert_int_equal(sum, 0);
}

/* The checked table at @gpa, which lies where the guest does not take it for RAM. */
static uint64_t checked(const struct boot_guest *g, uint64_t gpa, const char *signature)
{
	uint64_t len = boot_guest_le(g, gpa + 4, 4);

	assert_memory_equal(boot_guest_at(g, gpa, 4), signature, 4);
	assert_true(gpa > LAYOUT_ACPI && gpa + len <= LAYOUT_ACPI_END);
	assert_sums_to_zero(g, gpa, len);
	return gpa;
}

/* Finds a table as a guest does: RSDP, XSDT, signature. 0 when it is not there. */
static uint64_t find(const struct boot_guest *g, const char *signature)
{
	uint64_t xsdt, end;

	assert_memory_equal(boot_guest_at(g, LAYOUT_ACPI, 8), "RSD PTR ", 8);
	assert_sums_to_zero(g, LAYOUT_ACPI, 20);
	assert_sums_to_zero(g, LAYOUT_ACPI, 36);
	xsdt = checked(g, boot_guest_le(g, LAYOUT_ACPI + 24, 8), "XSDT");
	end = xsdt + boot_guest_le(g, xsdt + 4, 4);
	for (uint64_t at = xsdt + 36; at < end; at += 8) {
		uint64_t gpa = boot_guest_le(g, at, 8);

		if (!memcmp(boot_guest_at(g, gpa, 4), signature, 4))
			return checked(g, gpa, signature);
	}
	return 0;
}

static uint64_t find_dsdt(const struct boot_guest *g)
{
	uint64_t fadt = find(g, "FACP");

	assert_int_equal(boot_guest_le(g, fadt + 40, 4), boot_guest_le(g, fadt + 140, 8));
	return checked(g, boot_guest_le(g, fadt + 140, 8), "DSDT");
}

static void fadt_describes_a_machine_without_legacy_hardware(void **state)
{
	struct boot_guest *g = *state;
	uint64_t fadt;

	write_tables(g);
	fadt = find(g, "FACP");
	assert_true(fadt != 0);
	assert_int_equal(boot_guest_le(g, fadt + 4, 4), 276);
	assert_true(boot_guest_le(g, fadt + 112, 4) & 1 << 20);
	/* No VGA, no CMOS clock; no 8042 and no legacy devices. */
	assert_int_equal(boot_guest_le(g, fadt + 109, 2) & (1 << 0 | 1 << 1 | 1 << 2 | 1 << 5),
			 1 << 2 | 1 << 5);
	/* No SCI, PM timer or event blocks. */
	assert_int_equal(boot_guest_le(g, fadt + 46, 2), 0);
	assert_int_equal(boot_guest_le(g, fadt + 76, 4), 0);
}

static void power_off_and_reset_go_to_the_platforms_ports(void **state)
{
	struct boot_guest *g = *state;
	uint64_t fadt;

	write_tables(g);
	fadt = find(g, "FACP");
	assert_int_equal(boot_guest_le(g, fadt + 244, 1), 1);
	assert_int_equal(boot_guest_le(g, fadt + 248, 8), 0x600);
	assert_int_equal(boot_guest_le(g, fadt + 260, 8), 0x601);
	assert_true(boot_guest_le(g, fadt + 112, 4) & 1 << 10);
	assert_int_equal(boot_guest_le(g, fadt + 120, 8), 0x64);
	assert_int_equal(boot_guest_le(g, fadt + 128, 1), 0xfe);
}

static unsigned madt_entries(const struct boot_guest *g, uint64_t madt, uint8_t type)
{
	uint64_t end = madt + boot_guest_le(g, madt + 4, 4), at = madt + 44;
	unsigned n = 0;

	while (at < end) {
		uint64_t len = boot_guest_le(g, at + 1, 1);

		assert_true(len >= 2);
		n += boot_guest_le(g, at, 1) == type;
		at += len;
	}
	assert_int_equal(at, end);
	return n;
}

static void madt_has_every_cpu_and_one_ioapic(void **state)
{
	static const unsigned counts[] = { 1, 4, DESC_CPUS_MAX };
	struct boot_guest *g = *state;

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t madt;

		g->desc.cpus = counts[i];
		write_tables(g);
		madt = find(g, "APIC");
		assert_int_equal(boot_guest_le(g, madt + 36, 4), 0xfee00000);
		assert_int_equal(madt_entries(g, madt, 0), counts[i]);
		assert_int_equal(madt_entries(g, madt, 1), 1);
	}
}

static void mcfg_is_there_with_ecam_only(void **state)
{
	struct boot_guest *g = *state;
	uint64_t mcfg;

	write_tables(g);
	mcfg = find(g, "MCFG");
	assert_true(mcfg != 0);
	assert_int_equal(boot_guest_le(g, mcfg + 44, 8), PCI_ECAM_BASE);
	assert_int_equal(boot_guest_le(g, mcfg + 54, 1), 0);
	assert_int_equal(boot_guest_le(g, mcfg + 55, 1), 0);

	g->desc.ecam = false;
	write_tables(g);
	assert_int_equal(find(g, "MCFG"), 0);
}

static bool dsdt_has(const struct boot_guest *g, const void *what, size_t len)
{
	uint64_t dsdt = find_dsdt(g), size = boot_guest_le(g, dsdt + 4, 4);

	return memmem(boot_guest_at(g, dsdt, size), size, what, len) != NULL;
}

static void dsdt_names_bridge_serial_port_and_s5(void **state)
{
	struct boot_guest *g = *state;

	write_tables(g);
	assert_true(dsdt_has(g, "\x0c\x41\xd0\x0a\x08", 5));	/* PNP0A08 */
	assert_true(dsdt_has(g, "\x0c\x41\xd0\x05\x01", 5));	/* PNP0501 */
	assert_true(dsdt_has(g, "\x08_S5_\x12", 6));
	assert_true(dsdt_has(g, "\x08_PRT\x12", 6));

	g->desc.serial = false;
	write_tables(g);
	assert_false(dsdt_has(g, "\x0c\x41\xd0\x05\x01", 5));
}

static void dsdt_names_each_mmio_device(void **state)
{
	struct boot_guest *g = *state;

	write_tables(g);
	assert_false(dsdt_has(g, "LNRO0005", 9));
	g->desc.mmio_devices = 32;
	write_tables(g);
	assert_true(dsdt_has(g, "VM00\x08_HID\x0dLNRO0005", 18));
	assert_true(dsdt_has(g, "VM1F", 4));
	/* memory, fixed, of the second one, and its interrupt: a consumer's, edge, high, shared */
	assert_true(dsdt_has(g, "\x86\x09\x00\x01\x00\x10\x00\xe1\x00\x10\x00\x00"
				"\x89\x06\x00\x0b\x01\x11\x00\x00\x00", 21));
}

/* ACPI 20.2.4: lengths at which the encoding grows, decoded again. */
static void package_lengths_count_themselves(void **state)
{
	static const size_t contents[] = { 1, 61, 62, 63, 64, 4092, 4093, 4094, 9000 };
	static uint8_t buf[16384];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(contents); i++) {
		struct cursor c = { .base = buf, .size = sizeof(buf) };
		size_t mark = aml_package(&c, 0xee), len, more;

		for (size_t n = 1; n < contents[i]; n++)
			cursor_u8(&c, 0x77);
		aml_end(&c, mark);
		assert_false(c.overflow);
		more = buf[mark] >> 6;
		len = more ? (size_t)(buf[mark] & 0xf) | (size_t)buf[mark + 1] << 4 : buf[mark];
		if (more == 2)
			len |= (size_t)buf[mark + 2] << 12;
		assert_int_equal(len, c.at - mark);
		assert_int_equal(len, contents[i] + 1 + more);
		assert_int_equal(buf[mark + 1 + more], 0xee);
	}
}

static void a_block_that_does_not_fit_overflows(void **state)
{
	uint8_t buf[66];
	struct cursor c = { .base = buf, .size = sizeof(buf) };
	size_t mark = aml_package(&c, 1);

	(void)state;
	cursor_zero(&c, sizeof(buf) - c.at);
	assert_false(c.overflow);
	aml_end(&c, mark);
	assert_true(c.overflow);
}

static bool dump(const struct boot_guest *g, uint64_t gpa, const char *path)
{
	FILE *f = fopen(path, "we");
	uint64_t len = boot_guest_le(g, gpa + 4, 4);
	bool ok = f && fwrite(boot_guest_at(g, gpa, len), len, 1, f) == 1;

	return f && fclose(f) == 0 && ok;
}

/* Runs ACPICA over the DSDT, and over what it made of it. */
static void iasl_reads_the_dsdt_and_compiles_it_again(void **state)
{
	struct boot_guest *g = *state;
	char dir[] = "/tmp/minivmm-acpi-XXXXXX", path[64], command[400];
	int again, found;

	if (system("command -v iasl >/dev/null 2>&1") != 0)
		skip();
	g->desc.mmio_devices = 3;
	write_tables(g);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/dsdt.dat", dir);
	assert_true(dump(g, find_dsdt(g), path));
	snprintf(command, sizeof(command),
		 "cd %s && iasl -d dsdt.dat >log 2>&1 && ! grep -qi 'error\\|warning' log && "
		 "iasl -we -p again dsdt.dsl >log 2>&1", dir);
	again = system(command);
	snprintf(command, sizeof(command),
		 "cd %s && grep -q 'PNP0A08' dsdt.dsl && grep -q '0x0001FFFF' dsdt.dsl && "
		 "grep -q 'WordBusNumber' dsdt.dsl && grep -q 'QWordMemory' dsdt.dsl && "
		 "grep -q '0xE0000000' dsdt.dsl && grep -q 'LNRO0005' dsdt.dsl && grep -q '0x00000004,' dsdt.dsl", dir);
	found = system(command);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(again, 0);
	assert_int_equal(found, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(fadt_describes_a_machine_without_legacy_hardware),
		T(power_off_and_reset_go_to_the_platforms_ports),
		T(madt_has_every_cpu_and_one_ioapic),
		T(mcfg_is_there_with_ecam_only),
		T(dsdt_names_bridge_serial_port_and_s5),
		T(dsdt_names_each_mmio_device),
		T(package_lengths_count_themselves),
		T(a_block_that_does_not_fit_overflows),
		T(iasl_reads_the_dsdt_and_compiles_it_again),
#undef T
	};

	return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
