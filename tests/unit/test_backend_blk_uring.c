/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's disk with many requests at a time: how they end, wait, and are given up. */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "disk.h"
#include "minivmm_config.h"
#include "vhost/backends/blk_uring.h"
#include "vhost/backends/device.h"

#if HAVE_URING
#include <liburing.h>

/* Of a request: a header, an indirect table, a sector and a status, each at its place. */
enum { EACH = 0x1000, QUEUES = 4, PER_QUEUE = 60 };

static uint64_t place(unsigned i)
{
	return DRIVER_DATA + (uint64_t)i * EACH;
}

/* Request @i in queue @queue: sector @i written from, or read to, its place. */
static void add(struct disk *d, unsigned queue, unsigned i, bool write)
{
	uint64_t at = place(i);
	struct driver_buf bufs[] = { { at, 16, false }, { at + 0x200, 512, !write },
				     { at + 0x100, 1, true } };
	struct virtio_blk_outhdr h = { .type = htole32(write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN),
				       .sector = htole64(i) };

	memcpy(d->driver.ram + at, &h, sizeof(h));
	d->driver.ram[at + 0x100] = NO_STATUS;
	driver_add(&d->driver, queue, bufs, 3, at + 0x400);
}

static struct disk *started(void **state, unsigned queues)
{
	struct disk *d = *state;
	char more[32];

	if (!d->uring)
		skip();
	snprintf(more, sizeof(more), "--queues=%u", queues);
	disk_started(state, "", more);
	for (unsigned q = 1; q < queues; q++)
		driver_start_queue(&d->driver, q, 64);
	return d;
}

/* More than there is room for, in all queues at once. */
static void add_many(struct disk *d, bool write)
{
	for (unsigned i = 0; i < QUEUES * PER_QUEUE; i++)
		add(d, i % QUEUES, i, write);
	for (unsigned q = 0; q < QUEUES; q++)
		driver_kick(&d->driver, q);
}

static void wait_many(struct disk *d)
{
	for (unsigned q = 0; q < QUEUES; q++) {
		for (unsigned i = 0; i < PER_QUEUE; i++) {
			uint16_t head;

			driver_wait_used(&d->driver, q, &head);
		}
	}
	for (unsigned i = 0; i < QUEUES * PER_QUEUE; i++)
		assert_int_equal(d->driver.ram[place(i) + 0x100], VIRTIO_BLK_S_OK);
}

static void more_requests_than_there_is_room_for_all_end(void **state)
{
	struct disk *d = started(state, QUEUES);

	assert_true(QUEUES * PER_QUEUE > BLK_URING_IOS);
	for (unsigned i = 0; i < QUEUES * PER_QUEUE; i++)
		disk_fill(d->driver.ram + place(i) + 0x200, 512, i);
	add_many(d, true);
	wait_many(d);
	for (unsigned i = 0; i < QUEUES * PER_QUEUE; i++) {
		disk_assert_file(d, i, d->driver.ram + place(i) + 0x200, 512);
		memset(d->driver.ram + place(i) + 0x200, 0, 512);
	}
	add_many(d, false);
	wait_many(d);
	for (unsigned i = 0; i < QUEUES * PER_QUEUE; i++)
		disk_assert_file(d, i, d->driver.ram + place(i) + 0x200, 512);
}

static void a_queue_that_stops_has_answered_what_it_began(void **state)
{
	struct disk *d = started(state, 1);
	unsigned answered = 0;
	uint16_t base, head;
	uint32_t len;

	for (unsigned i = 0; i < PER_QUEUE; i++)
		add(d, 0, i, true);
	driver_kick(&d->driver, 0);
	loop_once(&d->loop, 0);
	base = driver_stop_queue(&d->driver, 0);
	while (driver_used(&d->driver, 0, &head, &len))
		answered++;
	assert_int_equal(answered, base);
	assert_true(answered > 0);
}

/* Requests that were dropped with the front end are its next daemon's; none is lost or doubled. */
static void a_front_end_that_comes_back_gets_the_rest(void **state)
{
	struct disk *d = started(state, 1);
	const struct driver_queue *q = &d->driver.queues[0];
	bool back[PER_QUEUE] = { false };
	struct err e;
	int pair[2];

	for (unsigned i = 0; i < PER_QUEUE; i++) {
		disk_fill(d->driver.ram + place(i) + 0x200, 512, i);
		add(d, 0, i, true);
	}
	driver_kick(&d->driver, 0);
	loop_once(&d->loop, 0);
	fd_close(&d->driver.sock);
	driver_settle(&d->driver);
	assert_true(d->backend.ended);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(backend_connect(&d->backend, &pair[1], &e), 0);
	driver_reconnect(&d->driver, &pair[0]);
	driver_negotiate(&d->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&d->driver), 0);
	assert_int_equal(driver_set_inflight(&d->driver, &d->inflight, d->inflight_fd), 0);
	driver_resume_queue(&d->driver, 0,
			    ((struct ring_used *)(void *)(d->driver.ram + q->used))->idx);
	for (unsigned i = 0; i < PER_QUEUE; i++) {
		uint16_t head;

		driver_wait_used(&d->driver, 0, &head);
		assert_true(head < PER_QUEUE && !back[head]);
		back[head] = true;
		disk_assert_file(d, i, d->driver.ram + place(i) + 0x200, 512);
	}
	assert_int_equal(driver_stop_queue(&d->driver, 0), PER_QUEUE);
}

struct count {
	unsigned done;
	int error;
};

static void on_done(void *arg, struct blk_io *io, int error)
{
	struct count *c = arg;

	(void)io;
	c->done++;
	c->error = error;
}

static void on_room(void *arg)
{
	(void)arg;
}

static const struct blk_uring_ops count_ops = { .done = on_done, .room = on_room };

/* Without a disk around it; skips where there is no io_uring. */
static struct blk_uring *open_ring(struct disk *d, struct count *c)
{
	struct blk_uring *u;
	struct err e;

	if (!d->uring)
		skip();
	assert_int_equal(loop_init(&d->loop, NULL, &e), 0);
	assert_int_equal(blk_uring_open(&u, &d->loop, d->file, &count_ops, c, &e), 0);
	return u;
}

/* Where a transfer stops short it goes on, and at the end of the file it fails. */
static void a_transfer_goes_on_where_it_stopped_short(void **state)
{
	struct disk *d = *state;
	struct count c = { 0, 0 };
	struct backend_queue q;
	uint8_t bytes[3][256];
	struct blk_uring *u;
	struct blk_io *io;

	assert_int_equal(ftruncate(d->file, 700), 0);
	u = open_ring(d, &c);
	io = blk_uring_take(u);
	io->queue = &q;
	for (io->n = 0; io->n < 3; io->n++)
		io->iov[io->n] = (struct iovec){ bytes[io->n], 256 };
	blk_uring_transfer(u, io, false, 0, false);
	blk_uring_submit(u);
	while (!c.done)
		loop_once(&d->loop, 1000);
	assert_int_equal(c.error, EIO);
	/* The rest of the last piece is what was left to read. */
	assert_int_equal(io->n, 1);
	assert_int_equal(io->iov[0].iov_len, 768 - 700);
	blk_uring_close(u);
	loop_fini(&d->loop);
}

/* The cache was switched off while a write was on its way. */
static void a_write_in_flight_can_be_made_durable(void **state)
{
	struct disk *d = *state;
	struct count c = { 0, 0 };
	struct backend_queue q;
	uint8_t bytes[512] = { 1 };
	struct blk_uring *u;
	struct blk_io *io;

	u = open_ring(d, &c);
	io = blk_uring_take(u);
	io->queue = &q;
	io->iov[0] = (struct iovec){ bytes, sizeof(bytes) };
	io->n = 1;
	blk_uring_transfer(u, io, true, 0, false);
	blk_uring_flush_writes(u);
	blk_uring_submit(u);
	while (!c.done)
		loop_once(&d->loop, 1000);
	assert_int_equal(c.error, 0);
	/* The last that was done for it. */
	assert_string_equal(io->what, "flush");
	blk_uring_close(u);
	loop_fini(&d->loop);
}

/* The process's io_uring, which is its only one. */
static int find_ring(void)
{
	for (int fd = 0; fd < 256; fd++) {
		char path[64], name[64];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, name, sizeof(name) - 1);
		name[n < 0 ? 0 : n] = '\0';
		if (strstr(name, "io_uring"))
			return fd;
	}
	return -1;
}

/* Who takes the device over can have the kernel do nothing else with it. */
static void the_ring_takes_no_other_operation(void **state)
{
	struct disk *d = started(state, 1);
	struct io_uring_params p = { .flags = 0 };
	struct io_uring other, ours;
	struct io_uring_cqe *cqe;
	int fd = find_ring();

	assert_true(fd >= 0);
	/* A ring of the same size tells where the parts are. */
	assert_int_equal(io_uring_queue_init_params(BLK_URING_IOS, &other, &p), 0);
	io_uring_queue_exit(&other);
	assert_int_equal(io_uring_queue_mmap(fd, &p, &ours), 0);
	io_uring_prep_nop(io_uring_get_sqe(&ours));
	io_uring_submit(&ours);
	assert_int_equal(io_uring_wait_cqe(&ours, &cqe), 0);
	assert_int_equal(cqe->res, -EACCES);
	io_uring_cqe_seen(&ours, cqe);
	assert_true(io_uring_register_files(&ours, &d->file, 1) < 0);
	io_uring_unregister_ring_fd(&ours);
}
#endif

/* A way that is asked for by name is there, or the program does not start. */
static void without_io_uring_it_says_so(void **state)
{
	struct disk *d = *state;
	struct backend_device dev;
	struct err e = { "" };
	bool there = d->uring;
	int r;

	d->uring = true;
	disk_parse(d, "", NULL);
	assert_int_equal(loop_init(&d->loop, NULL, &e), 0);
	r = disk_open(d, &dev, &e);
	assert_int_equal(r == 0, there);
	if (r)
		assert_non_null(strstr(e.msg, "io=uring: "));
	else
		blk_device.close(dev.arg);
	loop_fini(&d->loop);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, disk_setup_uring, disk_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
#if HAVE_URING
		CASE(more_requests_than_there_is_room_for_all_end),
		CASE(a_queue_that_stops_has_answered_what_it_began),
		CASE(a_front_end_that_comes_back_gets_the_rest),
		CASE(a_transfer_goes_on_where_it_stopped_short),
		CASE(a_write_in_flight_can_be_made_durable),
		CASE(the_ring_takes_no_other_operation),
#endif
		CASE(without_io_uring_it_says_so),
	};

	log_setup("test_backend_blk_uring", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_blk_uring", tests, NULL, NULL);
}
