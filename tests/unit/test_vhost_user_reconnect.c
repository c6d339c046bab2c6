/* SPDX-License-Identifier: Apache-2.0 */
/* A device whose daemon ended and came back: the same, less than before, or not at all. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_pci.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/process.h"
#include "tests/unit/resting.h"
#include "tests/unit/vhost_user_rig.h"

enum { WCE = offsetof(struct virtio_blk_config, wce) };

/* A disk that runs, with on-lost=reset, and one that does not yet. */
static struct vhost_user_rig *running(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	r->dev.on_lost = VHOST_USER_RESET;
	vhost_user_rig_reconnects(r);
	return r;
}

static struct vhost_user_rig *idle(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_reconnects(r);
	return r;
}

/* Persistent memory, with one region of 4 MiB, plugged. */
static struct vhost_user_rig *pmem(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol |= BIT64(VU_PF_SHMEM);
	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	r->daemon.shmem.nregions = 1;
	r->daemon.shmem.sizes[0] = MIB(4);
	vhost_user_rig_plug(r, "pmem,socket=/run/x");
	vhost_user_rig_reconnects(r);
	return r;
}

static void run_pmem(struct vhost_user_rig *r)
{
	vhost_user_rig_run(r, 1);
	assert_false(fake_vcpu_waits(&r->fake));
}

static void reset(struct vhost_user_rig *r)
{
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
}

/* What the guest sees */

static void a_device_that_is_reset_runs_with_the_next_daemon(void **state)
{
	struct vhost_user_rig *r = running(state);

	vhost_user_rig_interrupts(r, 0);
	vhost_user_rig_lose(r);
	assert_true(vhost_user_rig_needs_reset(r));
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 1);
	vhost_user_rig_come_back(r);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_VRING_KICK), 0);
	assert_true(vhost_user_rig_needs_reset(r));

	reset(r);
	vhost_user_rig_run(r, 2);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_OWNER), 1);
	assert_int_equal(r->daemon.n_regions, 1);
	assert_true(r->daemon.rings[0].started && r->daemon.rings[1].enabled);
	assert_int_equal(r->daemon.rings[0].base, 0);
	assert_false(vhost_user_rig_needs_reset(r));
}

static void a_reset_before_there_is_another_daemon_is_complete_at_once(void **state)
{
	struct vhost_user_rig *r = running(state);

	vhost_user_rig_lose(r);
	reset(r);
	vhost_user_rig_come_back(r);
	assert_string_equal(strstr(scripted_daemon_order(&r->daemon), "SET_VRING") ? "rings" : "",
			    "");
	vhost_user_rig_run(r, 2);
}

static void a_device_that_was_idle_notices_nothing(void **state)
{
	struct vhost_user_rig *r = idle(state);
	uint32_t generation = r->dev.virtio.generation;

	vhost_user_rig_lose(r);
	vhost_user_rig_come_back(r);
	assert_int_equal(guest_status(&r->guest), 0);
	assert_int_equal(r->dev.virtio.generation, generation);
	vhost_user_rig_run(r, 2);
}

static void a_start_without_a_daemon_waits_and_loses_no_kick(void **state)
{
	struct vhost_user_rig *r = idle(state);

	vhost_user_rig_lose(r);
	vhost_user_rig_driver_ok(r, 2);
	vhost_user_rig_settle(r);
	guest_doorbell(&r->guest, 1);
	vhost_user_rig_settle(r);
	assert_false(vhost_user_rig_needs_reset(r));
	assert_int_equal(r->dev.run, VHOST_USER_IDLE);
	assert_int_equal(r->dev.patience.at, 0);

	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
	/* One kick is injected into every ring as it starts. */
	assert_int_equal(fd_drain(r->daemon.rings[0].kick), 1);
	assert_int_equal(fd_drain(r->daemon.rings[1].kick), 2);
}

static void a_start_that_waits_can_be_reset(void **state)
{
	struct vhost_user_rig *r = idle(state);

	vhost_user_rig_lose(r);
	vhost_user_rig_driver_ok(r, 2);
	vhost_user_rig_settle(r);
	reset(r);
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_IDLE);
	vhost_user_rig_run(r, 2);
}

static void a_reboot_without_a_daemon_is_done(void **state)
{
	struct vhost_user_rig *r = running(state);

	vhost_user_rig_lose(r);
	vhost_user_rig_reset(r);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 1);

	guest_decode(&r->guest, true);
	vhost_user_rig_driver_ok(r, 2);
	vhost_user_rig_settle(r);
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
}

static void daemons_may_go_again_and_again(void **state)
{
	struct vhost_user_rig *r = running(state);

	for (unsigned i = 0; i < 5; i++) {
		vhost_user_rig_lose(r);
		assert_true(vhost_user_rig_needs_reset(r));
		vhost_user_rig_come_back(r);
		/* Before the driver has reset it, too. */
		vhost_user_rig_lose(r);
		vhost_user_rig_come_back(r);
		reset(r);
		vhost_user_rig_run(r, 2);
	}
}

static void no_daemon_is_looked_for_while_the_last_may_write_guest_memory(void **state)
{
	struct vhost_user_rig *r = running(state);

	r->daemon.fault = FAULT_ID;
	r->daemon.fault_on = VU_GET_VRING_BASE;
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(r->dev.link.state, VHOST_USER_LINK_UP);
	assert_int_not_equal(guest_status(&r->guest), 0);

	vhost_user_rig_lose(r);
	assert_int_equal(guest_status(&r->guest), 0);
	vhost_user_rig_come_back(r);
	vhost_user_rig_run(r, 2);
}

/* Config space */

static void config_that_changed_is_read_anew_and_told(void **state)
{
	struct vhost_user_rig *r = running(state);

	vhost_user_rig_lose(r);
	vhost_user_rig_interrupts(r, 0);
	vhost_user_rig_new_daemon(r);
	r->daemon.config[0] = 0x55;
	vhost_user_rig_answer(r);
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 1);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 1), 0x55);
}

static void what_the_driver_wrote_meanwhile_reaches_the_next_daemon(void **state)
{
	struct vhost_user_rig *r = idle(state);

	vhost_user_rig_lose(r);
	assert_true(guest_negotiate(&r->guest, guest_offered(&r->guest)));
	guest_write(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + WCE, 1, 1);
	vhost_user_rig_settle(r);
	vhost_user_rig_come_back(r);
	assert_int_equal(r->daemon.config[WCE], 1);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + WCE, 1), 1);
}

/* Daemons that offer less */

static void lacks_a_feature(struct scripted_daemon *d)
{
	d->features &= ~BIT64(VIRTIO_BLK_F_CONFIG_WCE);
}

static void has_one_queue(struct scripted_daemon *d)
{
	d->queues = 1;
}

static void lacks_multiqueue(struct scripted_daemon *d)
{
	d->protocol &= ~BIT64(VU_PF_MQ);
}

static void takes_no_memory(struct scripted_daemon *d)
{
	d->slots = 0;
}

static void has_no_config(struct scripted_daemon *d)
{
	d->protocol &= ~BIT64(VU_PF_CONFIG);
}

static void hangs_up(struct scripted_daemon *d)
{
	d->fault = FAULT_CLOSE;
	d->fault_on = VU_GET_CONFIG;
}

static void has_a_region(struct scripted_daemon *d)
{
	d->protocol |= BIT64(VU_PF_SHMEM);
	d->shmem.nregions = 1;
	d->shmem.sizes[7] = MIB(2);
}

static const struct {
	void (*spoil)(struct scripted_daemon *d);
	const char *words;
} less[] = {
	{ lacks_a_feature, "virtio features 0x800 is missing" },
	{ has_one_queue, "serves 1 queues, the device has 2" },
	{ lacks_multiqueue, "serves 1 queues, the device has 2" },
	{ takes_no_memory, "takes 0 memory regions, the guest's RAM has 1" },
	{ has_no_config, "protocol features this device cannot work without (CONFIG)" },
	{ hangs_up, "GET_CONFIG" },
	{ has_a_region, "shared memory region 7" },
};

static void a_daemon_that_offers_less_is_turned_away_and_a_better_one_taken(void **state)
{
	struct vhost_user_rig *r = running(state);

	vhost_user_rig_lose(r);
	for (size_t i = 0; i < ARRAY_SIZE(less); i++) {
		uint64_t features = r->daemon.features, protocol = r->daemon.protocol;

		vhost_user_rig_new_daemon(r);
		less[i].spoil(&r->daemon);
		vhost_user_rig_answer(r);
		assert_true(r->dev.lost);
		assert_true(is_resting(&r->dev.link));
		if (!strstr(r->dev.link.told.msg, less[i].words))
			fail_msg("\"%s\" is not in \"%s\"", less[i].words, r->dev.link.told.msg);
		/* Its connection is ended. */
		assert_true(r->daemon.closed || less[i].spoil == hangs_up);
		r->daemon.features = features;
		r->daemon.protocol = protocol;
		memset(&r->daemon.shmem, 0, sizeof(r->daemon.shmem));
	}
	reset(r);
	vhost_user_rig_come_back(r);
	vhost_user_rig_run(r, 2);
}

static void more_features_are_taken_and_not_offered(void **state)
{
	struct vhost_user_rig *r = idle(state);
	uint64_t before = guest_offered(&r->guest);

	vhost_user_rig_lose(r);
	vhost_user_rig_new_daemon(r);
	r->daemon.features |= BIT64(VIRTIO_BLK_F_DISCARD);
	r->daemon.queues = 32;
	vhost_user_rig_answer(r);
	assert_true(guest_offered(&r->guest) == before);
	vhost_user_rig_run(r, 2);
}

/* Shared memory regions */

static uint8_t *window(struct vhost_user_rig *r)
{
	for (unsigned i = 0; i < FAKE_SLOTS; i++)
		if (r->fake.slots[i].size)
			return r->fake.slots[i].host;
	fail_msg("no window is mapped");
	return NULL;
}

/* The daemon asks for the first page of RAM at the beginning of its region: the answer. */
static int map_a_page(struct vhost_user_rig *r)
{
	struct vu_mmap m = { .len = VU_SHMEM_PAGE, .flags = VU_SHMEM_RW };
	uint64_t answer = 99;

	scripted_daemon_back_request(&r->daemon, VU_BACKEND_SHMEM_MAP,
				     VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, &m, sizeof(m),
				     &r->fake.mem.regions[0].fd, 1);
	vhost_user_rig_settle(r);
	assert_int_equal(scripted_daemon_back_answer(&r->daemon, VU_BACKEND_SHMEM_MAP, &answer),
			 1);
	return (int)answer;
}

static void the_next_daemon_starts_with_an_empty_window(void **state)
{
	struct vhost_user_rig *r = pmem(state);
	uint8_t *ram = r->fake.mem.regions[0].host;

	run_pmem(r);
	ram[0] = 0x77;
	assert_int_equal(map_a_page(r), 0);
	assert_int_equal(*window(r), 0x77);
	vhost_user_rig_lose(r);
	assert_int_equal(*window(r), 0);
	vhost_user_rig_come_back(r);
	/* A guest that was not told of a new life finds nothing new. */
	assert_int_equal(map_a_page(r), 1);
	assert_int_equal(*window(r), 0);

	reset(r);
	run_pmem(r);
	assert_int_equal(map_a_page(r), 0);
	assert_int_equal(*window(r), 0x77);
}

static void a_region_of_another_size_is_turned_away(void **state)
{
	struct vhost_user_rig *r = pmem(state);

	vhost_user_rig_lose(r);
	vhost_user_rig_new_daemon(r);
	r->daemon.shmem.sizes[0] = MIB(8);
	vhost_user_rig_answer(r);
	assert_true(r->dev.lost);
	assert_non_null(strstr(r->dev.link.told.msg, "shared memory region 0"));
	assert_non_null(strstr(r->dev.link.told.msg, "has 8388608 bytes, that of the device"
						     " 4194304"));
}

static void an_exit_that_waits_for_a_start_ends_when_a_daemon_has_come(void **state)
{
	struct vhost_user_rig *r = pmem(state);

	vhost_user_rig_lose(r);
	vhost_user_rig_driver_ok(r, 1);
	vhost_user_rig_settle(r);
	assert_true(fake_vcpu_waits(&r->fake));
	vhost_user_rig_come_back(r);
	assert_false(fake_vcpu_waits(&r->fake));
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
	assert_int_equal(r->dev.patience.at, 0);
}

static void an_exit_waits_no_longer_than_the_deadline_for_a_daemon(void **state)
{
	struct vhost_user_rig *r = pmem(state);
	struct loop_timer *t = &r->dev.patience;
	uint64_t began;
	unsigned wakes;

	vhost_user_rig_lose(r);
	began = clock_ns();
	vhost_user_rig_driver_ok(r, 1);
	vhost_user_rig_settle(r);
	assert_in_range(t->at, began + MS_TO_NS(10000), clock_ns() + MS_TO_NS(10000));
	wakes = r->fake.wakes;
	loop_timer_cancel(&r->fake.loop, t);
	t->expired(t->arg);
	assert_false(fake_vcpu_waits(&r->fake));
	assert_true(r->fake.wakes > wakes);
	assert_true(vhost_user_rig_needs_reset(r));

	/* One that comes too late does not start what needs a reset. */
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_IDLE);
	reset(r);
	run_pmem(r);
}

/* When and how often */

static void pauses_double_up_to_5_seconds(void **state)
{
	static const unsigned pauses[] = { 100, 200, 400, 800, 1600, 3200, 5000, 5000 };
	struct vhost_user_rig *r = running(state);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	for (size_t i = 0; i < ARRAY_SIZE(pauses); i++) {
		assert_int_equal(vhost_user_rig_pause_over(r), pauses[i]);
		vhost_user_link_answer(&r->dev.link, NULL, NULL, -ENOENT, "there is none");
	}
	vhost_user_rig_come_back(r);
	/* It was there for a moment only, again and again ... */
	for (size_t i = 1; i < ARRAY_SIZE(pauses); i++) {
		scripted_daemon_fini(&r->daemon);
		vhost_user_rig_settle(r);
		assert_int_equal(vhost_user_rig_pause_over(r), pauses[i]);
		vhost_user_rig_come_back(r);
	}
	/* ... and now for longer than the pause before it. */
	r->dev.link.since -= MS_TO_NS(5000);
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(vhost_user_rig_pause_over(r), 100);
}

/* What @act writes to standard error. */
static unsigned lines_of(void (*act)(struct vhost_user_rig *r), struct vhost_user_rig *r,
			 char text[4096])
{
	int file = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
	unsigned lines = 0;
	ssize_t n;

	assert_int_equal(dup2(file, STDERR_FILENO), STDERR_FILENO);
	act(r);
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	n = pread(file, text, 4095, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	for (ssize_t i = 0; i < n; i++)
		lines += text[i] == '\n';
	fd_close(&file);
	fd_close(&saved);
	return lines;
}

static void be_away_for_long(struct vhost_user_rig *r)
{
	vhost_user_rig_lose(r);
	for (unsigned i = 0; i < 20; i++) {
		vhost_user_link_answer(&r->dev.link, NULL, NULL, i % 2 ? -ENOENT : -ECONNREFUSED,
				       "there is none");
		vhost_user_rig_pause_over(r);
	}
	for (unsigned i = 0; i < 20; i++) {
		vhost_user_rig_new_daemon(r);
		lacks_a_feature(&r->daemon);
		vhost_user_rig_answer(r);
		r->daemon.features |= BIT64(VIRTIO_BLK_F_CONFIG_WCE);
	}
	vhost_user_rig_come_back(r);
}

static void loss_reason_and_return_are_a_line_each(void **state)
{
	struct vhost_user_rig *r = running(state);
	char text[4096];

	assert_int_equal(lines_of(be_away_for_long, r, text), 3);
	assert_non_null(strstr(text, "connection closed while the device was running"));
	assert_non_null(strstr(text, "device blk0 cannot be connected again yet"));
	assert_non_null(strstr(text, "device blk0 is connected again after "));
}

static void with_nobody_who_connects_a_start_that_waits_has_failed(void **state)
{
	struct vhost_user_rig *r = pmem(state);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	vhost_user_rig_driver_ok(r, 1);
	vhost_user_rig_settle(r);
	assert_true(fake_vcpu_waits(&r->fake));
	r->refusal = -EPIPE;
	vhost_user_rig_pause_over(r);
	assert_false(fake_vcpu_waits(&r->fake));
	assert_int_equal(r->dev.patience.at, 0);
	assert_true(vhost_user_rig_needs_reset(r));
	reset(r);
	vhost_user_rig_driver_ok(r, 1);
	vhost_user_rig_settle(r);
	assert_false(fake_vcpu_waits(&r->fake));
	assert_true(vhost_user_rig_needs_reset(r));
}

static void a_device_that_ends_at_any_time_leaves_no_fd(void **state)
{
	static const enum vhost_user_link_state at[] = {
		VHOST_USER_LINK_PAUSING, VHOST_USER_LINK_ASKING, VHOST_USER_LINK_TRYING,
		VHOST_USER_LINK_UP,
	};
	unsigned before = process_fds();

	(void)state;
	for (unsigned step = 0; step < ARRAY_SIZE(at); step++) {
		void *again = NULL;
		struct vhost_user_rig *r;

		vhost_user_rig_setup(&again);
		r = running(&again);
		scripted_daemon_fini(&r->daemon);
		vhost_user_rig_settle(r);
		if (step > 0)
			vhost_user_rig_pause_over(r);
		if (step > 1)
			vhost_user_rig_new_daemon(r);
		if (step == 2) {
			r->daemon.fault = FAULT_SILENT;
			r->daemon.fault_on = VU_GET_CONFIG;
		}
		if (step > 1)
			vhost_user_rig_answer(r);
		assert_int_equal(r->dev.link.state, at[step]);
		vhost_user_device_fini(&r->dev);
		assert_int_equal(r->forgotten, step == 1);
		vhost_user_rig_teardown(&again);
		assert_int_equal(process_fds(), before);
	}
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, vhost_user_rig_setup, vhost_user_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_device_that_is_reset_runs_with_the_next_daemon),
		CASE(a_reset_before_there_is_another_daemon_is_complete_at_once),
		CASE(a_device_that_was_idle_notices_nothing),
		CASE(a_start_without_a_daemon_waits_and_loses_no_kick),
		CASE(a_start_that_waits_can_be_reset),
		CASE(a_reboot_without_a_daemon_is_done),
		CASE(daemons_may_go_again_and_again),
		CASE(no_daemon_is_looked_for_while_the_last_may_write_guest_memory),
		CASE(config_that_changed_is_read_anew_and_told),
		CASE(what_the_driver_wrote_meanwhile_reaches_the_next_daemon),
		CASE(a_daemon_that_offers_less_is_turned_away_and_a_better_one_taken),
		CASE(more_features_are_taken_and_not_offered),
		CASE(the_next_daemon_starts_with_an_empty_window),
		CASE(a_region_of_another_size_is_turned_away),
		CASE(an_exit_that_waits_for_a_start_ends_when_a_daemon_has_come),
		CASE(an_exit_waits_no_longer_than_the_deadline_for_a_daemon),
		CASE(pauses_double_up_to_5_seconds),
		CASE(loss_reason_and_return_are_a_line_each),
		CASE(with_nobody_who_connects_a_start_that_waits_has_failed),
		CASE(a_device_that_ends_at_any_time_leaves_no_fd),
	};

	return cmocka_run_group_tests_name("vhost_user_reconnect", tests, NULL, NULL);
}
