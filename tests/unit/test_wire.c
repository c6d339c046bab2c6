/* SPDX-License-Identifier: Apache-2.0 */
/* Framing: one channel under test, raw bytes at the other end of a socket pair. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/process.h"
#include "vhost/wire.h"

struct fixture {
	struct vu_channel c;
	int peer;
	unsigned level;		/* open fds before */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	f->level = process_fds();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	vu_channel_init(&f->c, &pair[0]);
	f->peer = pair[1];
	*state = f;
	return 0;
}

/* Every test ends with the check that no fd is left. */
static int teardown(void **state)
{
	struct fixture *f = *state;
	int left;

	vu_channel_fini(&f->c);
	vu_channel_fini(&f->c);
	fd_close(&f->peer);
	left = (int)(process_fds() - f->level);
	free(f);
	return left;
}

static struct vu_msg features_message(uint64_t value)
{
	return (struct vu_msg){
		.header = { .request = VU_SET_FEATURES, .flags = 1, .size = 8 },
		.payload.u64 = value,
	};
}

static void put(struct fixture *f, const void *bytes, size_t len)
{
	assert_int_equal(write(f->peer, bytes, len), len);
}

static void put_header(struct fixture *f, uint32_t request, uint32_t size)
{
	put(f, &(struct vu_header){ request, 1, size }, sizeof(struct vu_header));
}

static void a_sent_message_arrives_whole_with_its_fds(void **state)
{
	struct fixture *f = *state;
	struct vu_msg m = features_message(0x1122334455667788);
	uint8_t bytes[64];
	int fds[FD_PASS_MAX];
	size_t nfds;

	m.fds[0] = m.fds[1] = STDERR_FILENO;
	m.nfds = 2;
	assert_int_equal(vu_channel_send(&f->c, &m), 0);
	assert_false(vu_channel_pending(&f->c));

	assert_int_equal(fd_recv(f->peer, bytes, sizeof(bytes), fds, &nfds), 20);
	assert_memory_equal(bytes, &m.header, 12);
	assert_memory_equal(bytes + 12, &m.payload, 8);
	assert_int_equal(nfds, 2);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

static void a_message_in_single_bytes_is_put_together(void **state)
{
	struct fixture *f = *state;
	struct vu_msg m = features_message(77), got;
	struct err e;

	for (size_t i = 0; i < 12; i++) {
		assert_int_equal(vu_channel_recv(&f->c, &got, &e), 0);
		put(f, (uint8_t *)&m.header + i, 1);
	}
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(vu_channel_recv(&f->c, &got, &e), 0);
		put(f, (uint8_t *)&m.payload + i, 1);
	}
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), 1);
	assert_int_equal(got.header.request, VU_SET_FEATURES);
	assert_int_equal(got.payload.u64, 77);
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), 0);
}

static void two_messages_in_one_write_are_taken_one_by_one(void **state)
{
	struct fixture *f = *state;
	struct vu_msg m = features_message(1), got;
	uint8_t bytes[40];
	struct err e;

	for (int i = 0; i < 2; i++) {
		m.payload.u64 = (uint64_t)i + 1;
		memcpy(bytes + 20 * i, &m.header, 12);
		memcpy(bytes + 20 * i + 12, &m.payload, 8);
	}
	put(f, bytes, sizeof(bytes));
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), 1);
	assert_int_equal(got.payload.u64, 1);
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), 1);
	assert_int_equal(got.payload.u64, 2);
}

static void fds_belong_to_the_message_whose_first_byte_they_came_with(void **state)
{
	struct fixture *f = *state;
	struct vu_msg m = features_message(1), got;
	uint8_t bytes[20];
	struct err e;

	memcpy(bytes, &m.header, 12);
	memcpy(bytes + 12, &m.payload, 8);
	put(f, bytes, sizeof(bytes));
	assert_int_equal(fd_send(f->peer, bytes, sizeof(bytes), (int[]){ 2, 2 }, 2), 20);

	assert_int_equal(vu_channel_recv(&f->c, &got, &e), 1);
	assert_int_equal(got.nfds, 0);
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), 1);
	assert_int_equal(got.nfds, 2);
	assert_int_equal(vu_msg_take_fd(&got, 2), -1);
	fd_close(&(int){ vu_msg_take_fd(&got, 0) });
	vu_msg_close_fds(&got);
	assert_int_equal(vu_msg_take_fd(&got, 0), -1);
}

static void fds_in_the_middle_of_a_message_are_refused(void **state)
{
	struct fixture *f = *state;
	struct vu_msg got;
	struct err e;

	put_header(f, VU_SET_FEATURES, 8);
	assert_int_equal(fd_send(f->peer, &(uint64_t){ 0 }, 8, (int[]){ 2 }, 1), 8);
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), -EPROTO);
	assert_non_null(strstr(e.msg, "middle"));
}

static void nine_fds_are_refused_and_closed(void **state)
{
	struct fixture *f = *state;
	struct vu_header h = { VU_SET_MEM_TABLE, 1, 0 };
	int fds[9] = { 2, 2, 2, 2, 2, 2, 2, 2, 2 };
	struct vu_msg got;
	struct err e;

	assert_int_equal(fd_send(f->peer, &h, sizeof(h), fds, 9), 12);
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), -EPROTO);
	assert_non_null(strstr(e.msg, "9"));
}

static void a_payload_beyond_every_message_is_refused_before_it_comes(void **state)
{
	static const uint32_t sizes[] = { VU_PAYLOAD_MAX + 1, 0x7fffffff, UINT32_MAX };
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct fixture *f;
		struct vu_msg got;

		if (i > 0) {
			assert_int_equal(teardown(state), 0);
			assert_int_equal(setup(state), 0);
		}
		f = *state;
		put_header(f, VU_SET_FEATURES, sizes[i]);
		assert_int_equal(vu_channel_recv(&f->c, &got, &e), -EPROTO);
	}
}

static void the_largest_payload_is_taken(void **state)
{
	struct fixture *f = *state;
	uint8_t payload[VU_PAYLOAD_MAX];
	struct vu_msg got;
	struct err e;

	memset(payload, 0x5a, sizeof(payload));
	put_header(f, VU_GET_SHMEM_CONFIG, sizeof(payload));
	put(f, payload, sizeof(payload));
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), 1);
	assert_memory_equal(got.payload.bytes, payload, sizeof(payload));
}

static void the_end_of_the_stream_is_told_from_the_end_in_a_message(void **state)
{
	struct fixture *f = *state;
	struct vu_msg got;
	struct err e;

	put(f, "\1\0\0", 3);
	fd_close(&f->peer);
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), -ECONNRESET);
	assert_non_null(strstr(e.msg, "middle"));

	assert_int_equal(teardown(state), 0);
	assert_int_equal(setup(state), 0);
	f = *state;
	fd_close(&f->peer);
	assert_int_equal(vu_channel_recv(&f->c, &got, &e), -ECONNRESET);
	assert_null(strstr(e.msg, "middle"));
}

/* Fills the socket; returns how many messages with value 0, 1, 2... were taken, one fd each. */
static unsigned send_until(struct fixture *f, unsigned limit, int *ret)
{
	unsigned sent = 0;

	for (*ret = 0; sent < limit; sent++) {
		struct vu_msg m = features_message(sent);

		m.fds[0] = STDERR_FILENO;
		m.nfds = 1;
		*ret = vu_channel_send(&f->c, &m);
		if (*ret < 0)
			break;
	}
	return sent;
}

static void what_the_socket_does_not_take_waits_and_follows_in_order(void **state)
{
	struct fixture *f = *state;
	unsigned sent, got = 0;
	struct vu_channel peer;
	int r, small = 4096;
	struct err e;

	setsockopt(f->c.sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	sent = send_until(f, 100, &r);
	assert_int_equal(r, 0);
	assert_int_equal(sent, 100);
	assert_true(vu_channel_pending(&f->c));

	vu_channel_init(&peer, &f->peer);
	while (got < sent) {
		struct vu_msg m;

		r = vu_channel_recv(&peer, &m, &e);
		assert_true(r >= 0);
		if (r == 0) {
			assert_true(vu_channel_pending(&f->c));
			assert_int_equal(vu_channel_flush(&f->c), 0);
			continue;
		}
		assert_int_equal(m.payload.u64, got++);
		assert_int_equal(m.nfds, 1);
		vu_msg_close_fds(&m);
	}
	assert_false(vu_channel_pending(&f->c));
	vu_channel_fini(&peer);
}

static void a_peer_that_reads_nothing_cannot_make_us_queue_without_bound(void **state)
{
	struct fixture *f = *state;
	int r;

	send_until(f, 100000, &r);
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(f->c.out_count, VU_CHANNEL_QUEUE);
	vu_channel_discard(&f->c);
	assert_false(vu_channel_pending(&f->c));
}

static void sending_to_a_closed_peer_is_an_error_and_no_signal(void **state)
{
	struct fixture *f = *state;
	struct vu_msg m = features_message(0);

	fd_close(&f->peer);
	assert_int_equal(vu_channel_send(&f->c, &m), -EPIPE);
}

static int check_request(uint32_t request, uint32_t flags, uint32_t size, size_t nfds)
{
	struct vu_msg m = { .header = { request, flags, size }, .nfds = nfds };
	struct err e = { "" };
	int r = vu_msg_check_request(&m, vu_msg_types, VU_REQUEST_END, &e);

	assert_true((r < 0) == (e.msg[0] != '\0'));
	return r;
}

static void requests_are_judged_by_flags_id_size_and_fds(void **state)
{
	(void)state;
	assert_int_equal(check_request(VU_SET_FEATURES, 0x1, 8, 0), 0);
	assert_int_equal(check_request(VU_SET_FEATURES, 0x9, 8, 0), 0);
	assert_int_equal(check_request(VU_SET_FEATURES, 0x0, 8, 0), -EPROTO);
	assert_int_equal(check_request(VU_SET_FEATURES, 0x2, 8, 0), -EPROTO);
	assert_int_equal(check_request(VU_SET_FEATURES, 0x5, 8, 0), -EPROTO);
	assert_int_equal(check_request(VU_SET_FEATURES, 0x11, 8, 0), -EPROTO);
	assert_int_equal(check_request(0, 0x1, 0, 0), -ENOSYS);
	assert_int_equal(check_request(VU_REQUEST_END, 0x1, 0, 0), -ENOSYS);
	assert_int_equal(check_request(UINT32_MAX, 0x1, 0, 0), -ENOSYS);
	assert_int_equal(check_request(VU_SET_FEATURES, 0x1, 7, 0), -EINVAL);
	assert_int_equal(check_request(VU_SET_FEATURES, 0x1, 9, 0), -EINVAL);
	assert_int_equal(check_request(VU_SET_FEATURES, 0x1, 8, 1), -EINVAL);
	assert_int_equal(check_request(VU_ADD_MEM_REG, 0x1, 40, 0), -EINVAL);
	assert_int_equal(check_request(VU_ADD_MEM_REG, 0x1, 40, 1), 0);
	assert_int_equal(check_request(VU_ADD_MEM_REG, 0x1, 40, 2), -EINVAL);
	assert_int_equal(check_request(VU_GET_SHMEM_CONFIG, 0x1, 0, 0), 0);
	assert_int_equal(check_request(VU_GET_SHMEM_CONFIG, 0x1, 8, 0), -EINVAL);
	assert_int_equal(check_request(VU_GET_CONFIG, 0x1, 12, 0), -EINVAL);
	assert_int_equal(check_request(VU_GET_CONFIG, 0x1, 12 + VU_CONFIG_MAX, 0), 0);
	assert_int_equal(check_request(VU_GET_CONFIG, 0x1, 13 + VU_CONFIG_MAX, 0), -EINVAL);
}

static int check_reply(uint32_t asked, uint32_t request, uint32_t flags, uint32_t size, size_t nfds)
{
	struct vu_msg m = { .header = { request, flags, size }, .nfds = nfds };
	struct err e = { "" };
	int r = vu_msg_check_reply(&m, asked, vu_msg_types, &e);

	assert_true((r < 0) == (e.msg[0] != '\0'));
	return r;
}

static void replies_must_have_exactly_the_right_flags_id_size_and_fds(void **state)
{
	static const uint32_t wrong[] = { 0x0, 0x1, 0x4, 0x6, 0x7, 0xd, 0x15, 0x80000005 };

	(void)state;
	assert_int_equal(check_reply(VU_GET_FEATURES, VU_GET_FEATURES, 0x5, 8, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(check_reply(VU_GET_FEATURES, VU_GET_FEATURES, wrong[i], 8, 0),
				 -EPROTO);
	assert_int_equal(check_reply(VU_GET_FEATURES, VU_GET_QUEUE_NUM, 0x5, 8, 0), -EPROTO);
	assert_int_equal(check_reply(VU_GET_FEATURES, UINT32_MAX, 0x5, 8, 0), -EPROTO);
	assert_int_equal(check_reply(VU_GET_FEATURES, VU_GET_FEATURES, 0x5, 4, 0), -EPROTO);
	assert_int_equal(check_reply(VU_GET_FEATURES, VU_GET_FEATURES, 0x5, 16, 0), -EPROTO);
	assert_int_equal(check_reply(VU_GET_FEATURES, VU_GET_FEATURES, 0x5, 8, 1), -EPROTO);
	assert_int_equal(check_reply(VU_SET_OWNER, VU_SET_OWNER, 0x5, 8, 0), 0);
	assert_int_equal(check_reply(VU_SET_OWNER, VU_SET_OWNER, 0x5, 0, 0), -EPROTO);
	assert_int_equal(check_reply(VU_GET_SHMEM_CONFIG, VU_GET_SHMEM_CONFIG, 0x5, 2056, 0), 0);
	assert_int_equal(check_reply(VU_GET_SHMEM_CONFIG, VU_GET_SHMEM_CONFIG, 0x5, 2048, 0),
			 -EPROTO);
	assert_int_equal(check_reply(VU_GET_SHMEM_CONFIG, VU_GET_SHMEM_CONFIG, 0x5, 2056, 1),
			 -EPROTO);
	assert_int_equal(check_reply(VU_GET_CONFIG, VU_GET_CONFIG, 0x5, 0, 0), 0);
	assert_int_equal(check_reply(VU_GET_INFLIGHT_FD, VU_GET_INFLIGHT_FD, 0x5, 20, 1), -EPROTO);
	assert_int_equal(check_reply(VU_GET_INFLIGHT_FD, VU_GET_INFLIGHT_FD, 0x5, 24, 1), 0);
	assert_int_equal(check_reply(VU_GET_INFLIGHT_FD, VU_GET_INFLIGHT_FD, 0x5, 24, 2), -EPROTO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_sent_message_arrives_whole_with_its_fds),
		TEST(a_message_in_single_bytes_is_put_together),
		TEST(two_messages_in_one_write_are_taken_one_by_one),
		TEST(fds_belong_to_the_message_whose_first_byte_they_came_with),
		TEST(fds_in_the_middle_of_a_message_are_refused),
		TEST(nine_fds_are_refused_and_closed),
		TEST(a_payload_beyond_every_message_is_refused_before_it_comes),
		TEST(the_largest_payload_is_taken),
		TEST(the_end_of_the_stream_is_told_from_the_end_in_a_message),
		TEST(what_the_socket_does_not_take_waits_and_follows_in_order),
		TEST(a_peer_that_reads_nothing_cannot_make_us_queue_without_bound),
		TEST(sending_to_a_closed_peer_is_an_error_and_no_signal),
		cmocka_unit_test(requests_are_judged_by_flags_id_size_and_fds),
		cmocka_unit_test(replies_must_have_exactly_the_right_flags_id_size_and_fds),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
