/* SPDX-License-Identifier: Apache-2.0 */
/* The front end's config cache and back channel. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/owner.h"
#include "tests/unit/process.h"

static int change_answer(struct owner *f, uint64_t *ret)
{
	return scripted_daemon_back_answer(&f->daemon, VU_BACKEND_CONFIG_CHANGE_MSG, ret);
}

static void a_config_write_reaches_the_daemon(void **state)
{
	static const uint64_t protocols[] = { GOOD, BIT64(VU_PF_CONFIG) };

	for (size_t p = 0; p < ARRAY_SIZE(protocols); p++) {
		struct owner *f;

		if (p > 0) {
			owner_teardown(state);
			owner_setup(state);
		}
		f = owner_running(state, protocols[p]);
		scripted_daemon_order(&f->daemon);
		f->frontend.config[32] = 0xaa;
		f->frontend.config[33] = 0xbb;
		vu_frontend_config_write(&f->frontend, 32, 1);
		scripted_settle(&f->loop);
		assert_int_equal(f->daemon.config[32], 0xaa);
		assert_int_equal(f->daemon.config[33], 0);
		assert_string_equal(scripted_daemon_order(&f->daemon),
				    p == 0 ? "SET_CONFIG" : "SET_CONFIG GET_FEATURES");
		owner_assert_legal(f);
	}
}

static void config_writes_beyond_the_config_are_dropped(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	scripted_daemon_order(&f->daemon);
	vu_frontend_config_write(&f->frontend, OWNER_CONFIG, 1);
	vu_frontend_config_write(&f->frontend, OWNER_CONFIG - 1, 2);
	vu_frontend_config_write(&f->frontend, UINT32_MAX, 2);
	vu_frontend_config_write(&f->frontend, 4, 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.n_seen, 0);
}

static void any_number_of_config_writes_has_one_message_unanswered(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	scripted_daemon_order(&f->daemon);
	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_CONFIG;
	for (unsigned i = 0; i < 10000; i++) {
		f->frontend.config[5] = (uint8_t)i;
		vu_frontend_config_write(&f->frontend, 5, 1);
	}
	f->frontend.config[20] = 1;
	vu_frontend_config_write(&f->frontend, 20, 1);
	scripted_settle(&f->loop);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_CONFIG), 1);
	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_CONFIG), 3);
	assert_int_equal(f->daemon.config[5], (uint8_t)9999);
	assert_int_equal(f->daemon.config[20], 1);
}

static void a_refused_config_write_is_read_back(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	f->daemon.fault = FAULT_REFUSE;
	f->daemon.fault_on = VU_SET_CONFIG;
	f->frontend.config[8] = 1;
	vu_frontend_config_write(&f->frontend, 8, 1);
	f->daemon.config[8] = 0x42;
	loop_once(&f->loop, 0);
	f->daemon.config[8] = 0x42;
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.state, VU_RUNNING);
	assert_int_equal(f->config_changed, 1);
	assert_int_equal(f->frontend.config[8], 0x42);
}

static void a_config_change_is_answered_first_and_read_after(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	uint64_t answer = 1;

	scripted_daemon_order(&f->daemon);
	f->daemon.config[0] = 0x77;
	/* The daemon reads nothing but its back channel until it has the answer. */
	loop_unwatch(&f->loop, &f->daemon.watch);
	owner_config_change(f, 0x9);
	scripted_settle(&f->loop);
	assert_int_equal(change_answer(f, &answer), 1);
	assert_int_equal(answer, 0);
	assert_int_equal(f->config_changed, 0);

	f->daemon.watch.fd = f->daemon.channel.sock;
	assert_int_equal(loop_watch(&f->loop, &f->daemon.watch, &(struct err){ "" }), 0);
	scripted_settle(&f->loop);
	assert_string_equal(scripted_daemon_order(&f->daemon), "GET_CONFIG");
	assert_int_equal(f->config_changed, 1);
	assert_int_equal(f->frontend.config[0], 0x77);
}

static void a_config_change_without_need_reply_gets_no_answer(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	uint64_t answer;

	owner_config_change(f, 0x1);
	scripted_settle(&f->loop);
	assert_int_equal(change_answer(f, &answer), 0);
	assert_int_equal(f->config_changed, 1);
}

static void a_config_change_while_connecting_is_read_when_ready(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_SET_OWNER;
	scripted_settle(&f->loop);
	owner_config_change(f, 0x9);
	scripted_settle(&f->loop);
	scripted_daemon_give(&f->daemon);
	owner_connected(f);
	assert_int_equal(f->config_changed, 1);
}

/* As many as a socket takes; then one re-read, not as many. */
static void a_flood_of_config_changes_makes_no_flood_of_reads(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	scripted_daemon_order(&f->daemon);
	for (int i = 0; i < 100; i++)
		owner_config_change(f, 0x1);
	scripted_settle(&f->loop);
	assert_in_range(scripted_daemon_count(&f->daemon, VU_GET_CONFIG), 1, 20);
	assert_int_equal(f->frontend.state, VU_RUNNING);
}

/* A daemon that asks and never reads answers must not make us queue them, nor ask it anything. */
static void a_daemon_that_reads_no_answers_is_not_read_either(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	unsigned told = 0;
	int small = 4096;
	uint64_t answer;

	setsockopt(f->frontend.back.sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	while (!vu_channel_pending(&f->frontend.back)) {
		told = f->config_changed;
		owner_config_change(f, 0x9);
		scripted_settle(&f->loop);
	}
	owner_config_change(f, 0x9);
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.back.out_count, 1);
	assert_int_equal(f->config_changed, told);

	while (change_answer(f, &answer) > 0)
		scripted_settle(&f->loop);
	assert_false(vu_channel_pending(&f->frontend.back));
	assert_true(f->config_changed > told);
	assert_int_equal(f->frontend.state, VU_RUNNING);
}

/* Bytes the guest wrote and the daemon has not seen yet are not overwritten by a re-read. */
static void a_re_read_keeps_what_the_guest_wrote_meanwhile(void **state)
{
	struct owner *f = owner_running(state, GOOD);

	f->daemon.fault = FAULT_SILENT;
	f->daemon.fault_on = VU_GET_CONFIG;
	owner_config_change(f, 0x1);
	scripted_settle(&f->loop);
	f->frontend.config[3] = 0x33;
	vu_frontend_config_write(&f->frontend, 3, 1);
	scripted_daemon_give(&f->daemon);
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.config[3], 0x33);
	assert_int_equal(f->daemon.config[3], 0x33);
}

static void requests_that_were_not_negotiated_are_refused_and_their_fds_closed(void **state)
{
	struct owner *f = owner_running(state, GOOD);
	static const struct {
		uint32_t request, size;
		size_t nfds;
	} refused[] = {
		{ VU_BACKEND_IOTLB_MSG, 32, 0 }, { VU_BACKEND_VRING_HOST_NOTIFIER_MSG, 24, 1 },
		{ VU_BACKEND_VRING_CALL, 8, 0 }, { VU_BACKEND_VRING_ERR, 8, 0 },
		{ VU_BACKEND_SHARED_OBJECT_ADD, 16, 0 }, { VU_BACKEND_SHARED_OBJECT_REMOVE, 16, 0 },
		{ VU_BACKEND_SHARED_OBJECT_LOOKUP, 16, 0 }, { VU_BACKEND_SHMEM_MAP, 40, 1 },
		{ VU_BACKEND_SHMEM_UNMAP, 40, 0 }, { 11, 0, 0 }, { 1002, 64, 8 },
		{ UINT32_MAX, 8, 1 }, { 0, 0, 0 },
		{ VU_BACKEND_CONFIG_CHANGE_MSG, 8, 0 }, { VU_BACKEND_CONFIG_CHANGE_MSG, 0, 3 },
	};
	uint8_t payload[64] = { 0 };
	int fds[8] = { 2, 2, 2, 2, 2, 2, 2, 2 };
	unsigned level = process_fds();

	scripted_daemon_order(&f->daemon);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		uint64_t answer = 0;

		scripted_daemon_back_request(&f->daemon, refused[i].request, 0x9, payload,
					     refused[i].size, fds, refused[i].nfds);
		scripted_settle(&f->loop);
		assert_int_equal(scripted_daemon_back_answer(&f->daemon, refused[i].request,
							     &answer), 1);
		assert_int_not_equal(answer, 0);
	}
	assert_int_equal(process_fds(), level);
	assert_int_equal(f->daemon.n_seen, 0);
	assert_int_equal(f->config_changed, 0);
	assert_int_equal(f->frontend.state, VU_RUNNING);
	assert_int_equal(f->frontend.back_misuse.count, ARRAY_SIZE(refused));
}

static void a_back_channel_without_framing_is_closed_and_the_device_goes_on(void **state)
{
	static const struct {
		uint32_t flags, size;
	} broken[] = { { 0x2, 0 }, { 0x5, 0 }, { 0x1, 0x7fffffff }, { 0x81, 0 } };

	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		struct owner *f;
		uint64_t answer;

		owner_teardown(state);
		owner_setup(state);
		f = owner_running(state, GOOD);
		scripted_daemon_back_request(&f->daemon, VU_BACKEND_CONFIG_CHANGE_MSG,
					     broken[i].flags, NULL, broken[i].size, NULL, 0);
		scripted_settle(&f->loop);
		assert_int_equal(change_answer(f, &answer), -1);
		assert_int_equal(f->frontend.state, VU_RUNNING);
		owner_stop(f);
		scripted_settle(&f->loop);
		assert_int_equal(f->stopped, 1);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_config_write_reaches_the_daemon),
		TEST(config_writes_beyond_the_config_are_dropped),
		TEST(any_number_of_config_writes_has_one_message_unanswered),
		TEST(a_refused_config_write_is_read_back),
		TEST(a_config_change_is_answered_first_and_read_after),
		TEST(a_config_change_without_need_reply_gets_no_answer),
		TEST(a_config_change_while_connecting_is_read_when_ready),
		TEST(a_flood_of_config_changes_makes_no_flood_of_reads),
		TEST(a_daemon_that_reads_no_answers_is_not_read_either),
		TEST(a_re_read_keeps_what_the_guest_wrote_meanwhile),
		TEST(requests_that_were_not_negotiated_are_refused_and_their_fds_closed),
		TEST(a_back_channel_without_framing_is_closed_and_the_device_goes_on),
	};

	return cmocka_run_group_tests_name("frontend_config", tests, NULL, NULL);
}
