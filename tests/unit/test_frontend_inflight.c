/* SPDX-License-Identifier: Apache-2.0 */
/* The in-flight buffer: asked for once, kept, handed to each daemon, and never believed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/owner.h"
#include "tests/unit/process.h"

#define INFLIGHT (GOOD | BIT64(VU_PF_INFLIGHT_SHMFD))

enum { SIZE = 8192 };

static struct vu_inflight_buffer buffer = VU_INFLIGHT_NONE;

static int file_of(off_t size)
{
	int fd = memfd_create("inflight", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

static unsigned long long inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Connected to a daemon that gives the file @fd, borrowed. */
static struct owner *ready(void **state, int fd, uint64_t size)
{
	struct owner *f = *state;

	f->params.inflight = &buffer;
	owner_connect(f);
	f->daemon.protocol = INFLIGHT;
	f->daemon.inflight = (struct vu_inflight){ .mmap_size = size, .num_queues = OWNER_RINGS,
						   .queue_size = 128 };
	f->daemon.inflight_fd = fd;
	owner_connected(f);
	scripted_daemon_order(&f->daemon);
	return f;
}

static void start(struct owner *f)
{
	struct err e;

	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
}

/* The same device with its next daemon. */
static struct owner *again(void **state)
{
	owner_teardown(state);
	owner_setup(state);
	return *state;
}

static int teardown(void **state)
{
	vu_inflight_drop(&buffer);
	return owner_teardown(state);
}

/* And after a word of each ring: daemons may make rings when they hear of them, and give parts of
 * the buffer to those that there are. */
static void it_is_asked_for_after_the_features_and_handed_over_before_the_rings_start(void **state)
{
	autoclose int fd = file_of(SIZE);
	struct owner *f = ready(state, fd, SIZE);
	static const char begins[] = "SET_FEATURES SET_VRING_CALL SET_VRING_CALL GET_INFLIGHT_FD "
				     "SET_INFLIGHT_FD ADD_MEM_REG";

	start(f);
	assert_int_equal(f->started, 1);
	assert_memory_equal(scripted_daemon_order(&f->daemon), begins, sizeof(begins) - 1);
	assert_int_equal(f->daemon.inflight_asked.num_queues, OWNER_RINGS);
	assert_int_equal(f->daemon.inflight_asked.queue_size, 128);
	assert_int_equal(f->daemon.inflight_set.mmap_size, SIZE);
	assert_int_equal(f->daemon.inflight_inode, inode(fd));
	owner_assert_legal(f);
}

static void the_next_daemon_is_given_it_and_not_asked(void **state)
{
	autoclose int fd = file_of(SIZE), other = file_of(SIZE);
	unsigned long long first = inode(fd);
	struct owner *f = ready(state, fd, SIZE);

	start(f);
	fd_close(&fd);
	again(state);
	f = ready(state, other, SIZE);
	start(f);
	assert_int_equal(f->started, 1);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_INFLIGHT_FD), 0);
	assert_int_equal(f->daemon.inflight_inode, first);
	assert_int_equal(f->daemon.inflight_set.num_queues, OWNER_RINGS);

	/* After a reset it is another. */
	vu_inflight_drop(&buffer);
	again(state);
	f = ready(state, other, SIZE);
	start(f);
	assert_int_equal(f->daemon.inflight_inode, inode(other));
}

static void a_daemon_may_want_none(void **state)
{
	struct owner *f = ready(state, -1, 0);

	start(f);
	assert_int_equal(f->started, 1);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_SET_INFLIGHT_FD), 0);
	assert_int_equal(buffer.fd, -1);
}

static void one_without_the_feature_is_not_asked(void **state)
{
	struct owner *f = *state;

	f->params.inflight = &buffer;
	owner_running(state, GOOD);
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_INFLIGHT_FD), 0);
	owner_assert_legal(f);
}

/* Answers that are refused: a file of @length bytes, or (-1) none, or (-2) an eventfd. */
static const struct {
	off_t length;
	struct vu_inflight answer;
	const char *words;
} bad[] = {
	{ -1, { SIZE, 0, OWNER_RINGS, 128, 0 }, "without its file" },
	{ -2, { SIZE, 0, OWNER_RINGS, 128, 0 }, "is not a file" },
	{ SIZE - 1, { SIZE, 0, OWNER_RINGS, 128, 0 }, "does not lie in its file of 8191 bytes" },
	{ SIZE, { SIZE, 4096, OWNER_RINGS, 128, 0 }, "does not lie in its file" },
	{ SIZE, { 4096, 512, OWNER_RINGS, 128, 0 }, "does not lie in its file" },
	{ SIZE, { SIZE, UINT64_MAX - 4095, OWNER_RINGS, 128, 0 }, "does not lie in its file" },
	{ SIZE, { UINT64_MAX, 0, OWNER_RINGS, 128, 0 }, "does not lie in its file" },
	{ SIZE, { SIZE, 0, 1, 128, 0 }, "1 queues of 128 entries, asked for were 2 of 128" },
	{ SIZE, { SIZE, 0, OWNER_RINGS, 64, 0 }, "2 queues of 64 entries" },
};

static void an_answer_that_cannot_be_ends_the_connection_and_leaves_nothing(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		autoclose int fd = -1;
		struct owner *f;
		unsigned before;

		if (bad[i].length >= 0)
			fd = file_of(bad[i].length);
		else if (bad[i].length == -2)
			fd = fd_eventfd();
		f = ready(state, fd, SIZE);
		f->daemon.inflight = bad[i].answer;
		before = process_fds();
		start(f);
		owner_assert_lost(f, bad[i].words);
		assert_int_equal(f->started, 0);
		assert_int_equal(buffer.fd, -1);
		assert_true(process_fds() <= before);
		again(state);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, owner_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(it_is_asked_for_after_the_features_and_handed_over_before_the_rings_start),
		CASE(the_next_daemon_is_given_it_and_not_asked),
		CASE(a_daemon_may_want_none),
		CASE(one_without_the_feature_is_not_asked),
		CASE(an_answer_that_cannot_be_ends_the_connection_and_leaves_nothing),
	};

	return cmocka_run_group_tests_name("frontend_inflight", tests, NULL, NULL);
}
