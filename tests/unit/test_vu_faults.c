/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --vu-fault: what it does to each message, and that the front end bears whatever becomes of it.
 * The fault tests of test_frontend_faults.c have a bad daemon; these have a bad line to a good one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/process.h"
#include "tests/unit/shmem.h"
#include "tests/unit/tapped.h"

static const char *const actions[] = {
	"drop", "delay=1", "duplicate", "corrupt=id:44", "corrupt=id:1000", "corrupt=flags:0",
	"corrupt=flags:7", "corrupt=size:0", "corrupt=size:2047", "corrupt=size:4294967295",
	"corrupt=0:255", "short=0", "short=11", "short=13", "extra-fds=1", "extra-fds=4", "close",
	"duplicate,extra-fds=1",
};

/* What a daemon offers: all that there are messages for; and as little as can be. */
static const uint64_t protocols[] = {
	SHMEM | BIT64(VU_PF_STATUS) | BIT64(VU_PF_RESET_DEVICE) | BIT64(VU_PF_INFLIGHT_SHMFD),
	BIT64(VU_PF_CONFIG),
};

/* The daemon maps a page of its region, and takes it back. */
static void map_and_unmap(struct owner *f)
{
	if (f->daemon.back.sock < 0)
		return;
	shmem_send_map(f, 0, NEED_REPLY);
	scripted_settle(&f->loop);
	shmem_send_unmap(f, 0);
	scripted_settle(&f->loop);
}

/* Connect, start, map, and the rest of owner_live, as far as it goes. */
static void live(struct tapped *t, uint64_t protocol)
{
	struct owner *f = t->owner;
	struct err e;

	owner_connect(f);
	f->daemon.protocol = protocol;
	f->daemon.shmem.nregions = 1;
	f->daemon.shmem.sizes[REGION] = PAGES * PAGE;
	f->daemon.inflight = (struct vu_inflight){ .mmap_size = MIB(1), .queue_size = 128,
						   .num_queues = OWNER_RINGS };
	f->daemon.inflight_fd = f->mem.regions[0].fd;
	for (int i = 0; i < 40 && !f->lost && !f->stopped; i++) {
		scripted_settle(&f->loop);
		if (f->ready && f->frontend.state == VU_READY && owner_start(f, &e) == 0)
			scripted_settle(&f->loop);
		if (f->started && !f->lost)
			map_and_unmap(f);
		owner_live(f);
		tapped_wait(t);
	}
}

/* A life, and the end of whatever hangs then: the owner knows of one end, and nothing is left. */
static void live_under(const char *message, bool answer, const char *action, uint64_t protocol)
{
	struct vu_inflight_buffer inflight = VU_INFLIGHT_NONE;
	unsigned level = process_fds();
	struct tapped *t;
	char rule[128];
	void *state;

	tapped_setup(&state);
	t = state;
	snprintf(rule, sizeof(rule), "%s%s,times=1000,%s", message, answer ? ",answer" : "",
		 action);
	tapped_fault(t, rule);
	t->owner->params.inflight = &inflight;
	live(t, protocol);
	if (t->owner->lost + t->owner->stopped < 1)
		fail_msg("%s: neither lost nor stopped", rule);
	assert_true(t->owner->lost <= 1);
	owner_fini(t->owner);
	vu_inflight_drop(&inflight);
	tapped_teardown(&state);
	if (process_fds() != level)
		fail_msg("%s leaves descriptors open", rule);
}

static bool life_has(const char *message, uint64_t protocol)
{
	struct vu_inflight_buffer inflight = VU_INFLIGHT_NONE;
	char name[64];
	struct tapped *t;
	void *state;
	bool found;

	tapped_setup(&state);
	t = state;
	t->owner->params.inflight = &inflight;
	live(t, protocol);
	assert_int_equal(t->owner->stopped, 1);
	snprintf(name, sizeof(name), "\"message\": \"%s\"", message);
	found = strstr(tapped_trace(t), name);
	owner_fini(t->owner);
	vu_inflight_drop(&inflight);
	tapped_teardown(&state);
	return found;
}

/* To what does not occur nothing can happen: one rule about it is enough. */
static void bear(const char *message)
{
	for (size_t p = 0; message && p < ARRAY_SIZE(protocols); p++) {
		size_t n = life_has(message, protocols[p]) ? ARRAY_SIZE(actions) : 1;

		for (size_t i = 0; i < n; i++) {
			live_under(message, false, actions[i], protocols[p]);
			live_under(message, true, actions[i], protocols[p]);
		}
	}
}

static void everything_that_can_happen_to_any_message_is_borne(void **state)
{
	(void)state;
	for (uint32_t id = 0; id < VU_REQUEST_END; id++)
		bear(vu_msg_types[id].name);
	for (uint32_t id = 0; id < VU_BACKEND_REQUEST_END; id++)
		bear(vu_backend_msg_types[id].name);
}

/* Else the case above would tell nothing of them. */
static void such_a_life_has_every_message_that_there_can_be(void **state)
{
	static const char *const names[] = {
		"GET_FEATURES", "SET_FEATURES", "SET_OWNER", "SET_MEM_TABLE", "SET_VRING_NUM",
		"SET_VRING_ADDR", "SET_VRING_BASE", "GET_VRING_BASE", "SET_VRING_KICK",
		"SET_VRING_CALL", "SET_VRING_ERR", "GET_PROTOCOL_FEATURES",
		"SET_PROTOCOL_FEATURES", "GET_QUEUE_NUM", "SET_VRING_ENABLE",
		"SET_BACKEND_REQ_FD", "GET_CONFIG", "SET_CONFIG", "GET_INFLIGHT_FD",
		"SET_INFLIGHT_FD", "RESET_DEVICE", "GET_MAX_MEM_SLOTS", "ADD_MEM_REG",
		"SET_STATUS", "GET_SHMEM_CONFIG", "BACKEND_CONFIG_CHANGE_MSG",
		"BACKEND_SHMEM_MAP", "BACKEND_SHMEM_UNMAP",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		unsigned found = 0;

		for (size_t p = 0; p < ARRAY_SIZE(protocols); p++)
			found += life_has(names[i], protocols[p]);
		if (!found)
			fail_msg("no life has %s", names[i]);
	}
}

static struct owner *connect_with(struct tapped *t, const char *rule)
{
	tapped_fault(t, rule);
	owner_connect(t->owner);
	scripted_settle(&t->owner->loop);
	return t->owner;
}

static void a_dropped_message_does_not_arrive(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "SET_OWNER,drop");

	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_OWNER), 0);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_FEATURES), 2);
	assert_non_null(strstr(tapped_trace(t), "\"message\": \"SET_OWNER\""));
	assert_non_null(strstr(tapped_trace(t), "\"fault\": \"drop\""));
}

/* The number that the trace's first line with @what has as @member. */
static unsigned traced(struct tapped *t, const char *what, const char *member)
{
	const char *text = tapped_trace(t), *at = strstr(text, what), *found;

	assert_non_null(at);
	while (at > text && at[-1] != '\n')
		at--;
	found = strstr(at, member);
	if (!found || found > strchr(at, '\n'))
		fail_msg("a line with %s has no %s", what, member);
	return (unsigned)strtoul(found + strlen(member), NULL, 10);
}

/* Two regions are told one behind the other, and the daemon answers what it got. */
static void an_answer_is_not_that_to_a_dropped_request(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "ADD_MEM_REG,drop");
	unsigned dropped;
	struct err e;

	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_ADD_MEM_REG), 1);
	dropped = traced(t, "\"fault\": \"drop\"", "\"n\": ");
	assert_int_equal(traced(t, "\"to\": \"frontend\", \"message\": \"ADD_MEM_REG\"",
				"\"answers\": "), dropped + 1);
}

static void a_dropped_answer_is_waited_for(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "GET_FEATURES,answer,drop");

	assert_int_equal(f->ready + f->lost, 0);
	tapped_wait(t);
	owner_assert_lost(f, "did not answer GET_FEATURES");
}

static void a_duplicate_arrives_twice(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "SET_OWNER,duplicate");

	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_OWNER), 2);
	owner_assert_lost(f, "the answer to GET_FEATURES carries the id of request 3");
}

static void a_duplicated_answer_is_one_too_many(void **state)
{
	struct tapped *t = *state;
	struct owner *f;

	tapped_fault(t, "GET_FEATURES,answer,nth=2,duplicate");
	owner_connect(t->owner);
	f = t->owner;
	tapped_wait(t);
	owner_assert_lost(f, "GET_CONFIG carries the id of request 1");
}

/* The longest delay there is: it does not end while this looks, however slow the machine is. */
#define HELD "delay=600000"

static void what_is_delayed_and_what_follows_it_is_held_back(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "SET_OWNER," HELD);

	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_OWNER), 0);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_FEATURES), 1);
	assert_int_equal(f->ready + f->lost, 0);
}

static void a_delayed_answer_is_held_back(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "GET_PROTOCOL_FEATURES,answer," HELD);

	assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_PROTOCOL_FEATURES), 1);
	assert_int_equal(f->ready + f->lost, 0);
}

static void the_order_is_kept_by_what_is_delayed(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "SET_OWNER,delay=1");

	while (!f->ready)
		loop_once(&f->loop, 1000);
	assert_string_equal(strstr(scripted_daemon_order(&f->daemon), "SET_OWNER"),
			    "SET_OWNER GET_FEATURES GET_CONFIG");
	assert_int_equal(f->lost, 0);
}

static void a_delayed_answer_is_heard_without_another_event(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "GET_PROTOCOL_FEATURES,answer,delay=1");

	while (!f->ready)
		loop_once(&f->loop, 1000);
	assert_int_equal(f->lost, 0);
}

static void a_field_is_changed_by_its_name(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "SET_VRING_NUM,nth=2,corrupt=num:77,corrupt=ring:0");
	struct err e;

	assert_int_equal(f->ready, 1);
	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->daemon.rings[0].num, 77);
	assert_int_equal(f->daemon.rings[1].num, 0);
	assert_non_null(strstr(tapped_trace(t), "\"fault\": \"corrupt\", \"ring\": 0, \"num\": 77"));
}

static void a_changed_answer_is_judged_as_the_daemons(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "GET_QUEUE_NUM,answer,corrupt=queues:0");

	owner_assert_lost(f, "the daemon says it has no queue at all");
	assert_null(strstr(tapped_trace(t), "\"queues\": 0"));
}

static void extra_descriptors_arrive(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "SET_OWNER,extra-fds=2");

	assert_int_equal(scripted_daemon_last(&f->daemon, VU_SET_OWNER)->nfds, 2);
}

static void an_answer_with_descriptors_is_none(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "GET_QUEUE_NUM,answer,extra-fds=1");

	owner_assert_lost(f, "GET_QUEUE_NUM carries 1 file descriptor");
}

static void a_short_message_is_the_last(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "GET_QUEUE_NUM,short=5");

	assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_QUEUE_NUM), 0);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_OWNER), 0);
	assert_int_equal(f->daemon.channel.in_at, 5);
	tapped_wait(t);
	owner_assert_lost(f, "did not answer GET_QUEUE_NUM");
}

static void a_closed_channel_is_the_end_of_the_stream_to_the_daemon(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "SET_OWNER,close");

	assert_true(f->daemon.closed);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_OWNER), 0);
	scripted_daemon_fini(&f->daemon);
	owner_assert_lost(f, "closed");
	assert_true(f->lost_dead);
}

static void the_nth_is_counted_over_connections(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "GET_FEATURES,nth=4,times=2,drop");

	for (int i = 0; i < 3; i++) {
		assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_FEATURES),
				 i == 0 ? 2 : i == 1 ? 1 : 0);
		owner_fini(f);
		owner_connect(f);
		scripted_settle(&f->loop);
	}
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_FEATURES), 2);
}

static void the_daemons_own_requests_can_be_lost(void **state)
{
	struct tapped *t = *state;
	struct owner *f = connect_with(t, "BACKEND_CONFIG_CHANGE_MSG,drop");
	uint64_t answer;

	owner_config_change(f, 0x9);
	scripted_settle(&f->loop);
	assert_int_equal(f->config_changed, 0);
	assert_int_equal(scripted_daemon_back_answer(&f->daemon, 2, &answer), 0);
	owner_config_change(f, 0x9);
	scripted_settle(&f->loop);
	assert_int_equal(f->config_changed, 1);
	assert_int_equal(scripted_daemon_back_answer(&f->daemon, 2, &answer), 1);
}

static void our_answers_to_the_daemon_can_be_changed(void **state)
{
	struct tapped *t = *state;
	struct owner *f =
		connect_with(t, "BACKEND_CONFIG_CHANGE_MSG,answer,corrupt=result:7,delay=1");
	uint64_t answer = 0;

	owner_config_change(f, 0x9);
	scripted_settle(&f->loop);
	assert_int_equal(f->config_changed, 1);
	while (t->tap.back.out.first)
		loop_once(&f->loop, 1000);
	assert_int_equal(scripted_daemon_back_answer(&f->daemon, 2, &answer), 1);
	assert_int_equal(answer, 7);
}

static void a_rule_that_cannot_be_obeyed_is_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "drop", "does not begin with a device's name" },
		{ ":SET_OWNER,drop", "does not begin with a device's name" },
		{ "blk0:", "nothing between two commas or at an end" },
		{ "blk0:nth=2,drop", "which message?" },
		{ "blk0:SET_OWNER", "what is to happen to SET_OWNER?" },
		{ "blk0:SET_NOTHING,drop", "SET_NOTHING is no message" },
		{ "blk0:SET_OWNER,drop,delay=5", "nothing is left" },
		{ "blk0:SET_OWNER,drop,close", "nothing is left" },
		{ "blk0:SET_OWNER,nth=0,drop", "nth" },
		{ "blk0:SET_OWNER,extra-fds=5", "extra-fds" },
		{ "blk0:SET_OWNER,corrupt=flags", "is not FIELD:VALUE" },
		{ "blk0:SET_OWNER,corrupt=num:1", "SET_OWNER has no field num, but id, flags, size" },
		{ "blk0:SET_VRING_NUM,corrupt=x:1", "id, flags, size, ring, num, and bytes" },
		{ "blk0:SET_VRING_NUM,corrupt=num:0x100000000", "outside 0 to 4294967295" },
		{ "blk0:SET_VRING_NUM,corrupt=2:256", "outside 0 to 255" },
		{ "blk0:SET_VRING_NUM,corrupt=5000:1", "outside 0 to 2055" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vu_fault f;
		struct err e = { "" };

		assert_int_equal(vu_fault_parse(&f, cases[i].text, &e), -EINVAL);
		if (!strstr(e.msg, cases[i].says))
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, e.msg,
				 cases[i].says);
		vu_fault_free(&f);
		vu_fault_free(&f);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tapped_setup, tapped_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_that_can_happen_to_any_message_is_borne),
		cmocka_unit_test(such_a_life_has_every_message_that_there_can_be),
		TEST(a_dropped_message_does_not_arrive),
		TEST(an_answer_is_not_that_to_a_dropped_request),
		TEST(a_dropped_answer_is_waited_for),
		TEST(a_duplicate_arrives_twice),
		TEST(a_duplicated_answer_is_one_too_many),
		TEST(what_is_delayed_and_what_follows_it_is_held_back),
		TEST(a_delayed_answer_is_held_back),
		TEST(the_order_is_kept_by_what_is_delayed),
		TEST(a_delayed_answer_is_heard_without_another_event),
		TEST(a_field_is_changed_by_its_name),
		TEST(a_changed_answer_is_judged_as_the_daemons),
		TEST(extra_descriptors_arrive),
		TEST(an_answer_with_descriptors_is_none),
		TEST(a_short_message_is_the_last),
		TEST(a_closed_channel_is_the_end_of_the_stream_to_the_daemon),
		TEST(the_nth_is_counted_over_connections),
		TEST(the_daemons_own_requests_can_be_lost),
		TEST(our_answers_to_the_daemon_can_be_changed),
		cmocka_unit_test(a_rule_that_cannot_be_obeyed_is_refused),
	};

	return cmocka_run_group_tests_name("vu_faults", tests, NULL, NULL);
}
