/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers (dma-bufs) that a daemon shares with minivmm-display; a memfd does all that is wanted of
 * one. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/display_rig.h"
#include "tests/unit/process.h"

#define XR24 0x34325258
#define AB24 0x34324241

/* 8 x 4 pixels in lines of 40 bytes, each of its place; as the buffer of what is shown of it. */
static int make_buffer(struct gpu_dmabuf *b)
{
	int fd = memfd_create("buffer", MFD_CLOEXEC);

	for (uint32_t y = 0; y < 4; y++)
		for (uint32_t x = 0; x < 8; x++) {
			uint32_t pixel = 0x010000 * (x + 1) + y + 1;

			assert_int_equal(pwrite(fd, &pixel, 4, 40 * y + 4 * x), 4);
		}
	assert_int_equal(ftruncate(fd, 160), 0);
	*b = (struct gpu_dmabuf){ .x = 1, .y = 1, .width = 4, .height = 2,
				  .fd_width = 8, .fd_height = 4,
				  .stride = 40, .flags = GPU_DMABUF_Y_0_TOP, .fourcc = XR24 };
	return fd;
}

static void send_dmabuf_update(struct display_rig *r, const struct gpu_area *a)
{
	display_rig_message(r, GPU_DMABUF_UPDATE, a, sizeof(*a), -1);
	display_rig_receive(r, GPU_DMABUF_UPDATE, NULL, 0);
}

static void a_buffer_is_read_when_the_daemon_says_so(void **state)
{
	const struct gpu_area all = { 0, 0, 0, 4, 2 };
	const struct gpu_area part = { 0, 3, 1, UINT32_MAX, UINT32_MAX };
	struct display_rig *r = *state;
	struct gpu_dmabuf b;
	int fd = make_buffer(&b);

	display_rig_message(r, GPU_DMABUF_SCANOUT, &b, GPU_DMABUF_SIZE, fd);
	assert_int_equal(r->screen.width, 4);
	assert_int_equal(display_rig_seen(r, 0, 0), 0);
	send_dmabuf_update(r, &part);
	assert_int_equal(display_rig_seen(r, 0, 0), 0);
	assert_int_equal(display_rig_seen(r, 3, 1), 0x050003);
	send_dmabuf_update(r, &all);
	assert_int_equal(display_rig_seen(r, 0, 0), 0x020002);
	assert_int_equal(display_rig_seen(r, 3, 0), 0x050002);
	/* The last line first; and the other order of colours. */
	b.flags = 0;
	b.fourcc = AB24;
	display_rig_message(r, GPU_DMABUF_SCANOUT2, &b, GPU_DMABUF2_SIZE, fd);
	send_dmabuf_update(r, &all);
	assert_int_equal(display_rig_seen(r, 0, 0), 0x030002);
	close(fd);
	/* Without an fd it is over. */
	display_rig_message(r, GPU_DMABUF_SCANOUT, &b, GPU_DMABUF_SIZE, -1);
	assert_null(r->screen.pixels);
	send_dmabuf_update(r, &all);
	assert_true(display_rig_is_connected(r));
}

static void a_buffer_that_contradicts_itself_is_not_shown(void **state)
{
	struct display_rig *r = *state;
	struct gpu_dmabuf b;
	int fd = make_buffer(&b);
	const struct {
		size_t off;
		uint32_t value;
	} wrong[] = {
#define W(field, n) { offsetof(struct gpu_dmabuf, field), n }
		W(x, 5), W(x, UINT32_MAX), W(y, 3), W(width, 8), W(width, UINT32_MAX), W(height, 4),
		W(fd_width, 11), W(fd_width, 1u << 30), W(fd_height, 5), W(fd_height, UINT32_MAX),
		W(stride, 28), W(stride, 41), W(stride, UINT32_MAX - 3), W(fourcc, 0),
		W(fourcc, 0x30313258),
		W(modifier, 1),
#undef W
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct gpu_dmabuf bad = b;

		memcpy((uint8_t *)&bad + wrong[i].off, &wrong[i].value, 4);
		display_rig_message(r, GPU_DMABUF_SCANOUT2, &bad, GPU_DMABUF2_SIZE, fd);
		assert_null(r->screen.pixels);
		assert_int_equal(r->peer.unreadable.count, i + 1);
	}
	display_rig_message(r, GPU_DMABUF_SCANOUT2, &b, GPU_DMABUF2_SIZE, fd);
	assert_non_null(r->screen.pixels);
	close(fd);
	assert_true(display_rig_is_connected(r));
}

static void a_buffer_that_becomes_shorter_is_not_shown_any_more(void **state)
{
	const struct gpu_area all = { 0, 0, 0, 4, 2 };
	struct display_rig *r = *state;
	struct gpu_dmabuf b;
	int fd = make_buffer(&b);

	display_rig_message(r, GPU_DMABUF_SCANOUT, &b, GPU_DMABUF_SIZE, fd);
	assert_int_equal(ftruncate(fd, 0), 0);
	send_dmabuf_update(r, &all);
	assert_null(r->screen.pixels);
	assert_true(display_rig_is_connected(r));
	close(fd);
}

static void what_is_no_buffer_is_not_shown(void **state)
{
	struct display_rig *r = *state;
	struct gpu_dmabuf b;
	int fd = make_buffer(&b), ends[2], none = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(fd);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	display_rig_message(r, GPU_DMABUF_SCANOUT, &b, GPU_DMABUF_SIZE, ends[0]);
	display_rig_message(r, GPU_DMABUF_SCANOUT, &b, GPU_DMABUF_SIZE, none);
	assert_null(r->screen.pixels);
	assert_int_equal(r->peer.unreadable.count, 2);
	close(none);
	close(ends[0]);
	close(ends[1]);
}

/* Counted by teardown. */
static void descriptors_that_belong_to_nothing_are_closed(void **state)
{
	const struct gpu_cursor_pos pos = { 0, 1, 1 };
	const struct gpu_scanout s = { 0, 4, 4 };
	struct display_rig *r = *state;
	struct gpu_dmabuf b;
	int fd = make_buffer(&b), two[2] = { fd, fd };
	unsigned before = process_fds();

	b.scanout = 3;
	display_rig_message(r, GPU_DMABUF_SCANOUT, &b, GPU_DMABUF_SIZE, fd);
	display_rig_message(r, GPU_CURSOR_POS, &pos, sizeof(pos), fd);
	display_rig_header(r, GPU_SCANOUT, 0, sizeof(s));
	assert_int_equal(fd_send(r->sock, &s, sizeof(s), two, 2), sizeof(s));
	display_rig_settle(r);
	assert_int_equal(process_fds(), before + 1);		/* the screen's */
	close(fd);
	assert_true(display_rig_is_connected(r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, display_rig_setup, display_rig_teardown)
		T(a_buffer_is_read_when_the_daemon_says_so),
		T(a_buffer_that_contradicts_itself_is_not_shown),
		T(a_buffer_that_becomes_shorter_is_not_shown_any_more),
		T(what_is_no_buffer_is_not_shown),
		T(descriptors_that_belong_to_nothing_are_closed),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
