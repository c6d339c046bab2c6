/* SPDX-License-Identifier: Apache-2.0 */
/* shmem-share: the ends of mappings that others have, and windows that move. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/pci_regs.h>

#include "tests/unit/process.h"
#include "tests/unit/resting.h"
#include "tests/unit/share_rig.h"

/* The ends of mappings */

static void a_reset_waits_until_the_others_have_let_go(void **state)
{
	struct share_rig *m = share_pair(state);

	share_map(m, &m->a, 0);
	share_map(m, &m->a, 1);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	guest_set_status(&m->a.guest, 0);
	share_settle(&m->a);
	assert_int_not_equal(guest_status(&m->a.guest), 0);
	assert_true(share_is_mapped(&m->a, 0) && share_is_mapped(&m->a, 1));
	assert_int_equal(share_count(&m->b, VU_REM_MEM_REG), 2);

	/* Of the next life, which begins when this one is over. */
	share_send_map(m, &m->a, 1, true);
	share_settle(&m->a);
	assert_int_equal(share_answer(&m->a, MAP), -1);
	share_give_answers(&m->b);
	assert_int_equal(guest_status(&m->a.guest), 0);
	assert_int_equal(share_answer(&m->a, MAP), 0);
	assert_false(share_is_mapped(&m->a, 0));
	assert_true(share_is_mapped(&m->a, 1));
	assert_true(share_has(&m->b, &m->a, 1));
}

static void a_lost_daemon_s_mappings_leave_the_others(void **state)
{
	struct share_rig *m = share_pair(state);

	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	scripted_daemon_fini(&m->a.daemon);
	share_settle(&m->a);
	assert_true(m->a.dev.lost);
	assert_true(share_is_mapped(&m->a, 0));
	share_give_answers(&m->b);
	assert_false(share_is_mapped(&m->a, 0));
	assert_int_equal(m->b.daemon.n_regions, 1);
	guest_set_status(&m->a.guest, 0);
	share_settle(&m->a);
	assert_int_equal(guest_status(&m->a.guest), 0);
}

static int ask_nobody(void *ctx, struct vhost_user_link *l, struct err *e)
{
	(void)ctx;
	(void)l;
	(void)e;
	return 0;
}

/* It gave its rings back before, so the next daemon can be looked for whether it lives or not. */
static void a_daemon_that_is_lost_while_the_others_let_go_has_a_successor(void **state)
{
	static const struct vhost_user_dialer nobody = { .ask = ask_nobody };
	struct share_rig *m = share_pair(state);
	const struct vu_header unasked = { .request = VU_GET_FEATURES,
					   .flags = VU_FLAG_VERSION | VU_FLAG_REPLY };

	vhost_user_link_use(&m->a.dev.link, &nobody, NULL, 0);
	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	guest_set_status(&m->a.guest, 0);
	share_settle(&m->a);
	scripted_daemon_send(&m->a.daemon, &unasked, sizeof(unasked));
	share_settle(&m->a);
	assert_true(m->a.dev.lost);
	share_give_answers(&m->b);
	assert_int_equal(guest_status(&m->a.guest), 0);
	assert_false(share_is_mapped(&m->a, 0));
	scripted_daemon_fini(&m->a.daemon);
	share_settle(&m->a);
	assert_true(is_resting(&m->a.dev.link));
}

static void reset_done(void *arg)
{
	((struct share_card *)arg)->resets++;
}

static void a_guest_reboot_waits_and_leaves_nothing(void **state)
{
	struct share_rig *m = share_pair(state);

	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_GET_VRING_BASE);
	vhost_user_device_reset(&m->a.dev, reset_done, &m->a);
	vhost_user_device_reset(&m->b.dev, reset_done, &m->b);
	share_settle(&m->a);
	assert_int_equal(m->a.resets + m->b.resets, 0);
	assert_true(share_is_mapped(&m->a, 0));
	share_give_answers(&m->b);
	assert_int_equal(m->a.resets, 1);
	assert_int_equal(m->b.resets, 1);
	assert_false(share_is_mapped(&m->a, 0));
	assert_int_equal(m->b.daemon.n_regions, 1);
	assert_true(m->fake.machine.shared.first == NULL);
}

/* Mapped before its driver came: nothing is live, yet the machine's reset empties the window. */
static void a_reboot_before_the_driver_came_empties_it_too(void **state)
{
	struct share_rig *m = *state;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->b);
	share_map(m, &m->a, 0);
	assert_true(share_has(&m->b, &m->a, 0));
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	vhost_user_device_reset(&m->a.dev, reset_done, &m->a);
	share_settle(&m->a);
	assert_int_equal(m->a.resets, 0);
	share_give_answers(&m->b);
	assert_int_equal(m->a.resets, 1);
	assert_false(share_is_mapped(&m->a, 0));
}

static void the_end_of_either_needs_nothing_of_the_other(void **state)
{
	for (int giver_first = 0; giver_first < 2; giver_first++) {
		struct share_rig *m;

		share_teardown(state);
		share_setup(state);
		m = share_pair(state);
		share_map(m, &m->a, 0);
		share_map(m, &m->a, 1);
		share_fall_silent_at(&m->b, VU_REM_MEM_REG);
		assert_int_equal(share_unmap(&m->a, 0), -1);
		vhost_user_device_fini(giver_first ? &m->a.dev : &m->b.dev);
		share_settle(&m->a);
		if (giver_first)
			share_give_answers(&m->b);
		else
			assert_int_equal(share_answer(&m->a, UNMAP), 0);
	}
}

/* The window's place */

static void a_window_that_moves_takes_its_mappings_along(void **state)
{
	struct share_rig *m = share_pair(state);
	uint64_t before = share_home(&m->a);
	unsigned bar = PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR;

	share_map(m, &m->a, 0);
	share_map(m, &m->a, 1);
	scripted_daemon_order(&m->b.daemon);
	guest_config_write(&m->a.guest, bar, 4, (uint32_t)before + MIB(1));
	share_settle(&m->a);
	assert_true(share_home(&m->a) == before + MIB(1));
	assert_string_equal(scripted_daemon_order(&m->b.daemon),
			    "REM_MEM_REG REM_MEM_REG ADD_MEM_REG ADD_MEM_REG");
	assert_true(share_has(&m->b, &m->a, 0) && share_has(&m->b, &m->a, 1));
	assert_int_equal(m->b.daemon.n_regions, 3);

	guest_decode(&m->a.guest, false);
	share_settle(&m->a);
	assert_int_equal(m->b.daemon.n_regions, 1);
	/* What is mapped while it is nowhere is given when it is somewhere. */
	share_map(m, &m->a, 2);
	assert_int_equal(m->b.daemon.n_regions, 1);
	guest_decode(&m->a.guest, true);
	share_settle(&m->a);
	for (uint64_t i = 0; i < 3; i++)
		assert_true(share_has(&m->b, &m->a, i));
}

/* New addresses overlap old ones, which the daemon has not let go of yet. */
static void a_window_that_moves_again_and_again_ends_where_it_is(void **state)
{
	struct share_rig *m = share_pair(state);
	unsigned bar = PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR;
	uint32_t first = (uint32_t)share_home(&m->a);

	share_map(m, &m->a, 0);
	share_map(m, &m->a, 1);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	for (int i = 0; i < 9; i++) {
		guest_config_write(&m->a.guest, bar, 4, first + (i % 2 ? 0 : MIB(1)));
		share_settle(&m->a);
	}
	assert_int_equal(share_unmap(&m->a, 0), -1);
	share_give_answers(&m->b);
	assert_int_equal(share_answer(&m->a, UNMAP), 0);
	assert_false(share_has(&m->b, &m->a, 0));
	assert_true(share_has(&m->b, &m->a, 1));
	assert_int_equal(m->b.daemon.n_regions, 2);
	assert_int_equal(m->b.dev.frontend.left_out.count, 0);
}

/* While the start of a taker is adding, what it was told and what it is to be told change. */
static void a_window_that_moves_to_and_fro_never_overlaps_itself(void **state)
{
	struct share_rig *m = *state;
	unsigned bar = PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR;
	uint32_t first;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	share_run(&m->a);
	for (uint64_t i = 0; i < 24; i++)
		share_map(m, &m->a, i);
	share_fall_silent_at(&m->b, VU_ADD_MEM_REG);
	assert_true(guest_negotiate(&m->b.guest, BIT64(VIRTIO_F_VERSION_1)));
	guest_queue(&m->b.guest, 0, 4, 0);
	guest_driver_ok(&m->b.guest);
	share_settle(&m->b);
	assert_in_range(m->b.daemon.n_regions, 2, 20);
	first = (uint32_t)share_home(&m->a);
	guest_config_write(&m->a.guest, bar, 4, first + MIB(1));
	guest_config_write(&m->a.guest, bar, 4, first);
	share_settle(&m->a);
	share_give_answers(&m->b);
	assert_int_equal(m->b.dev.run, VHOST_USER_RUNNING);
	for (uint64_t i = 0; i < 24; i++)
		assert_true(share_has(&m->b, &m->a, i));
	assert_int_equal(m->b.daemon.n_regions, 25);
}

static void fds_and_memory_stay_level(void **state)
{
	struct share_rig *m = share_pair(state);
	unsigned level = 0;

	for (int i = 0; i < 20; i++) {
		share_map(m, &m->a, 0);
		share_map(m, &m->a, 1);
		assert_int_equal(share_unmap(&m->a, 0), 0);
		assert_int_equal(share_unmap(&m->a, 1), 0);
		level = i ? level : process_fds();
		assert_int_equal(process_fds(), level);
		assert_int_equal(m->fake.machine.shared.count, 0);
		assert_int_equal(m->b.dev.frontend.n_told, 1);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, share_setup, share_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_reset_waits_until_the_others_have_let_go),
		TEST(a_lost_daemon_s_mappings_leave_the_others),
		TEST(a_daemon_that_is_lost_while_the_others_let_go_has_a_successor),
		TEST(a_guest_reboot_waits_and_leaves_nothing),
		TEST(a_reboot_before_the_driver_came_empties_it_too),
		TEST(the_end_of_either_needs_nothing_of_the_other),
		TEST(a_window_that_moves_takes_its_mappings_along),
		TEST(a_window_that_moves_again_and_again_ends_where_it_is),
		TEST(a_window_that_moves_to_and_fro_never_overlaps_itself),
		TEST(fds_and_memory_stay_level),
	};

	return cmocka_run_group_tests_name("shmem_share_life", tests, NULL, NULL);
}
