/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's disk, driven by requests in a ring, checked against its file. */
#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "disk.h"
#include "vhost/backends/device.h"

static void the_config_describes_the_disk(void **state)
{
	struct disk *f = disk_started(state, ",block-size=4096,seg-max=30,size-max=64K", "--queues=3");
	struct virtio_blk_config c = disk_config(f);

	assert_int_equal(le64toh(c.capacity), SECTORS);
	assert_int_equal(le32toh(c.blk_size), 4096);
	assert_int_equal(le32toh(c.seg_max), 30);
	assert_int_equal(le32toh(c.size_max), 65536);
	assert_int_equal(le16toh(c.num_queues), 3);
	assert_int_equal(c.wce, 1);
	assert_int_equal(le32toh(c.discard_sector_alignment), 8);
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), 3);
	assert_int_equal(f->driver.features & ~(BIT64(28) | BIT64(29) | BIT64(30) | BIT64(32)),
			 BIT64(VIRTIO_BLK_F_SIZE_MAX) | BIT64(VIRTIO_BLK_F_SEG_MAX) |
				 BIT64(VIRTIO_BLK_F_BLK_SIZE) | BIT64(VIRTIO_BLK_F_FLUSH) |
				 BIT64(VIRTIO_BLK_F_CONFIG_WCE) | BIT64(VIRTIO_BLK_F_MQ) |
				 BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES));
}

static void what_is_written_is_in_the_file_and_read_back(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	uint8_t *data = f->driver.ram + DATA;
	uint8_t copy[65536];

	disk_fill(data, sizeof(copy), 1);
	memcpy(copy, data, sizeof(copy));
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, 100, sizeof(copy)), VIRTIO_BLK_S_OK);
	disk_assert_file(f, 100, copy, sizeof(copy));
	disk_assert_zero(f, 0, 100 * 512);
	memset(data, 0, sizeof(copy));
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 100, sizeof(copy)), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, copy, sizeof(copy));
}

static void the_last_sector_is_there_and_the_next_is_not(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	uint8_t *data = f->driver.ram + DATA;

	disk_fill(data, 1024, 2);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, SECTORS - 1, 512), VIRTIO_BLK_S_OK);
	disk_assert_file(f, SECTORS - 1, data, 512);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, SECTORS - 1, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, SECTORS, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, UINT64_MAX, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(lseek(f->file, 0, SEEK_END), DISK);
}

static void a_request_may_be_cut_anywhere(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	uint8_t *ram = f->driver.ram;
	/* Header in two pieces, the second of which carries data too; data in odd pieces. */
	struct driver_buf out[] = { { HEADER, 7, false },	{ HEADER + 7, 9 + 100, false },
				    { DATA, 411, false },	{ DATA + 500, 1, false },
				    { DATA + 600, 512, false }, { STATUS, 1, true } };
	/* Data and status in one piece, after an odd one. */
	struct driver_buf in[] = { { HEADER, 16, false },
				   { DATA, 3, true },
				   { DATA + 1000, 1024 - 3 + 1, true } };
	uint8_t want[1024];

	disk_put_header(f, VIRTIO_BLK_T_OUT, 7);
	disk_fill(ram + HEADER + 16, 100, 3);
	disk_fill(ram + DATA, 2000, 4);
	memcpy(want, ram + HEADER + 16, 100);
	memcpy(want + 100, ram + DATA, 411);
	memcpy(want + 511, ram + DATA + 500, 1);
	memcpy(want + 512, ram + DATA + 600, 512);
	assert_int_equal(driver_request(&f->driver, 0, out, 6), 1);
	assert_int_equal(ram[STATUS], VIRTIO_BLK_S_OK);
	disk_assert_file(f, 7, want, sizeof(want));

	disk_put_header(f, VIRTIO_BLK_T_IN, 7);
	ram[DATA + 1000 + 1021] = NO_STATUS;
	assert_int_equal(driver_request(&f->driver, 0, in, 3), 1025);
	assert_memory_equal(ram + DATA, want, 3);
	assert_memory_equal(ram + DATA + 1000, want + 3, 1021);
	assert_int_equal(ram[DATA + 1000 + 1021], VIRTIO_BLK_S_OK);
}

static void lengths_that_are_no_sectors_are_refused(void **state)
{
	struct disk *f = disk_started(state, "", NULL);

	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, 0, 511), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, 513), VIRTIO_BLK_S_IOERR);
	disk_assert_zero(f, 0, 4096);
}

static void requests_off_the_logical_block_are_refused(void **state)
{
	struct disk *f = disk_started(state, ",block-size=4096", NULL);

	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, 1, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, 8, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_OK);
}

static void a_request_beyond_the_announced_size_is_refused(void **state)
{
	struct disk *f = disk_started(state, ",seg-max=2,size-max=4K", NULL);

	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, 8192), VIRTIO_BLK_S_OK);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, 8192 + 512), VIRTIO_BLK_S_IOERR);
}

static void flush_succeeds_and_writes_nothing(void **state)
{
	struct disk *f = disk_started(state, "", NULL);

	assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	disk_assert_zero(f, 0, DISK);
}

static void the_identity_is_the_serial_padded_with_zeros(void **state)
{
	struct disk *f = disk_started(state, ",serial=disk-one", NULL);
	uint8_t want[21] = "disk-one";

	memset(f->driver.ram + DATA, 0xff, 64);
	want[20] = 0xff;
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_GET_ID, 0, 64), VIRTIO_BLK_S_OK);
	assert_memory_equal(f->driver.ram + DATA, want, 21);
	/* A shorter buffer gets the start, and its status. */
	memset(f->driver.ram + DATA, 0xff, 64);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_GET_ID, 0, 4), VIRTIO_BLK_S_OK);
	assert_memory_equal(f->driver.ram + DATA, "disk\xff", 5);
}

static void an_unknown_request_is_unsupported(void **state)
{
	struct disk *f = disk_started(state, "", NULL);

	assert_int_equal(disk_request(f, 2, 0, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(disk_request(f, UINT32_MAX, 0, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_SECURE_ERASE, 0, 16), VIRTIO_BLK_S_UNSUPP);
}

static void a_short_header_gets_a_status(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	struct driver_buf bufs[] = { { HEADER, 15, false }, { STATUS, 1, true } };

	disk_put_header(f, VIRTIO_BLK_T_FLUSH, 0);
	assert_int_equal(driver_request(&f->driver, 0, bufs, 2), 1);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
}

static void a_request_without_room_for_its_status_breaks_the_queue(void **state)
{
	struct disk *f = disk_started(state, "", "--queues=2");
	struct driver_buf buf = { HEADER, 16, false };

	driver_start_queue(&f->driver, 1, 16);
	disk_put_header(f, VIRTIO_BLK_T_FLUSH, 0);
	driver_add(&f->driver, 0, &buf, 1, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	assert_int_equal(disk_request_on(f, 1, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

static void every_queue_serves_the_same_disk(void **state)
{
	struct disk *f = disk_started(state, "", "--queues=4");

	for (unsigned q = 1; q < 4; q++)
		driver_start_queue(&f->driver, q, 16);
	for (unsigned q = 0; q < 4; q++) {
		disk_fill(f->driver.ram + DATA, 4096, q);
		assert_int_equal(disk_request_on(f, q, VIRTIO_BLK_T_OUT, 8 * q, 4096),
				 VIRTIO_BLK_S_OK);
		disk_assert_file(f, 8 * q, f->driver.ram + DATA, 4096);
	}
}

static void indirect_requests_are_served(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	struct driver_buf bufs[] = { { HEADER, 16, false },
				     { DATA, 4096, false },
				     { STATUS, 1, true } };
	uint16_t head;

	disk_put_header(f, VIRTIO_BLK_T_OUT, 3);
	disk_fill(f->driver.ram + DATA, 4096, 9);
	driver_add(&f->driver, 0, bufs, 3, DRIVER_DATA + 0x1000);
	driver_kick(&f->driver, 0);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 1);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_OK);
	disk_assert_file(f, 3, f->driver.ram + DATA, 4096);
}

static void a_buffer_outside_ram_touches_neither_file_nor_process(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	struct driver_buf bufs[] = { { HEADER, 16, false },
				     { DRIVER_RAM - 512, 1024, false },
				     { STATUS, 1, true } };
	uint16_t head;

	disk_put_header(f, VIRTIO_BLK_T_OUT, 0);
	memset(f->driver.ram + DRIVER_RAM - 512, 0xff, 512);
	for (int indirect = 0; indirect < 2; indirect++) {
		f->driver.ram[STATUS] = 0xff;
		driver_add(&f->driver, 0, bufs, 3, indirect ? DRIVER_DATA + 0x1000 : 0);
		driver_kick(&f->driver, 0);
		assert_int_equal(driver_wait_used(&f->driver, 0, &head), 0);
		assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	}
	disk_assert_zero(f, 0, 4096);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(fd_drain(f->driver.queues[0].err), 0);
}

/* A program of the guest must not be able to take a disk from all others. */
static void a_read_to_outside_ram_fails_alone(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	struct driver_buf bufs[] = { { HEADER, 16, false },
				     { UINT64_C(1) << 38, 4096, true },
				     { STATUS, 1, true } };
	uint16_t head;

	disk_put_header(f, VIRTIO_BLK_T_IN, 0);
	driver_add(&f->driver, 0, bufs, 3, 0);
	driver_kick(&f->driver, 0);
	assert_int_equal(driver_wait_used(&f->driver, 0, &head), 0);
	assert_int_equal(f->driver.ram[STATUS], VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void a_status_outside_ram_breaks_the_queue(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	struct driver_buf bufs[] = { { HEADER, 16, false },
				     { DATA, 512, true },
				     { DRIVER_RAM, 1, true } };

	disk_put_header(f, VIRTIO_BLK_T_IN, 0);
	driver_add(&f->driver, 0, bufs, 3, 0);
	driver_kick(&f->driver, 0);
	driver_settle(&f->driver);
	assert_int_not_equal(fd_drain(f->driver.queues[0].err), 0);
	driver_stop_queue(&f->driver, 0);
	disk_begin(f);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

static void a_file_that_shrinks_gives_errors_and_no_more(void **state)
{
	struct disk *f = disk_started(state, "", NULL);

	assert_int_equal(ftruncate(f->file, DISK / 2), 0);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, SECTORS / 2, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, SECTORS / 2 - 1, 512), VIRTIO_BLK_S_OK);
}

static void a_grown_file_is_told_to_the_guest(void **state)
{
	struct disk *f = disk_started(state, "", NULL);

	assert_false(blk_device.reload(f->dev));
	assert_int_equal(ftruncate(f->file, DISK + 1), 0);
	assert_false(blk_device.reload(f->dev));
	assert_int_equal(ftruncate(f->file, 2 * DISK), 0);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, SECTORS, 512), VIRTIO_BLK_S_IOERR);
	assert_true(blk_device.reload(f->dev));
	assert_int_equal(le64toh(disk_config(f).capacity), 2 * SECTORS);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, SECTORS, 512), VIRTIO_BLK_S_OK);
}

static int set_wce(struct disk *f, uint8_t value)
{
	struct {
		struct vu_config head;
		uint8_t wce;
	} set = { { offsetof(struct virtio_blk_config, wce), 1, 0 }, value };

	return driver_ask(&f->driver, VU_SET_CONFIG, &set, sizeof(set.head) + 1, NULL, 0);
}

static void only_the_cache_switch_of_the_config_can_be_written(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	struct { struct vu_config head; uint8_t bytes[8]; } capacity = { { 0, 8, 0 }, { 1 } };

	assert_int_equal(set_wce(f, 0), 0);
	assert_int_equal(disk_config(f).wce, 0);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(set_wce(f, 1), 0);
	assert_int_equal(disk_config(f).wce, 1);
	assert_int_equal(set_wce(f, 2), 1);
	assert_int_equal(
		driver_ask(&f->driver, VU_SET_CONFIG, &capacity, sizeof(capacity), NULL, 0), 1);
	assert_int_equal(le64toh(disk_config(f).capacity), SECTORS);
}

/* A guest's reboot: front ends know the switch as it was, and show that to the next driver. */
static void the_cache_switch_stays_until_the_front_end_leaves(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	struct err e;
	int pair[2];

	assert_int_equal(set_wce(f, 0), 0);
	driver_stop_queue(&f->driver, 0);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(disk_config(f).wce, 0);
	fd_close(&f->driver.sock);
	driver_settle(&f->driver);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(backend_connect(&f->backend, &pair[1], &e), 0);
	driver_reconnect(&f->driver, &pair[0]);
	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(disk_config(f).wce, 1);
}

static void the_cache_starts_as_told(void **state)
{
	struct disk *f = disk_started(state, ",cache=writethrough", NULL);

	assert_int_equal(disk_config(f).wce, 0);
}

static void assert_not_opened(struct disk *f, const char *keys, const char *why)
{
	struct backend_device dev;
	struct err e = { "" };

	disk_parse(f, keys, NULL);
	assert_true(disk_open(f, &dev, &e) < 0);
	if (!strstr(e.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", e.msg, why);
	options_fini(&f->options);
}

static void files_that_cannot_be_disks_are_refused(void **state)
{
	struct disk *f = *state;

	assert_int_equal(ftruncate(f->file, 0), 0);
	assert_not_opened(f, "", "empty");
	assert_int_equal(ftruncate(f->file, 1000), 0);
	assert_not_opened(f, "", "no multiple of the block size 512");
	assert_int_equal(ftruncate(f->file, 512), 0);
	assert_not_opened(f, ",block-size=4096", "no multiple of the block size 4096");
	unlink(f->path);
	assert_not_opened(f, "", "No such file");
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_not_opened(f, ",readonly", "neither a file nor a block device");
	rmdir(f->path);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_not_opened(f, "", "neither a file nor a block device");
}

static void a_disk_is_written_by_one_program_at_a_time(void **state)
{
	struct disk *f = disk_started(state, "", NULL), second = { .loop = f->loop };

	memcpy(second.path, f->path, sizeof(second.path));
	assert_not_opened(&second, "", "in use");
	assert_not_opened(&second, ",readonly", "in use");
}

static void a_disk_is_read_by_many(void **state)
{
	struct disk *f = disk_started(state, ",readonly", NULL), second = { .loop = f->loop };
	struct backend_device dev;
	struct err e;

	memcpy(second.path, f->path, sizeof(second.path));
	disk_parse(&second, ",readonly", NULL);
	assert_int_equal(disk_open(&second, &dev, &e), 0);
	blk_device.close(dev.arg);
	options_fini(&second.options);
	assert_not_opened(&second, "", "in use");
}

/* Once with one request after the other, once with many at a time. */
#define CASE(fn)                                                     \
	cmocka_unit_test_setup_teardown(fn, disk_setup, disk_teardown), \
	{ #fn "_through_io_uring", fn, disk_setup_uring, disk_teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_config_describes_the_disk),
		CASE(what_is_written_is_in_the_file_and_read_back),
		CASE(the_last_sector_is_there_and_the_next_is_not),
		CASE(a_request_may_be_cut_anywhere),
		CASE(lengths_that_are_no_sectors_are_refused),
		CASE(requests_off_the_logical_block_are_refused),
		CASE(a_request_beyond_the_announced_size_is_refused),
		CASE(flush_succeeds_and_writes_nothing),
		CASE(the_identity_is_the_serial_padded_with_zeros),
		CASE(an_unknown_request_is_unsupported),
		CASE(a_short_header_gets_a_status),
		CASE(a_request_without_room_for_its_status_breaks_the_queue),
		CASE(every_queue_serves_the_same_disk),
		CASE(indirect_requests_are_served),
		CASE(a_buffer_outside_ram_touches_neither_file_nor_process),
		CASE(a_read_to_outside_ram_fails_alone),
		CASE(a_status_outside_ram_breaks_the_queue),
		CASE(a_file_that_shrinks_gives_errors_and_no_more),
		CASE(a_grown_file_is_told_to_the_guest),
		CASE(only_the_cache_switch_of_the_config_can_be_written),
		CASE(the_cache_switch_stays_until_the_front_end_leaves),
		CASE(the_cache_starts_as_told),
		CASE(files_that_cannot_be_disks_are_refused),
		CASE(a_disk_is_written_by_one_program_at_a_time),
		CASE(a_disk_is_read_by_many),
	};

	/* Misuse is logged as it should be; not here. */
	log_setup("test_backend_blk", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_blk", tests, NULL, NULL);
}
