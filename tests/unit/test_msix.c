/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/msix_card.h"

/* ---- registers ---- */

static void the_capability_says_where_everything_is(void **state)
{
	struct fixture *f = *state;
	unsigned cap = f->msix.cap;

	assert_int_equal(pci_dev_get(&f->dev, cap, 1), PCI_CAP_ID_MSIX);
	assert_int_equal(pci_dev_get(&f->dev, cap + PCI_MSIX_FLAGS, 2), VECTORS - 1);
	assert_int_equal(pci_dev_get(&f->dev, cap + PCI_MSIX_TABLE, 4), TABLE);
	assert_int_equal(pci_dev_get(&f->dev, cap + PCI_MSIX_PBA, 4), PBA);
	config_write(f, cap, 8, UINT64_MAX);
	assert_int_equal(pci_dev_get(&f->dev, cap + PCI_MSIX_FLAGS, 2), 0xc000 | (VECTORS - 1));
	assert_int_equal(pci_dev_get(&f->dev, cap + PCI_MSIX_TABLE, 4), TABLE);
}

static void a_vector_is_masked_at_power_on(void **state)
{
	struct fixture *f = *state;

	for (unsigned v = 0; v < VECTORS; v++) {
		assert_int_equal(mmio_read(f, entry(v, 0), 8), 0);
		assert_int_equal(mmio_read(f, entry(v, 8), 4), 0);
		assert_int_equal(mmio_read(f, entry(v, 12), 4), 1);
	}
}

static void aligned_dwords_and_qwords_are_written(void **state)
{
	struct fixture *f = *state;

	mmio_write(f, entry(2, 0), 8, UINT64_C(0x00000001fee01000));
	mmio_write(f, entry(2, 8), 8, UINT64_C(0x0000000012345678));
	assert_true(mmio_read(f, entry(2, 0), 8) == UINT64_C(0x00000001fee01000));
	assert_int_equal(mmio_read(f, entry(2, 8), 4), 0x12345678);
	assert_int_equal(mmio_read(f, entry(2, 12), 4), 0);
	mmio_write(f, entry(2, 12), 4, 0xffffffff);
	assert_int_equal(mmio_read(f, entry(2, 12), 4), 1);
	mmio_write(f, entry(2, 0), 4, 0xfee00003);
	assert_int_equal(mmio_read(f, entry(2, 0), 4), 0xfee00000);
	assert_int_equal(mmio_read(f, entry(1, 0), 8), 0);
	assert_int_equal(mmio_read(f, entry(3, 0), 8), 0);
}

static void writes_the_specification_leaves_undefined_change_nothing(void **state)
{
	struct fixture *f = *state;

	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t off = 0; off + size <= BAR_SIZE; off++) {
			bool in_table = range_ok(off - TABLE, size, MSIX_TABLE_SIZE(VECTORS));

			if (!(in_table && size >= 4 && off % size == 0))
				mmio_write(f, off, size, 0x5a5a5a5a5a5a5a5a);
		}
	}
	a_vector_is_masked_at_power_on(state);
	assert_false(pending(f, 0));
}

static void every_width_at_every_offset_reads_the_same_bytes(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[BAR_SIZE + 8];

	guest_sets_up(f);
	set_mask(f, 3, true);
	msix_raise(&f->msix, 3);
	for (uint64_t off = 0; off < BAR_SIZE; off++)
		bytes[off] = (uint8_t)mmio_read(f, off, 1);
	assert_int_equal(bytes[TABLE - 1], 0x77);
	assert_int_equal(bytes[TABLE + MSIX_TABLE_SIZE(VECTORS)], 0x77);
	assert_int_equal(bytes[PBA], 1 << 3);
	assert_int_equal(bytes[PBA + 8], 0x77);
	for (unsigned size = 2; size <= 8; size *= 2) {
		for (uint64_t off = TABLE; off + size <= TABLE + MSIX_TABLE_SIZE(VECTORS); off++) {
			uint64_t expect = 0;

			memcpy(&expect, &bytes[off], size);
			assert_true(mmio_read(f, off, size) == expect);
		}
		mmio_read(f, TABLE - 1, size);
		mmio_read(f, TABLE + MSIX_TABLE_SIZE(VECTORS) - 1, size);
		mmio_read(f, PBA - 1, size);
		mmio_read(f, PBA + 7, size);
	}
}

static void hostile_tables_are_survived(void **state)
{
	struct fixture *f = *state;

	connect_queue(f, 1, 0);
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t off = 0; off < BAR_SIZE; off++) {
			mmio_write(f, off, size, UINT64_MAX);
			mmio_write(f, off, size, 0);
			set_control(f, (unsigned)(off << 13));
		}
	}
	fake_machine_run_loop(&f->fake);
	assert_int_equal(f->msix.vectors[1].routed,
			 msix_enabled(&f->msix) && !f->msix.function_masked);
}

static void tables_that_do_not_fit_are_refused(void **state)
{
	static const struct {
		unsigned bar, table, pba, count;
	} bad[] = {
		{ 0, 0, 0x800, 0 }, { 0, 0, 0x800, MSIX_VECTORS_MAX + 1 }, { 0, 4, 0x800, 2 },
		{ 0, 0, 0x804, 2 }, { 0, 0xff8, 0, 1 }, { 0, 0, 0x1000, 1 }, { 0, 0, 8, 1 },
		{ 1, 0, 0x800, 1 }, { 6, 0, 0x800, 1 }, { 0, 0xfffffff8, 0, 1 },
	};
	struct fixture *f = *state;
	struct pci_dev *d = calloc(1, sizeof(*d));
	struct msix x;

	pci_dev_init(d, "bad card", 1, 2, 3, 4);
	pci_dev_bar(d, 0, (struct pci_bar){ .size = 0x1000 });
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(msix_init(&x, d, &f->fake.machine, bad[i].bar, bad[i].table,
					   bad[i].pba, bad[i].count, &f->e), -EINVAL);
		assert_non_null(strstr(f->e.msg, "bad card"));
		msix_fini(&x);
	}
	free(d);
}

/* ---- what it costs ---- */

static void setting_up_the_table_asks_nothing_of_the_kernel(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	assert_false(f->msix.sync.posted);
	assert_int_equal(f->fake.irqfd_adds + f->fake.route_sets, 0);
	assert_int_equal(f->fake.waits, 0);
	assert_int_equal(f->fake.machine.next_gsi, MACHINE_GSI_MSI_FIRST);
}

static void a_connected_vector_costs_one_irqfd_and_one_route(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
	assert_int_equal(f->fake.irqfd_adds, 1);
	assert_int_equal(f->fake.route_sets, 1);
}

static void writing_the_same_message_again_costs_nothing(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
	set_message(f, 1, 0xfee01000, 0x41);
	set_mask(f, 1, false);
	set_control(f, PCI_MSIX_FLAGS_ENABLE);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(f->fake.route_sets, 1);
	assert_int_equal(f->fake.waits, 0);
}

static void masking_never_gives_up_the_irqfd(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
	for (unsigned i = 0; i < 10; i++) {
		set_mask(f, 1, true);
		set_mask(f, 1, false);
		fake_machine_run_loop(&f->fake);
	}
	assert_int_equal(f->fake.irqfd_adds, 1);
	assert_int_equal(f->fake.irqfd_dels, 0);
}

/* ---- trouble and the end ---- */

static void a_message_the_kernel_refuses_breaks_only_its_vector(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
	connect_queue(f, 2, 1);
	f->fake.fail = -EINVAL;
	set_mask(f, 1, true);
	set_message(f, 1, UINT64_C(0xffffffff00000000), 0);
	set_mask(f, 1, false);
	msix_raise(&f->msix, 3);
	fake_machine_run_loop(&f->fake);
	assert_true(f->msix.refused.count > 0);
	assert_false(f->msix.vectors[1].routed);
	f->fake.fail = 0;
	fd_signal(f->queue[1]);
	assert_int_equal(interrupts(f, 2), 1);
	set_mask(f, 1, true);
	set_message(f, 1, 0xfee01000, 0x41);
	set_mask(f, 1, false);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 1), 1);
	msix_raise(&f->msix, 3);
	assert_int_equal(interrupts(f, 3), 1);
}

static void an_irqfd_the_kernel_refuses_is_an_error(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	f->fake.fail = -EBUSY;
	assert_int_equal(msix_connect(&f->msix, 1, f->queue[0], &f->e), -EBUSY);
	assert_non_null(strstr(f->e.msg, "card"));
	f->fake.fail = 0;
	connect_queue(f, 1, 0);
	fd_signal(f->queue[0]);
	assert_int_equal(interrupts(f, 1), 1);
}

static void running_out_of_interrupt_numbers_is_an_error(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	f->fake.machine.next_gsi = MACHINE_GSI_MAX;
	assert_int_equal(msix_connect(&f->msix, 1, f->queue[0], &f->e), -ENOSPC);
	msix_raise(&f->msix, 1);
	assert_int_equal(f->msix.refused.count, 1);
	assert_int_equal(f->fake.irqfd_adds, 0);
}

static void a_disconnected_vector_has_no_route_and_a_mask_costs_nothing(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
	msix_disconnect(&f->msix, 1, f->queue[0]);
	msix_disconnect(&f->msix, 1, f->queue[0]);
	assert_int_equal(f->fake.irqfd_dels, 1);
	assert_false(f->fake.routes[f->msix.vectors[1].gsi].enabled);
	set_mask(f, 1, true);
	assert_int_equal(f->fake.waits, 0);
}

static void reset_leaves_the_table_as_after_power_on(void **state)
{
	struct fixture *f = *state;
	unsigned gsis;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
	connect_queue(f, 2, 1);
	msix_raise(&f->msix, 0);
	gsis = f->fake.machine.next_gsi;

	msix_reset(&f->msix);

	a_vector_is_masked_at_power_on(state);
	assert_false(msix_enabled(&f->msix));
	assert_int_equal(pci_dev_get(&f->dev, f->msix.cap + PCI_MSIX_FLAGS, 2), VECTORS - 1);
	for (unsigned v = 0; v < VECTORS; v++)
		assert_false(f->msix.vectors[v].routed);
	assert_int_equal(f->fake.irqfd_dels, 2);

	guest_sets_up(f);
	interrupts(f, 0);
	connect_queue(f, 2, 0);
	msix_raise(&f->msix, 0);
	fd_signal(f->queue[0]);
	assert_int_equal(interrupts(f, 0), 1);
	assert_int_equal(interrupts(f, 2), 1);
	assert_int_equal(f->fake.machine.next_gsi, gsis);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, msix_card_setup, msix_card_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_capability_says_where_everything_is),
		CASE(a_vector_is_masked_at_power_on),
		CASE(aligned_dwords_and_qwords_are_written),
		CASE(writes_the_specification_leaves_undefined_change_nothing),
		CASE(every_width_at_every_offset_reads_the_same_bytes),
		CASE(hostile_tables_are_survived),
		CASE(tables_that_do_not_fit_are_refused),
		CASE(setting_up_the_table_asks_nothing_of_the_kernel),
		CASE(a_connected_vector_costs_one_irqfd_and_one_route),
		CASE(writing_the_same_message_again_costs_nothing),
		CASE(masking_never_gives_up_the_irqfd),
		CASE(a_message_the_kernel_refuses_breaks_only_its_vector),
		CASE(an_irqfd_the_kernel_refuses_is_an_error),
		CASE(running_out_of_interrupt_numbers_is_an_error),
		CASE(a_disconnected_vector_has_no_route_and_a_mask_costs_nothing),
		CASE(reset_leaves_the_table_as_after_power_on),
	};

	return cmocka_run_group_tests_name("msix", tests, NULL, NULL);
}
