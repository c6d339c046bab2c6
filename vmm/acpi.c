/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/acpi.h"

#include <assert.h>
#include <stdio.h>

#include "base/cursor.h"
#include "devices/platform.h"
#include "devices/virtio_mmio.h"
#include "vmm/aml.h"
#include "vmm/checksum.h"
#include "vmm/layout.h"

enum { RSDP_SIZE = 36, HEADER_SIZE = 36, AT_LENGTH = 4, AT_CHECKSUM = 9, TABLES_MAX = 8 };

/* All tables lie in one buffer; a table's address is LAYOUT_ACPI plus its offset. */
enum { ACPI_SIZE_MAX = 16 << 10 };

/* Opens a table at the next multiple of 16 and returns its offset. */
static size_t table_begin(struct cursor *c, const char *signature, uint8_t revision)
{
	size_t at;

	cursor_zero(c, (16 - c->at % 16) % 16);
	at = c->at;
	cursor_put(c, signature, 4);
	cursor_u32(c, 0);		/* length */
	cursor_u8(c, revision);
	cursor_u8(c, 0);		/* checksum */
	cursor_put(c, "MINIVM", 6);	/* OEM id */
	cursor_put(c, "MINIVMPC", 8);	/* OEM table id */
	cursor_u32(c, 1);
	cursor_put(c, "MVMM", 4);	/* creator */
	cursor_u32(c, 1);
	return at;
}

static void table_end(struct cursor *c, size_t at)
{
	if (c->overflow)
		return;
	for (unsigned i = 0; i < 4; i++)
		c->base[at + AT_LENGTH + i] = (uint8_t)((c->at - at) >> (8 * i));
	checksum_set(c->base + at, c->at - at, AT_CHECKSUM);
}

/* DSDT */

/* _PRT: pin A of every slot goes to a fixed interrupt. No link devices, so nothing to program. */
static void put_prt(struct cursor *c, const struct machine_desc *d)
{
	size_t all, one;

	aml_name(c, "_PRT");
	all = aml_package(c, PCI_SLOTS - 1);
	for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
		one = aml_package(c, 4);
		aml_integer(c, (uint64_t)slot << 16 | 0xffff);
		aml_integer(c, 0);
		aml_integer(c, 0);
		aml_integer(c, d->intx_gsi[slot % PCI_INTX_LINES]);
		aml_end(c, one);
	}
	aml_end(c, all);
}

static void put_pci(struct cursor *c, const struct machine_desc *d)
{
	size_t dev = aml_device(c, "PCI0"), crs;

	aml_eisa_id(c, "_HID", "PNP0A08");
	aml_eisa_id(c, "_CID", "PNP0A03");
	aml_name(c, "_SEG");
	aml_integer(c, 0);
	aml_name(c, "_BBN");
	aml_integer(c, 0);
	aml_name(c, "_UID");
	aml_integer(c, 0);
	crs = aml_crs(c);
	aml_bus_range(c, 0, 0);
	if (d->conf1)
		aml_io(c, 0xcf8, 8);
	aml_window32(c, (uint32_t)PCI_MMIO_BASE, (uint32_t)(PCI_MMIO_END - PCI_MMIO_BASE));
	if (d->mmio64_size)
		aml_window64(c, PCI_MMIO64_BASE, d->mmio64_size);
	aml_crs_end(c, crs);
	put_prt(c, d);
	aml_end(c, dev);
}

/* The ECAM must be claimed by a motherboard device, or Linux does not trust the MCFG. */
static void put_ecam(struct cursor *c)
{
	size_t dev = aml_device(c, "ECAM"), crs;

	aml_eisa_id(c, "_HID", "PNP0C02");
	aml_name(c, "_UID");
	aml_integer(c, 0);
	crs = aml_crs(c);
	aml_memory32_fixed(c, (uint32_t)PCI_ECAM_BASE, (uint32_t)PCI_ECAM_SIZE);
	aml_crs_end(c, crs);
	aml_end(c, dev);
}

static void put_serial(struct cursor *c, const struct machine_desc *d)
{
	size_t dev = aml_device(c, "COM1"), crs;

	aml_eisa_id(c, "_HID", "PNP0501");
	aml_name(c, "_UID");
	aml_integer(c, 0);
	crs = aml_crs(c);
	aml_io(c, d->serial_port, 8);
	aml_interrupt(c, d->serial_gsi, false);
	aml_crs_end(c, crs);
	aml_end(c, dev);
}

/* "LNRO0005" is what Linux and UEFI know a virtio-mmio transport by. */
static void put_virtio_mmio(struct cursor *c, unsigned n)
{
	char name[5];
	size_t dev, crs;

	snprintf(name, sizeof(name), "VM%02X", n & 0xff);
	dev = aml_device(c, name);
	aml_name(c, "_HID");
	aml_string(c, "LNRO0005");
	aml_name(c, "_UID");
	aml_integer(c, n);
	aml_name(c, "_CCA");
	aml_integer(c, 1);
	crs = aml_crs(c);
	aml_memory32_fixed(c, (uint32_t)virtio_mmio_address(n), VIRTIO_MMIO_SIZE);
	aml_interrupt(c, virtio_mmio_gsi(n), true);
	aml_crs_end(c, crs);
	aml_end(c, dev);
}

static size_t put_dsdt(struct cursor *c, const struct machine_desc *d)
{
	size_t at = table_begin(c, "DSDT", 2), block;

	aml_name(c, "_S5_");
	block = aml_package(c, 4);
	aml_integer(c, PLATFORM_S5_TYPE);
	for (int i = 0; i < 3; i++)
		aml_integer(c, 0);
	aml_end(c, block);

	block = aml_scope(c, "_SB_");
	put_pci(c, d);
	if (d->ecam)
		put_ecam(c);
	if (d->serial)
		put_serial(c, d);
	for (unsigned i = 0; i < d->mmio_devices; i++)
		put_virtio_mmio(c, i);
	aml_end(c, block);
	table_end(c, at);
	return at;
}

/* FADT */

enum { FADT_SIZE = 276, SPACE_IO = 1 };
/* 5.2.9, table 5.9 and 5.2.9.3. */
enum {
	FADT_WBINVD = 1 << 0, FADT_RESET_REGISTER = 1 << 10, FADT_HW_REDUCED = 1 << 20,
	BOOT_NO_VGA = 1 << 2, BOOT_NO_ASPM = 1 << 4, BOOT_NO_CMOS_RTC = 1 << 5,
};

struct field {
	uint16_t at, bytes;
	uint64_t value;
};

/* Generic address (5.2.3.2) of a byte-wide port: space, width, offset, access size. */
static uint64_t gas_head(void)
{
	return SPACE_IO | 8 << 8 | 1 << 24;
}

static size_t put_fadt(struct cursor *c, const struct machine_desc *d, uint64_t dsdt)
{
	const struct field fields[] = {
		{ 40, 4, dsdt },
		{ 109, 2, BOOT_NO_VGA | BOOT_NO_ASPM | BOOT_NO_CMOS_RTC },
		{ 112, 4, FADT_WBINVD | FADT_RESET_REGISTER | FADT_HW_REDUCED },
		{ 116, 4, gas_head() }, { 120, 8, d->reset_port }, { 128, 1, d->reset_value },
		{ 131, 1, 5 },			/* minor version: 6.5 */
		{ 140, 8, dsdt },
		{ 244, 4, gas_head() }, { 248, 8, d->sleep_port },
		{ 256, 4, gas_head() }, { 260, 8, (uint64_t)d->sleep_port + 1 },
	};
	size_t at = table_begin(c, "FACP", 6);

	cursor_zero(c, FADT_SIZE - HEADER_SIZE - 8);
	cursor_put(c, "MINIVMM", 8);		/* hypervisor vendor, at 268 */
	for (size_t i = 0; i < ARRAY_SIZE(fields) && !c->overflow; i++)
		for (unsigned b = 0; b < fields[i].bytes; b++)
			c->base[at + fields[i].at + b] = (uint8_t)(fields[i].value >> (8 * b));
	table_end(c, at);
	return at;
}

/* MADT (5.2.12). APIC ids are below 255, so local APICs have entries of the xAPIC kind. */

static size_t put_madt(struct cursor *c, const struct machine_desc *d)
{
	enum { LAPIC = 0, IOAPIC = 1, LAPIC_NMI = 4, ENABLED = 1, ALL = 0xff, CONFORMS = 0 };
	size_t at = table_begin(c, "APIC", 5);

	cursor_u32(c, (uint32_t)LAYOUT_LAPIC);
	cursor_u32(c, 0);			/* flags: no PC-AT compatible PIC to mask */
	for (unsigned i = 0; i < d->cpus; i++) {
		cursor_u8(c, LAPIC);
		cursor_u8(c, 8);
		cursor_u8(c, (uint8_t)i);	/* processor UID */
		cursor_u8(c, (uint8_t)i);
		cursor_u32(c, ENABLED);
	}
	cursor_u8(c, IOAPIC);
	cursor_u8(c, 12);
	cursor_u8(c, 0);			/* id, as KVM's says after reset */
	cursor_u8(c, 0);
	cursor_u32(c, (uint32_t)LAYOUT_IOAPIC);
	cursor_u32(c, 0);			/* its first interrupt */
	cursor_u8(c, LAPIC_NMI);
	cursor_u8(c, 6);
	cursor_u8(c, ALL);
	cursor_u16(c, CONFORMS);
	cursor_u8(c, 1);			/* LINT1 */
	table_end(c, at);
	return at;
}

/* PCI firmware specification 3.3, 4.1.2: one segment, bus 0 only. */
static size_t put_mcfg(struct cursor *c)
{
	size_t at = table_begin(c, "MCFG", 1);

	cursor_u64(c, 0);
	cursor_u64(c, PCI_ECAM_BASE);
	cursor_u16(c, 0);
	cursor_u8(c, 0);
	cursor_u8(c, 0);
	cursor_u32(c, 0);
	table_end(c, at);
	return at;
}

static size_t put_xsdt(struct cursor *c, const size_t *tables, unsigned n)
{
	size_t at = table_begin(c, "XSDT", 1);

	for (unsigned i = 0; i < n; i++)
		cursor_u64(c, LAYOUT_ACPI + tables[i]);
	table_end(c, at);
	return at;
}

/* 5.2.5.3. The first checksum is that of ACPI 1.0, over 20 bytes. */
static void put_rsdp(uint8_t buf[RSDP_SIZE], size_t xsdt)
{
	struct cursor c = { .base = buf, .size = RSDP_SIZE };

	cursor_put(&c, "RSD PTR ", 8);
	cursor_u8(&c, 0);
	cursor_put(&c, "MINIVM", 6);
	cursor_u8(&c, 2);
	cursor_u32(&c, 0);			/* no RSDT */
	cursor_u32(&c, RSDP_SIZE);
	cursor_u64(&c, LAYOUT_ACPI + xsdt);
	cursor_u32(&c, 0);
	checksum_set(buf, 20, 8);
	checksum_set(buf, RSDP_SIZE, 32);
}

int acpi_write(const struct machine_desc *d, const struct place *p, struct err *e)
{
	uint8_t buf[ACPI_SIZE_MAX];
	struct cursor c = { .base = buf, .size = sizeof(buf) };
	size_t tables[TABLES_MAX], dsdt, xsdt;
	unsigned n = 0;

	cursor_zero(&c, RSDP_SIZE);
	dsdt = put_dsdt(&c, d);
	tables[n++] = put_fadt(&c, d, LAYOUT_ACPI + dsdt);
	tables[n++] = put_madt(&c, d);
	if (d->ecam)
		tables[n++] = put_mcfg(&c);
	xsdt = put_xsdt(&c, tables, n);
	assert(!c.overflow);
	put_rsdp(buf, xsdt);
	return place_bytes(p, LAYOUT_ACPI, buf, c.at, "the ACPI tables", e);
}
