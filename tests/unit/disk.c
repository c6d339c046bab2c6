/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "vhost/backends/blk_uring.h"
#include "vhost/backends/device.h"

static struct disk *new_fixture(void **state)
{
	struct disk *d = test_calloc(1, sizeof(*d));

	snprintf(d->path, sizeof(d->path), "/tmp/minivmm-test-blk-XXXXXX");
	d->inflight_fd = -1;
	d->file = mkostemp(d->path, O_CLOEXEC);
	assert_true(d->file >= 0);
	assert_int_equal(ftruncate(d->file, DISK), 0);
	*state = d;
	return d;
}

int disk_setup_uring(void **state)
{
	struct blk_uring *u;
	struct loop loop;
	struct err e;
	bool there;

	assert_int_equal(loop_init(&loop, NULL, &e), 0);
	there = !blk_uring_open(&u, &loop, STDIN_FILENO, NULL, NULL, &e);
	if (there)
		blk_uring_close(u);
	loop_fini(&loop);
	new_fixture(state)->uring = there;
	return 0;
}

void disk_parse(struct disk *d, const char *keys, const char *more)
{
	char program[] = "minivmm-backend", type[] = "blk", fd[] = "--fd=9", file[128], last[64];
	char *argv[] = { program, type, fd, file, last, NULL };
	struct err e = { "" };

	snprintf(file, sizeof(file), "--file=%s%s,io=%s", d->path, keys, d->uring ? "uring" : "sync");
	snprintf(last, sizeof(last), "%s", more ? more : "");
	if (options_parse(&d->options, more ? 5 : 4, argv, &e))
		fail_msg("%s", e.msg);
}

int disk_open(struct disk *d, struct backend_device *ret, struct err *e)
{
	return blk_device.open(&d->options, &d->loop, ret, e);
}

void disk_begin(struct disk *d)
{
	fd_close(&d->inflight_fd);
	if (d->uring) {
		d->inflight = (struct vu_inflight){ .queue_size = 64,
			.num_queues = (uint16_t)d->options.queues };
		d->inflight_fd = driver_get_inflight(&d->driver, &d->inflight);
		assert_true(d->inflight_fd >= 0);
	}
	driver_start_queue(&d->driver, 0, 64);
}

struct disk *disk_started(void **state, const char *keys, const char *more)
{
	struct disk *d = *state;
	struct backend_device dev;
	struct err e = { "" };

	disk_parse(d, keys, more);
	assert_int_equal(loop_init(&d->loop, NULL, &e), 0);
	if (disk_open(d, &dev, &e))
		fail_msg("%s", e.msg);
	d->dev = dev.arg;
	driver_serve(&d->driver, &d->backend, &d->loop, &dev);
	driver_negotiate(&d->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&d->driver), 0);
	disk_begin(d);
	return d;
}

int disk_setup(void **state)
{
	new_fixture(state);
	return 0;
}

int disk_teardown(void **state)
{
	struct disk *d = *state;

	if (d->dev) {
		backend_fini(&d->backend);
		blk_device.close(d->dev);
		loop_fini(&d->loop);
		driver_fini(&d->driver);
	}
	options_fini(&d->options);
	fd_close(&d->inflight_fd);
	fd_close(&d->file);
	unlink(d->path);
	test_free(d);
	return 0;
}

void disk_put_header(struct disk *d, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = { .type = htole32(type), .sector = htole64(sector) };

	memcpy(d->driver.ram + HEADER, &h, sizeof(h));
	d->driver.ram[STATUS] = NO_STATUS;
}

uint8_t disk_request_on(struct disk *d, unsigned queue, uint32_t type, uint64_t sector,
			uint32_t len)
{
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct driver_buf bufs[3] = { { HEADER, 16, false },
				      { DATA, len, in },
				      { STATUS, 1, true } };

	disk_put_header(d, type, sector);
	if (!len)
		bufs[1] = bufs[2];
	driver_request(&d->driver, queue, bufs, len ? 3 : 2);
	return d->driver.ram[STATUS];
}

uint8_t disk_request(struct disk *d, uint32_t type, uint64_t sector, uint32_t len)
{
	return disk_request_on(d, 0, type, sector, len);
}

void disk_fill(uint8_t *at, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

void disk_assert_file(struct disk *d, uint64_t sector, const void *want, size_t len)
{
	uint8_t *got = test_malloc(len);

	assert_int_equal(pread(d->file, got, len, (off_t)(sector * 512)), len);
	assert_memory_equal(got, want, len);
	test_free(got);
}

void disk_assert_zero(struct disk *d, uint64_t sector, size_t len)
{
	uint8_t *zeros = test_calloc(1, len);

	disk_assert_file(d, sector, zeros, len);
	test_free(zeros);
}

void disk_dirty(struct disk *d, uint64_t sector, size_t sectors)
{
	uint8_t *bytes = test_malloc(sectors * 512);

	memset(bytes, 0xaa, sectors * 512);
	assert_int_equal(pwrite(d->file, bytes, sectors * 512, (off_t)(sector * 512)),
			 sectors * 512);
	test_free(bytes);
}

struct virtio_blk_config disk_config(struct disk *d)
{
	uint8_t bytes[VU_CONFIG_MAX] = { 0 };
	struct virtio_blk_config c;

	d->backend.dev.ops->config_read(d->dev, bytes);
	memcpy(&c, bytes, sizeof(c));
	return c;
}
