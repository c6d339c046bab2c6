/* SPDX-License-Identifier: Apache-2.0 */
/* Discard, write zeroes and read-only on minivmm-backend's disk. */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/range.h"
#include "disk.h"

static void a_read_only_disk_refuses_every_change(void **state)
{
	struct disk *f = *state;
	struct { uint64_t sector; uint32_t sectors, flags; } range = { 0, 8, 0 };

	disk_dirty(f, 0, 16);
	disk_started(state, "", "--read-only");
	assert_true(f->driver.features & BIT64(VIRTIO_BLK_F_RO));
	assert_false(f->driver.features &
		     (BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES)));
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(f->driver.ram[DATA], 0xaa);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	memset(f->driver.ram + DATA, 0, 512);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
	memcpy(f->driver.ram + DATA, &range, sizeof(range));
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16), VIRTIO_BLK_S_IOERR);
	memset(f->driver.ram + DATA, 0xaa, 8192);
	disk_assert_file(f, 0, f->driver.ram + DATA, 8192);
}

/* Puts @n ranges of discard or write zeroes at DATA. */
struct range { uint64_t sector; uint32_t sectors, flags; };

static uint8_t ranges(struct disk *f, uint32_t type, const struct range *r, unsigned n)
{
	memcpy(f->driver.ram + DATA, r, n * sizeof(*r));
	return disk_request(f, type, 0, (uint32_t)(n * sizeof(*r)));
}

static blkcnt_t blocks(struct disk *f)
{
	struct stat st;

	assert_int_equal(fstat(f->file, &st), 0);
	return st.st_blocks;
}

static void discard_gives_space_back_and_leaves_the_rest(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	const struct range r[2] = { { 2048, 1024, 0 }, { 4096, 1024, 0 } };
	uint8_t neighbour[512];
	blkcnt_t before;

	disk_dirty(f, 0, SECTORS);
	before = blocks(f);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, r, 2), VIRTIO_BLK_S_OK);
	assert_true(blocks(f) < before);
	memset(neighbour, 0xaa, sizeof(neighbour));
	disk_assert_file(f, 2047, neighbour, 512);
	disk_assert_file(f, 3072, neighbour, 512);
	disk_assert_file(f, 4095, neighbour, 512);
	assert_int_equal(lseek(f->file, 0, SEEK_END), DISK);
}

static void write_zeroes_makes_zeros_with_and_without_holes(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	const struct range unmap = { 8, 16, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP },
			   keep = { 100, 300, 0 };
	uint8_t neighbour[512];

	memset(neighbour, 0xaa, sizeof(neighbour));
	disk_dirty(f, 0, SECTORS);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &unmap, 1), VIRTIO_BLK_S_OK);
	disk_assert_zero(f, 8, 16 * 512);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &keep, 1), VIRTIO_BLK_S_OK);
	disk_assert_zero(f, 100, 300 * 512);
	disk_assert_file(f, 7, neighbour, 512);
	disk_assert_file(f, 24, neighbour, 512);
	disk_assert_file(f, 99, neighbour, 512);
	disk_assert_file(f, 400, neighbour, 512);
}

static void bad_ranges_are_refused_as_a_whole(void **state)
{
	struct disk *f = disk_started(state, "", NULL);
	static const struct {
		struct range r;
		uint8_t discard, zero;
	} bad[] = {
		{ { SECTORS - 7, 8, 0 }, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ { SECTORS, 1, 0 }, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ { UINT64_MAX, 8, 0 }, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ { 0, 0, 0 }, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ { 0, UINT32_MAX, 0 }, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_IOERR },
		{ { 0, 8, 2 }, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_S_UNSUPP },
		{ { 0, 8, 0x80000001 }, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_S_UNSUPP },
	};
	struct range many[33];

	disk_dirty(f, 0, 64);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		/* The first range is good: it must not take effect. */
		const struct range r[2] = { { 8, 8, 0 }, bad[i].r };

		assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, r, 2), bad[i].discard);
		assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, r, 2), bad[i].zero);
	}
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct range){ i, 1, 0 };
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, many, 33), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_DISCARD, 0, 15), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0), VIRTIO_BLK_S_IOERR);
	memset(f->driver.ram + DATA, 0xaa, 64 * 512);
	disk_assert_file(f, 0, f->driver.ram + DATA, 64 * 512);
}

static void discard_can_be_switched_off(void **state)
{
	struct disk *f = disk_started(state, ",discard=off", NULL);
	const struct range r = { 0, 8, 0 };

	assert_false(f->driver.features &
		     (BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES)));
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, &r, 1), VIRTIO_BLK_S_UNSUPP);
}

/* Once with one request after the other, once with many at a time. */
#define CASE(fn)                                                     \
	cmocka_unit_test_setup_teardown(fn, disk_setup, disk_teardown), \
	{ #fn "_through_io_uring", fn, disk_setup_uring, disk_teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_read_only_disk_refuses_every_change),
		CASE(discard_gives_space_back_and_leaves_the_rest),
		CASE(write_zeroes_makes_zeros_with_and_without_holes),
		CASE(bad_ranges_are_refused_as_a_whole),
		CASE(discard_can_be_switched_off),
	};

	/* Misuse is logged as it should be; not here. */
	log_setup("test_backend_blk_ranges", LOG_ERROR);
	return cmocka_run_group_tests_name("backend_blk_ranges", tests, NULL, NULL);
}
