/* SPDX-License-Identifier: Apache-2.0 */
/* on-lost: a device that stands still until the next daemon goes on with its rings, and when it
 * cannot; and a machine that ends. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
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

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/process.h"
#include "tests/unit/vhost_user_rig.h"

enum { BUFFER = 4096, WCE = offsetof(struct virtio_blk_config, wce) };

static struct vhost_user_rig *running(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	vhost_user_rig_reconnects(r);
	return r;
}

/* The driver has made requests available, and @used of them are done: heads 0, 1, ... */
static void ring_is_at(struct vhost_user_rig *r, unsigned queue, uint16_t avail, uint16_t used)
{
	uint8_t *ram = r->fake.mem.regions[0].host;
	uint16_t *a = (uint16_t *)(void *)(ram + guest_avail(queue));
	uint16_t *u = (uint16_t *)(void *)(ram + guest_used(queue));

	for (unsigned i = 0; i < 4; i++) {
		a[2 + i] = htole16((uint16_t)i);
		u[2 + 4 * i] = htole16((uint16_t)i);
	}
	a[1] = htole16(avail);
	u[1] = htole16(used);
}

static void overtaken(struct vhost_user_rig *r, unsigned queue)
{
	uint16_t *u = (uint16_t *)(void *)(r->fake.mem.regions[0].host + guest_used(queue));

	u[2] = htole16(3);
}

/* What the guest sees: a stall */

static void the_next_daemon_goes_on_where_the_last_one_was(void **state)
{
	struct vhost_user_rig *r = running(state);
	uint64_t acked = r->daemon.acked;

	vhost_user_rig_interrupts(r, 0);
	fd_drain(r->daemon.rings[0].kick);
	ring_is_at(r, 0, 7, 6);
	ring_is_at(r, 1, 300, 300);
	vhost_user_rig_lose(r);
	assert_false(vhost_user_rig_needs_reset(r));
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 0);

	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
	assert_true(r->daemon.acked == acked);
	assert_int_equal(r->daemon.n_regions, 1);
	assert_true(r->daemon.rings[0].started && r->daemon.rings[1].enabled);
	assert_int_equal(r->daemon.rings[0].base, 6);
	assert_int_equal(r->daemon.rings[1].base, 300);
	/* The kick may be lost with the dead daemon, and so may the interrupt. */
	assert_int_equal(fd_drain(r->daemon.rings[0].kick), 1);
	assert_int_equal(vhost_user_rig_interrupts(r, 1), 1);
	assert_int_equal(vhost_user_rig_interrupts(r, 2), 1);
	assert_false(vhost_user_rig_needs_reset(r));
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 0);
}

static void config_is_written(struct vhost_user_rig *r, uint8_t wce)
{
	guest_write(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + WCE, 1, wce);
	vhost_user_rig_settle(r);
}

/* The next daemon, which has it another way, is told once it has the features; the guest hears
 * nothing of it. */
static void assert_told(struct vhost_user_rig *r, uint8_t wce)
{
	const char *order, *features, *config, *enable;

	vhost_user_rig_interrupts(r, 0);
	vhost_user_rig_new_daemon(r);
	r->daemon.config[WCE] = !wce;
	vhost_user_rig_answer(r);
	order = scripted_daemon_order(&r->daemon);
	features = strstr(order, "SET_FEATURES");
	config = strstr(order, "SET_CONFIG");
	enable = strstr(order, "SET_VRING_ENABLE");
	assert_true(features && config && enable && features < config && config < enable);
	assert_int_equal(r->daemon.config[WCE], wce);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + WCE, 1), wce);
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 0);
}

static void the_next_daemon_is_told_what_the_driver_chose(void **state)
{
	struct vhost_user_rig *r = running(state);

	for (uint8_t wce = 0; wce < 4; wce++) {
		/* Before the end, and after it. */
		if (wce < 2)
			config_is_written(r, wce & 1);
		vhost_user_rig_lose(r);
		if (wce >= 2)
			config_is_written(r, wce & 1);
		assert_told(r, wce & 1);
	}
	/* Nobody has another. */
	vhost_user_rig_lose(r);
	vhost_user_rig_new_daemon(r);
	r->daemon.config[WCE] = 1;
	vhost_user_rig_answer(r);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_CONFIG), 0);
}

static void kicks_of_the_time_between_are_not_lost(void **state)
{
	struct vhost_user_rig *r = running(state);

	fd_drain(r->daemon.rings[1].kick);
	vhost_user_rig_lose(r);
	guest_doorbell(&r->guest, 1);
	guest_doorbell(&r->guest, 1);
	vhost_user_rig_settle(r);
	vhost_user_rig_come_back(r);
	assert_int_equal(fd_drain(r->daemon.rings[1].kick), 3);
}

static void daemons_may_go_again_and_again_even_while_they_start(void **state)
{
	struct vhost_user_rig *r = running(state);

	for (unsigned i = 0; i < 6; i++) {
		vhost_user_rig_lose(r);
		vhost_user_rig_new_daemon(r);
		r->daemon.fault = i % 2 ? FAULT_CLOSE : FAULT_NONE;
		r->daemon.fault_on = i % 4 == 1 ? VU_SET_VRING_ENABLE : VU_SET_MEM_TABLE;
		vhost_user_rig_answer(r);
		assert_false(vhost_user_rig_needs_reset(r));
	}
	vhost_user_rig_lose(r);
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
}

/* The driver starts the device when the loop finds that the daemon has gone. */
static void a_start_as_the_daemon_goes_waits_too(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_reconnects(r);
	vhost_user_rig_driver_ok(r, 2);
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_false(vhost_user_rig_needs_reset(r));
	assert_int_equal(r->dev.run, VHOST_USER_IDLE);
	vhost_user_rig_pause_over(r);
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
}

static void one_that_does_not_fit_is_turned_away_and_the_device_still_waits(void **state)
{
	struct vhost_user_rig *r = running(state);

	vhost_user_rig_lose(r);
	vhost_user_rig_new_daemon(r);
	r->daemon.queues = 1;
	vhost_user_rig_answer(r);
	assert_true(r->dev.lost && strstr(r->dev.link.told.msg, "serves 1 queues"));
	assert_false(vhost_user_rig_needs_reset(r));
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
}

static void a_hung_daemon_is_waited_for_until_it_is_dead(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_reconnects(r);
	r->daemon.fault = FAULT_SILENT;
	r->daemon.fault_on = VU_SET_VRING_ENABLE;
	vhost_user_rig_driver_ok(r, 2);
	vhost_user_rig_settle(r);
	vhost_user_rig_deadline(r);
	assert_int_equal(r->dev.run, VHOST_USER_LOST);
	assert_false(r->dev.daemon_dead || vhost_user_rig_needs_reset(r));
	assert_int_equal(r->dev.link.state, VHOST_USER_LINK_UP);
	vhost_user_rig_lose(r);
	r->daemon.silent = false;
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
}

/* The driver meanwhile */

static void a_driver_may_reset_it_while_it_waits(void **state)
{
	struct vhost_user_rig *r = running(state);

	ring_is_at(r, 0, 9, 8);
	vhost_user_rig_lose(r);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_IDLE);
	vhost_user_rig_run(r, 2);
	assert_int_equal(r->daemon.rings[0].base, 0);
}

/* Each who has an eventfd says for all whether reads wait: a reset empties them. */
static void a_reset_does_not_wait_for_eventfds_that_the_daemon_made_block(void **state)
{
	struct vhost_user_rig *r = running(state);

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fcntl(r->daemon.rings[i].kick, F_SETFL, 0), 0);
		assert_int_equal(fcntl(r->daemon.rings[i].call, F_SETFL, 0), 0);
	}
	alarm(30);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	alarm(0);
	assert_int_equal(guest_status(&r->guest), 0);
}

/* As one does of whom the ring and the in-flight buffer say two things. */
static void daemons_that_all_refuse_what_is_left_are_not_asked_for_ever(void **state)
{
	struct vhost_user_rig *r = running(state);

	for (int i = 0; i < 3; i++) {
		assert_false(vhost_user_rig_needs_reset(r));
		if (i == 0)
			vhost_user_rig_lose(r);
		vhost_user_rig_new_daemon(r);
		r->daemon.protocol |= BIT64(VU_PF_REPLY_ACK);
		r->daemon.fault = FAULT_REFUSE;
		r->daemon.fault_on = VU_SET_VRING_KICK;
		vhost_user_rig_answer(r);
		assert_true(r->dev.lost);
		scripted_daemon_fini(&r->daemon);
		vhost_user_rig_settle(r);
	}
	assert_true(vhost_user_rig_needs_reset(r));
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 1);
	/* A fresh start is another thing. */
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	vhost_user_rig_come_back(r);
	vhost_user_rig_run(r, 2);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
}

/* One more would not fit, and a write of it waits for who reads. */
static void fill_for_good(int eventfd)
{
	const uint64_t full = UINT64_MAX - 1;

	fd_drain(eventfd);
	assert_int_equal(write(eventfd, &full, sizeof(full)), sizeof(full));
	assert_int_equal(fcntl(eventfd, F_SETFL, 0), 0);
}

static void eventfds_that_the_daemon_filled_hold_up_nobody(void **state)
{
	struct vhost_user_rig *r = running(state);

	alarm(30);
	fill_for_good(r->dev.virtio.queues[0].kick);
	fill_for_good(r->dev.virtio.queues[0].call);
	vhost_user_rig_lose(r);
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
	virtio_queue_kick(&r->dev.virtio, 0);
	alarm(0);
	/* A signal to whoever looks it is still. */
	assert_true(fd_drain(r->daemon.rings[0].kick) > 0);
}

static void a_machine_may_be_reset_while_it_waits(void **state)
{
	struct vhost_user_rig *r = running(state);

	vhost_user_rig_lose(r);
	vhost_user_rig_reset(r);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 1);
	vhost_user_rig_come_back(r);
	assert_int_equal(r->dev.run, VHOST_USER_IDLE);
}

/* When it cannot go on */

static void requests_out_of_turn_without_a_buffer_need_a_reset(void **state)
{
	struct vhost_user_rig *r = running(state);

	ring_is_at(r, 1, 3, 2);
	overtaken(r, 1);
	vhost_user_rig_lose(r);
	assert_false(vhost_user_rig_needs_reset(r));
	vhost_user_rig_come_back(r);
	assert_true(vhost_user_rig_needs_reset(r));
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_VRING_KICK), 0);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	vhost_user_rig_run(r, 2);
}

static void packed_rings_need_a_reset(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_F_RING_PACKED);
	running(state);
	vhost_user_rig_lose(r);
	vhost_user_rig_come_back(r);
	assert_true(vhost_user_rig_needs_reset(r));
}

static void with_nobody_who_connects_it_needs_a_reset(void **state)
{
	struct vhost_user_rig *r = running(state);

	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_false(vhost_user_rig_needs_reset(r));
	r->refusal = -EPIPE;
	vhost_user_rig_pause_over(r);
	assert_true(vhost_user_rig_needs_reset(r));
}

/* The in-flight buffer */

static void give_a_buffer(struct vhost_user_rig *r, int fd)
{
	assert_int_equal(ftruncate(fd, BUFFER), 0);
	r->daemon.protocol |= BIT64(VU_PF_INFLIGHT_SHMFD);
	r->daemon.inflight = (struct vu_inflight){ .mmap_size = BUFFER, .num_queues = 2,
						   .queue_size = 4 };
	r->daemon.inflight_fd = fd;
}

/* The buffer says what was in flight, but not where in the ring the next daemon goes on. */
static void packed_rings_need_a_reset_whatever_the_buffer(void **state)
{
	autoclose int fd = memfd_create("inflight", MFD_CLOEXEC);
	struct vhost_user_rig *r = *state;

	assert_int_equal(ftruncate(fd, BUFFER), 0);
	give_a_buffer(r, fd);
	r->daemon.features |= BIT64(VIRTIO_F_RING_PACKED);
	running(state);
	assert_true(r->dev.inflight.fd >= 0);
	vhost_user_rig_lose(r);
	vhost_user_rig_come_back(r);
	assert_true(vhost_user_rig_needs_reset(r));
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(r->dev.inflight.fd, -1);
}

static void with_a_buffer_it_goes_on_however_requests_were_done(void **state)
{
	struct vhost_user_rig *r = *state;
	autoclose int fd = memfd_create("inflight", MFD_CLOEXEC);
	unsigned long long inode;

	give_a_buffer(r, fd);
	running(state);
	inode = r->daemon.inflight_inode;
	assert_true(inode);
	ring_is_at(r, 0, 3, 2);
	overtaken(r, 0);
	for (unsigned i = 0; i < 3; i++) {
		vhost_user_rig_lose(r);
		vhost_user_rig_come_back(r);
		assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
		assert_int_equal(scripted_daemon_count(&r->daemon, VU_GET_INFLIGHT_FD), 0);
		assert_true(r->daemon.inflight_inode == inode);
		assert_int_equal(r->daemon.rings[0].base, 2);
	}
	/* It ends with this life of the device. */
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(r->dev.inflight.fd, -1);
}

static void a_daemon_without_the_feature_does_not_follow_one_with_a_buffer(void **state)
{
	struct vhost_user_rig *r = *state;
	autoclose int fd = memfd_create("inflight", MFD_CLOEXEC);

	give_a_buffer(r, fd);
	running(state);
	vhost_user_rig_lose(r);
	vhost_user_rig_new_daemon(r);
	r->daemon.protocol &= ~BIT64(VU_PF_INFLIGHT_SHMFD);
	vhost_user_rig_answer(r);
	assert_true(r->dev.lost && strstr(r->dev.link.told.msg, "has no INFLIGHT_SHMFD"));
	/* A device that is reset has nothing to be followed. */
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	vhost_user_rig_come_back(r);
	vhost_user_rig_run(r, 2);
}

/* The other choices */

static struct vhost_user_rig *plugged_with(void **state, const char *text)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_plug(r, text);
	return r;
}

static void on_lost_exit_ends_the_machine_and_says_why(void **state)
{
	struct vhost_user_rig *r = plugged_with(state, "/run/blk,on-lost=exit");

	assert_false(r->options.reconnect);
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(r->fake.request_count, 1);
	assert_int_equal(r->fake.requests[0].request, MACHINE_DEVICE_LOST);
}

static void what_is_not_said_follows_from_what_the_device_is(void **state)
{
	static const struct {
		const char *text;
		enum vhost_user_on_lost is;
	} cases[] = {
		{ "/run/blk", VHOST_USER_WAIT }, { "/run/blk,on-lost=reset", VHOST_USER_RESET },
		{ "/run/blk,reconnect=off", VHOST_USER_RESET }, { "blk,fd=9", VHOST_USER_RESET },
		{ "/run/blk,on-lost=wait", VHOST_USER_WAIT },
		{ "fs,socket=/run/fs,tag=t", VHOST_USER_RESET },
		{ "fs,socket=/run/fs,tag=t,on-lost=wait", VHOST_USER_WAIT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(plugged_with(state, cases[i].text)->dev.on_lost, cases[i].is);
		vhost_user_rig_teardown(state);
		vhost_user_rig_setup(state);
	}
}

static void has_a_region(struct vhost_user_rig *r)
{
	r->daemon.protocol |= BIT64(VU_PF_SHMEM);
	r->daemon.shmem.nregions = 1;
	r->daemon.shmem.sizes[0] = MIB(4);
}

static void a_device_with_regions_cannot_wait(void **state)
{
	struct vhost_user_rig *r = *state;

	has_a_region(r);
	plugged_with(state, "pmem,socket=/run/x");
	assert_int_equal(r->dev.on_lost, VHOST_USER_RESET);
	vhost_user_rig_teardown(state);
	vhost_user_rig_setup(state);
	r = *state;
	has_a_region(r);
	vhost_user_rig_connect(r, "pmem,socket=/run/x,on-lost=wait", 1);
	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), -EINVAL);
	assert_non_null(strstr(r->e.msg, "on-lost=wait: its daemon has shared memory regions"));
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, vhost_user_rig_setup, vhost_user_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_next_daemon_goes_on_where_the_last_one_was),
		CASE(the_next_daemon_is_told_what_the_driver_chose),
		CASE(kicks_of_the_time_between_are_not_lost),
		CASE(daemons_may_go_again_and_again_even_while_they_start),
		CASE(a_start_as_the_daemon_goes_waits_too),
		CASE(one_that_does_not_fit_is_turned_away_and_the_device_still_waits),
		CASE(a_hung_daemon_is_waited_for_until_it_is_dead),
		CASE(a_driver_may_reset_it_while_it_waits),
		CASE(a_reset_does_not_wait_for_eventfds_that_the_daemon_made_block),
		CASE(eventfds_that_the_daemon_filled_hold_up_nobody),
		CASE(daemons_that_all_refuse_what_is_left_are_not_asked_for_ever),
		CASE(a_machine_may_be_reset_while_it_waits),
		CASE(requests_out_of_turn_without_a_buffer_need_a_reset),
		CASE(packed_rings_need_a_reset),
		CASE(packed_rings_need_a_reset_whatever_the_buffer),
		CASE(with_nobody_who_connects_it_needs_a_reset),
		CASE(with_a_buffer_it_goes_on_however_requests_were_done),
		CASE(a_daemon_without_the_feature_does_not_follow_one_with_a_buffer),
		CASE(on_lost_exit_ends_the_machine_and_says_why),
		CASE(what_is_not_said_follows_from_what_the_device_is),
		CASE(a_device_with_regions_cannot_wait),
	};

	return cmocka_run_group_tests_name("vhost_user_wait", tests, NULL, NULL);
}
