/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/range.h"
#include "devices/platform.h"
#include "tests/unit/fake_machine.h"

struct fixture {
	struct fake_machine fake;
	struct pci_bus pci;
	struct platform platform;
	struct err e;
};

static int setup_with(void **state, bool pci)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_machine_init(&f->fake);
	if (pci)
		assert_int_equal(pci_bus_init(&f->pci, &f->fake.machine, false, &f->e), 0);
	assert_int_equal(platform_init(&f->platform, &f->fake.machine, pci ? &f->pci : NULL,
				       &f->e), 0);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, true);
}

static int setup_without_pci(void **state)
{
	return setup_with(state, false);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	platform_fini(&f->platform);
	platform_fini(&f->platform);
	pci_bus_fini(&f->pci);
	assert_null(f->fake.machine.pio.ranges);
	fake_machine_fini(&f->fake);
	free(f);
	return 0;
}

static uint64_t in(struct fixture *f, unsigned port, unsigned size)
{
	return fake_vcpu_read(&f->fake, &f->fake.machine.pio, port, size);
}

static void out(struct fixture *f, unsigned port, unsigned size, uint64_t value)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.pio, port, size, value);
}

static void assert_only(struct fixture *f, int request, unsigned value)
{
	assert_int_equal(f->fake.request_count, 1);
	assert_int_equal(f->fake.requests[0].request, request);
	assert_int_equal(f->fake.requests[0].value, value);
}

static void the_keyboard_port_reads_ready_and_resets(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, 0x64, 1), 0);
	out(f, 0x64, 1, 0xd1);
	out(f, 0x64, 1, 0xff);
	assert_int_equal(f->fake.request_count, 0);
	out(f, 0x64, 1, 0xfe);
	assert_only(f, MACHINE_RESET, 0);
}

static void linux_resets_through_0xcf9(void **state)
{
	struct fixture *f = *state;
	uint8_t old = (uint8_t)(in(f, 0xcf9, 1) & ~0x06u);

	out(f, 0xcf9, 1, old | 0x02);
	assert_int_equal(f->fake.request_count, 0);
	assert_int_equal(in(f, 0xcf9, 1), 0x02);
	out(f, 0xcf9, 1, old | 0x06);
	assert_only(f, MACHINE_RESET, 0);
	out(f, 0xcf9, 1, old | 0x06);
	assert_only(f, MACHINE_RESET, 0);
}

static void after_reset_0xcf9_resets_again(void **state)
{
	struct fixture *f = *state;

	out(f, 0xcf9, 1, PLATFORM_RESET_BYTE);
	platform_reset(&f->platform);
	assert_int_equal(in(f, 0xcf9, 1), 0);
	out(f, 0xcf9, 1, PLATFORM_RESET_BYTE);
	assert_int_equal(fake_machine_requests(&f->fake, MACHINE_RESET), 2);
}

static void configuration_addresses_never_reset(void **state)
{
	struct fixture *f = *state;

	out(f, 0xcf8, 4, 0x8000060c);
	out(f, 0xcf8, 4, 0xffffffff);
	out(f, 0xcf8, 2, 0xffff);
	out(f, 0xcf9, 2, 0xffff);
	out(f, 0xcfc, 4, 0xffffffff);
	assert_int_equal(f->fake.request_count, 0);
}

static void the_acpi_sleep_register_powers_off_for_s5_alone(void **state)
{
	struct fixture *f = *state;

	for (unsigned type = 0; type < 8; type++) {
		if (type != 5)
			out(f, 0x600, 1, type << 2 | 0x20);
	}
	out(f, 0x600, 1, 5 << 2);
	assert_int_equal(f->fake.request_count, 0);
	assert_int_equal(in(f, 0x600, 1), 5 << 2);
	out(f, 0x600, 1, 5 << 2 | 0x20);
	assert_only(f, MACHINE_POWER_OFF, 0);
}

static void the_sleep_status_never_says_awake(void **state)
{
	struct fixture *f = *state;

	out(f, 0x601, 1, 0x80);
	assert_int_equal(in(f, 0x601, 1), 0);
	out(f, 0x601, 1, 5 << 2 | 0x20);
	assert_int_equal(f->fake.request_count, 0);
}

static void the_debug_exit_hands_on_its_byte(void **state)
{
	struct fixture *f = *state;

	out(f, 0xf4, 1, 0x2a);
	assert_only(f, MACHINE_DEBUG_EXIT, 0x2a);
	out(f, 0xf4, 4, 0x12345607);
	assert_int_equal(f->fake.requests[1].value, 0x07);
	out(f, 0xf5, 1, 1);
	assert_int_equal(f->fake.request_count, 2);
}

static void a_boot_mark_hands_on_its_byte(void **state)
{
	struct fixture *f = *state;

	out(f, 0x80, 1, 0x41);
	assert_only(f, MACHINE_BOOT_MARK, 0x41);
	assert_int_equal(in(f, 0x80, 1), 0xff);
}

static void what_linux_probes_without_harm_is_unclaimed(void **state)
{
	static const unsigned ports[] = { 0x60, 0x61, 0x70, 0x71, 0x84, 0xed, 0x2f8, 0xcfa };
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
		assert_int_equal(in(f, ports[i], 1), 0xff);
}

static void every_width_at_every_port_only_does_what_is_written_above(void **state)
{
	struct fixture *f = *state;

	for (unsigned port = 0; port < 0x1000; port++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			in(f, port, size);
			out(f, port, size, 0);
		}
	}
	assert_int_equal(fake_machine_requests(&f->fake, MACHINE_RESET), 0);
	assert_int_equal(fake_machine_requests(&f->fake, MACHINE_POWER_OFF), 0);
	assert_int_equal(fake_machine_requests(&f->fake, MACHINE_BOOT_MARK), 1);
	assert_int_equal(fake_machine_requests(&f->fake, MACHINE_DEBUG_EXIT), 3);
	for (unsigned port = 0; port < 0x1000; port++) {
		for (unsigned size = 1; size <= 8; size *= 2)
			out(f, port, size, UINT64_MAX);
	}
	/* 0xff is no command of port 0x64, and no S5; what it sets is bit 2 of 0xcf9. */
	assert_int_equal(fake_machine_requests(&f->fake, MACHINE_RESET), 1);
	assert_int_equal(fake_machine_requests(&f->fake, MACHINE_POWER_OFF), 0);
}

static void a_port_that_is_taken_is_an_error_and_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	struct platform second;

	assert_int_equal(platform_init(&second, &f->fake.machine, NULL, &f->e), -EEXIST);
	assert_non_null(strstr(f->e.msg, "keyboard port"));
	platform_fini(&second);
	out(f, 0x64, 1, 0xfe);
	assert_only(f, MACHINE_RESET, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define CASE_WITHOUT_PCI(f) \
	{ #f " (without PCI)", f, setup_without_pci, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_keyboard_port_reads_ready_and_resets),
		CASE(linux_resets_through_0xcf9),
		CASE_WITHOUT_PCI(linux_resets_through_0xcf9),
		CASE(after_reset_0xcf9_resets_again),
		CASE_WITHOUT_PCI(after_reset_0xcf9_resets_again),
		CASE(configuration_addresses_never_reset),
		CASE_WITHOUT_PCI(configuration_addresses_never_reset),
		CASE(the_acpi_sleep_register_powers_off_for_s5_alone),
		CASE(the_sleep_status_never_says_awake),
		CASE(the_debug_exit_hands_on_its_byte),
		CASE(a_boot_mark_hands_on_its_byte),
		CASE(what_linux_probes_without_harm_is_unclaimed),
		CASE(every_width_at_every_port_only_does_what_is_written_above),
		CASE_WITHOUT_PCI(every_width_at_every_port_only_does_what_is_written_above),
		CASE(a_port_that_is_taken_is_an_error_and_leaves_nothing),
	};

	return cmocka_run_group_tests_name("platform", tests, NULL, NULL);
}
