/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's entropy source. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "driver.h"
#include "vhost/backends/device.h"
#include "vhost/backends/options.h"

enum { BUF = DRIVER_DATA };

struct fixture {
	char path[64];		/* of a source the test makes */
	int file;
	struct options options;
	struct loop loop;
	void *dev;
	struct backend backend;
	struct driver driver;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	snprintf(f->path, sizeof(f->path), "/tmp/minivmm-test-rng-XXXXXX");
	f->file = mkostemp(f->path, O_CLOEXEC);
	assert_true(f->file >= 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->dev) {
		backend_fini(&f->backend);
		rng_device.close(f->dev);
		loop_fini(&f->loop);
		driver_fini(&f->driver);
	}
	fd_close(&f->file);
	unlink(f->path);
	test_free(f);
	return 0;
}

static struct fixture *source(void **state, const char *path)
{
	struct fixture *f = *state;
	struct backend_device dev;
	struct err e = { "" };

	f->options = (struct options){ .type = OPTION_RNG, .fd = -1, .source = path };
	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	if (rng_device.open(&f->options, &f->loop, &dev, &e))
		fail_msg("%s", e.msg);
	f->dev = dev.arg;
	driver_serve(&f->driver, &f->backend, &f->loop, &dev);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	driver_start_queue(&f->driver, 0, 8);
	return f;
}

static uint32_t ask(struct fixture *f, uint64_t gpa, uint32_t len)
{
	struct driver_buf buf = { gpa, len, true };

	return driver_request(&f->driver, 0, &buf, 1);
}

/* A request that is not answered while the device has every chance to. */
static void assert_unanswered(struct fixture *f, uint32_t len)
{
	struct driver_buf buf = { BUF, len, true };
	uint16_t head;
	uint32_t got;

	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_false(driver_used(&f->driver, 0, &head, &got));
}

static void a_request_is_filled(void **state)
{
	struct fixture *f = source(state, NULL);
	static const uint8_t zeros[64];

	assert_int_equal(ask(f, BUF, 64), 64);
	assert_memory_not_equal(f->driver.ram + BUF, zeros, 64);
	assert_memory_equal(f->driver.ram + BUF + 64, zeros, 64);
	assert_false(driver_get(&f->driver, VU_GET_PROTOCOL_FEATURES) & BIT64(VU_PF_CONFIG));
}

static void a_request_gets_at_most_64_kib(void **state)
{
	struct fixture *f = source(state, NULL);

	assert_int_equal(ask(f, BUF, 1 << 20), 65536);
	assert_int_equal(f->driver.ram[BUF + 65536] | f->driver.ram[BUF + 65537] |
				 f->driver.ram[BUF + 65538],
			 0);
}

static void a_request_without_writable_bytes_is_given_back(void **state)
{
	struct fixture *f = source(state, NULL);
	struct driver_buf buf = { BUF, 16, false };

	assert_int_equal(driver_request(&f->driver, 0, &buf, 1), 0);
}

static void no_byte_is_given_twice(void **state)
{
	struct fixture *f = *state;
	unsigned seen[256] = { 0 };
	uint8_t bytes[256];

	for (unsigned i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(write(f->file, bytes, 256), 256);
	source(state, f->path);
	assert_int_equal(ask(f, BUF, 100), 100);
	assert_int_equal(ask(f, BUF + 100, 1), 1);
	assert_int_equal(ask(f, BUF + 101, 1000), 155);
	for (unsigned i = 0; i < 256; i++)
		seen[f->driver.ram[BUF + i]]++;
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(seen[i], 1);
	/* The source has ended: better no answer than a made-up one, and stopping does not wait. */
	assert_unanswered(f, 16);
	assert_int_equal(driver_stop_queue(&f->driver, 0), 3);
}

static void a_request_waits_for_a_slow_source(void **state)
{
	struct fixture *f = *state;
	autoclose int fifo = -1;
	uint16_t head;

	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	source(state, f->path);
	assert_unanswered(f, 16);
	fifo = open(f->path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fifo, "12345", 5), 5);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 5);
	assert_memory_equal(f->driver.ram + BUF, "12345", 5);
	/* The writer's end is not the source's end. */
	fd_close(&fifo);
	assert_unanswered(f, 16);
	assert_int_equal(driver_stop_queue(&f->driver, 0), 1);
}

static void a_front_end_may_leave_while_a_request_waits(void **state)
{
	struct fixture *f = *state;

	unlink(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	source(state, f->path);
	assert_unanswered(f, 16);
	fd_close(&f->driver.sock);
	driver_settle(&f->driver);
	assert_true(f->backend.ended);
	assert_null(f->loop.timers);
}

static void sources_that_cannot_be_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = { "/nonexistent", "/" };
	struct backend_device dev;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f->options = (struct options){ .type = OPTION_RNG, .fd = -1, .source = bad[i] };
		assert_true(rng_device.open(&f->options, &f->loop, &dev, &e) < 0);
		assert_non_null(strstr(e.msg, bad[i]));
	}
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_request_is_filled),
		CASE(a_request_gets_at_most_64_kib),
		CASE(a_request_without_writable_bytes_is_given_back),
		CASE(no_byte_is_given_twice),
		CASE(a_request_waits_for_a_slow_source),
		CASE(a_front_end_may_leave_while_a_request_waits),
		CASE(sources_that_cannot_be_are_refused),
	};

	log_setup("test_backend_rng", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_rng", tests, NULL, NULL);
}
