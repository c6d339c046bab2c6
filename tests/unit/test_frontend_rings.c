/* SPDX-License-Identifier: Apache-2.0 */
/* The front end starts and stops rings: order, content, memory table. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/owner.h"

static void start_tells_each_ring_wholly_and_enables_last(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	assert_string_equal(scripted_daemon_order(&f->daemon),
			    "SET_FEATURES ADD_MEM_REG ADD_MEM_REG " RING " " RING
			    " SET_VRING_ENABLE SET_VRING_ENABLE");
	owner_assert_legal(f);
}

static void start_with_reply_ack_awaits_every_message(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	for (unsigned i = 0; i < f->daemon.n_seen; i++)
		assert_int_equal(f->daemon.seen[i].header.flags, 0x9);
}

static void start_without_reply_ack_ends_in_a_barrier(void **state)
{
	struct owner *f = owner_running(state, BIT64(VU_PF_CONFIG));

	assert_string_equal(scripted_daemon_order(&f->daemon),
			    "SET_FEATURES SET_MEM_TABLE " RING " " RING
			    " SET_VRING_ENABLE SET_VRING_ENABLE GET_FEATURES");
}

static void a_daemon_without_bit_30_gets_no_enable(void **state)
{
	struct owner *f = *state;
	struct err e;

	f->params.config_size = 0;
	owner_connect(f);
	f->daemon.features = VERSION_1;
	owner_connected(f);
	scripted_daemon_order(&f->daemon);
	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 1);
	assert_int_equal(f->daemon.acked, VERSION_1);
	assert_string_equal(scripted_daemon_order(&f->daemon),
			    "SET_FEATURES SET_MEM_TABLE " RING " " RING " GET_FEATURES");
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_string_equal(scripted_daemon_order(&f->daemon), "GET_VRING_BASE GET_VRING_BASE");
	assert_int_equal(f->stopped, 1);
}

static void bit_30_is_added_to_what_the_guest_acked(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	assert_int_equal(f->daemon.acked, VERSION_1 | BIT64(30));
}

static void the_memory_table_shares_the_objects_at_their_offsets(void **state)
{
	struct owner *f = owner_running(state, BIT64(VU_PF_CONFIG));

	assert_int_equal(f->daemon.n_regions, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct mem_region *r = &f->mem.regions[i];
		struct stat ours, theirs;

		assert_int_equal(f->daemon.regions[i].gpa, r->gpa);
		assert_int_equal(f->daemon.regions[i].size, r->size);
		assert_int_equal(f->daemon.regions[i].mmap_offset, r->fd_offset);
		assert_int_equal(fstat(r->fd, &ours), 0);
		assert_int_equal(fstat(f->daemon.region_fds[i], &theirs), 0);
		assert_int_equal(ours.st_ino, theirs.st_ino);
	}
}

static void slots_and_table_tell_a_daemon_the_same(void **state)
{
	struct owner *f = owner_running(state, BIT64(VU_PF_CONFIG));
	struct vu_mem_region table[2];

	memcpy(table, f->daemon.regions, sizeof(table));
	owner_teardown(state);
	owner_setup(state);
	f = owner_running(state, GOOD);
	assert_int_equal(f->daemon.n_regions, 2);
	assert_memory_equal(f->daemon.regions, table, sizeof(table));
}

/* A daemon finds each ring part in its table, and learns no address of this process. */
static void ring_addresses_are_in_the_table_and_tell_nothing_of_this_process(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	for (unsigned i = 0; i < OWNER_RINGS; i++) {
		const struct vu_vring_addr *a = &f->daemon.rings[i].addr;
		const struct vu_mem_region *low = &f->daemon.regions[0];
		const struct vu_mem_region *high = &f->daemon.regions[1];

		assert_int_equal(a->desc - low->user_addr, f->frontend.rings[i].desc);
		assert_int_equal(a->avail - low->user_addr, f->frontend.rings[i].avail);
		assert_int_equal(a->used - high->user_addr, f->frontend.rings[i].used - GIB(4));
		assert_true(low->user_addr != 0);
		assert_int_equal(high->user_addr - low->user_addr, GIB(4));
		assert_int_equal(a->flags, 0);
		assert_int_equal(a->log, 0);
	}
	assert_int_equal(f->daemon.regions[0].user_addr, BIT64(44));
}

/* Guest addresses for user addresses; not from a daemon that may mean SHMEM by that bit. */
static void a_daemon_that_wants_guest_addresses_gets_them(void **state)
{
	const uint64_t gpa = BIT64(VU_PF_GPA_ADDRESSES), fds = BIT64(VU_PF_BACKEND_SEND_FD);
	const struct {
		uint64_t offer;
		bool given;
	} cases[] = {
		{ (GOOD & ~fds) | gpa, true }, { BIT64(VU_PF_CONFIG) | gpa, true },
		{ GOOD | BIT64(VU_PF_SHMEM) | gpa, true }, { GOOD | gpa, false },
		{ GOOD, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct vu_mem_region *high;
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = owner_running(state, cases[i].offer);
		high = &f->daemon.regions[1];
		assert_true(!(f->daemon.protocol_acked & gpa) == !cases[i].given);
		assert_true((high->gpa == high->user_addr) == cases[i].given);
		assert_true((f->daemon.regions[0].user_addr == 0) == cases[i].given);
		for (unsigned ring = 0; ring < OWNER_RINGS; ring++)
			assert_int_equal(f->daemon.rings[ring].addr.used - high->user_addr,
					 f->frontend.rings[ring].used - GIB(4));
	}
}

static void the_daemon_gets_the_rings_own_eventfds(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	for (unsigned i = 0; i < OWNER_RINGS; i++) {
		assert_int_equal(f->daemon.rings[i].num, 128);
		assert_int_equal(f->daemon.rings[i].base, 0);
		fd_signal(f->daemon.rings[i].call);
		assert_int_equal(fd_drain(f->call[i]), 1);
	}
}

static void a_kick_is_injected_into_every_started_ring(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	for (unsigned i = 0; i < OWNER_RINGS; i++)
		assert_true(fd_drain(f->daemon.rings[i].kick) > 0);
}

/* A daemon may take a kick from a ring that is not enabled yet, and forget it. */
static void the_injected_kick_comes_after_enable_is_answered(void **state)
{
	struct owner *f = owner_ready(state, GOOD);
	struct err e;

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_VRING_ENABLE;
	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	assert_true(f->daemon.rings[0].enabled);
	assert_int_equal(f->started, 0);
	assert_int_equal(fd_drain(f->kick[0]), 0);

	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 1);
	assert_int_equal(fd_drain(f->kick[0]), 1);
}

static void rings_that_are_disabled_or_at_address_0_are_skipped(void **state)
{
	struct owner *f = owner_ready(state, GOOD);
	struct err e;

	scripted_daemon_order(&f->daemon);
	f->frontend.n_rings = 8;
	owner_latch(f, 0, 3);
	owner_latch(f, 1, 6);
	owner_latch(f, 1, 7);
	f->frontend.rings[7].desc = 0;
	assert_int_equal(vu_frontend_start(&f->frontend, VERSION_1, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 1);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(f->daemon.rings[i].started, i == 3 || i == 6);
	assert_string_equal(scripted_daemon_order(&f->daemon),
			    "SET_FEATURES ADD_MEM_REG ADD_MEM_REG " RING " " RING
			    " SET_VRING_ENABLE SET_VRING_ENABLE");
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_string_equal(scripted_daemon_order(&f->daemon), "SET_VRING_ENABLE SET_VRING_ENABLE "
			    "GET_VRING_BASE GET_VRING_BASE");
}

static void no_ring_at_all_starts_and_stops(void **state)
{
	struct owner *f = owner_ready(state, GOOD);
	struct err e;

	scripted_daemon_order(&f->daemon);
	assert_int_equal(vu_frontend_start(&f->frontend, VERSION_1, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 1);
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->stopped, 1);
	assert_string_equal(scripted_daemon_order(&f->daemon),
			    "SET_FEATURES ADD_MEM_REG ADD_MEM_REG");
}

static void sixty_four_rings_start_and_stop_with_and_without_reply_ack(void **state)
{
	static const uint64_t protocols[] = { GOOD, BIT64(VU_PF_CONFIG) };

	for (size_t p = 0; p < ARRAY_SIZE(protocols); p++) {
		struct owner *f;
		struct err e;

		if (p > 0) {
			owner_teardown(state);
			owner_setup(state);
		}
		f = owner_ready(state, protocols[p]);
		f->frontend.n_rings = VU_RINGS_MAX;
		for (unsigned i = 0; i < VU_RINGS_MAX; i++)
			owner_latch(f, 0, i);
		assert_int_equal(vu_frontend_start(&f->frontend, VERSION_1, &e), 0);
		scripted_settle(&f->loop);
		assert_int_equal(f->started, 1);
		for (unsigned i = 0; i < VU_RINGS_MAX; i++)
			assert_true(f->daemon.rings[i].enabled);
		owner_stop(f);
		scripted_settle(&f->loop);
		assert_int_equal(f->stopped, 1);
		for (unsigned i = 0; i < VU_RINGS_MAX; i++)
			assert_false(f->daemon.rings[i].started || f->daemon.rings[i].enabled);
		owner_assert_legal(f);
	}
}

static void stop_disables_then_stops_every_ring_and_keeps_the_bases(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	scripted_daemon_order(&f->daemon);
	f->daemon.rings[0].base = 7;
	f->daemon.rings[1].base = 0xffff;
	owner_stop(f);
	assert_int_equal(f->frontend.state, VU_STOPPING);
	scripted_settle(&f->loop);
	assert_string_equal(scripted_daemon_order(&f->daemon), "SET_VRING_ENABLE SET_VRING_ENABLE "
			    "GET_VRING_BASE GET_VRING_BASE");
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->frontend.state, VU_READY);
	assert_int_equal(f->frontend.rings[0].base, 7);
	assert_int_equal(f->frontend.rings[1].base, 0xffff);
}

static void a_second_start_repeats_the_rings_but_not_the_memory_table(void **state)
{
	static const uint64_t protocols[] = { GOOD, BIT64(VU_PF_CONFIG) | BIT64(VU_PF_REPLY_ACK) };

	for (size_t p = 0; p < ARRAY_SIZE(protocols); p++) {
		struct owner *f;
		struct err e;

		if (p > 0) {
			owner_teardown(state);
			owner_setup(state);
		}
		f = owner_running(state, protocols[p]);
		owner_stop(f);
		scripted_settle(&f->loop);
		scripted_daemon_order(&f->daemon);
		assert_int_equal(owner_start(f, &e), 0);
		scripted_settle(&f->loop);
		assert_int_equal(f->started, 2);
		assert_string_equal(scripted_daemon_order(&f->daemon), "SET_FEATURES " RING " " RING
				    " SET_VRING_ENABLE SET_VRING_ENABLE");
	}
}

static void a_changed_region_is_removed_before_the_new_one_is_added(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	const struct scripted_seen *rem;
	struct err e;

	owner_stop(f);
	scripted_settle(&f->loop);
	scripted_daemon_order(&f->daemon);
	f->mem.regions[1].size = MIB(2);
	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	rem = scripted_daemon_last(&f->daemon, VU_REM_MEM_REG);
	assert_non_null(rem);
	assert_int_equal(rem->nfds, 0);
	assert_int_equal(rem->region.gpa, GIB(4));
	assert_int_equal(rem->region.size, MIB(1));
	assert_int_equal(f->daemon.n_regions, 2);
	assert_memory_equal(scripted_daemon_order(&f->daemon),
			    "SET_FEATURES REM_MEM_REG ADD_MEM_REG SET_VRING_NUM", 50);
}

static void a_ring_goes_on_where_it_stopped(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	struct err e;

	f->daemon.rings[1].base = 99;
	owner_stop(f);
	scripted_settle(&f->loop);
	f->daemon.rings[1].base = 0;
	assert_int_equal(vu_frontend_start(&f->frontend, VERSION_1, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.rings[1].base, 99);
}

static void a_fresh_packed_ring_starts_with_both_wrap_counters_set(void **state)
{
	struct owner *f = *state;
	struct err e;

	owner_connect(f);
	f->daemon.features |= BIT64(34);
	owner_connected(f);
	f->frontend.n_rings = 1;
	owner_latch(f, 0, 0);
	f->frontend.rings[0].size = 100;
	assert_int_equal(vu_frontend_start(&f->frontend, VERSION_1 | BIT64(34), &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.rings[0].base, 0x80008000);
	f->daemon.rings[0].base = 0x00050003;
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->stopped, 1);
	f->daemon.rings[0].base = 1;
	assert_int_equal(vu_frontend_start(&f->frontend, VERSION_1 | BIT64(34), &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.rings[0].base, 0x00050003);
}

static void status_goes_through_the_states_of_a_driver(void **state)
{
	struct owner *f = owner_running(state, GOOD | BIT64(VU_PF_STATUS));

	assert_string_equal(scripted_daemon_order(&f->daemon),
			    "SET_STATUS SET_FEATURES SET_STATUS GET_STATUS ADD_MEM_REG ADD_MEM_REG "
			    RING " " RING " SET_VRING_ENABLE SET_VRING_ENABLE SET_STATUS");
	assert_int_equal(f->daemon.status, 15);
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.status, 0);
}

static void features_the_daemon_does_not_take_end_the_start(void **state)
{
	struct owner *f = owner_ready(state, GOOD | BIT64(VU_PF_STATUS));
	struct err e;

	f->daemon.refuse_features_ok = true;
	assert_int_equal(owner_start(f, &e), 0);
	owner_assert_lost(f, "does not accept the features");
	assert_int_equal(f->started, 0);
}

static void reset_device_follows_the_rings(void **state)
{
	struct owner *f = owner_running(state, BIT64(VU_PF_CONFIG) | BIT64(VU_PF_RESET_DEVICE) |
					 BIT64(VU_PF_STATUS));

	scripted_daemon_order(&f->daemon);
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_string_equal(scripted_daemon_order(&f->daemon), "SET_VRING_ENABLE SET_VRING_ENABLE "
			    "GET_VRING_BASE GET_VRING_BASE RESET_DEVICE SET_STATUS GET_FEATURES");
	assert_int_equal(f->stopped, 1);
}

/* Bad rings are the guest's doing: refused before the daemon hears of anything. */
static void rings_that_cannot_be_served_are_refused_and_nothing_is_sent(void **state)
{
	static const struct {
		const char *what;
		uint64_t desc, avail, used;
		uint16_t size;
		unsigned at;		/* ring */
		uint64_t acked;		/* beside VERSION_1 */
	} bad[] = {
		{ "descriptors beyond RAM", MIB(1) - 16, 0x4000, 0x6000, 128 },
		{ "avail in the hole", 0x1000, GIB(3), 0x6000, 128 },
		{ "used that wraps", 0x1000, 0x4000, UINT64_MAX - 3, 128 },
		{ "descriptors up to a region", GIB(4) - 16, 0x4000, 0x6000, 128 },
		{ "no entries", 0x1000, 0x4000, 0x6000, 0 },
		{ "3 entries", 0x1000, 0x4000, 0x6000, 3 },
		{ "65535 entries", 0x1000, 0x4000, 0x6000, 65535 },
		{ "a third queue of two", 0x1000, 0x4000, 0x6000, 128, 2 },
		{ "a feature not offered", 0x1000, 0x4000, 0x6000, 128, 0, 2 },
	};
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.queues = 2;
	owner_connected(f);
	scripted_daemon_order(&f->daemon);
	f->frontend.n_rings = 3;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = { "" };

		memset(f->frontend.rings, 0, sizeof(f->frontend.rings));
		f->frontend.rings[bad[i].at] = (struct vu_ring){
			.enabled = true, .size = bad[i].size, .kick = -1, .call = -1,
			.desc = bad[i].desc, .avail = bad[i].avail, .used = bad[i].used,
		};
		if (vu_frontend_start(&f->frontend, VERSION_1 | bad[i].acked, &e) != -EINVAL)
			fail_msg("started with %s", bad[i].what);
		assert_non_null(strstr(e.msg, "blk0"));
	}
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.n_seen, 0);
	assert_int_equal(f->frontend.state, VU_READY);
	assert_int_equal(f->lost, 0);
}

static void start_is_refused_while_running(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	struct err e;

	assert_int_equal(owner_start(f, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "running"));
}

static void stop_of_a_device_that_never_started_is_done_at_once(void **state)
{
	struct owner *f = owner_ready(state, GOOD);

	scripted_daemon_order(&f->daemon);
	owner_stop(f);
	assert_int_equal(f->stopped, 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->daemon.n_seen, 0);
}

/* A reset may come at any moment of a start: at every answer of it. */
static void reset_while_starting_stops_what_was_started(void **state)
{
	const unsigned answers = 1 + 2 + 6 * OWNER_RINGS + OWNER_RINGS;

	for (unsigned n = 1; n <= answers; n++) {
		struct owner *f;
		struct err e;

		owner_teardown(state);
		owner_setup(state);
		f = owner_ready(state, GOOD);
		f->daemon.fault = FAULT_SILENT;
		f->daemon.fault_at = f->daemon.received + n;
		assert_int_equal(owner_start(f, &e), 0);
		scripted_settle(&f->loop);
		assert_int_equal(f->frontend.state, VU_STARTING);
		owner_stop(f);
		assert_int_equal(f->frontend.state, VU_STOPPING);
		scripted_settle(&f->loop);
		assert_int_equal(f->stopped, 0);
		scripted_daemon_give(&f->daemon);
		scripted_settle(&f->loop);
		assert_int_equal(f->stopped, 1);
		assert_int_equal(f->lost, 0);
		for (unsigned i = 0; i < OWNER_RINGS; i++)
			assert_false(f->daemon.rings[i].started || f->daemon.rings[i].enabled);
		owner_assert_legal(f);

		f->daemon.fault = FAULT_NONE;
		assert_int_equal(owner_start(f, &e), 0);
		scripted_settle(&f->loop);
		assert_int_equal(f->frontend.state, VU_RUNNING);
	}
}

/* The last answer is in, the owner has not been told, and the guest resets the device. */
static void a_stop_before_started_was_told_takes_it_back(void **state)
{
	struct owner *f = owner_ready(state, GOOD);
	struct err e;

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_VRING_ENABLE;
	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	scripted_daemon_give(&f->daemon);
	f->frontend.watch.ready(f->frontend.watch.arg, EPOLLIN);
	assert_int_equal(f->frontend.state, VU_RUNNING);
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 0);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->frontend.state, VU_READY);
}

static void a_ring_error_is_reported(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	fd_signal(f->daemon.rings[1].err);
	scripted_settle(&f->loop);
	assert_int_equal(f->ring_error, 1);
	assert_int_equal(f->frontend.state, VU_RUNNING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(start_tells_each_ring_wholly_and_enables_last),
		TEST(start_with_reply_ack_awaits_every_message),
		TEST(start_without_reply_ack_ends_in_a_barrier),
		TEST(a_daemon_without_bit_30_gets_no_enable),
		TEST(bit_30_is_added_to_what_the_guest_acked),
		TEST(the_memory_table_shares_the_objects_at_their_offsets),
		TEST(slots_and_table_tell_a_daemon_the_same),
		TEST(ring_addresses_are_in_the_table_and_tell_nothing_of_this_process),
		TEST(a_daemon_that_wants_guest_addresses_gets_them),
		TEST(the_daemon_gets_the_rings_own_eventfds),
		TEST(a_kick_is_injected_into_every_started_ring),
		TEST(the_injected_kick_comes_after_enable_is_answered),
		TEST(rings_that_are_disabled_or_at_address_0_are_skipped),
		TEST(no_ring_at_all_starts_and_stops),
		TEST(sixty_four_rings_start_and_stop_with_and_without_reply_ack),
		TEST(stop_disables_then_stops_every_ring_and_keeps_the_bases),
		TEST(a_second_start_repeats_the_rings_but_not_the_memory_table),
		TEST(a_changed_region_is_removed_before_the_new_one_is_added),
		TEST(a_ring_goes_on_where_it_stopped),
		TEST(a_fresh_packed_ring_starts_with_both_wrap_counters_set),
		TEST(status_goes_through_the_states_of_a_driver),
		TEST(features_the_daemon_does_not_take_end_the_start),
		TEST(reset_device_follows_the_rings),
		TEST(rings_that_cannot_be_served_are_refused_and_nothing_is_sent),
		TEST(start_is_refused_while_running),
		TEST(stop_of_a_device_that_never_started_is_done_at_once),
		TEST(reset_while_starting_stops_what_was_started),
		TEST(a_stop_before_started_was_told_takes_it_back),
		TEST(a_ring_error_is_reported),
	};

	return cmocka_run_group_tests_name("frontend_rings", tests, NULL, NULL);
}
