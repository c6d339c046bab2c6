/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/display/peer.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/display/edid.h"

/* Reads before the loop serves somebody else. */
enum { BATCH = 64 };

static_assert(sizeof(struct gpu_header) == 12, "header");
static_assert(sizeof(struct gpu_cursor) == 20 + 4 * 64 * 64, "cursor");
static_assert(sizeof(struct gpu_area) == 20, "area");
static_assert(sizeof(struct gpu_dmabuf) == GPU_DMABUF2_SIZE, "dma-buf");
static_assert(sizeof(struct virtio_gpu_resp_display_info) == 408, "display info");
static_assert(sizeof(struct virtio_gpu_resp_edid) == 1056, "EDID");

typedef void serve_message(struct peer *p);
static serve_message get_features, set_features, get_display_info, cursor_pos, cursor_hide,
	cursor_update, scanout, update, dmabuf_scanout, dmabuf_update, get_edid;

/* size: of the payload; of UPDATE without its pixels. */
static const struct {
	const char *name;
	uint32_t size;
	serve_message *serve;
} messages[GPU_REQUEST_END] = {
	[GPU_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", 0, get_features },
	[GPU_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", 8, set_features },
	[GPU_GET_DISPLAY_INFO] = { "GET_DISPLAY_INFO", 0, get_display_info },
	[GPU_CURSOR_POS] = { "CURSOR_POS", sizeof(struct gpu_cursor_pos), cursor_pos },
	[GPU_CURSOR_POS_HIDE] = { "CURSOR_POS_HIDE", sizeof(struct gpu_cursor_pos), cursor_hide },
	[GPU_CURSOR_UPDATE] = { "CURSOR_UPDATE", sizeof(struct gpu_cursor), cursor_update },
	[GPU_SCANOUT] = { "SCANOUT", sizeof(struct gpu_scanout), scanout },
	[GPU_UPDATE] = { "UPDATE", sizeof(struct gpu_area), update },
	[GPU_DMABUF_SCANOUT] = { "DMABUF_SCANOUT", GPU_DMABUF_SIZE, dmabuf_scanout },
	[GPU_DMABUF_UPDATE] = { "DMABUF_UPDATE", sizeof(struct gpu_area), dmabuf_update },
	[GPU_GET_EDID] = { "GET_EDID", sizeof(struct gpu_edid_request), get_edid },
	[GPU_DMABUF_SCANOUT2] = { "DMABUF_SCANOUT2", GPU_DMABUF2_SIZE, dmabuf_scanout },
};

static void close_all(struct peer *p)
{
	int sock = p->watch.fd;

	loop_unwatch(p->loop, &p->watch);
	fd_close(&sock);
	fd_close(&p->fd);
}

static void end(struct peer *p)
{
	close_all(p);
	p->ops->ended(p->arg);
}

static void __attribute__((format(printf, 2, 3))) end_because(struct peer *p, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	log_warn("the daemon's connection is closed: %s", why);
	end(p);
}

static void await_header(struct peer *p)
{
	p->state = PEER_HEADER;
	p->to = (uint8_t *)&p->header;
	p->need = sizeof(p->header);
}

static void answer(struct peer *p, const void *payload, size_t size)
{
	struct {
		struct gpu_header header;
		uint8_t payload[sizeof(struct virtio_gpu_resp_edid)];
	} m = { .header = { p->header.request, GPU_FLAG_REPLY, (uint32_t)size } };
	ssize_t n;

	if (size)
		memcpy(m.payload, payload, size);
	n = fd_send(p->watch.fd, &m, sizeof(m.header) + size, NULL, 0);
	if (n == -EPIPE || n == -ECONNRESET)
		end(p);
	else if (n != (ssize_t)(sizeof(m.header) + size))
		end_because(p, "it does not read the answer to %s", messages[p->header.request].name);
}

static void get_features(struct peer *p)
{
	const uint64_t features = BIT64(GPU_PF_EDID) | BIT64(GPU_PF_DMABUF2);

	answer(p, &features, sizeof(features));
}

static void set_features(struct peer *p)
{
	log_debug("the daemon acks protocol features 0x%llx", (unsigned long long)p->payload.u64);
}

static void get_display_info(struct peer *p)
{
	struct virtio_gpu_resp_display_info info = {
		.hdr.type = htole32(VIRTIO_GPU_RESP_OK_DISPLAY_INFO),
		.pmodes[0] = { .r = { .width = htole32(p->width), .height = htole32(p->height) },
			       .enabled = htole32(1) },
	};

	answer(p, &info, sizeof(info));
}

static void get_edid(struct peer *p)
{
	struct virtio_gpu_resp_edid edid = { .hdr.type = htole32(VIRTIO_GPU_RESP_OK_EDID) };

	if (p->payload.edid.scanout == 0) {
		edid.size = htole32(EDID_SIZE);
		edid_make(p->width, p->height, edid.edid);
	}
	answer(p, &edid, sizeof(edid));
}

/* Whether a message is about the one scanout that there is. */
static bool is_ours(struct peer *p, uint32_t scanout)
{
	if (scanout && misuse_first(&p->elsewhere))
		log_warn("the daemon shows something on scanout %u; there is only 0", scanout);
	return scanout == 0;
}

static void changed(struct peer *p)
{
	p->ops->changed(p->arg);
}

static void cursor_pos(struct peer *p)
{
	if (!is_ours(p, p->payload.pos.scanout))
		return;
	p->screen->cursor.pos = p->payload.pos;
	p->screen->has_cursor = true;
	changed(p);
}

static void cursor_hide(struct peer *p)
{
	if (!is_ours(p, p->payload.pos.scanout))
		return;
	p->screen->has_cursor = false;
	changed(p);
}

static void cursor_update(struct peer *p)
{
	if (!is_ours(p, p->payload.cursor.pos.scanout))
		return;
	p->screen->cursor = p->payload.cursor;
	p->screen->has_cursor = true;
	changed(p);
}

/* Of a guest's wish that is not met, whose size or form is its driver's choice. */
static void refuse(struct peer *p, const struct err *e)
{
	struct err none;

	if (misuse_first(&p->unreadable))
		log_warn("the daemon shows %s", e->msg);
	screen_resize(p->screen, 0, 0, &none);
}

static void scanout(struct peer *p)
{
	const struct gpu_scanout *s = &p->payload.scanout;
	struct err e;

	if (!is_ours(p, s->scanout))
		return;
	if (screen_resize(p->screen, s->width, s->height, &e))
		refuse(p, &e);
	changed(p);
}

static void dmabuf_scanout(struct peer *p)
{
	struct gpu_dmabuf *b = &p->payload.dmabuf;
	struct err e;

	if (p->header.request == GPU_DMABUF_SCANOUT)
		b->modifier = 0;
	if (!is_ours(p, b->scanout))
		return;
	if (screen_share(p->screen, b, &p->fd, &e))
		refuse(p, &e);
	changed(p);
}

/* Its answer lets the daemon draw again. */
static void dmabuf_update(struct peer *p)
{
	struct err e;

	if (is_ours(p, p->payload.area.scanout)) {
		if (screen_copy(p->screen, &p->payload.area, &e))
			refuse(p, &e);
		changed(p);
	}
	answer(p, NULL, 0);
}

static void skip(struct peer *p, uint64_t size)
{
	p->state = PEER_SKIP;
	p->to = p->payload.bytes;
	p->need = min_u64(size, sizeof(p->payload.bytes));
	p->skip = size - p->need;
}

/* Pixels may be for a screen that is not there: a guest may make its daemon do that. */
static void update(struct peer *p)
{
	const struct gpu_area *a = &p->payload.area;
	struct screen *s = p->screen;
	uint64_t size = p->header.size - sizeof(*a);
	bool is_whole = a->width == s->width;	/* lines, which are one piece then */

	if ((a->height && a->width > SCREEN_PIXELS_MAX / a->height) ||
	    size != UINT64_C(4) * a->width * a->height) {
		end_because(p, "an UPDATE of %u x %u pixels has %llu bytes of them", a->width,
			    a->height, (unsigned long long)size);
		return;
	}
	if (!size)
		return;
	if (!is_ours(p, a->scanout) || !screen_has(s, a) || s->map) {
		skip(p, size);
		return;
	}
	p->state = PEER_PIXELS;
	p->area = *a;
	p->to = (uint8_t *)&s->pixels[(size_t)a->y * s->width + a->x];
	p->lines = is_whole ? 0 : a->height - 1;
	p->need = sizeof(uint32_t) * a->width * (is_whole ? a->height : 1);
}

/* The next line, or the end. */
static void pixels_read(struct peer *p)
{
	if (!p->lines) {
		await_header(p);
		changed(p);
		return;
	}
	p->area.y++;
	p->lines--;
	p->to = (uint8_t *)&p->screen->pixels[(size_t)p->area.y * p->screen->width + p->area.x];
	p->need = sizeof(uint32_t) * p->area.width;
}

static void skip_read(struct peer *p)
{
	if (p->skip)
		skip(p, p->skip);
	else
		await_header(p);
}

static void payload_read(struct peer *p)
{
	await_header(p);
	messages[p->header.request].serve(p);
	fd_close(&p->fd);
}

static void header_read(struct peer *p)
{
	const struct gpu_header *h = &p->header;
	uint32_t size;

	if (h->request >= GPU_REQUEST_END || !messages[h->request].serve) {
		end_because(p, "request %u is not known", h->request);
		return;
	}
	size = messages[h->request].size;
	if (h->flags & GPU_FLAG_REPLY) {
		end_because(p, "%s comes as an answer, to nothing", messages[h->request].name);
		return;
	}
	if (h->request == GPU_UPDATE ? h->size < size : h->size != size) {
		end_because(p, "%s has %u bytes, not %u", messages[h->request].name, h->size, size);
		return;
	}
	log_debug("%s, %u bytes", messages[h->request].name, h->size);
	p->state = PEER_PAYLOAD;
	p->to = p->payload.bytes;
	p->need = size;
	if (!size)
		payload_read(p);
}

static void all_read(struct peer *p)
{
	switch (p->state) {
	case PEER_HEADER:
		header_read(p);
		break;
	case PEER_PAYLOAD:
		payload_read(p);
		break;
	case PEER_PIXELS:
		pixels_read(p);
		break;
	case PEER_SKIP:
		skip_read(p);
		break;
	}
}

static bool is_between_messages(const struct peer *p)
{
	return p->state == PEER_HEADER && p->need == sizeof(p->header);
}

/* Whether there may be more. */
static bool read_some(struct peer *p)
{
	int fds[FD_PASS_MAX];
	size_t nfds;
	ssize_t n = fd_recv(p->watch.fd, p->to, p->need, fds, &nfds);

	if (nfds && p->state == PEER_HEADER && p->fd < 0)
		p->fd = fd_take(&fds[0]);
	while (nfds > 0)
		fd_close(&fds[--nfds]);
	if (n == -EAGAIN)
		return false;
	if (n == 0 && is_between_messages(p)) {
		log_info("the daemon has ended the connection");
		end(p);
		return false;
	}
	if (n <= 0) {
		end_because(p, n == 0 ? "it ends within a message" : "%s", strerror((int)-n));
		return false;
	}
	p->to += n;
	p->need -= (size_t)n;
	if (!p->need)
		all_read(p);
	return peer_is_connected(p);
}

static void ready(void *arg, uint32_t events)
{
	struct peer *p = arg;
	unsigned n = 0;

	(void)events;
	while (n++ < BATCH && read_some(p))
		;
}

void peer_init(struct peer *p, struct loop *loop, struct screen *screen, uint32_t width,
	       uint32_t height, const struct peer_ops *ops, void *arg)
{
	*p = (struct peer){ .loop = loop, .screen = screen, .width = width, .height = height,
			    .ops = ops, .arg = arg, .fd = -1 };
	p->watch = (struct loop_watch){ .fd = -1, .events = EPOLLIN, .ready = ready, .arg = p };
}

int peer_serve(struct peer *p, int *sock, struct err *e)
{
	int r;

	p->watch.fd = fd_take(sock);
	r = loop_watch(p->loop, &p->watch, e);
	if (r) {
		fd_close(&p->watch.fd);
		return r;
	}
	await_header(p);
	return 0;
}

bool peer_is_connected(const struct peer *p)
{
	return p->watch.fd >= 0;
}

bool peer_is_drawing(const struct peer *p)
{
	return peer_is_connected(p) && p->state == PEER_PIXELS;
}

void peer_fini(struct peer *p)
{
	close_all(p);
}
