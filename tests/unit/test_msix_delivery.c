/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/msix_card.h"

/* ---- delivery ---- */

static void a_connected_eventfd_interrupts_as_the_table_says(void **state)
{
	struct fixture *f = *state;
	const struct fake_route *r;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
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
	connect_queue(f, 1, 0);
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
	connect_queue(f, 1, 0);
	set_mask(f, 1, true);
	assert_int_equal(f->fake.waits, 1);
	fd_signal(f->queue[0]);
	assert_int_equal(interrupts(f, 1), 0);
}

static void unmasking_a_connected_vector_raises_it_once(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
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
	connect_queue(f, 1, 0);
	connect_queue(f, 2, 1);
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
	connect_queue(f, 1, 0);
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
	connect_queue(f, 1, 0);
	mmio_write(f, entry(1, PCI_MSIX_ENTRY_DATA), 4, 0x55);
	fake_machine_run_loop(&f->fake);
	assert_int_equal(f->fake.routes[f->msix.vectors[1].gsi].data, 0x55);
	assert_int_equal(interrupts(f, 1), 0);
}

static void queues_may_share_a_vector(void **state)
{
	struct fixture *f = *state;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
	connect_queue(f, 1, 1);
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
	connect_queue(f, 1, 0);
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
	connect_queue(f, 4, 0);
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
	connect_queue(f, 1, 0);
	msix_raise(&f->msix, 1);
	assert_int_equal(interrupts(f, 1), 1);
	assert_int_equal(f->fake.irqfd_adds, 1);
}

static void a_vector_is_raised_without_a_wait_for_its_eventfd(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	struct fixture *f = *state;

	guest_sets_up(f);
	connect_queue(f, 1, 0);
	assert_int_equal(write(f->queue[0], &full, sizeof(full)), sizeof(full));
	assert_int_equal(fcntl(f->queue[0], F_SETFL, 0), 0);
	alarm(30);
	msix_raise(&f->msix, 1);
	alarm(0);
	assert_int_equal(fcntl(f->queue[0], F_SETFL, O_NONBLOCK), 0);
	assert_true(fd_drain(f->queue[0]) == UINT64_MAX);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, msix_card_setup, msix_card_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
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
		CASE(a_vector_is_raised_without_a_wait_for_its_eventfd),
	};

	return cmocka_run_group_tests_name("msix_delivery", tests, NULL, NULL);
}
