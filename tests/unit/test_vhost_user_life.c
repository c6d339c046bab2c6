/* SPDX-License-Identifier: Apache-2.0 */
/* Start, stop, loss and reset of a vhost-user device, as guest, daemon and machine see them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "tests/unit/process.h"
#include "tests/unit/vhost_user_rig.h"

/* The daemon errs at the next @request so that the connection is lost while it lives. */
static void misbehave_at(struct vhost_user_rig *r, uint32_t request)
{
	r->daemon.fault = FAULT_ID;
	r->daemon.fault_on = request;
}

/* ... or keeps its answers to itself from there on. */
static void fall_silent_at(struct vhost_user_rig *r, uint32_t request)
{
	r->daemon.fault = FAULT_SILENT;
	r->daemon.fault_on = request;
}

/* Start */

static void driver_ok_only_posts_the_start(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);
	unsigned calls, waits;

	guest_msix_on(&r->guest, 3);
	assert_true(guest_negotiate(&r->guest, RIG_V1));
	guest_queue(&r->guest, 0, 4, 1);
	calls = fake_machine_calls(&r->fake);
	waits = r->fake.waits;
	scripted_daemon_order(&r->daemon);
	guest_driver_ok(&r->guest);

	assert_int_equal(fake_machine_calls(&r->fake), calls);
	assert_int_equal(r->fake.waits, waits);
	assert_int_equal(r->dev.run, VHOST_USER_IDLE);
	assert_string_equal(scripted_daemon_order(&r->daemon), "");
}

static void the_daemon_gets_the_rings_as_the_driver_latched_them(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);
	uint64_t user;

	user = r->daemon.regions[0].user_addr;
	for (unsigned i = 0; i < 2; i++) {
		const struct scripted_ring *ring = &r->daemon.rings[i];

		assert_true(ring->started && ring->enabled);
		assert_int_equal(ring->num, 4);
		assert_int_equal(ring->base, 0);
		assert_int_equal(ring->addr.desc - user, guest_desc(i));
		assert_int_equal(ring->addr.avail - user, guest_avail(i));
		assert_int_equal(ring->addr.used - user, guest_used(i));
	}
	assert_int_equal(r->daemon.acked & ~BIT64(VU_F_PROTOCOL_FEATURES),
			 guest_offered(&r->guest));
}

static void a_queue_the_driver_did_not_enable_is_not_started(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_run(r, 1);

	assert_true(r->daemon.rings[0].started);
	assert_false(r->daemon.rings[1].started);
	assert_int_equal(r->fake.ioeventfd_count, 1);
}

static void a_kick_before_the_daemon_started_waits_for_it(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_driver_ok(r, 2);
	guest_doorbell(&r->guest, 1);
	vhost_user_rig_settle(r);

	/* One kick is injected into every ring as it starts. */
	assert_int_equal(fd_drain(r->daemon.rings[0].kick), 1);
	assert_int_equal(fd_drain(r->daemon.rings[1].kick), 2);
}

static void kicks_go_to_the_daemon_and_its_calls_to_the_guest(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	fd_drain(r->daemon.rings[1].kick);
	guest_doorbell(&r->guest, 1);
	assert_int_equal(fd_drain(r->daemon.rings[1].kick), 1);

	fd_signal(r->daemon.rings[1].call);
	assert_int_equal(vhost_user_rig_interrupts(r, 2), 1);
	assert_int_equal(vhost_user_rig_interrupts(r, 1), 0);
}

static void queue_registers_after_driver_ok_send_the_daemon_nothing(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	scripted_daemon_order(&r->daemon);
	guest_write(&r->guest, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	guest_write(&r->guest, VIRTIO_PCI_COMMON_Q_SIZE, 2, 4096);
	guest_write(&r->guest, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	guest_write(&r->guest, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	guest_write(&r->guest, VIRTIO_PCI_COMMON_Q_DESCLO, 8, 0x8000);
	guest_driver_ok(&r->guest);
	vhost_user_rig_settle(r);

	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_Q_SIZE, 2), 4);
	assert_string_equal(scripted_daemon_order(&r->daemon), "");
}

static void an_irqfd_that_is_refused_breaks_the_device_and_no_more(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_driver_ok(r, 2);
	r->fake.fail = -ENOMEM;
	vhost_user_rig_settle(r);
	r->fake.fail = 0;
	assert_true(vhost_user_rig_needs_reset(r));
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_FEATURES), 0);

	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	vhost_user_rig_run(r, 2);
}

/* Stop */

static void status_reads_non_zero_until_the_daemon_gave_every_ring_back(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	fall_silent_at(r, VU_GET_VRING_BASE);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_not_equal(guest_status(&r->guest), 0);
	assert_true(r->fake.ioeventfd_count > 0);

	scripted_daemon_give(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_GET_VRING_BASE), 2);
	assert_int_equal(r->fake.ioeventfd_count, 0);
}

static void a_device_that_was_reset_starts_again_from_index_0(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	r->daemon.rings[0].base = 77;
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_false(r->daemon.rings[0].started);
	vhost_user_rig_run(r, 2);

	assert_true(r->daemon.rings[0].started);
	assert_int_equal(r->daemon.rings[0].base, 0);
}

static void a_reset_while_the_daemon_starts_is_complete_after_both(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	fall_silent_at(r, VU_SET_VRING_ENABLE);
	vhost_user_rig_driver_ok(r, 2);
	vhost_user_rig_settle(r);
	assert_int_equal(r->dev.run, VHOST_USER_STARTING);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_not_equal(guest_status(&r->guest), 0);

	scripted_daemon_give(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	assert_false(r->daemon.rings[0].started);
	vhost_user_rig_run(r, 2);
}

static void a_reset_right_after_driver_ok_starts_nothing(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_driver_ok(r, 2);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);

	assert_int_equal(guest_status(&r->guest), 0);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_VRING_KICK), 0);
}

static void two_resets_in_a_row_are_one(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	guest_set_status(&r->guest, 0);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);

	assert_int_equal(guest_status(&r->guest), 0);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_GET_VRING_BASE), 2);
}

/* Loss */

static void a_daemon_that_dies_breaks_its_device_and_the_guest_is_told(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	vhost_user_rig_interrupts(r, 0);
	scripted_daemon_fini(&r->daemon);

	assert_int_equal(vhost_user_rig_interrupts(r, 0), 1);
	assert_true(vhost_user_rig_needs_reset(r));
}

static void a_device_whose_daemon_died_can_be_reset_but_not_started(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_interrupts(r, 0);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);

	vhost_user_rig_driver_ok(r, 2);
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 1);
	assert_true(vhost_user_rig_needs_reset(r));
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
}

static void a_daemon_that_dies_while_idle_is_noticed_at_the_next_start(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	vhost_user_rig_driver_ok(r, 2);
	vhost_user_rig_settle(r);

	assert_true(vhost_user_rig_needs_reset(r));
}

static void a_daemon_that_dies_during_a_start_breaks_the_device(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	r->daemon.fault = FAULT_CLOSE;
	r->daemon.fault_on = VU_SET_VRING_ADDR;
	vhost_user_rig_driver_ok(r, 2);
	vhost_user_rig_settle(r);

	assert_true(vhost_user_rig_needs_reset(r));
}

static void a_daemon_that_dies_during_a_stop_completes_the_reset(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	r->daemon.fault = FAULT_CLOSE;
	r->daemon.fault_on = VU_GET_VRING_BASE;
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);

	assert_int_equal(guest_status(&r->guest), 0);
}

static void a_reset_waits_for_the_end_of_a_daemon_that_misbehaved(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	misbehave_at(r, VU_GET_VRING_BASE);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(r->dev.run, VHOST_USER_LOST);
	assert_int_not_equal(guest_status(&r->guest), 0);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
}

static void a_reset_waits_for_the_end_of_a_daemon_that_hangs(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	fall_silent_at(r, VU_GET_VRING_BASE);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	vhost_user_rig_deadline(r);
	assert_int_not_equal(guest_status(&r->guest), 0);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
}

static void a_daemon_that_hangs_in_a_start_and_ends_before_the_reset_holds_nothing_up(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	fall_silent_at(r, VU_SET_VRING_ENABLE);
	vhost_user_rig_driver_ok(r, 2);
	vhost_user_rig_settle(r);
	vhost_user_rig_deadline(r);
	assert_true(vhost_user_rig_needs_reset(r));
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);

	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
}

static void an_error_of_a_ring_breaks_the_device(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	fd_signal(r->daemon.rings[0].err);
	vhost_user_rig_settle(r);
	assert_true(vhost_user_rig_needs_reset(r));

	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	vhost_user_rig_run(r, 2);
}

/* The machine's reset */

static void a_reboot_gets_the_rings_back_and_keeps_the_connection(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	vhost_user_rig_reset(r);
	assert_int_equal(r->resets_done, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 1);
	assert_false(r->daemon.rings[0].started);
	assert_int_equal(guest_config_read(&r->guest, PCI_COMMAND, 2), 0);

	guest_decode(&r->guest, true);
	assert_int_equal(guest_status(&r->guest), 0);
	vhost_user_rig_run(r, 2);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_OWNER), 1);
	assert_false(r->daemon.closed);
}

static void a_reboot_is_done_only_when_the_daemon_answered(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	fall_silent_at(r, VU_GET_VRING_BASE);
	vhost_user_rig_reset(r);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 0);

	scripted_daemon_give(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 1);
}

static void a_reboot_of_an_idle_device_is_done_in_the_loop(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_reset(r);
	assert_int_equal(r->resets_done, 0);
	vhost_user_rig_settle(r);

	assert_int_equal(r->resets_done, 1);
}

static void a_reboot_in_the_middle_of_the_drivers_own_reset_is_done_with_it(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	fall_silent_at(r, VU_GET_VRING_BASE);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	vhost_user_rig_reset(r);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 0);
	scripted_daemon_give(&r->daemon);
	vhost_user_rig_settle(r);

	assert_int_equal(r->resets_done, 1);
}

static void a_reboot_after_the_daemon_died_is_done(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	vhost_user_rig_reset(r);
	vhost_user_rig_settle(r);

	assert_int_equal(r->resets_done, 1);
}

static void a_reboot_waits_for_a_daemon_that_may_still_write_guest_memory(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	misbehave_at(r, VU_GET_VRING_BASE);
	vhost_user_rig_reset(r);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 0);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 1);
}

/* The end */

static void a_device_that_ends_in_any_state_leaves_no_fd(void **state)
{
	unsigned before = process_fds();

	(void)state;
	for (unsigned step = 0; step < 5; step++) {
		void *again = NULL;
		struct vhost_user_rig *r;

		vhost_user_rig_setup(&again);
		r = vhost_user_rig_plugged(&again);
		if (step > 0)
			vhost_user_rig_driver_ok(r, 2);
		if (step == 2)
			fall_silent_at(r, VU_SET_VRING_ENABLE);
		if (step > 1)
			vhost_user_rig_settle(r);
		if (step == 4)
			guest_set_status(&r->guest, 0);
		vhost_user_rig_teardown(&again);
		assert_int_equal(process_fds(), before);
	}
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, vhost_user_rig_setup, vhost_user_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(driver_ok_only_posts_the_start),
		CASE(the_daemon_gets_the_rings_as_the_driver_latched_them),
		CASE(a_queue_the_driver_did_not_enable_is_not_started),
		CASE(a_kick_before_the_daemon_started_waits_for_it),
		CASE(kicks_go_to_the_daemon_and_its_calls_to_the_guest),
		CASE(queue_registers_after_driver_ok_send_the_daemon_nothing),
		CASE(an_irqfd_that_is_refused_breaks_the_device_and_no_more),
		CASE(status_reads_non_zero_until_the_daemon_gave_every_ring_back),
		CASE(a_device_that_was_reset_starts_again_from_index_0),
		CASE(a_reset_while_the_daemon_starts_is_complete_after_both),
		CASE(a_reset_right_after_driver_ok_starts_nothing),
		CASE(two_resets_in_a_row_are_one),
		CASE(a_daemon_that_dies_breaks_its_device_and_the_guest_is_told),
		CASE(a_device_whose_daemon_died_can_be_reset_but_not_started),
		CASE(a_daemon_that_dies_while_idle_is_noticed_at_the_next_start),
		CASE(a_daemon_that_dies_during_a_start_breaks_the_device),
		CASE(a_daemon_that_dies_during_a_stop_completes_the_reset),
		CASE(a_reset_waits_for_the_end_of_a_daemon_that_misbehaved),
		CASE(a_reset_waits_for_the_end_of_a_daemon_that_hangs),
		CASE(a_daemon_that_hangs_in_a_start_and_ends_before_the_reset_holds_nothing_up),
		CASE(an_error_of_a_ring_breaks_the_device),
		CASE(a_reboot_gets_the_rings_back_and_keeps_the_connection),
		CASE(a_reboot_is_done_only_when_the_daemon_answered),
		CASE(a_reboot_of_an_idle_device_is_done_in_the_loop),
		CASE(a_reboot_in_the_middle_of_the_drivers_own_reset_is_done_with_it),
		CASE(a_reboot_after_the_daemon_died_is_done),
		CASE(a_reboot_waits_for_a_daemon_that_may_still_write_guest_memory),
		CASE(a_device_that_ends_in_any_state_leaves_no_fd),
	};

	return cmocka_run_group_tests_name("vhost_user_life", tests, NULL, NULL);
}
