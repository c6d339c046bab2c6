/* SPDX-License-Identifier: Apache-2.0 */
/* The front end connects: what it asks, acks, refuses. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/owner.h"

#define HANDSHAKE "GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_QUEUE_NUM "	\
		  "GET_MAX_MEM_SLOTS SET_BACKEND_REQ_FD SET_OWNER GET_FEATURES GET_CONFIG"

static void handshake_goes_in_the_order_daemons_are_used_to(void **state)
{
	struct owner *f = owner_ready(state, GOOD);

	assert_string_equal(scripted_daemon_order(&f->daemon), HANDSHAKE);
	assert_int_equal(f->daemon.protocol_acked, GOOD);
	assert_int_equal(f->frontend.queues_max, 64);
	assert_int_equal(f->frontend.slots_max, 32);
	owner_assert_legal(f);
}

static void handshake_without_reply_ack_sends_the_same_and_asks_for_nothing(void **state)
{
	struct owner *f = owner_ready(state, GOOD & ~BIT64(VU_PF_REPLY_ACK));

	for (unsigned i = 0; i < f->daemon.n_seen; i++)
		assert_int_equal(f->daemon.seen[i].header.flags, VU_FLAG_VERSION);
	assert_string_equal(scripted_daemon_order(&f->daemon), HANDSHAKE);
}

static void need_reply_begins_after_set_protocol_features(void **state)
{
	struct owner *f = owner_ready(state, GOOD);

	const struct scripted_seen *before =
		scripted_daemon_last(&f->daemon, VU_SET_PROTOCOL_FEATURES);
	const struct scripted_seen *after = scripted_daemon_last(&f->daemon, VU_SET_OWNER);
	const struct scripted_seen *answered = scripted_daemon_last(&f->daemon, VU_GET_FEATURES);

	assert_int_equal(before->header.flags, 0x1);
	assert_int_equal(after->header.flags, 0x9);
	assert_int_equal(answered->header.flags, 0x1);
}

static void a_daemon_with_nothing_is_not_asked_for_more(void **state)
{
	struct owner *f = *state;

	f->params.config_size = 0;
	owner_connect(f);
	f->daemon.features = VERSION_1;
	owner_connected(f);
	assert_string_equal(scripted_daemon_order(&f->daemon),
			    "GET_FEATURES SET_OWNER GET_FEATURES");
	assert_int_equal(f->frontend.queues_max, UINT32_MAX);
	assert_int_equal(f->frontend.slots_max, VU_MEM_TABLE_MAX);
	assert_false(f->frontend.has_protocol);
}

static void each_protocol_feature_brings_its_message_and_no_other(void **state)
{
	static const struct {
		enum vu_protocol_feature bit;
		uint32_t request;
	} brings[] = {
		{ VU_PF_MQ, VU_GET_QUEUE_NUM }, { VU_PF_CONFIGURE_MEM_SLOTS, VU_GET_MAX_MEM_SLOTS },
		{ VU_PF_BACKEND_REQ, VU_SET_BACKEND_REQ_FD },
	};

	for (size_t i = 0; i < ARRAY_SIZE(brings); i++) {
		struct owner *f;

		if (i > 0) {
			owner_teardown(state);
			owner_setup(state);
		}
		f = owner_ready(state, BIT64(VU_PF_CONFIG) | BIT64(brings[i].bit));
		for (size_t j = 0; j < ARRAY_SIZE(brings); j++)
			assert_int_equal(scripted_daemon_count(&f->daemon, brings[j].request),
					 i == j);
		owner_assert_legal(f);
	}
}

static void only_what_is_implemented_is_acked(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.protocol = UINT64_MAX;
	owner_connected(f);
	/* The owner keeps no in-flight buffer here. */
	assert_int_equal(f->daemon.protocol_acked,
			 vu_features_ack(UINT64_MAX) & ~BIT64(VU_PF_INFLIGHT_SHMFD));
	assert_int_equal(f->frontend.protocol_offered, UINT64_MAX);
}

static void hidden_feature_bits_are_not_shown_to_the_guest(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.features = UINT64_MAX;
	owner_connected(f);
	assert_int_equal(f->frontend.features,
			 ~(BIT64(26) | BIT64(30) | BIT64(33) | BIT64(38)));
	assert_true(f->frontend.has_protocol);
}

static void config_is_read_whole_and_cached(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	for (unsigned i = 0; i < OWNER_CONFIG; i++)
		f->daemon.config[i] = (uint8_t)(i + 1);
	owner_connected(f);
	assert_memory_equal(f->frontend.config, f->daemon.config, OWNER_CONFIG);
	assert_int_equal(scripted_daemon_last(&f->daemon, VU_GET_CONFIG)->header.size,
			 12 + OWNER_CONFIG);
}

static void a_daemon_without_config_cannot_serve_a_device_that_needs_it(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.protocol = BIT64(VU_PF_MQ);
	owner_assert_lost(f, "(CONFIG)");
	assert_int_equal(f->ready, 0);
}

static void a_daemon_without_protocol_features_lacks_the_required_ones_too(void **state)
{
	struct owner *f = *state;

	f->params.required = BIT64(VU_PF_BACKEND_REQ);
	owner_connect(f);
	f->daemon.features = VERSION_1;
	owner_assert_lost(f, "(BACKEND_REQ, CONFIG)");
}

static void a_daemon_with_too_few_memory_slots_is_refused(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.slots = 1;
	owner_assert_lost(f, "takes 1 memory regions, the guest's RAM has 2");
}

static void a_daemon_with_no_queue_is_refused(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.queues = 0;
	owner_assert_lost(f, "no queue");
}

static void more_queues_than_a_number_holds_are_no_trouble(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.queues = f->daemon.slots = UINT64_MAX;
	owner_connected(f);
	assert_int_equal(f->frontend.queues_max, UINT32_MAX - 1);
	assert_true(f->frontend.slots_max == UINT64_MAX);
}

static void ram_that_cannot_be_shared_is_refused_before_anything_is_sent(void **state)
{
	struct owner *f = *state;
	struct guest_mem private = f->mem;
	struct err e;
	int sock = scripted_daemon_init(&f->daemon, &f->loop);

	private.regions[1].fd = -1;
	assert_int_equal(vu_frontend_init(&f->frontend, &f->loop, &private, &sock, &f->params,
					  &owner_ops, f, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "0x100000000"));
	assert_int_equal(sock, -1);
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.n_seen, 0);
	assert_int_equal(f->lost, 0);
}

static void config_larger_than_a_message_is_refused(void **state)
{
	struct owner *f = *state;
	struct err e;
	int sock = scripted_daemon_init(&f->daemon, &f->loop);

	f->params.config_size = VU_CONFIG_MAX + 1;
	assert_int_equal(vu_frontend_init(&f->frontend, &f->loop, &f->mem, &sock, &f->params,
					  &owner_ops, f, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "257"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(handshake_goes_in_the_order_daemons_are_used_to),
		TEST(handshake_without_reply_ack_sends_the_same_and_asks_for_nothing),
		TEST(need_reply_begins_after_set_protocol_features),
		TEST(a_daemon_with_nothing_is_not_asked_for_more),
		TEST(each_protocol_feature_brings_its_message_and_no_other),
		TEST(only_what_is_implemented_is_acked),
		TEST(hidden_feature_bits_are_not_shown_to_the_guest),
		TEST(config_is_read_whole_and_cached),
		TEST(a_daemon_without_config_cannot_serve_a_device_that_needs_it),
		TEST(a_daemon_without_protocol_features_lacks_the_required_ones_too),
		TEST(a_daemon_with_too_few_memory_slots_is_refused),
		TEST(a_daemon_with_no_queue_is_refused),
		TEST(more_queues_than_a_number_holds_are_no_trouble),
		TEST(ram_that_cannot_be_shared_is_refused_before_anything_is_sent),
		TEST(config_larger_than_a_message_is_refused),
	};

	return cmocka_run_group_tests_name("frontend", tests, NULL, NULL);
}
