/* SPDX-License-Identifier: Apache-2.0 */
/* Doorbells and interrupts of a VMShm device: which eventfd is joined to what, and when. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/pci_regs.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/events_card.h"
#include "tests/unit/process.h"

static int setup(void **state)
{
	struct events_card *c = events_card_new(4);

	events_card_enable(c);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	events_card_free(*state);
	return 0;
}

/* Events that the host finds rung, as bits. */
static unsigned rung(struct events_card *c)
{
	unsigned bits = 0;

	events_card_run(c);
	for (unsigned i = 0; i < c->events.count; i++)
		bits |= (fd_drain(c->events.kick[i]) > 0) << i;
	return bits;
}

static void each_doorbell_is_its_event_and_makes_no_exit(void **state)
{
	struct events_card *c = *state;

	assert_int_equal(vmshm_events_count(&c->events), 3);
	assert_int_equal(vmshm_events_vectors(&c->events), 4);
	assert_int_equal(c->fake.ioeventfd_count, 3);
	for (unsigned i = 0; i < 3; i++) {
		const struct machine_doorbell d = { events_card_regs(c) + VMSHM_DOORBELL, true, i };
		const struct fake_ioeventfd *q = fake_machine_ioeventfd(&c->fake, &d);

		assert_non_null(q);
		assert_int_equal(q->eventfd, c->events.kick[i]);
		assert_true(events_card_ring(c, i));
		assert_int_equal(rung(c), 1 << i);
	}
}

static void an_event_that_there_is_not_is_nothing(void **state)
{
	struct events_card *c = *state;

	assert_false(events_card_ring(c, 3));
	assert_false(events_card_ring(c, 32));
	assert_false(events_card_ring(c, UINT32_MAX));
	assert_int_equal(rung(c), 0);
}

static void doorbells_follow_bar_0(void **state)
{
	struct events_card *c = *state;
	uint64_t before = events_card_regs(c), to = PCI_MMIO_BASE + 0x1000000;
	unsigned waits = c->fake.waits;

	events_card_config_write(c, PCI_BASE_ADDRESS_0, 4, to);

	assert_int_equal(events_card_regs(c), to);
	/* The exit ended with the doorbells there. */
	assert_int_equal(c->fake.waits, waits + 1);
	assert_int_equal(c->fake.ioeventfd_count, 3);
	assert_true(events_card_ring(c, 2));
	assert_int_equal(rung(c), 1 << 2);
	fake_vcpu_doorbell(&c->fake, before + VMSHM_DOORBELL, 4, 0);
	assert_int_equal(rung(c), 0);

	events_card_config_write(c, PCI_COMMAND, 2, 0);
	assert_int_equal(c->fake.ioeventfd_count, 0);
	events_card_config_write(c, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(c->fake.ioeventfd_count, 3);
}

/* Who has an eventfd may have filled it and made it one that waits, at any moment. */
static void a_doorbell_that_the_kernel_refuses_is_written_by_nobody(void **state)
{
	struct events_card *c = *state;

	c->fake.fail = -ENOSPC;
	events_card_config_write(c, PCI_BASE_ADDRESS_0, 4, PCI_MMIO_BASE + 0x1000000);
	assert_int_equal(c->fake.ioeventfd_count, 0);
	assert_false(events_card_ring(c, 1));
	assert_int_equal(rung(c), 0);

	c->fake.fail = 0;
	events_card_config_write(c, PCI_COMMAND, 2, 0);	/* takes none away that is not there */
	events_card_config_write(c, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_true(events_card_ring(c, 1));
	assert_int_equal(rung(c), 1 << 1);
}

static void each_call_is_a_vector_behind_the_first(void **state)
{
	struct events_card *c = *state;

	for (unsigned i = 0; i < 3; i++) {
		fd_signal(c->events.call[i]);
		for (unsigned v = 0; v < 4; v++)
			assert_int_equal(events_card_interrupts(c, v), v == i + 1);
	}
}

static void what_is_rung_while_masked_comes_with_the_unmask(void **state)
{
	struct events_card *c = *state;

	events_card_mask(c, 2, true);
	fd_signal(c->events.call[1]);
	assert_int_equal(events_card_interrupts(c, 2), 0);
	events_card_mask(c, 2, false);
	assert_in_range(events_card_interrupts(c, 2), 1, 2);

	events_card_msix_control(c, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	fd_signal(c->events.call[0]);
	assert_int_equal(events_card_interrupts(c, 1), 0);
	events_card_msix_control(c, PCI_MSIX_FLAGS_ENABLE);
	events_card_run(c);
	assert_in_range(events_card_interrupts(c, 1), 1, 2);
}

static void a_change_of_state_is_vector_0(void **state)
{
	struct events_card *c = *state;

	vmshm_events_state_changed(&c->events);
	events_card_run(c);
	assert_int_equal(events_card_interrupts(c, 0), 1);
	assert_int_equal(events_card_interrupts(c, 1), 0);

	events_card_mask(c, 0, true);
	vmshm_events_state_changed(&c->events);
	events_card_run(c);
	assert_int_equal(events_card_interrupts(c, 0), 0);
	events_card_mask(c, 0, false);
	assert_int_equal(events_card_interrupts(c, 0), 1);
}

static void the_bar_has_a_table_and_pending_bits_and_else_zeros(void **state)
{
	struct events_card *c = *state;
	uint64_t at = c->pci.bars[VMSHM_BAR_MSIX].addr;
	struct bus *mmio = &c->fake.machine.mmio;

	assert_int_equal(c->pci.bars[VMSHM_BAR_MSIX].size, 4096);
	assert_false(c->pci.bars[VMSHM_BAR_MSIX].is_64);
	assert_int_equal(pci_dev_get(&c->pci, c->events.msix.cap + PCI_MSIX_TABLE, 4),
			 VMSHM_BAR_MSIX);
	assert_int_equal(fake_vcpu_read(&c->fake, mmio, at, 4), 0xfee00000);
	fake_vcpu_write(&c->fake, mmio, at + 0xff8, 8, UINT64_MAX);
	assert_int_equal(fake_vcpu_read(&c->fake, mmio, at + 0xff8, 8), 0);
	assert_int_equal(fake_vcpu_read(&c->fake, mmio, at + 4 * MSIX_ENTRY_SIZE, 4), 0);
}

static void after_a_reset_all_is_as_after_power_on(void **state)
{
	struct events_card *c = *state;
	unsigned irqfds = c->fake.irqfd_count;

	events_card_reset(c);
	assert_int_equal(c->fake.ioeventfd_count, 0);
	assert_int_equal(rung(c), 0);
	assert_false(c->events.msix.enabled);

	events_card_enable(c);
	assert_int_equal(c->fake.irqfd_count, irqfds);
	assert_int_equal(c->fake.ioeventfd_count, 3);
	fd_signal(c->events.call[2]);
	assert_int_equal(events_card_interrupts(c, 3), 1);
}

static void without_vectors_there_is_nothing(void **state)
{
	struct events_card *c = events_card_new(0);
	unsigned calls = fake_machine_calls(&c->fake);

	(void)state;
	events_card_enable(c);
	assert_int_equal(c->pci.bars[VMSHM_BAR_MSIX].size, 0);
	assert_int_equal(pci_dev_get(&c->pci, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	assert_int_equal(vmshm_events_count(&c->events), 0);
	assert_int_equal(vmshm_events_vectors(&c->events), 0);
	events_card_ring(c, 0);
	vmshm_events_state_changed(&c->events);
	events_card_reset(c);
	assert_int_equal(fake_machine_calls(&c->fake), calls);
	events_card_free(c);
}

static void one_vector_is_for_state_alone(void **state)
{
	struct events_card *c = events_card_new(1);

	(void)state;
	events_card_enable(c);
	assert_int_equal(vmshm_events_count(&c->events), 0);
	assert_int_equal(c->fake.ioeventfd_count, 0);
	vmshm_events_state_changed(&c->events);
	events_card_run(c);
	assert_int_equal(events_card_interrupts(c, 0), 1);
	events_card_free(c);
}

static int try_options(struct events_card *c, const struct vmshm_options *o)
{
	const struct vmshm_events_owner owner = { 0 };
	struct vmshm_events v;
	struct pci_dev pci;
	int r;

	pci_dev_init(&pci, "vmshm0", 1, 2, 3, 4);
	r = vmshm_events_init(&v, &c->fake.machine, &pci, o, &owner, &c->e);
	vmshm_events_fini(&v);
	vmshm_events_fini(&v);
	return r;
}

static void what_cannot_be_is_refused_with_a_sentence(void **state)
{
	struct events_card *c = *state;
	struct vmshm_options o = { .id = (char[]){ "shm" }, .vectors = 9 };
	unsigned fds = process_fds();

	assert_int_equal(try_options(c, &o), -EINVAL);
	assert_non_null(strstr(c->e.msg, "device shm: vectors="));
	o.vectors = 1;
	o.events_peer = (char[]){ "/x" };
	assert_int_equal(try_options(c, &o), -EINVAL);
	assert_non_null(strstr(c->e.msg, "events-peer="));
	o.vectors = 8;
	c->fake.fail = -ENOSPC;
	assert_int_equal(try_options(c, &o), -ENOSPC);
	c->fake.fail = 0;
	assert_int_equal(process_fds(), fds);
	vmshm_events_fini(&(struct vmshm_events){ .machine = NULL });
}

static void a_hundred_devices_leave_nothing(void **state)
{
	unsigned fds = process_fds();

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct events_card *c = events_card_new(8);

		events_card_enable(c);
		events_card_free(c);
	}
	assert_int_equal(process_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(each_doorbell_is_its_event_and_makes_no_exit),
		CASE(an_event_that_there_is_not_is_nothing),
		CASE(doorbells_follow_bar_0),
		CASE(a_doorbell_that_the_kernel_refuses_is_written_by_nobody),
		CASE(each_call_is_a_vector_behind_the_first),
		CASE(what_is_rung_while_masked_comes_with_the_unmask),
		CASE(a_change_of_state_is_vector_0),
		CASE(the_bar_has_a_table_and_pending_bits_and_else_zeros),
		CASE(after_a_reset_all_is_as_after_power_on),
		cmocka_unit_test(without_vectors_there_is_nothing),
		cmocka_unit_test(one_vector_is_for_state_alone),
		CASE(what_cannot_be_is_refused_with_a_sentence),
		cmocka_unit_test(a_hundred_devices_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
