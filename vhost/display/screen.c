/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/display/screen.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/dma-buf.h>

#include "base/fd.h"
#include "base/range.h"

#define FOURCC(a, b, c, d) \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* Of linux/dri's formats those whose pixels are as ours, and those with red and blue swapped. */
static const struct {
	uint32_t fourcc;
	bool swapped;
} formats[] = {
	{ FOURCC('X', 'R', '2', '4'), false },
	{ FOURCC('A', 'R', '2', '4'), false },
	{ FOURCC('X', 'B', '2', '4'), true },
	{ FOURCC('A', 'B', '2', '4'), true },
};

/* Line after line; and: whatever the driver of the buffer does, which is that as a rule. */
static const uint64_t modifiers[] = { 0, UINT64_C(0x00ffffffffffffff) };

static size_t pixels_size(uint32_t width, uint32_t height)
{
	return (size_t)width * height * sizeof(uint32_t);
}

static void drop_pixels(struct screen *s)
{
	if (s->pixels)
		munmap(s->pixels, pixels_size(s->width, s->height));
	s->pixels = NULL;
	s->width = s->height = 0;
	fd_close(&s->fd);
}

static void drop_buffer(struct screen *s)
{
	if (s->map)
		munmap((void *)(uintptr_t)s->map, s->map_size);
	s->map = NULL;
	fd_close(&s->buffer_fd);
}

int screen_resize(struct screen *s, uint32_t width, uint32_t height, struct err *e)
{
	autoclose int fd = -1;
	void *map;

	if (width > SCREEN_SIDE_MAX || height > SCREEN_SIDE_MAX ||
	    (uint64_t)width * height > SCREEN_PIXELS_MAX)
		return err_set(e, -EMSGSIZE, "a screen of %u x %u pixels is larger than is taken (%u a side, %u in all)",
			       width, height, SCREEN_SIDE_MAX, SCREEN_PIXELS_MAX);
	if (!width || !height) {
		drop_buffer(s);
		drop_pixels(s);
		return 0;
	}
	fd = memfd_create("minivmm-display", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)pixels_size(width, height)) < 0)
		return err_sys(e, "a screen of %u x %u pixels", width, height);
	map = mmap(NULL, pixels_size(width, height), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_sys(e, "a screen of %u x %u pixels", width, height);
	drop_buffer(s);
	drop_pixels(s);
	s->pixels = map;
	s->width = width;
	s->height = height;
	s->fd = fd_take(&fd);
	return 0;
}

static int find_format(uint32_t fourcc)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i].fourcc == fourcc)
			return (int)i;
	return -1;
}

static int check_buffer(const struct gpu_dmabuf *b, uint64_t size, struct err *e)
{
	if (find_format(b->fourcc) < 0)
		return err_set(e, -ENOTSUP, "a dma-buf of format 0x%08x, which is not read here", b->fourcc);
	if (b->modifier != modifiers[0] && b->modifier != modifiers[1])
		return err_set(e, -ENOTSUP, "a dma-buf whose lines are not one after the other (modifier 0x%llx)",
			       (unsigned long long)b->modifier);
	if (!range_ok(b->x, b->width, b->fd_width) || !range_ok(b->y, b->height, b->fd_height) ||
	    b->stride / sizeof(uint32_t) < b->fd_width || b->stride % sizeof(uint32_t))
		return err_set(e, -EINVAL, "a part of a dma-buf that is not in it: %u x %u pixels at %u,%u of %u x %u"
			       " in lines of %u bytes", b->width, b->height, b->x, b->y, b->fd_width,
			       b->fd_height, b->stride);
	if ((uint64_t)b->stride * b->fd_height > size)
		return err_set(e, -EINVAL, "a dma-buf of %llu bytes, with %u lines of %u bytes",
			       (unsigned long long)size, b->fd_height, b->stride);
	return 0;
}

int screen_share(struct screen *s, const struct gpu_dmabuf *b, int *fd, struct err *e)
{
	autoclose int own = fd_take(fd);
	size_t size = (size_t)b->stride * b->fd_height;
	off_t end = own < 0 ? 0 : lseek(own, 0, SEEK_END);
	void *map;
	int r;

	if (own < 0)
		return screen_resize(s, 0, 0, e);
	if (end < 0)
		return err_sys(e, "a dma-buf that cannot be measured");
	r = check_buffer(b, (uint64_t)end, e);
	if (r)
		return r;
	map = size ? mmap(NULL, size, PROT_READ, MAP_SHARED, own, 0) : NULL;
	if (map == MAP_FAILED)
		return err_sys(e, "a dma-buf that cannot be mapped");
	r = screen_resize(s, b->width, b->height, e);
	if (r || !s->pixels) {
		if (map)
			munmap(map, size);
		return r;
	}
	s->buffer = *b;
	s->map = map;
	s->map_size = size;
	s->buffer_fd = fd_take(&own);
	return 0;
}

bool screen_has(const struct screen *s, const struct gpu_area *a)
{
	return range_ok(a->x, a->width, s->width) && range_ok(a->y, a->height, s->height);
}

/* So that caches of whoever draws do not stand between; other things than dma-bufs know it not. */
static void sync_buffer(const struct screen *s, uint64_t which)
{
	struct dma_buf_sync sync = { .flags = which | DMA_BUF_SYNC_READ };

	ioctl(s->buffer_fd, DMA_BUF_IOCTL_SYNC, &sync);
}

static int copy_line(struct screen *s, uint32_t x, uint32_t y, uint32_t width, struct err *e)
{
	const struct gpu_dmabuf *b = &s->buffer;
	uint32_t line = b->y + (b->flags & GPU_DMABUF_Y_0_TOP ? y : b->height - 1 - y);
	const uint8_t *from = s->map + (size_t)b->stride * line + sizeof(uint32_t) * (b->x + x);
	size_t at = (size_t)y * s->width + x, size = sizeof(uint32_t) * width;
	uint32_t *to = s->pixels + at;
	ssize_t n = pwrite(s->fd, from, size, (off_t)(sizeof(uint32_t) * at));

	if (n != (ssize_t)size)
		return err_set(e, -EFAULT, "a dma-buf that cannot be read any more");
	for (uint32_t i = 0; i < width && formats[find_format(b->fourcc)].swapped; i++)
		to[i] = (to[i] & 0xff00) | (to[i] & 0xff) << 16 | (to[i] >> 16 & 0xff);
	return 0;
}

int screen_copy(struct screen *s, const struct gpu_area *a, struct err *e)
{
	uint32_t x = (uint32_t)min_u64(a->x, s->width), y = (uint32_t)min_u64(a->y, s->height);
	uint32_t width = (uint32_t)min_u64(a->width, s->width - x);
	uint32_t height = (uint32_t)min_u64(a->height, s->height - y);
	int r = 0;

	if (!s->map || !width)
		return 0;
	sync_buffer(s, DMA_BUF_SYNC_START);
	for (uint32_t i = 0; i < height && r == 0; i++)
		r = copy_line(s, x, y + i, width, e);
	sync_buffer(s, DMA_BUF_SYNC_END);
	return r;
}

/* Of one colour, 8 bits each. */
static uint8_t blend(uint32_t under, uint32_t over, uint32_t alpha)
{
	return (uint8_t)((over * alpha + under * (255 - alpha) + 127) / 255);
}

static void draw_cursor(const struct screen *s, uint32_t y, uint8_t *rgb)
{
	const struct gpu_cursor *c = &s->cursor;
	/* A cursor may hang over any edge: what drivers write into these numbers has a sign. */
	int64_t line = (int64_t)y - (int32_t)c->pos.y;
	int64_t first = (int32_t)c->pos.x;

	if (line < 0 || line >= GPU_CURSOR_SIDE)
		return;
	for (int64_t i = 0; i < GPU_CURSOR_SIDE; i++) {
		uint32_t over = c->pixels[line * GPU_CURSOR_SIDE + i];
		int64_t x = first + i;

		for (int k = 0; k < 3 && x >= 0 && x < s->width; k++)
			rgb[3 * x + k] = blend(rgb[3 * x + k], over >> (16 - 8 * k) & 0xff,
					       over >> 24);
	}
}

void screen_line(const struct screen *s, uint32_t y, uint8_t *ret_rgb)
{
	const uint32_t *line = s->pixels + (size_t)y * s->width;

	for (uint32_t x = 0; x < s->width; x++)
		for (int k = 0; k < 3; k++)
			ret_rgb[3 * (size_t)x + (size_t)k] = (uint8_t)(line[x] >> (16 - 8 * k));
	if (s->has_cursor)
		draw_cursor(s, y, ret_rgb);
}

void screen_fini(struct screen *s)
{
	drop_buffer(s);
	drop_pixels(s);
}
