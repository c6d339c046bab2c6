/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/display_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/process.h"

enum { RUNS = 100 };

static void changed(void *arg)
{
	struct display_rig *r = arg;

	assert_false(peer_is_drawing(&r->peer));
	r->changed++;
}

static void ended(void *arg)
{
	((struct display_rig *)arg)->ended++;
}

static const struct peer_ops ops = { .changed = changed, .ended = ended };

void display_rig_connect(struct display_rig *r)
{
	int pair[2];

	fd_close(&r->sock);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	r->sock = pair[0];
	assert_int_equal(peer_serve(&r->peer, &pair[1], &r->e), 0);
}

int display_rig_setup(void **state)
{
	struct display_rig *r = calloc(1, sizeof(*r));

	r->fds = process_fds();
	r->sock = -1;
	r->screen = (struct screen)SCREEN_NONE;
	assert_int_equal(loop_init(&r->loop, NULL, &r->e), 0);
	peer_init(&r->peer, &r->loop, &r->screen, DISPLAY_RIG_WIDTH, DISPLAY_RIG_HEIGHT, &ops, r);
	display_rig_connect(r);
	*state = r;
	return 0;
}

int display_rig_teardown(void **state)
{
	struct display_rig *r = *state;

	peer_fini(&r->peer);
	peer_fini(&r->peer);
	screen_fini(&r->screen);
	screen_fini(&r->screen);
	loop_fini(&r->loop);
	fd_close(&r->sock);
	assert_int_equal(process_fds(), r->fds);
	free(r);
	return 0;
}

void display_rig_settle(struct display_rig *r)
{
	for (unsigned i = 0; i < RUNS; i++)
		loop_once(&r->loop, 0);
}

void display_rig_send(struct display_rig *r, const void *bytes, size_t size, int fd)
{
	const uint8_t *at = bytes;

	while (size > 0) {
		ssize_t n = fd_send(r->sock, at, size, &fd, fd >= 0);

		if (n > 0) {
			at += n;
			size -= (size_t)n;
			fd = -1;
		}
		display_rig_settle(r);
		assert_true(n > 0 || n == -EAGAIN);
	}
}

void display_rig_header(struct display_rig *r, uint32_t request, uint32_t flags, uint32_t size)
{
	const struct gpu_header h = { request, flags, size };

	display_rig_send(r, &h, sizeof(h), -1);
}

void display_rig_message(struct display_rig *r, uint32_t request, const void *payload, size_t size,
			 int fd)
{
	uint8_t m[sizeof(struct gpu_header) + sizeof(struct gpu_cursor)];
	const struct gpu_header h = { request, 0, (uint32_t)size };

	memcpy(m, &h, sizeof(h));
	if (size)
		memcpy(m + sizeof(h), payload, size);
	display_rig_send(r, m, sizeof(h) + size, fd);
}

void display_rig_receive(struct display_rig *r, uint32_t request, void *payload, size_t size)
{
	uint8_t m[2048];
	struct gpu_header h;

	display_rig_settle(r);
	assert_int_equal(recv(r->sock, m, sizeof(m), 0), sizeof(h) + size);
	memcpy(&h, m, sizeof(h));
	assert_int_equal(h.request, request);
	assert_int_equal(h.flags, GPU_FLAG_REPLY);
	assert_int_equal(h.size, size);
	if (size)
		memcpy(payload, m + sizeof(h), size);
}

uint32_t display_rig_seen(struct display_rig *r, uint32_t x, uint32_t y)
{
	static uint8_t line[3 * SCREEN_SIDE_MAX];

	screen_line(&r->screen, y, line);
	return (uint32_t)line[3 * x] << 16 | (uint32_t)line[3 * x + 1] << 8 | line[3 * x + 2];
}

bool display_rig_is_connected(const struct display_rig *r)
{
	return peer_is_connected(&r->peer) && !r->ended;
}
