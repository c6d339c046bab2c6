/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "devices/msix.h"
#include "tests/unit/fake_machine.h"

enum { BAR_SIZE = 0x1000, TABLE = 0x400, PBA = 0x800, VECTORS = 5 };

/* A device whose only BAR holds MSI-X, in front of it a byte that reads 0x77. */
struct fixture {
	struct fake_machine fake;
	struct pci_bus bus;
	struct pci_dev dev;
	struct msix msix;
	int queue[3];			/* call eventfds, as daemons signal them */
	struct err e;
};

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	struct fixture *f = dev;
	uint64_t value;

	return msix_read(&f->msix, off, size, &value) ? value : 0x77;
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct fixture *f = dev;

	msix_write(&f->msix, off, size, value);
}

static const struct bus_ops bar_ops = { bar_read, bar_write };

static struct fixture *of_dev(struct pci_dev *d)
{
	return (struct fixture *)((char *)d - offsetof(struct fixture, dev));
}

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	msix_config_written(&of_dev(d)->msix, off, len);
}

static uint64_t bar_addr(const struct fixture *f)
{
	return f->dev.bars[0].addr;
}

static void config_write(struct fixture *f, unsigned reg, unsigned size, uint64_t value)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.mmio, PCI_ECAM_BASE + (f->dev.slot << 15) + reg,
			size, value);
}

static void set_control(struct fixture *f, unsigned flags)
{
	config_write(f, f->msix.cap + PCI_MSIX_FLAGS, 2, flags);
}

static uint64_t mmio_read(struct fixture *f, uint64_t off, unsigned size)
{
	return fake_vcpu_read(&f->fake, &f->fake.machine.mmio, bar_addr(f) + off, size);
}

static void mmio_write(struct fixture *f, uint64_t off, unsigned size, uint64_t value)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.mmio, bar_addr(f) + off, size, value);
}

static uint64_t entry(unsigned vector, unsigned field)
{
	return TABLE + vector * MSIX_ENTRY_SIZE + field;
}

static void set_message(struct fixture *f, unsigned vector, uint64_t address, uint32_t data)
{
	mmio_write(f, entry(vector, PCI_MSIX_ENTRY_LOWER_ADDR), 4, address);
	mmio_write(f, entry(vector, PCI_MSIX_ENTRY_UPPER_ADDR), 4, address >> 32);
	mmio_write(f, entry(vector, PCI_MSIX_ENTRY_DATA), 4, data);
}

static void set_mask(struct fixture *f, unsigned vector, bool masked)
{
	mmio_write(f, entry(vector, PCI_MSIX_ENTRY_VECTOR_CTRL), 4, masked);
}

/* What Linux does before it sets DRIVER_OK. */
static void guest_sets_up(struct fixture *f)
{
	set_control(f, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	for (unsigned v = 0; v < VECTORS; v++)
		set_mask(f, v, true);
	set_control(f, PCI_MSIX_FLAGS_ENABLE);
	for (unsigned v = 0; v < VECTORS; v++) {
		set_message(f, v, 0xfee00000 + 0x1000 * v, 0x40 + v);
		set_mask(f, v, false);
	}
}

static void connect(struct fixture *f, unsigned vector, unsigned queue)
{
	assert_int_equal(msix_connect(&f->msix, vector, f->queue[queue], &f->e), 0);
}

static unsigned interrupts(struct fixture *f, unsigned vector)
{
	int gsi = f->msix.vectors[vector].gsi;

	return gsi < 0 ? 0 : fake_machine_interrupts(&f->fake, (unsigned)gsi);
}

static bool pending(struct fixture *f, unsigned vector)
{
	return mmio_read(f, PBA, 8) >> vector & 1;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_machine_init(&f->fake);
	assert_int_equal(pci_bus_init(&f->bus, &f->fake.machine, true, &f->e), 0);
	pci_dev_init(&f->dev, "card", 1, 2, 3, 4);
	pci_dev_bar(&f->dev, 0, (struct pci_bar){ .size = BAR_SIZE, .ops = &bar_ops, .dev = f });
	f->dev.config_written = config_written;
	assert_int_equal(msix_init(&f->msix, &f->dev, &f->fake.machine, 0, TABLE, PBA, VECTORS, &f->e),
			 0);
	assert_int_equal(pci_dev_add(&f->bus, &f->dev, &f->e), 0);
	config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (unsigned i = 0; i < ARRAY_SIZE(f->queue); i++)
		f->queue[i] = fd_eventfd();
	f->fake.irqfd_adds = 0;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	msix_fini(&f->msix);
	msix_fini(&f->msix);
	pci_bus_fini(&f->bus);
	fake_machine_fini(&f->fake);
	for (unsigned i = 0; i < ARRAY_SIZE(f->queue); i++)
		close(f->queue[i]);
	free(f);
	return 0;
}

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
			bool in_table = off >= TABLE && off + size <= TABLE + MSIX_TABLE_SIZE(VECTORS);

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

	connect(f, 1, 0);
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t off = 0; off < BAR_SIZE; off++) {
			mmio_write(f, off, size, UINT64_MAX);
			mmio_write(f, off, size, 0);
			set_control(f, (unsigned)(off << 13));
		}
	}
	fake_machine_run_loop(&f->fake);
	assert_int_equal(f->msix.vectors[1].routed, msix_enabled(&f->msix) && !f->msix.function_masked);
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
	fake_machine_run_loop(&f->fake);
	assert_int_equal(f->fake.irqfd_adds + f->fake.route_sets, 0);
	assert_int_equal(f->fake.waits, 0);
	assert_int_equal(f->fake.machine.next_gsi, MACHINE_GSI_MSI_FIRST);
}

static void a_connected_vector_costs_one_irqfd_and_one_route(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	assert_int_equal(f->fake.irqfd_adds, 1);
	assert_int_equal(f->fake.route_sets, 1);
}

static void writing_the_same_message_again_costs_nothing(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
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
	connect(f, 1, 0);
	for (unsigned i = 0; i < 10; i++) {
		set_mask(f, 1, true);
		set_mask(f, 1, false);
		fake_machine_run_loop(&f->fake);
	}
	assert_int_equal(f->fake.irqfd_adds, 1);
	assert_int_equal(f->fake.irqfd_dels, 0);
}

/* ---- delivery ---- */

static void a_connected_eventfd_interrupts_as_the_table_says(void **state)
{
	struct fixture *f = *state;
	const struct fake_route *r;

	guest_sets_up(f);
	connect(f, 1, 0);
	r = &f->fake.routes[f->msix.vectors[1].gsi];
	assert_true(r->enabled);
	assert_true(r->address == 0xfee01000);
	assert_int_equal(r->data, 0x41);
	fd_signal(f->queue[0]);
	assert_int_equal(interrupts(f, 1), 1);
}

static void what_was_signalled_before_connecting_is_delivered(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	fd_signal(f->queue[0]);
	connect(f, 1, 0);
	assert_int_equal(interrupts(f, 1), 1);
}

static void no_vector_connects_nothing_and_a_vector_too_high_is_an_error(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	assert_int_equal(msix_connect(&f->msix, MSIX_NO_VECTOR, f->queue[0], &f->e), 0);
	assert_int_equal(msix_connect(&f->msix, VECTORS, f->queue[0], &f->e), -EINVAL);
	assert_non_null(strstr(f->e.msg, "card"));
	assert_int_equal(msix_connect(&f->msix, 0xfffe, f->queue[0], &f->e), -EINVAL);
	msix_raise(&f->msix, MSIX_NO_VECTOR);
	msix_raise(&f->msix, VECTORS);
	msix_disconnect(&f->msix, MSIX_NO_VECTOR, f->queue[0]);
	msix_disconnect(&f->msix, VECTORS, f->queue[0]);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(f->fake.irqfd_adds + f->fake.route_sets, 0);
}

static void a_mask_takes_effect_before_its_exit_ends(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	set_mask(f, 1, true);
	assert_int_equal(f->fake.waits, 1);
	fd_signal(f->queue[0]);
	assert_int_equal(interrupts(f, 1), 0);
}

static void unmasking_a_connected_vector_raises_it_once(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	set_mask(f, 1, true);
	for (unsigned i = 0; i < 3; i++)
		fd_signal(f->queue[0]);
	set_mask(f, 1, false);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 1), 1);
	assert_int_equal(f->fake.waits, 1);
}

static void function_mask_and_enable_work_like_a_mask_of_all(void **state)
{
	static const unsigned off[] = { PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 0 };
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	connect(f, 2, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(off); i++) {
		set_control(f, off[i]);
		fd_signal(f->queue[0]);
		assert_int_equal(interrupts(f, 1), 0);
		set_control(f, PCI_MSIX_FLAGS_ENABLE);
		fake_machine_run_loop(&f->fake);
		assert_int_equal(interrupts(f, 1), 1);
		assert_int_equal(interrupts(f, 2), 1);
	}
}

static void a_message_changed_while_masked_is_used_after_unmasking(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	set_mask(f, 1, true);
	set_message(f, 1, UINT64_C(0x1fee07000), 0x99);
	assert_int_equal(f->fake.route_sets, 2);
	set_mask(f, 1, false);
	fake_machine_run_loop(&f->fake);
	assert_true(f->fake.routes[f->msix.vectors[1].gsi].address == UINT64_C(0x1fee07000));
	assert_int_equal(f->fake.routes[f->msix.vectors[1].gsi].data, 0x99);
	assert_int_equal(f->fake.route_sets, 3);
}

static void a_message_changed_while_open_follows(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	mmio_write(f, entry(1, PCI_MSIX_ENTRY_DATA), 4, 0x55);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(f->fake.routes[f->msix.vectors[1].gsi].data, 0x55);
	assert_int_equal(interrupts(f, 1), 0);
}

static void queues_may_share_a_vector(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	connect(f, 1, 1);
	fd_signal(f->queue[0]);
	fd_signal(f->queue[1]);
	assert_int_equal(interrupts(f, 1), 2);
	assert_int_equal(f->fake.route_sets, 1);

	msix_disconnect(&f->msix, 1, f->queue[0]);
	fd_signal(f->queue[1]);
	assert_int_equal(interrupts(f, 1), 1);
	set_mask(f, 1, true);
	set_mask(f, 1, false);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 1), 1);
}

static void connecting_while_masked_waits_for_the_unmask(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	set_mask(f, 1, true);
	connect(f, 1, 0);
	fd_signal(f->queue[0]);
	assert_int_equal(interrupts(f, 1), 0);
	assert_int_equal(f->fake.route_sets, 0);
	set_mask(f, 1, false);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 1), 1);
}

/* ---- raised by the VMM ---- */

static void vcpu_raises(struct fixture *f, unsigned vector)
{
	f->fake.in_vcpu = true;
	msix_raise(&f->msix, vector);
	f->fake.in_vcpu = false;
}

static void a_raised_vector_interrupts_once(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	msix_raise(&f->msix, 0);
	assert_int_equal(interrupts(f, 0), 1);
	assert_false(pending(f, 0));
}

static void a_vcpu_raises_without_a_system_call_of_its_own(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	vcpu_raises(f, 0);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 0), 1);
	vcpu_raises(f, 0);
	assert_int_equal(interrupts(f, 0), 1);
	assert_int_equal(f->fake.irqfd_adds, 1);
	assert_int_equal(f->fake.waits, 0);
}

static void raised_while_masked_then_unmasked_is_one_interrupt(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	set_mask(f, 0, true);
	msix_raise(&f->msix, 0);
	vcpu_raises(f, 0);
	assert_true(pending(f, 0));
	assert_false(pending(f, 1));
	assert_int_equal(interrupts(f, 0), 0);

	set_mask(f, 0, false);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 0), 1);
	assert_false(pending(f, 0));
}

static void raised_under_the_function_mask_waits_as_well(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 4, 0);
	set_control(f, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	msix_raise(&f->msix, 4);
	assert_true(pending(f, 4));
	assert_int_equal(interrupts(f, 4), 0);
	set_control(f, PCI_MSIX_FLAGS_ENABLE);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 4), 1);
	assert_false(pending(f, 4));
}

static void raised_while_disabled_is_nothing(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	set_control(f, 0);
	msix_raise(&f->msix, 0);
	assert_false(pending(f, 0));
	set_control(f, PCI_MSIX_FLAGS_ENABLE);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 0), 0);
}

static void disabling_forgets_what_was_pending(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	set_mask(f, 0, true);
	msix_raise(&f->msix, 0);
	set_control(f, 0);
	set_control(f, PCI_MSIX_FLAGS_ENABLE);
	set_mask(f, 0, false);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(interrupts(f, 0), 0);
}

static void a_vector_shared_with_a_queue_is_raised_through_its_irqfd(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	msix_raise(&f->msix, 1);
	assert_int_equal(interrupts(f, 1), 1);
	assert_int_equal(f->fake.irqfd_adds, 1);
}

/* ---- trouble and the end ---- */

static void a_message_the_kernel_refuses_breaks_only_its_vector(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect(f, 1, 0);
	connect(f, 2, 1);
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
	connect(f, 1, 0);
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
	connect(f, 1, 0);
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
	connect(f, 1, 0);
	connect(f, 2, 1);
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
	connect(f, 2, 0);
	msix_raise(&f->msix, 0);
	fd_signal(f->queue[0]);
	assert_int_equal(interrupts(f, 0), 1);
	assert_int_equal(interrupts(f, 2), 1);
	assert_int_equal(f->fake.machine.next_gsi, gsis);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
		CASE(a_connected_eventfd_interrupts_as_the_table_says),
		CASE(what_was_signalled_before_connecting_is_delivered),
		CASE(no_vector_connects_nothing_and_a_vector_too_high_is_an_error),
		CASE(a_mask_takes_effect_before_its_exit_ends),
		CASE(unmasking_a_connected_vector_raises_it_once),
		CASE(function_mask_and_enable_work_like_a_mask_of_all),
		CASE(a_message_changed_while_masked_is_used_after_unmasking),
		CASE(a_message_changed_while_open_follows),
		CASE(queues_may_share_a_vector),
		CASE(connecting_while_masked_waits_for_the_unmask),
		CASE(a_raised_vector_interrupts_once),
		CASE(a_vcpu_raises_without_a_system_call_of_its_own),
		CASE(raised_while_masked_then_unmasked_is_one_interrupt),
		CASE(raised_under_the_function_mask_waits_as_well),
		CASE(raised_while_disabled_is_nothing),
		CASE(disabling_forgets_what_was_pending),
		CASE(a_vector_shared_with_a_queue_is_raised_through_its_irqfd),
		CASE(a_message_the_kernel_refuses_breaks_only_its_vector),
		CASE(an_irqfd_the_kernel_refuses_is_an_error),
		CASE(running_out_of_interrupt_numbers_is_an_error),
		CASE(a_disconnected_vector_has_no_route_and_a_mask_costs_nothing),
		CASE(reset_leaves_the_table_as_after_power_on),
	};

	return cmocka_run_group_tests_name("msix", tests, NULL, NULL);
}
