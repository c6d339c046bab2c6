/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/fdt.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "minivmm_config.h"

#if HAVE_FDT
#include <libfdt.h>

#include "base/range.h"
#include "devices/virtio_mmio.h"
#include "vmm/layout.h"

enum {
	PHANDLE_IOAPIC = 1,
	ISA_IO = 1,			/* first cell of an ISA address: a port */
	EDGE_RISING = 3,		/* second cell of an interrupt of intel,ce4100-ioapic */
	SERIAL_CLOCK = 115200 * 16,
	SCMI_SENSORS = 0x15,		/* number of a protocol */
};

/*
 * libfdt's sequential calls, with the first error kept: what follows an error does nothing, and it
 * is looked at once, at the end.
 */
struct tree {
	void *fdt;
	int error;
};

static void check(struct tree *t, int r)
{
	if (t->error == 0 && r < 0)
		t->error = r;
}

static void begin(struct tree *t, const char *name)
{
	if (t->error == 0)
		check(t, fdt_begin_node(t->fdt, name));
}

static void begin_at(struct tree *t, const char *name, uint64_t at)
{
	char full[64];

	snprintf(full, sizeof(full), "%s@%" PRIx64, name, at);
	begin(t, full);
}

static void end(struct tree *t)
{
	if (t->error == 0)
		check(t, fdt_end_node(t->fdt));
}

static void prop_string(struct tree *t, const char *name, const char *value)
{
	if (t->error == 0)
		check(t, fdt_property_string(t->fdt, name, value));
}

static void prop_u32(struct tree *t, const char *name, uint32_t value)
{
	if (t->error == 0)
		check(t, fdt_property_u32(t->fdt, name, value));
}

static void prop_empty(struct tree *t, const char *name)
{
	if (t->error == 0)
		check(t, fdt_property(t->fdt, name, NULL, 0));
}

static void prop_cells(struct tree *t, const char *name, const uint32_t *value, unsigned n)
{
	fdt32_t out[8];

	assert(n <= ARRAY_SIZE(out));
	for (unsigned i = 0; i < n; i++)
		out[i] = cpu_to_fdt32(value[i]);
	if (t->error == 0)
		check(t, fdt_property(t->fdt, name, out, (int)(n * sizeof(out[0]))));
}

/* reg = <address size>, two cells each. */
static void prop_reg(struct tree *t, uint64_t address, uint64_t size)
{
	fdt64_t reg[2] = { cpu_to_fdt64(address), cpu_to_fdt64(size) };

	if (t->error == 0)
		check(t, fdt_property(t->fdt, "reg", reg, sizeof(reg)));
}

static void cells(struct tree *t, uint32_t address, uint32_t size)
{
	prop_u32(t, "#address-cells", address);
	prop_u32(t, "#size-cells", size);
}

static void put_cpus(struct tree *t, const struct machine_desc *d)
{
	begin(t, "cpus");
	cells(t, 1, 0);
	for (unsigned i = 0; i < d->cpus; i++) {
		begin_at(t, "cpu", i);
		prop_string(t, "device_type", "cpu");
		prop_string(t, "compatible", "intel,ce4100");
		prop_u32(t, "reg", i);
		end(t);
	}
	end(t);
}

static void put_memory(struct tree *t, const struct guest_mem *m)
{
	for (unsigned i = 0; i < m->count; i++) {
		begin_at(t, "memory", m->regions[i].gpa);
		prop_string(t, "device_type", "memory");
		prop_reg(t, m->regions[i].gpa, m->regions[i].size);
		end(t);
	}
}

static void put_lapic(struct tree *t)
{
	begin_at(t, "interrupt-controller", LAYOUT_LAPIC);
	prop_string(t, "compatible", "intel,ce4100-lapic");
	prop_reg(t, LAYOUT_LAPIC, 0x1000);
	prop_empty(t, "intel,virtual-wire-mode");
	end(t);
}

static void put_ioapic(struct tree *t)
{
	begin_at(t, "interrupt-controller", LAYOUT_IOAPIC);
	prop_string(t, "compatible", "intel,ce4100-ioapic");
	prop_reg(t, LAYOUT_IOAPIC, 0x1000);
	prop_empty(t, "interrupt-controller");
	prop_u32(t, "#interrupt-cells", 2);
	prop_u32(t, "phandle", PHANDLE_IOAPIC);
	end(t);
}

/* An ISA address is two cells, space and port. The range maps ports to themselves. */
static void put_serial(struct tree *t, const struct machine_desc *d)
{
	char name[32];

	begin(t, "isa");
	prop_string(t, "compatible", "isa");
	cells(t, 2, 1);
	prop_cells(t, "ranges", (const uint32_t[]){ ISA_IO, 0, 0, 0, 0x10000 }, 5);
	snprintf(name, sizeof(name), "serial@i%x", d->serial_port);
	begin(t, name);
	prop_string(t, "compatible", "ns16550a");
	prop_cells(t, "reg", (const uint32_t[]){ ISA_IO, d->serial_port, 8 }, 3);
	prop_u32(t, "clock-frequency", SERIAL_CLOCK);
	prop_cells(t, "interrupts", (const uint32_t[]){ d->serial_gsi, EDGE_RISING }, 2);
	end(t);
	end(t);
}

static void put_virtio_mmio(struct tree *t, unsigned n)
{
	begin_at(t, "virtio_mmio", virtio_mmio_address(n));
	prop_string(t, "compatible", "virtio,mmio");
	prop_reg(t, virtio_mmio_address(n), VIRTIO_MMIO_SIZE);
	prop_cells(t, "interrupts", (const uint32_t[]){ virtio_mmio_gsi(n), EDGE_RISING }, 2);
	prop_empty(t, "dma-coherent");
	end(t);
}

static void put_soc(struct tree *t, const struct machine_desc *d)
{
	begin(t, "soc");
	cells(t, 2, 2);
	prop_string(t, "compatible", "simple-bus");	/* Linux makes devices of the nodes below */
	prop_empty(t, "ranges");
	prop_u32(t, "interrupt-parent", PHANDLE_IOAPIC);
	put_lapic(t);
	put_ioapic(t);
	if (d->serial)
		put_serial(t, d);
	for (unsigned i = 0; i < d->mmio_devices; i++)
		put_virtio_mmio(t, i);
	end(t);
}

/*
 * The driver of a virtio SCMI device does nothing until it finds this (devicetree bindings,
 * firmware/arm,scmi). Of the protocols, sensors are all that a guest can use without further nodes:
 * clocks, power domains and the like need devices that take them, of which there are none.
 */
static void put_scmi(struct tree *t)
{
	begin(t, "firmware");
	begin(t, "scmi");
	prop_string(t, "compatible", "arm,scmi-virtio");
	cells(t, 1, 0);
	begin_at(t, "protocol", SCMI_SENSORS);
	prop_u32(t, "reg", SCMI_SENSORS);
	prop_u32(t, "#thermal-sensor-cells", 1);
	end(t);
	end(t);
	end(t);
}

int fdt_render(const struct machine_desc *d, const struct guest_mem *m, const char *cmdline,
	       uint8_t *buf, size_t size, struct err *e)
{
	struct tree t = { .fdt = buf };

	check(&t, fdt_create(buf, (int)size));
	check(&t, fdt_finish_reservemap(buf));
	begin(&t, "");
	cells(&t, 2, 2);
	prop_string(&t, "compatible", "minivmm,pc");
	prop_string(&t, "model", "minivmm");
	begin(&t, "chosen");
	prop_string(&t, "bootargs", cmdline);
	end(&t);
	put_cpus(&t, d);
	put_memory(&t, m);
	put_soc(&t, d);
	if (d->scmi)
		put_scmi(&t);
	end(&t);
	if (t.error == 0)
		check(&t, fdt_finish(buf));
	if (t.error < 0)
		return err_set(e, -E2BIG, "the device tree cannot be built: %s", fdt_strerror(t.error));
	return (int)fdt_totalsize(buf);
}

#else

int fdt_render(const struct machine_desc *d, const struct guest_mem *m, const char *cmdline,
	       uint8_t *buf, size_t size, struct err *e)
{
	(void)d, (void)m, (void)cmdline, (void)buf, (void)size;
	return err_set(e, -ENOTSUP, "this minivmm is built without libfdt: leave --machine fdt out, or build "
				    "it with -Dfdt=enabled");
}

#endif
