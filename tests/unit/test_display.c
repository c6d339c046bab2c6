/* SPDX-License-Identifier: Apache-2.0 */
/* What minivmm-display makes of a daemon's messages: right ones, and others. */
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/display_rig.h"
#include "vhost/display/edid.h"

static void send_scanout(struct display_rig *r, uint32_t scanout, uint32_t width, uint32_t height)
{
	const struct gpu_scanout s = { scanout, width, height };

	display_rig_message(r, GPU_SCANOUT, &s, sizeof(s), -1);
}

/* All of one colour. */
static void send_update(struct display_rig *r, const struct gpu_area *a, uint32_t colour)
{
	size_t n = (size_t)a->width * a->height;
	uint32_t *pixels = malloc(n * sizeof(*pixels) + 1);

	for (size_t i = 0; i < n; i++)
		pixels[i] = colour;
	display_rig_header(r, GPU_UPDATE, 0, (uint32_t)(sizeof(*a) + n * sizeof(*pixels)));
	display_rig_send(r, a, sizeof(*a), -1);
	display_rig_send(r, pixels, n * sizeof(*pixels), -1);
	free(pixels);
}

static void the_daemon_is_told_of_the_features(void **state)
{
	struct display_rig *r = *state;
	uint64_t features = 0;

	display_rig_message(r, GPU_GET_PROTOCOL_FEATURES, NULL, 0, -1);
	display_rig_receive(r, GPU_GET_PROTOCOL_FEATURES, &features, sizeof(features));
	assert_int_equal(features, BIT64(GPU_PF_EDID) | BIT64(GPU_PF_DMABUF2));
	display_rig_message(r, GPU_SET_PROTOCOL_FEATURES, &features, sizeof(features), -1);
	assert_true(display_rig_is_connected(r));
}

static void there_is_one_mode_of_the_size_that_was_said(void **state)
{
	struct virtio_gpu_resp_display_info info;
	struct display_rig *r = *state;

	display_rig_message(r, GPU_GET_DISPLAY_INFO, NULL, 0, -1);
	display_rig_receive(r, GPU_GET_DISPLAY_INFO, &info, sizeof(info));
	assert_int_equal(le32toh(info.hdr.type), VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	assert_int_equal(le32toh(info.pmodes[0].r.width), DISPLAY_RIG_WIDTH);
	assert_int_equal(le32toh(info.pmodes[0].r.height), DISPLAY_RIG_HEIGHT);
	assert_int_equal(info.pmodes[0].r.x, 0);
	assert_int_equal(le32toh(info.pmodes[0].enabled), 1);
	assert_int_equal(info.pmodes[1].enabled, 0);
}

static void the_edid_says_the_same(void **state)
{
	const struct gpu_edid_request first = { 0 }, second = { 1 };
	static const uint8_t head[] = { 0, 255, 255, 255, 255, 255, 255, 0 };
	struct virtio_gpu_resp_edid edid;
	struct display_rig *r = *state;
	unsigned sum = 0;

	display_rig_message(r, GPU_GET_EDID, &first, sizeof(first), -1);
	display_rig_receive(r, GPU_GET_EDID, &edid, sizeof(edid));
	assert_int_equal(le32toh(edid.hdr.type), VIRTIO_GPU_RESP_OK_EDID);
	assert_int_equal(le32toh(edid.size), EDID_SIZE);
	assert_memory_equal(edid.edid, head, sizeof(head));
	for (unsigned i = 0; i < EDID_SIZE; i++)
		sum += edid.edid[i];
	assert_int_equal(sum % 256, 0);
	assert_int_equal(edid.edid[56] | (edid.edid[58] & 0xf0) << 4, DISPLAY_RIG_WIDTH);
	assert_int_equal(edid.edid[59] | (edid.edid[61] & 0xf0) << 4, DISPLAY_RIG_HEIGHT);
	display_rig_message(r, GPU_GET_EDID, &second, sizeof(second), -1);
	display_rig_receive(r, GPU_GET_EDID, &edid, sizeof(edid));
	assert_int_equal(edid.size, 0);
}

static void any_size_there_may_be_has_a_timing(void **state)
{
	static const uint32_t sides[] = { EDID_SIDE_MIN, 800, 1920, EDID_SIDE_MAX };
	uint8_t edid[EDID_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sides); i++)
		for (size_t k = 0; k < ARRAY_SIZE(sides); k++) {
			edid_make(sides[i], sides[k], edid);
			assert_int_equal(edid[56] | (edid[58] & 0xf0) << 4, sides[i]);
			assert_int_equal(edid[59] | (edid[61] & 0xf0) << 4, sides[k]);
			assert_true(edid[54] | edid[55]);
		}
}

static void pixels_come_where_they_belong(void **state)
{
	const struct gpu_area part = { 0, 2, 1, 3, 2 }, line = { 0, 0, 3, 8, 1 };
	const struct gpu_area dot = { 0, 7, 0, 1, 1 };
	struct display_rig *r = *state;

	send_scanout(r, 0, 8, 4);
	assert_int_equal(r->changed, 1);
	assert_int_equal(display_rig_seen(r, 3, 2), 0);
	send_update(r, &part, 0x112233);
	send_update(r, &line, 0x445566);
	send_update(r, &dot, 0xff778899);
	assert_int_equal(r->changed, 4);
	for (uint32_t y = 0; y < 4; y++)
		for (uint32_t x = 0; x < 8; x++) {
			bool is_part = x >= 2 && x < 5 && y >= 1 && y < 3;
			uint32_t want = is_part ? 0x112233 : y == 3 ? 0x445566 : 0;

			if (x == 7 && y == 0)
				want = 0x778899;
			assert_int_equal(display_rig_seen(r, x, y), want);
		}
}

/* An UPDATE of four pixels. */
static const struct {
	struct gpu_header h;
	struct gpu_area a;
	uint32_t pixels[4];
} four = { { GPU_UPDATE, 0, sizeof(struct gpu_area) + 16 }, { 0, 1, 1, 2, 2 }, { 1, 2, 3, 4 } };

/* Byte by byte; and changed() sees that it is whole. */
static void a_message_may_come_in_any_pieces(void **state)
{
	struct display_rig *r = *state;

	send_scanout(r, 0, 4, 4);
	for (size_t i = 0; i < sizeof(four); i++) {
		assert_int_equal(r->changed, 1);
		display_rig_send(r, (const uint8_t *)&four + i, 1, -1);
	}
	assert_int_equal(r->changed, 2);
	assert_int_equal(display_rig_seen(r, 1, 1), 1);
	assert_int_equal(display_rig_seen(r, 2, 2), 4);
}

static void a_screen_may_become_another_or_none(void **state)
{
	struct display_rig *r = *state;

	send_scanout(r, 0, 8, 4);
	send_scanout(r, 0, 1024, 768);
	assert_int_equal(r->screen.width, 1024);
	send_scanout(r, 0, 0, 0);
	assert_null(r->screen.pixels);
	send_scanout(r, 0, 5, 0);
	assert_null(r->screen.pixels);
	send_scanout(r, 0, 1, 1);
	assert_int_equal(r->screen.height, 1);
	assert_true(display_rig_is_connected(r));
}

static void what_is_for_no_screen_is_read_and_thrown_away(void **state)
{
	const struct gpu_area early = { 0, 0, 0, 100, 100 }, outside = { 0, 1, 0, 4, 4 };
	const struct gpu_area far = { 0, UINT32_MAX, 0, 2, 2 }, nothing = { 0 };
	const struct gpu_area elsewhere = { 1, 0, 0, 64, 64 };
	struct display_rig *r = *state;

	send_update(r, &early, 1);
	send_scanout(r, 0, 4, 4);
	send_scanout(r, 15, 32, 32);
	assert_int_equal(r->screen.width, 4);
	send_update(r, &outside, 1);
	send_update(r, &far, 1);
	send_update(r, &elsewhere, 1);
	send_update(r, &nothing, 1);
	assert_int_equal(r->changed, 1);
	assert_int_equal(display_rig_seen(r, 1, 0), 0);
	assert_true(display_rig_is_connected(r));
	/* And the stream is where it was. */
	the_daemon_is_told_of_the_features(state);
}

static void a_screen_that_is_too_large_is_none(void **state)
{
	static const uint32_t sizes[][2] = {
		{ SCREEN_SIDE_MAX + 1, 1 }, { 1, UINT32_MAX }, { SCREEN_SIDE_MAX, SCREEN_SIDE_MAX },
		{ UINT32_MAX, UINT32_MAX },
	};
	struct display_rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		send_scanout(r, 0, 4, 4);
		assert_non_null(r->screen.pixels);
		send_scanout(r, 0, sizes[i][0], sizes[i][1]);
		assert_null(r->screen.pixels);
	}
	assert_true(display_rig_is_connected(r));
	assert_int_equal(r->peer.unreadable.count, ARRAY_SIZE(sizes));
}

/* Of which the last is not read any further. */
static void wrong_messages_end_the_connection(void **state)
{
	static const struct gpu_header wrong[] = {
		{ 0, 0, 0 }, { GPU_REQUEST_END, 0, 0 }, { UINT32_MAX, 0, 0 },
		{ GPU_GET_PROTOCOL_FEATURES, GPU_FLAG_REPLY, 0 },
		{ GPU_GET_PROTOCOL_FEATURES, 0, 8 },
		{ GPU_SET_PROTOCOL_FEATURES, 0, 4 }, { GPU_SET_PROTOCOL_FEATURES, 0, UINT32_MAX },
		{ GPU_GET_DISPLAY_INFO, 0, 1 }, { GPU_CURSOR_POS, 0, 0 }, { GPU_CURSOR_POS, 0, 16 },
		{ GPU_CURSOR_POS_HIDE, 0, 8 }, { GPU_CURSOR_UPDATE, 0, 20 },
		{ GPU_CURSOR_UPDATE, 0, sizeof(struct gpu_cursor) + 1 },
		{ GPU_SCANOUT, 0, 8 }, { GPU_SCANOUT, 0, 1 << 30 }, { GPU_UPDATE, 0, 19 },
		{ GPU_DMABUF_SCANOUT, 0, GPU_DMABUF2_SIZE },
		{ GPU_DMABUF_SCANOUT2, 0, GPU_DMABUF_SIZE },
		{ GPU_DMABUF_UPDATE, 0, 24 }, { GPU_GET_EDID, 0, 0 },
	};
	struct display_rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		display_rig_send(r, &wrong[i], sizeof(wrong[i]), -1);
		display_rig_settle(r);
		assert_int_equal(r->ended, i + 1);
		assert_false(peer_is_connected(&r->peer));
		assert_int_equal(recv(r->sock, &(char){ 0 }, 1, 0), 0);
		display_rig_connect(r);
	}
}

static void an_update_has_as_many_pixels_as_it_says(void **state)
{
	static const struct {
		uint32_t size, width, height;
	} wrong[] = {
		{ 20, 1, 1 }, { 20 + 15, 2, 2 }, { 20 + 17, 2, 2 }, { 20, UINT32_MAX, UINT32_MAX },
		{ 20, 1u << 31, 2 }, { 20, 1u << 16, 1u << 16 }, { 20 + 4, 0, 1 },
		{ UINT32_MAX, 2, 2 },
	};
	struct display_rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		const struct gpu_area a = { 0, 0, 0, wrong[i].width, wrong[i].height };

		send_scanout(r, 0, 2, 2);
		display_rig_header(r, GPU_UPDATE, 0, wrong[i].size);
		display_rig_send(r, &a, sizeof(a), -1);
		display_rig_settle(r);
		assert_int_equal(r->ended, i + 1);
		display_rig_connect(r);
	}
}

static void a_daemon_may_end_at_any_byte(void **state)
{
	struct display_rig *r = *state;

	send_scanout(r, 0, 4, 4);
	for (size_t n = 0; n < sizeof(four); n++) {
		if (n)
			display_rig_send(r, &four, n, -1);
		fd_close(&r->sock);
		display_rig_settle(r);
		assert_int_equal(r->ended, n + 1);
		display_rig_connect(r);
	}
	/* What was on the screen is there for the next one. */
	assert_int_equal(r->screen.width, 4);
}

static void who_does_not_read_answers_is_not_waited_for(void **state)
{
	const struct {
		struct gpu_header h;
		struct gpu_edid_request q;
	} m = { { GPU_GET_EDID, 0, sizeof(m.q) }, { 0 } };
	struct display_rig *r = *state;

	for (unsigned i = 0; i < 100000 && !r->ended; i++) {
		fd_send(r->sock, &m, sizeof(m), NULL, 0);
		loop_once(&r->loop, 0);
	}
	assert_int_equal(r->ended, 1);
}

static void a_cursor_is_over_the_picture_and_over_its_edges(void **state)
{
	/* Drivers tell where its corner is, whatever of it points. */
	struct gpu_cursor c = { .pos = { 0, 8, 4 }, .hot_x = 2, .hot_y = 1 };
	struct gpu_cursor_pos pos = { 0, (uint32_t)-2, (uint32_t)-1 };
	const struct gpu_area all = { 0, 0, 0, 100, 50 };
	struct display_rig *r = *state;

	c.pixels[0] = 0xffff0000;			/* opaque, at 8,4 */
	c.pixels[1] = 0x80ffffff;			/* half, at 9,4 */
	c.pixels[64 * 1 + 2] = 0xff00ff00;		/* at 10,5 */
	send_scanout(r, 0, 100, 50);
	send_update(r, &all, 0x0000ff);
	display_rig_message(r, GPU_CURSOR_UPDATE, &c, sizeof(c), -1);
	assert_int_equal(display_rig_seen(r, 8, 4), 0xff0000);
	assert_int_equal(display_rig_seen(r, 9, 4), 0x8080ff);
	assert_int_equal(display_rig_seen(r, 10, 5), 0x00ff00);
	assert_int_equal(display_rig_seen(r, 10, 4), 0x0000ff);
	display_rig_message(r, GPU_CURSOR_POS, &pos, sizeof(pos), -1);
	assert_int_equal(display_rig_seen(r, 0, 0), 0x00ff00);
	assert_int_equal(display_rig_seen(r, 8, 4), 0x0000ff);
	pos = (struct gpu_cursor_pos){ 0, 99, 49 };
	display_rig_message(r, GPU_CURSOR_POS, &pos, sizeof(pos), -1);
	assert_int_equal(display_rig_seen(r, 99, 49), 0xff0000);
	for (unsigned i = 0; i < 2; i++) {
		pos = (struct gpu_cursor_pos){ 0, i ? 0x80000000 : 0, i ? 0 : 0x80000000 };
		display_rig_message(r, GPU_CURSOR_POS, &pos, sizeof(pos), -1);
		assert_int_equal(display_rig_seen(r, 99, 49), 0x0000ff);
	}
	pos = (struct gpu_cursor_pos){ 0, 0, 0 };
	display_rig_message(r, GPU_CURSOR_POS, &pos, sizeof(pos), -1);
	assert_int_equal(display_rig_seen(r, 0, 0), 0xff0000);
	pos = (struct gpu_cursor_pos){ 3, 50, 50 };
	display_rig_message(r, GPU_CURSOR_POS_HIDE, &pos, sizeof(pos), -1);
	assert_int_equal(display_rig_seen(r, 0, 0), 0xff0000);
	pos.scanout = 0;
	display_rig_message(r, GPU_CURSOR_POS_HIDE, &pos, sizeof(pos), -1);
	assert_int_equal(display_rig_seen(r, 0, 0), 0x0000ff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, display_rig_setup, display_rig_teardown)
		T(the_daemon_is_told_of_the_features),
		T(there_is_one_mode_of_the_size_that_was_said),
		T(the_edid_says_the_same),
		T(any_size_there_may_be_has_a_timing),
		T(pixels_come_where_they_belong),
		T(a_message_may_come_in_any_pieces),
		T(a_screen_may_become_another_or_none),
		T(what_is_for_no_screen_is_read_and_thrown_away),
		T(a_screen_that_is_too_large_is_none),
		T(wrong_messages_end_the_connection),
		T(an_update_has_as_many_pixels_as_it_says),
		T(a_daemon_may_end_at_any_byte),
		T(who_does_not_read_answers_is_not_waited_for),
		T(a_cursor_is_over_the_picture_and_over_its_edges),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
