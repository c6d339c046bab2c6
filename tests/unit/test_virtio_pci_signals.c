/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "tests/unit/process.h"
#include "tests/unit/virtio_card.h"

/* Doorbells */

static const struct fake_ioeventfd *doorbell(struct virtio_card *f, unsigned queue)
{
	struct machine_doorbell bell = { .addr = guest_bar(&f->guest) + VIRTIO_PCI_NOTIFY +
						 queue * VIRTIO_PCI_NOTIFY_STRIDE };

	return fake_machine_ioeventfd(&f->fake, &bell);
}

static void from_driver_ok_each_enabled_queue_has_a_doorbell_of_its_own(void **state)
{
	struct virtio_card *f = *state;

	virtio_card_go_live(f, true);

	assert_int_equal(f->fake.ioeventfd_count, 2);
	assert_int_equal(doorbell(f, 0)->eventfd, f->dev.queues[0].kick);
	assert_int_equal(doorbell(f, 1)->eventfd, f->dev.queues[1].kick);
	guest_doorbell(&f->guest, 1);
	assert_int_equal(virtio_card_kicks(f, 0), 0);
	assert_int_equal(virtio_card_kicks(f, 1), 1);
}

static void a_doorbell_before_its_ioeventfd_exists_signals_the_kick(void **state)
{
	struct virtio_card *f = *state;

	assert_true(guest_negotiate(&f->guest, CARD_V1));
	guest_queue(&f->guest, 1, 16, VIRTIO_NO_VECTOR);
	guest_driver_ok(&f->guest);
	assert_int_equal(f->fake.ioeventfd_count, 0);
	guest_doorbell(&f->guest, 1);

	assert_int_equal(virtio_card_kicks(f, 1), 1);
}

static void doorbells_follow_the_bar(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;
	uint64_t home = guest_bar(g);

	virtio_card_go_live(f, true);
	guest_decode(g, false);
	assert_int_equal(f->fake.ioeventfd_count, 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_NUMQ, 2), 0xffff);

	guest_config_write(g, PCI_BASE_ADDRESS_0, 4, home + 0x100000);
	guest_decode(g, true);
	assert_int_equal(f->fake.ioeventfd_count, 2);
	assert_non_null(doorbell(f, 0));
	guest_doorbell(g, 0);
	assert_int_equal(virtio_card_kicks(f, 0), 1);

	guest_config_write(g, PCI_BASE_ADDRESS_0, 4, home);
	assert_int_equal(f->fake.ioeventfd_count, 2);
	guest_doorbell(g, 0);
	assert_int_equal(virtio_card_kicks(f, 0), 1);
}

static void moving_a_bar_without_doorbells_makes_no_system_call(void **state)
{
	struct virtio_card *f = *state;
	unsigned calls = fake_machine_calls(&f->fake), waits = f->fake.waits;

	guest_decode(&f->guest, false);
	guest_decode(&f->guest, true);

	assert_int_equal(fake_machine_calls(&f->fake), calls);
	assert_int_equal(f->fake.waits, waits);
}

static void a_doorbell_without_ioeventfd_works_by_exits(void **state)
{
	struct virtio_card *f = *state;

	assert_true(guest_negotiate(&f->guest, CARD_V1));
	guest_queue(&f->guest, 0, 16, VIRTIO_NO_VECTOR);
	guest_driver_ok(&f->guest);
	f->fake.fail = -ENOSPC;
	virtio_card_connect(f);
	f->fake.fail = 0;
	assert_int_equal(f->fake.ioeventfd_count, 0);
	guest_doorbell(&f->guest, 0);

	assert_int_equal(virtio_card_kicks(f, 0), 1);
}

static void doorbells_beside_a_queue_ring_nothing(void **state)
{
	static const uint64_t off[] = { 1, 2, 3, 4 * 2, 4 * CARD_QUEUES, 4 * 63, 0xffc };
	struct virtio_card *f = *state;

	virtio_card_go_live(f, true);
	for (size_t i = 0; i < ARRAY_SIZE(off); i++)
		guest_write(&f->guest, VIRTIO_PCI_NOTIFY + off[i], 2, 0);

	for (unsigned q = 0; q < CARD_QUEUES; q++)
		assert_int_equal(virtio_card_kicks(f, q), 0);
}

/* Interrupts */

static void with_msix_a_call_is_one_interrupt_of_its_queues_vector(void **state)
{
	struct virtio_card *f = *state;

	virtio_card_go_live(f, true);
	virtio_card_call(f, 1);

	assert_int_equal(virtio_card_interrupts(f, 2), 1);
	assert_int_equal(virtio_card_interrupts(f, 1), 0);
	assert_int_equal(guest_read(&f->guest, VIRTIO_PCI_ISR_OFF, 1), 0);
}

static void irqfds_are_connected_once(void **state)
{
	struct virtio_card *f = *state;
	unsigned adds;

	virtio_card_go_live(f, true);
	adds = f->fake.irqfd_adds;
	for (unsigned i = 0; i < 3; i++) {
		guest_write(&f->guest, VIRTIO_PCI_MSIX_TABLE + MSIX_ENTRY_SIZE +
			    PCI_MSIX_ENTRY_VECTOR_CTRL, 4, PCI_MSIX_ENTRY_CTRL_MASKBIT);
		guest_write(&f->guest, VIRTIO_PCI_MSIX_TABLE + MSIX_ENTRY_SIZE +
			    PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0);
	}
	guest_decode(&f->guest, false);
	guest_decode(&f->guest, true);

	assert_int_equal(f->fake.irqfd_adds, adds);
	assert_int_equal(f->fake.irqfd_dels, 0);
}

static void queues_may_share_a_vector(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	guest_msix_on(g, CARD_QUEUES + 1);
	assert_true(guest_negotiate(g, CARD_V1));
	guest_queue(g, 0, 16, 1);
	guest_queue(g, 1, 16, 1);
	guest_driver_ok(g);
	virtio_card_connect(f);
	virtio_card_call(f, 0);
	virtio_card_call(f, 1);

	assert_int_equal(virtio_card_interrupts(f, 1), 2);
}

static void a_queue_without_vector_interrupts_nobody(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	guest_msix_on(g, CARD_QUEUES + 1);
	assert_true(guest_negotiate(g, CARD_V1));
	guest_queue(g, 0, 16, VIRTIO_NO_VECTOR);
	guest_driver_ok(g);
	virtio_card_connect(f);
	virtio_card_call(f, 0);

	for (unsigned v = 0; v <= CARD_QUEUES; v++)
		assert_int_equal(virtio_card_interrupts(f, v), 0);
	assert_false(fake_machine_line(&f->fake, virtio_card_gsi(f)));
}

static void without_msix_a_call_raises_the_line_until_the_isr_is_read(void **state)
{
	struct virtio_card *f = *state;

	virtio_card_go_live(f, false);
	virtio_card_call(f, 0);
	assert_true(fake_machine_line(&f->fake, virtio_card_gsi(f)));

	/* The guest's EOI before it reads: the line comes up again. */
	fake_machine_eoi(&f->fake, virtio_card_gsi(f));
	fake_machine_run_loop(&f->fake);
	assert_true(fake_machine_line(&f->fake, virtio_card_gsi(f)));

	assert_int_equal(guest_read(&f->guest, VIRTIO_PCI_ISR_OFF, 1), 1);
	fake_machine_eoi(&f->fake, virtio_card_gsi(f));
	fake_machine_run_loop(&f->fake);
	assert_false(fake_machine_line(&f->fake, virtio_card_gsi(f)));
	assert_int_equal(guest_read(&f->guest, VIRTIO_PCI_ISR_OFF, 1), 0);
}

static void reading_beside_the_isr_acknowledges_nothing(void **state)
{
	struct virtio_card *f = *state;

	virtio_card_go_live(f, false);
	virtio_card_call(f, 0);
	guest_read(&f->guest, VIRTIO_PCI_ISR_OFF + 1, 1);
	guest_read(&f->guest, VIRTIO_PCI_ISR_OFF - 2, 4);
	guest_write(&f->guest, VIRTIO_PCI_ISR_OFF, 1, 0xff);

	assert_int_equal(guest_read(&f->guest, VIRTIO_PCI_ISR_OFF, 4), 1);
}

static void a_config_change_raises_the_config_vector(void **state)
{
	struct virtio_card *f = *state;

	virtio_card_go_live(f, true);
	virtio_config_changed(&f->dev);

	assert_int_equal(virtio_card_interrupts(f, 0), 1);
	assert_false(fake_machine_line(&f->fake, virtio_card_gsi(f)));
}

static void a_config_change_without_msix_sets_its_bit_in_the_isr(void **state)
{
	struct virtio_card *f = *state;

	virtio_card_go_live(f, false);
	virtio_config_changed(&f->dev);

	assert_true(fake_machine_line(&f->fake, virtio_card_gsi(f)));
	assert_int_equal(guest_read(&f->guest, VIRTIO_PCI_ISR_OFF, 1), 2);
}

static void a_config_change_without_a_vector_is_lost_quietly(void **state)
{
	struct virtio_card *f = *state;

	virtio_card_go_live(f, true);
	guest_write(&f->guest, VIRTIO_PCI_COMMON_MSIX, 2, VIRTIO_NO_VECTOR);
	virtio_config_changed(&f->dev);

	for (unsigned v = 0; v <= CARD_QUEUES; v++)
		assert_int_equal(virtio_card_interrupts(f, v), 0);
}

static void msix_turned_on_while_live_takes_the_calls_over(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	assert_true(guest_negotiate(g, CARD_V1));
	guest_queue(g, 0, 16, 1);
	guest_driver_ok(g);
	virtio_card_connect(f);
	virtio_card_call(f, 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_ISR_OFF, 1), 1);

	guest_msix_on(g, CARD_QUEUES + 1);
	virtio_card_interrupts(f, 1);
	virtio_card_call(f, 0);
	assert_int_equal(virtio_card_interrupts(f, 1), 1);
	assert_int_equal(guest_read(g, VIRTIO_PCI_ISR_OFF, 1), 0);

	guest_msix_off(g);
	virtio_card_call(f, 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_ISR_OFF, 1), 1);
}

static void a_refused_irqfd_is_an_error_that_leaves_nothing_joined(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;
	unsigned before = f->fake.irqfd_count;

	guest_msix_on(g, CARD_QUEUES + 1);
	assert_true(guest_negotiate(g, CARD_V1));
	guest_queue(g, 0, 16, 1);
	guest_driver_ok(g);
	f->fake.fail = -ENOMEM;

	assert_int_equal(f->dev.transport->connect(&f->dev, &f->e), -ENOMEM);
	f->fake.fail = 0;
	assert_int_equal(f->fake.irqfd_count, before);
	assert_int_equal(f->fake.ioeventfd_count, 0);
	virtio_card_connect(f);
	virtio_card_call(f, 0);
	assert_int_equal(virtio_card_interrupts(f, 1), 1);
}

/* Reset */

static void a_reset_disconnects_and_clears_the_transports_registers(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;
	unsigned irqfds = f->fake.irqfd_count;

	f->slow = true;
	virtio_card_go_live(f, true);
	guest_set_status(g, 0);
	assert_int_not_equal(guest_status(g), 0);
	virtio_card_disconnect(f);
	virtio_reset_done(&f->dev);

	assert_int_equal(guest_status(g), 0);
	assert_int_equal(f->fake.irqfd_count, irqfds);
	assert_int_equal(f->fake.ioeventfd_count, 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_NO_VECTOR);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_NO_VECTOR);
}

static void a_reset_lowers_the_interrupt_line(void **state)
{
	struct virtio_card *f = *state;

	f->slow = true;
	virtio_card_go_live(f, false);
	virtio_card_call(f, 0);
	guest_set_status(&f->guest, 0);
	virtio_card_disconnect(f);
	virtio_reset_done(&f->dev);
	fake_machine_eoi(&f->fake, virtio_card_gsi(f));
	fake_machine_run_loop(&f->fake);

	assert_false(fake_machine_line(&f->fake, virtio_card_gsi(f)));
	assert_int_equal(guest_read(&f->guest, VIRTIO_PCI_ISR_OFF, 1), 0);
}

static void the_machines_reset_is_a_power_on(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;
	unsigned cap = guest_virtio_cap(g, VIRTIO_PCI_CAP_PCI_CFG);
	uint64_t home = guest_bar(g);

	guest_msix_on(g, CARD_QUEUES + 1);
	guest_config_write(g, cap + VIRTIO_PCI_CAP_OFFSET, 4, VIRTIO_PCI_NOTIFY);
	guest_config_write(g, cap + VIRTIO_PCI_CAP_LENGTH, 4, 4);
	guest_config_write(g, PCI_BASE_ADDRESS_0, 4, home + 0x10000);
	virtio_reset(&f->dev);
	f->dev.transport->reset(&f->dev);

	assert_int_equal(guest_bar(g), home);
	assert_int_equal(guest_config_read(g, PCI_COMMAND, 2), 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_NUMQ, 2), 0xffff);
	assert_int_equal(guest_config_read(g, cap + VIRTIO_PCI_CAP_OFFSET, 4), 0);
	assert_int_equal(guest_config_read(g, cap + VIRTIO_PCI_CAP_LENGTH, 4), 0);
	assert_int_equal(guest_config_read(g, guest_cap(g, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2),
			 CARD_QUEUES);
	guest_decode(g, true);
	virtio_card_go_live(f, true);
}

static void a_live_device_that_ends_leaves_no_fd(void **state)
{
	unsigned before = process_fds();
	void *again = NULL;

	(void)state;
	virtio_card_setup(&again);
	virtio_card_go_live(again, false);
	virtio_card_teardown(&again);

	assert_int_equal(process_fds(), before);
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, virtio_card_setup, virtio_card_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(from_driver_ok_each_enabled_queue_has_a_doorbell_of_its_own),
		CASE(a_doorbell_before_its_ioeventfd_exists_signals_the_kick),
		CASE(doorbells_follow_the_bar),
		CASE(moving_a_bar_without_doorbells_makes_no_system_call),
		CASE(a_doorbell_without_ioeventfd_works_by_exits),
		CASE(doorbells_beside_a_queue_ring_nothing),
		CASE(with_msix_a_call_is_one_interrupt_of_its_queues_vector),
		CASE(irqfds_are_connected_once),
		CASE(queues_may_share_a_vector),
		CASE(a_queue_without_vector_interrupts_nobody),
		CASE(without_msix_a_call_raises_the_line_until_the_isr_is_read),
		CASE(reading_beside_the_isr_acknowledges_nothing),
		CASE(a_config_change_raises_the_config_vector),
		CASE(a_config_change_without_msix_sets_its_bit_in_the_isr),
		CASE(a_config_change_without_a_vector_is_lost_quietly),
		CASE(msix_turned_on_while_live_takes_the_calls_over),
		CASE(a_refused_irqfd_is_an_error_that_leaves_nothing_joined),
		CASE(a_reset_disconnects_and_clears_the_transports_registers),
		CASE(a_reset_lowers_the_interrupt_line),
		CASE(the_machines_reset_is_a_power_on),
		CASE(a_live_device_that_ends_leaves_no_fd),
	};

	return cmocka_run_group_tests_name("virtio_pci_signals", tests, NULL, NULL);
}
