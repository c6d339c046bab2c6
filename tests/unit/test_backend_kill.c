/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's disk killed again and again under many writes: each is answered once, and is in
 * the file. */
#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "daemon.h"
#include "vhost/ring.h"

enum { SIZE = 64, MANY = 60, EACH = 0x3000, BYTES = 4096, BATCHES = 4, KILLS = 4 };

static uint64_t place(unsigned i)
{
	return DRIVER_DATA + (uint64_t)i * EACH;
}

/* Write @i of a batch: its block, full of what only this batch writes there. */
static void add(struct driver *d, unsigned batch, unsigned i)
{
	uint64_t at = place(i);
	struct driver_buf bufs[] = { { at, 16, false }, { at + 0x1000, BYTES, false },
				     { at + 0x100, 1, true } };
	struct virtio_blk_outhdr h = { .type = htole32(VIRTIO_BLK_T_OUT),
				       .sector = htole64(i * (BYTES / 512)) };

	memcpy(d->ram + at, &h, sizeof(h));
	memset(d->ram + at + 0x1000, (int)(batch * MANY + i + 1), BYTES);
	d->ram[at + 0x100] = 0xee;
	driver_add(d, 0, bufs, 3, at + 0x400);
}

static uint16_t used_idx(struct driver *d)
{
	struct ring_used *used = (struct ring_used *)(void *)(d->ram + d->queues[0].used);

	return __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE);
}

static void start(struct daemon *f, const char *way)
{
	char file[32];

	snprintf(file, sizeof(file), "--file=disk,io=%s", way);
	unlink(f->socket);
	START(f, "blk", file, "--socket-path=socket");
}

/* Waits until @n are answered, or not even that long: then it is killed, wherever it is. */
static void kill_after(struct daemon *f, uint16_t n)
{
	uint64_t end = clock_ns() + MS_TO_NS(10000);

	while ((uint16_t)(used_idx(&f->driver) - n) > INT16_MAX && clock_ns() < end)
		sched_yield();
	kill(f->program.pid, SIGKILL);
	assert_int_equal(daemon_finish(f), -SIGKILL);
}

static void go_on(struct daemon *f, const struct vu_inflight *d, int buffer)
{
	int sock = daemon_connect(f->socket);

	driver_reconnect(&f->driver, &sock);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	assert_int_equal(driver_set_inflight(&f->driver, d, buffer), 0);
	driver_resume_queue(&f->driver, 0, used_idx(&f->driver));
}

/* All of a batch came back, once each, and nothing is torn. */
static void assert_written(struct daemon *f, unsigned batch)
{
	autoclose int disk = open(f->disk, O_RDONLY | O_CLOEXEC);
	bool back[SIZE] = { false };
	uint8_t block[BYTES];
	uint16_t head;

	for (unsigned i = 0; i < MANY; i++) {
		driver_wait_used(&f->driver, 0, &head);
		assert_true(head < SIZE && !back[head]);
		back[head] = true;
	}
	assert_int_equal(used_idx(&f->driver), f->driver.queues[0].avail_idx);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(f->driver.ram[place(i) + 0x100], VIRTIO_BLK_S_OK);
		assert_int_equal(pread(disk, block, BYTES, (off_t)i * BYTES), BYTES);
		assert_memory_equal(block, f->driver.ram + place(i) + 0x1000, BYTES);
	}
	assert_int_equal(block[0], (uint8_t)((batch + 1) * MANY));
}

static void kill_it(struct daemon *f, const char *way)
{
	struct vu_inflight d = { .num_queues = 1, .queue_size = SIZE };
	autoclose int buffer = -1;
	int sock;

	start(f, way);
	sock = daemon_connect(f->socket);
	driver_init(&f->driver, &sock, NULL);
	f->driving = true;
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	buffer = driver_get_inflight(&f->driver, &d);
	assert_true(buffer >= 0);
	driver_start_queue(&f->driver, 0, SIZE);
	for (unsigned batch = 0; batch < BATCHES; batch++) {
		uint16_t from = used_idx(&f->driver);

		for (unsigned i = 0; i < MANY; i++)
			add(&f->driver, batch, i);
		driver_kick(&f->driver, 0);
		for (unsigned k = 0; k < KILLS; k++) {
			kill_after(f, (uint16_t)(from + k * (MANY / KILLS) + batch));
			start(f, way);
			go_on(f, &d, buffer);
		}
		assert_written(f, batch);
	}
	daemon_stop(f, SIGTERM);
}

static void killed_with_one_request_after_the_other(void **state)
{
	kill_it(*state, "sync");
}

static void killed_with_many_requests_at_a_time(void **state)
{
	kill_it(*state, "auto");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, daemon_setup, daemon_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(killed_with_one_request_after_the_other),
		CASE(killed_with_many_requests_at_a_time),
	};

	return cmocka_run_group_tests_name("backend_kill", tests, NULL, NULL);
}
