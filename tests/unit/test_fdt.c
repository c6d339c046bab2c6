/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "minivmm_config.h"
#include "tests/unit/boot_guest.h"
#include "vmm/fdt.h"

#if HAVE_FDT
#include <libfdt.h>
#endif

struct fixture {
	struct boot_guest g;
	_Alignas(8) uint8_t dtb[FDT_SIZE_MAX];
};

static int setup(void **state)
{
	struct fixture *f = malloc(sizeof(*f));

	assert_non_null(f);
	boot_guest_init(&f->g, GIB(5), 4, false);
	f->g.desc.fdt = true;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	boot_guest_fini(&f->g);
	free(f);
	return 0;
}

static int render(struct fixture *f, const char *cmdline)
{
	memset(f->dtb, 0xee, sizeof(f->dtb));
	return fdt_render(&f->g.desc, &f->g.mem, cmdline, f->dtb, sizeof(f->dtb), &f->g.err);
}

#if HAVE_FDT

static uint64_t cell(const struct fixture *f, int node, const char *name, int at)
{
	int len;
	const fdt32_t *p = fdt_getprop(f->dtb, node, name, &len);

	assert_non_null(p);
	assert_true((at + 1) * 4 <= len);
	return fdt32_to_cpu(p[at]);
}

static void the_tree_is_well_formed(void **state)
{
	struct fixture *f = *state;
	int len = render(f, "quiet");

	assert_true(len > 0);
	assert_int_equal(fdt_check_full(f->dtb, (size_t)len), 0);
}

static void every_cpu_has_its_apic_id(void **state)
{
	struct fixture *f = *state;
	int node, n = 0, cpus;

	f->g.desc.cpus = DESC_CPUS_MAX;
	assert_true(render(f, "") > 0);
	cpus = fdt_path_offset(f->dtb, "/cpus");
	assert_true(cpus >= 0);
	fdt_for_each_subnode(node, f->dtb, cpus) {
		assert_string_equal(fdt_getprop(f->dtb, node, "device_type", NULL), "cpu");
		assert_int_equal(cell(f, node, "reg", 0), n);
		n++;
	}
	assert_int_equal(n, DESC_CPUS_MAX);
}

static void memory_lies_below_and_above_the_hole(void **state)
{
	struct fixture *f = *state;
	int low, high;

	assert_true(render(f, "") > 0);
	low = fdt_path_offset(f->dtb, "/memory@0");
	high = fdt_path_offset(f->dtb, "/memory@100000000");
	assert_true(low >= 0 && high >= 0);
	assert_int_equal(cell(f, low, "reg", 3), GIB(3));
	assert_int_equal(cell(f, high, "reg", 0), 1);
	assert_int_equal(cell(f, high, "reg", 3), GIB(2));
}

static void the_local_apic_is_in_virtual_wire_mode(void **state)
{
	struct fixture *f = *state;
	int lapic;

	assert_true(render(f, "") > 0);
	lapic = fdt_node_offset_by_compatible(f->dtb, -1, "intel,ce4100-lapic");
	assert_true(lapic >= 0);
	assert_int_equal(cell(f, lapic, "reg", 1), 0xfee00000);
	assert_non_null(fdt_getprop(f->dtb, lapic, "intel,virtual-wire-mode", NULL));
}

static void the_serial_port_interrupts_by_a_pin_of_the_ioapic(void **state)
{
	struct fixture *f = *state;
	int soc, ioapic, serial;

	assert_true(render(f, "") > 0);
	soc = fdt_path_offset(f->dtb, "/soc");
	ioapic = fdt_node_offset_by_compatible(f->dtb, -1, "intel,ce4100-ioapic");
	serial = fdt_node_offset_by_compatible(f->dtb, -1, "ns16550a");
	assert_true(soc >= 0 && ioapic >= 0 && serial >= 0);
	assert_string_equal(fdt_getprop(f->dtb, soc, "compatible", NULL), "simple-bus");
	assert_int_equal(cell(f, ioapic, "reg", 1), 0xfec00000);
	assert_int_equal(cell(f, soc, "interrupt-parent", 0), fdt_get_phandle(f->dtb, ioapic));
	assert_int_equal(cell(f, serial, "reg", 0), 1);		/* a port */
	assert_int_equal(cell(f, serial, "reg", 1), f->g.desc.serial_port);
	assert_int_equal(cell(f, serial, "interrupts", 0), f->g.desc.serial_gsi);
}

static void a_machine_without_serial_port_has_no_node_for_it(void **state)
{
	struct fixture *f = *state;

	f->g.desc.serial = false;
	assert_true(render(f, "") > 0);
	assert_int_equal(fdt_node_offset_by_compatible(f->dtb, -1, "ns16550a"), -FDT_ERR_NOTFOUND);
}

static void mmio_devices_have_a_node_each(void **state)
{
	struct fixture *f = *state;
	int node;

	assert_true(render(f, "") > 0);
	assert_true(fdt_node_offset_by_compatible(f->dtb, -1, "virtio,mmio") < 0);
	f->g.desc.mmio_devices = 32;
	assert_true(render(f, "") > 0);
	node = fdt_path_offset(f->dtb, "/soc/virtio_mmio@e1009000");
	assert_true(node >= 0);
	assert_string_equal(fdt_getprop(f->dtb, node, "compatible", NULL), "virtio,mmio");
	assert_int_equal(cell(f, node, "reg", 1), 0xe1009000);
	assert_int_equal(cell(f, node, "reg", 3), 0x1000);
	assert_int_equal(cell(f, node, "interrupts", 0), 17);
	assert_int_equal(cell(f, node, "interrupts", 1), 3);	/* edge, rising */
	assert_true(fdt_path_offset(f->dtb, "/soc/virtio_mmio@e101f000") >= 0);
}

static void scmi_has_a_node_of_the_firmware_when_there_is_a_device(void **state)
{
	struct fixture *f = *state;
	int node;

	assert_true(render(f, "") > 0);
	assert_int_equal(fdt_path_offset(f->dtb, "/firmware"), -FDT_ERR_NOTFOUND);
	f->g.desc.scmi = true;
	assert_true(render(f, "") > 0);
	node = fdt_path_offset(f->dtb, "/firmware/scmi");
	assert_true(node >= 0);
	assert_string_equal(fdt_getprop(f->dtb, node, "compatible", NULL), "arm,scmi-virtio");
	assert_int_equal(cell(f, node, "#address-cells", 0), 1);
	assert_int_equal(cell(f, node, "#size-cells", 0), 0);
	node = fdt_path_offset(f->dtb, "/firmware/scmi/protocol@15");
	assert_true(node >= 0);
	assert_int_equal(cell(f, node, "reg", 0), 0x15);
}

static void the_command_line_is_repeated(void **state)
{
	struct fixture *f = *state;

	assert_true(render(f, "console=ttyS0 quiet") > 0);
	assert_string_equal(fdt_getprop(f->dtb, fdt_path_offset(f->dtb, "/chosen"), "bootargs", NULL),
			    "console=ttyS0 quiet");
}

static void a_buffer_too_small_is_an_error(void **state)
{
	struct fixture *f = *state;

	for (size_t size = 0; size < 900; size += 24)
		assert_int_equal(fdt_render(&f->g.desc, &f->g.mem, "", f->dtb, size, &f->g.err), -E2BIG);
	assert_non_null(strstr(f->g.err.msg, "device tree"));
}

#else

static void without_libfdt_it_says_so(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(render(f, ""), -ENOTSUP);
	assert_non_null(strstr(f->g.err.msg, "libfdt"));
}

#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#if HAVE_FDT
		T(the_tree_is_well_formed),
		T(every_cpu_has_its_apic_id),
		T(memory_lies_below_and_above_the_hole),
		T(the_local_apic_is_in_virtual_wire_mode),
		T(the_serial_port_interrupts_by_a_pin_of_the_ioapic),
		T(a_machine_without_serial_port_has_no_node_for_it),
		T(mmio_devices_have_a_node_each),
		T(scmi_has_a_node_of_the_firmware_when_there_is_a_device),
		T(the_command_line_is_repeated),
		T(a_buffer_too_small_is_an_error),
#else
		T(without_libfdt_it_says_so),
#endif
#undef T
	};

	return cmocka_run_group_tests_name("fdt", tests, NULL, NULL);
}
