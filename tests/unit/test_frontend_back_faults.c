/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every message of the back channel, and some that are none, wrong in every way a message can be:
 * refused or the end of that channel, told to the daemon where it asked, never the end of the
 * device, and no descriptor stays.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/process.h"
#include "tests/unit/shmem.h"

enum { REFUSED = 1, NOTHING = -1, CLOSED = -2, HEADER = sizeof(struct vu_header) };

/* What is wrong with it; 0 where it is as it should be. */
struct wrong {
	const char *what;
	uint32_t flags;		/* instead of 0x9 */
	int size;		/* so many bytes of payload more or less than are legal */
	uint32_t says;		/* what the header says of the size, instead */
	int fds;		/* so many more than are legal; less: none at all */
	unsigned cut;		/* bytes that are sent before the daemon closes the channel */
	int answer;
};

static const struct wrong wrongs[] = {
	{ .what = "no version", .flags = 0x8, .answer = CLOSED },
	{ .what = "version 2", .flags = 0xa, .answer = CLOSED },
	{ .what = "an answer", .flags = 0x5, .answer = CLOSED },
	{ .what = "an answer that asks for one", .flags = 0xd, .answer = CLOSED },
	{ .what = "unknown flags", .flags = 0x80000009, .answer = CLOSED },
	{ .what = "a short payload", .size = -1, .answer = REFUSED },
	{ .what = "a long payload", .size = 1, .answer = REFUSED },
	{ .what = "a payload as long as can be", .size = 2000, .answer = REFUSED },
	{ .what = "a size beyond any payload", .says = VU_PAYLOAD_MAX + 1, .answer = CLOSED },
	{ .what = "a size of 4 GiB", .says = UINT32_MAX, .answer = CLOSED },
	{ .what = "a descriptor too many", .fds = 1, .answer = REFUSED },
	{ .what = "descriptors as many as can be", .fds = 7, .answer = REFUSED },
	{ .what = "more descriptors than any message has", .fds = 11, .answer = CLOSED },
	{ .what = "no descriptor", .fds = -1, .answer = REFUSED },
	{ .what = "half a header", .cut = 6, .answer = CLOSED },
	{ .what = "no payload", .cut = HEADER, .answer = CLOSED },
	{ .what = "half a payload", .cut = HEADER + 9, .answer = CLOSED },
};

static const struct vu_msg_type unknown = { .name = "unknown", .size_max = 40 };

/* Whether a message of that type cannot be so wrong. */
static bool is_right(const struct vu_msg_type *type, const struct wrong *w)
{
	return (w->size < 0 && !type->size_min) || (w->fds < 0 && !type->fds_min) ||
	       (w->cut >= HEADER && w->cut >= HEADER + (unsigned)type->size_max);
}

static void send_wrong(struct owner *f, uint32_t id, const struct vu_msg_type *type,
		       const struct wrong *w)
{
	uint32_t size = w->size < 0 ? type->size_min - 1u : type->size_max + (unsigned)w->size;
	int fds[FD_PASS_MAX], n = w->fds < 0 ? 0 : w->fds ? type->fds_max + w->fds : type->fds_min;
	uint8_t bytes[HEADER + VU_PAYLOAD_MAX + 64] = { 0 };
	struct vu_header h = { id, w->flags ? w->flags : NEED_REPLY, w->says ? w->says : size };

	for (int i = 0; i < n; i++)
		fds[i] = f->kick[0];
	memcpy(bytes, &h, sizeof(h));
	assert_true(fd_send(f->daemon.back.sock, bytes, w->cut ? w->cut : HEADER + size, fds,
			    (size_t)n) > 0);
	if (w->cut)
		shutdown(f->daemon.back.sock, SHUT_WR);
	scripted_settle(&f->loop);
}

/* The device goes on, whatever became of its back channel. */
static void check_goes_on(struct owner *f, const char *what)
{
	if (f->lost)
		fail_msg("%s: %s", what, f->why);
	assert_int_equal(f->n_mapped, 0);
	owner_stop(f);
	scripted_settle(&f->loop);
	assert_int_equal(f->stopped, 1);
	owner_assert_legal(f);
}

static void try_wrong(uint32_t id, const struct vu_msg_type *type, const struct wrong *w)
{
	unsigned level = process_fds();
	char what[128];
	struct owner *f;
	void *state;
	int answer;

	snprintf(what, sizeof(what), "%s (%u) with %s", type->name, id, w->what);
	owner_setup(&state);
	f = shmem_running(&state);
	send_wrong(f, id, type, w);
	answer = shmem_answer(f, id);
	if (answer != w->answer)
		fail_msg("%s is answered %d, not %d", what, answer, w->answer);
	check_goes_on(f, what);
	owner_teardown(&state);
	if (process_fds() != level)
		fail_msg("%s leaves descriptors open", what);
}

static void every_message_that_is_wrong_is_refused_and_the_device_goes_on(void **state)
{
	(void)state;
	for (uint32_t id = 0; id < VU_BACKEND_REQUEST_END; id++)
		for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++)
			if (vu_backend_msg_types[id].name &&
			    !is_right(&vu_backend_msg_types[id], &wrongs[i]))
				try_wrong(id, &vu_backend_msg_types[id], &wrongs[i]);
}

static void a_message_that_is_none_is_refused_and_the_device_goes_on(void **state)
{
	static const uint32_t ids[] = { 0, VU_BACKEND_REQUEST_END, 1000, 1007, UINT32_MAX };
	static const struct wrong right = { .what = "nothing else wrong", .answer = REFUSED };

	(void)state;
	for (size_t n = 0; n < ARRAY_SIZE(ids); n++) {
		try_wrong(ids[n], &unknown, &right);
		for (size_t i = 0; i < ARRAY_SIZE(wrongs); i++)
			if (!is_right(&unknown, &wrongs[i]))
				try_wrong(ids[n], &unknown, &wrongs[i]);
	}
}

static void nothing_is_answered_to_who_did_not_ask(void **state)
{
	(void)state;
	for (uint32_t id = 1; id < VU_BACKEND_REQUEST_END; id++) {
		const struct vu_msg_type *type = &vu_backend_msg_types[id];
		struct wrong w = { .what = "no need_reply", .flags = VU_FLAG_VERSION, .size = 1,
				   .answer = type->replies ? REFUSED : NOTHING };

		try_wrong(id, type, &w);
	}
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_message_that_is_wrong_is_refused_and_the_device_goes_on),
		TEST(a_message_that_is_none_is_refused_and_the_device_goes_on),
		TEST(nothing_is_answered_to_who_did_not_ask),
	};

	return cmocka_run_group_tests_name("frontend_back_faults", tests, NULL, NULL);
}
