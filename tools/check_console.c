/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of a console whose other end is within reach (other=): what goes in there comes out here,
 * and the reverse. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "base/unix_addr.h"
#include "tools/check.h"

enum {
	RECEIVE = 0,			/* queue of port 0; requests go to the one behind it */
	IN_BYTES = 64,
	TEXT_MAX = 256,
	AGAIN_MS = 200,			/* until what may have come too early is sent once more */
};

/* Of printable characters and a line of its own, as a terminal could be the other end's. */
static const char out_text[] = "vu-check: from the driver\n", in_text[] = "vu-check: from outside\n";

static int connect_other(struct check *c, int *ret)
{
	const char *path = c->options->other;
	struct sockaddr_un addr;
	int fd;

	if (!path)
		return check_skip(c, "other= does not say where the console's other end is");
	if (unix_addr(&addr, path, &c->e))
		return -EINVAL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		fd_close(&fd);
		return check_fail(c, "the other end %s cannot be connected to: %s", path,
				  strerror(errno));
	}
	*ret = fd;
	return 0;
}

/* Reads what there is behind the @have bytes of @text, of which the last TEXT_MAX are kept. */
static size_t read_more(int fd, char text[TEXT_MAX], size_t have)
{
	char more[TEXT_MAX / 2];
	ssize_t n = read(fd, more, sizeof(more));

	if (n <= 0)
		return have;
	if (have + (size_t)n > TEXT_MAX) {
		memmove(text, text + TEXT_MAX / 2, have - TEXT_MAX / 2);
		have -= TEXT_MAX / 2;
	}
	memcpy(text + have, more, (size_t)n);
	return have + (size_t)n;
}

static int send_text(struct check *c)
{
	struct driver_part part = { .len = sizeof(out_text) - 1 };

	memcpy(driver_ring_slot(c->ring), out_text, sizeof(out_text) - 1);
	driver_ring_add(c->ring, &part, 1);
	fd_signal(c->ring->kick);
	return check_wait_used(c);
}

/* Whether the text comes out within AGAIN_MS, behind the *@have bytes of @text. */
static bool comes_out(struct check *c, int other, char text[TEXT_MAX], size_t *have)
{
	uint64_t end = clock_ns() + MS_TO_NS(AGAIN_MS);

	while (clock_ns() < end && vu_client_wait(&c->client, other, AGAIN_MS)) {
		*have = read_more(other, text, *have);
		if (memmem(text, *have, out_text, sizeof(out_text) - 1))
			return true;
	}
	return false;
}

/* The daemon may hear of the other end after the first of it, for which nobody was there then. */
static int output_arrives(struct check *c)
{
	uint64_t end = clock_ns() + MS_TO_NS(c->client.timeout_ms);
	autoclose int other = -1;
	char text[TEXT_MAX];
	size_t have = 0;
	int r = connect_other(c, &other);

	while (r == 0) {
		r = send_text(c);
		if (r == 0 && comes_out(c, other, text, &have))
			return 0;
		if (r == 0 && clock_ns() >= end)
			return check_fail(c, "what the driver sends does not come out at the other end");
	}
	return r;
}

/* Part of it may come in the first buffer. */
static int input_arrives(struct check *c)
{
	struct driver_part part = { .len = IN_BYTES, .in = true };
	struct driver_ring *tx = c->ring;
	autoclose int other = -1;
	const uint8_t *slot;
	int64_t len;
	int r = connect_other(c, &other);

	if (r)
		return r;
	c->ring = &c->rings[RECEIVE];
	slot = driver_ring_slot(c->ring);
	driver_ring_add(c->ring, &part, 1);
	fd_signal(c->ring->kick);
	if (write(other, in_text, sizeof(in_text) - 1) != sizeof(in_text) - 1)
		return check_fail(c, "the other end takes nothing");
	r = check_wait_used(c);
	len = r ? 0 : driver_ring_used_len(c->ring, c->ring->avail);
	c->ring = tx;
	if (r)
		return r;
	if (len < 1 || len > (int64_t)sizeof(in_text) - 1 || memcmp(slot, in_text, (size_t)len))
		return check_fail(c, "what goes in at the other end is not what the driver gets, %lld bytes",
				  (long long)len);
	return 0;
}

#define CONSOLE .device = "console", .requests = true, .from = CHECK_FROM_SERVING

const struct check_rule check_console_rules[] = {
	{ "console.output", "VIRTIO 5.3.6", "what the driver sends comes out at the other end",
	  CONSOLE, .run = output_arrives },
	{ "console.input", "VIRTIO 5.3.6", "what goes in at the other end is given to the driver",
	  CONSOLE, .run = input_arrives },
	{ .id = NULL },
};
