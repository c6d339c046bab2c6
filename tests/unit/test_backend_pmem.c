/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minivmm-backend's persistent memory. The front end's side of the back channel is a thread, since
 * the device waits for its answers: it keeps what is mapped, and refuses as a real one does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_pmem.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "driver.h"
#include "vhost/backends/device.h"
#include "vhost/backends/image.h"
#include "vhost/backends/options.h"

enum { SIZE = 4 << 20, REQUEST = DRIVER_DATA, ANSWER = DRIVER_DATA + 0x100, NO_ANSWER = 0xee };

/* The front end, as far as mappings go. */
struct front {
	int back;
	pthread_t thread;
	bool refuses;
	bool mapped;
	unsigned maps, unmaps, refused;
	struct vu_mmap last;		/* the last it was asked to map */
	ino_t object;
	int access_mode;		/* of its fd */
};

struct fixture {
	char path[64];
	int file;
	struct options options;
	struct loop loop;
	void *dev;
	struct backend backend;
	struct driver driver;
	struct front front;
	bool has_front;
};

static uint64_t map_or_unmap(struct front *f, uint32_t request, const struct vu_mmap *m)
{
	bool map = request == VU_BACKEND_SHMEM_MAP;

	if (f->refuses || f->mapped == map) {
		f->refused++;
		return EINVAL;
	}
	f->mapped = map;
	*(map ? &f->maps : &f->unmaps) += 1;
	if (map)
		f->last = *m;
	return 0;
}

static void *run_front(void *arg)
{
	struct front *f = arg;
	struct { struct vu_header h; uint8_t payload[sizeof(struct vu_mmap)]; } in;
	struct { struct vu_header h; uint8_t value[8]; } out;
	int fds[FD_PASS_MAX];
	size_t nfds;

	while (fd_recv(f->back, &in, sizeof(in), fds, &nfds) == sizeof(in)) {
		struct vu_mmap m;
		uint64_t answer;
		struct stat st;

		memcpy(&m, in.payload, sizeof(m));
		answer = map_or_unmap(f, in.h.request, &m);
		if (nfds && !fstat(fds[0], &st)) {
			f->object = st.st_ino;
			f->access_mode = fcntl(fds[0], F_GETFL) & O_ACCMODE;
			fd_close(&fds[0]);
		}
		out.h = (struct vu_header){ in.h.request, VU_FLAG_VERSION | VU_FLAG_REPLY, 8 };
		memcpy(out.value, &answer, 8);
		if (fd_send(f->back, &out, sizeof(out), NULL, 0) != sizeof(out))
			break;
	}
	return NULL;
}

static void end_front(struct fixture *f)
{
	if (!f->has_front)
		return;
	shutdown(f->front.back, SHUT_RDWR);
	pthread_join(f->front.thread, NULL);
	fd_close(&f->front.back);
	f->has_front = false;
}

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	snprintf(f->path, sizeof(f->path), "/tmp/minivmm-test-pmem-XXXXXX");
	f->file = mkostemp(f->path, O_CLOEXEC);
	assert_true(f->file >= 0);
	assert_int_equal(ftruncate(f->file, SIZE), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->dev) {
		backend_fini(&f->backend);
		pmem_device.close(f->dev);
		loop_fini(&f->loop);
		driver_fini(&f->driver);
	}
	end_front(f);
	options_fini(&f->options);
	fd_close(&f->file);
	rmdir(f->path);
	unlink(f->path);
	test_free(f);
	return 0;
}

static int open_file(struct fixture *f, const char *path, const char *keys,
		     struct backend_device *ret, struct err *e)
{
	char program[] = "minivmm-backend", type[] = "pmem", fd[] = "--fd=9", file[128];
	char *argv[] = { program, type, fd, file, NULL };

	snprintf(file, sizeof(file), "--file=%s%s", path, keys);
	options_fini(&f->options);
	if (options_parse(&f->options, 4, argv, e))
		fail_msg("%s", e->msg);
	return pmem_device.open(&f->options, &f->loop, ret, e);
}

/* A front end is connected and has negotiated. */
static void negotiate(struct fixture *f)
{
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	f->front = (struct front){ .back = driver_give_back_channel(&f->driver) };
	assert_int_equal(pthread_create(&f->front.thread, NULL, run_front, &f->front), 0);
	f->has_front = true;
}

static struct fixture *negotiated(void **state, const char *keys)
{
	struct fixture *f = *state;
	struct backend_device dev;
	struct err e = { "" };

	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	if (open_file(f, f->path, keys, &dev, &e))
		fail_msg("%s", e.msg);
	f->dev = dev.arg;
	driver_serve(&f->driver, &f->backend, &f->loop, &dev);
	negotiate(f);
	return f;
}

static struct fixture *started(void **state, const char *keys)
{
	struct fixture *f = negotiated(state, keys);

	driver_start_queue(&f->driver, 0, 16);
	return f;
}

static int set_enabled(struct fixture *f, uint32_t on)
{
	return driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 0, on);
}

/* One request of @len bytes with @type in it, and its answer. */
static uint32_t ask(struct fixture *f, uint32_t type, uint32_t len)
{
	struct driver_buf bufs[] = { { REQUEST, len, false }, { ANSWER, 4, true } };
	uint32_t answer;

	memcpy(f->driver.ram + REQUEST, &type, sizeof(type));
	memset(f->driver.ram + ANSWER, NO_ANSWER, sizeof(answer));
	assert_int_equal(driver_request(&f->driver, 0, bufs, 2), sizeof(answer));
	memcpy(&answer, f->driver.ram + ANSWER, sizeof(answer));
	return answer;
}

/* Mapping */

static void the_file_is_mapped_before_the_queue_runs(void **state)
{
	const struct vu_mmap want = { .flags = VU_SHMEM_RW, .len = SIZE };
	struct fixture *f = negotiated(state, "");
	struct stat st;

	assert_true(f->driver.features & 1);
	assert_int_equal(f->front.maps, 0);
	driver_start_queue(&f->driver, 0, 16);
	assert_int_equal(f->front.maps, 1);
	assert_memory_equal(&f->front.last, &want, sizeof(want));
	assert_int_equal(fstat(f->file, &st), 0);
	assert_true(f->front.object == st.st_ino);
	assert_int_equal(f->front.access_mode, O_RDWR);
}

static void a_readonly_file_is_mapped_readonly(void **state)
{
	struct fixture *f = started(state, ",readonly");

	assert_int_equal(f->front.maps, 1);
	assert_int_equal(f->front.last.flags, 0);
	assert_int_equal(f->front.access_mode, O_RDONLY);
}

static void the_regions_and_the_config_space_have_the_files_size(void **state)
{
	struct fixture *f = started(state, "");
	const struct virtio_pmem_config want = { .size = SIZE };
	uint8_t config[VU_CONFIG_MAX] = { 0 };

	assert_true(f->backend.dev.shmem[0] == SIZE);
	for (unsigned i = 1; i < VU_SHMEM_REGIONS; i++)
		assert_true(f->backend.dev.shmem[i] == 0);
	f->backend.dev.ops->config_read(f->dev, config);
	assert_memory_equal(config, &want, sizeof(want));
}

static void a_disabled_queue_has_nothing_mapped(void **state)
{
	struct fixture *f = started(state, "");

	for (unsigned life = 1; life <= 3; life++) {
		assert_int_equal(set_enabled(f, 0), 0);
		assert_false(f->front.mapped);
		assert_int_equal(set_enabled(f, 1), 0);
		assert_true(f->front.mapped);
		assert_int_equal(f->front.maps, life + 1);
	}
	assert_int_equal(f->front.refused, 0);
}

static void a_queue_enabled_twice_has_it_mapped_once(void **state)
{
	struct fixture *f = started(state, "");

	assert_int_equal(set_enabled(f, 1), 0);
	assert_true(f->front.mapped);
	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4), 0);
}

/* As after a reset, when it tells nobody. */
static void what_the_front_end_dropped_is_mapped_anew(void **state)
{
	struct fixture *f = started(state, "");

	f->front.mapped = false;
	driver_stop_queue(&f->driver, 0);
	driver_resume_queue(&f->driver, 0, 0);
	assert_int_equal(f->front.maps, 2);
	assert_true(f->front.mapped);
	f->front.mapped = false;
	assert_int_equal(set_enabled(f, 0), 0);
}

static void a_refused_mapping_refuses_the_queue(void **state)
{
	struct fixture *f = started(state, "");

	assert_int_equal(set_enabled(f, 0), 0);
	f->front.refuses = true;
	assert_int_equal(set_enabled(f, 1), 1);
	assert_false(f->backend.queues[0].enabled);
	f->front.refuses = false;
	assert_int_equal(set_enabled(f, 1), 0);
	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4), 0);
}

static void a_front_end_without_windows_cannot_enable(void **state)
{
	struct fixture *f = negotiated(state, "");

	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_PROTOCOL_FEATURES,
					f->driver.protocol & ~BIT64(VU_PF_SHMEM)), 0);
	assert_int_equal(set_enabled(f, 1), 1);
	assert_int_equal(f->front.maps + f->front.refused, 0);
}

static void the_next_front_end_gets_it_as_well(void **state)
{
	struct fixture *f = started(state, "");
	struct err e = { "" };
	int pair[2];

	fd_close(&f->driver.sock);
	driver_settle(&f->driver);
	end_front(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	driver_reconnect(&f->driver, &pair[0]);
	assert_int_equal(backend_connect(&f->backend, &pair[1], &e), 0);
	negotiate(f);
	driver_start_queue(&f->driver, 0, 16);
	assert_int_equal(f->front.maps, 1);
	assert_int_equal(f->front.refused, 0);
}

/* Requests */

static void a_flush_is_answered_with_0(void **state)
{
	struct fixture *f = started(state, "");
	struct driver_buf pieces[] = { { REQUEST, 1, false }, { REQUEST + 1, 3, false },
				       { ANSWER, 3, true }, { ANSWER + 3, 9, true } };

	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4), 0);
	memset(f->driver.ram + ANSWER, NO_ANSWER, 16);
	assert_int_equal(driver_request(&f->driver, 0, pieces, 4), 4);
	assert_memory_equal(f->driver.ram + ANSWER, "\0\0\0\0\xee\xee", 6);
}

/* Of this process's descriptors below @end the one, but the test's own, that is the file. */
static int device_fd(const struct fixture *f, int end)
{
	struct stat want, st;

	assert_int_equal(fstat(f->file, &want), 0);
	for (int fd = 3; fd < end; fd++)
		if (fd != f->file && !fstat(fd, &st) && st.st_ino == want.st_ino &&
		    st.st_dev == want.st_dev)
			return fd;
	fail_msg("the device has no descriptor of its file");
	return -1;
}

static void a_flush_that_fails_is_answered_with_1(void **state)
{
	struct fixture *f = started(state, "");
	int pipes[2], fd;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	fd = device_fd(f, pipes[1]);
	/* A pipe cannot be synced. */
	assert_int_equal(dup3(pipes[0], fd, O_CLOEXEC), fd);
	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4), 1);
	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4), 1);
	close(pipes[0]);
	close(pipes[1]);
}

static void a_flush_of_a_readonly_file_is_answered_with_1(void **state)
{
	struct fixture *f = started(state, ",readonly");

	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4), 1);
}

static void other_requests_are_answered_with_1(void **state)
{
	struct fixture *f = started(state, "");
	struct driver_buf answer_alone = { ANSWER, 4, true };

	assert_int_equal(ask(f, 1, 4), 1);
	assert_int_equal(ask(f, UINT32_MAX, 4), 1);
	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 3), 1);
	assert_int_equal(driver_request(&f->driver, 0, &answer_alone, 1), 4);
	assert_int_equal(f->driver.ram[ANSWER], 1);
	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4), 0);
}

static void a_request_without_room_for_its_answer_breaks_the_queue_alone(void **state)
{
	struct fixture *f = started(state, "");
	struct driver_buf bufs[] = { { REQUEST, 4, false }, { ANSWER, 3, true } };

	memset(f->driver.ram + REQUEST, 0, 4);
	assert_int_equal(driver_request(&f->driver, 0, bufs, 2), 0);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	driver_stop_queue(&f->driver, 0);
	driver_start_queue(&f->driver, 0, 16);
	assert_int_equal(ask(f, VIRTIO_PMEM_REQ_TYPE_FLUSH, 4), 0);
}

/* Files */

static void assert_not_opened(struct fixture *f, const char *path, const char *keys,
			      const char *words)
{
	struct backend_device dev;
	struct err e = { "" };

	assert_true(open_file(f, path, keys, &dev, &e) < 0);
	if (!strstr(e.msg, words) || !strstr(e.msg, path))
		fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
}

static void files_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_not_opened(f, "/nonexistent", "", "No such file");
	assert_not_opened(f, "/tmp", "", "directory");
	assert_not_opened(f, "/tmp", ",readonly", "no regular file");
	assert_not_opened(f, "/dev/null", "", "no regular file");
	assert_int_equal(ftruncate(f->file, 0), 0);
	assert_not_opened(f, f->path, "", "empty");
}

static void sizes_that_linux_would_cut_are_refused_with_the_way_out(void **state)
{
	static const off_t sizes[] = { 1, 4096, SIZE - 1, SIZE + 4096, SIZE + (1 << 20) };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(ftruncate(f->file, sizes[i]), 0);
		assert_not_opened(f, f->path, "", "truncate -s %2M");
		assert_not_opened(f, f->path, ",readonly", "no multiple of 2 MiB");
	}
}

static void a_file_has_one_writer_or_many_readers(void **state)
{
	struct fixture *f = *state;
	struct backend_device first, second;
	struct err e;

	assert_int_equal(open_file(f, f->path, "", &first, &e), 0);
	assert_not_opened(f, f->path, ",readonly", "in use");
	pmem_device.close(first.arg);
	assert_int_equal(open_file(f, f->path, ",readonly", &first, &e), 0);
	assert_int_equal(open_file(f, f->path, ",readonly", &second, &e), 0);
	assert_not_opened(f, f->path, "", "in use");
	pmem_device.close(first.arg);
	pmem_device.close(second.arg);
}

/* The front end of a daemon that was killed: it lets go of its mapping a moment later. */
static void *let_go(void *arg)
{
	const struct timespec moment = { .tv_nsec = 200 * 1000 * 1000 };

	nanosleep(&moment, NULL);
	fd_close(arg);
	return NULL;
}

static void a_front_end_that_still_has_the_file_mapped_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct backend_device next;
	pthread_t front;
	struct err e;
	int held = image_open(f->path, false, IMAGE_MAPPED, &e);

	assert_true(held >= 0);
	assert_int_equal(pthread_create(&front, NULL, let_go, &held), 0);
	assert_int_equal(open_file(f, f->path, "", &next, &e), 0);
	pthread_join(front, NULL);
	assert_int_equal(held, -1);
	pmem_device.close(next.arg);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_file_is_mapped_before_the_queue_runs),
		CASE(a_readonly_file_is_mapped_readonly),
		CASE(the_regions_and_the_config_space_have_the_files_size),
		CASE(a_disabled_queue_has_nothing_mapped),
		CASE(a_queue_enabled_twice_has_it_mapped_once),
		CASE(what_the_front_end_dropped_is_mapped_anew),
		CASE(a_refused_mapping_refuses_the_queue),
		CASE(a_front_end_without_windows_cannot_enable),
		CASE(the_next_front_end_gets_it_as_well),
		CASE(a_flush_is_answered_with_0),
		CASE(a_flush_that_fails_is_answered_with_1),
		CASE(a_flush_of_a_readonly_file_is_answered_with_1),
		CASE(other_requests_are_answered_with_1),
		CASE(a_request_without_room_for_its_answer_breaks_the_queue_alone),
		CASE(files_that_cannot_be_are_refused),
		CASE(sizes_that_linux_would_cut_are_refused_with_the_way_out),
		CASE(a_file_has_one_writer_or_many_readers),
		CASE(a_front_end_that_still_has_the_file_mapped_is_waited_for),
	};

	log_setup("test_backend_pmem", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_pmem", tests, NULL, NULL);
}
