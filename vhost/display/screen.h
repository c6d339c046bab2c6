/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on the display's screen: the pixels that the daemon sent or that it shares (a dma-buf),
 * and the cursor over them. All of it is the daemon's choice, so that every size is checked here.
 *
 * The pixels are in a memfd of ours. From a dma-buf they are copied by the kernel, not by a load:
 * whoever has the buffer can make it shorter, and a load would end the program then.
 *
 * In the loop.
 */
#ifndef VHOST_DISPLAY_SCREEN_H
#define VHOST_DISPLAY_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vhost/display/protocol.h"

/* Of a side, and of all of a screen: 128 MiB. */
enum { SCREEN_SIDE_MAX = 8192, SCREEN_PIXELS_MAX = 1 << 25 };

struct screen {
	uint32_t width, height;		/* 0 and 0: nothing is shown */
	uint32_t *pixels;		/* x8r8g8b8, width * height of them; NULL: none */
	int fd;				/* of the memfd behind them; -1 */

	struct gpu_dmabuf buffer;	/* of `map` */
	const uint8_t *map;		/* of a dma-buf; NULL: the daemon sends pixels */
	size_t map_size;
	int buffer_fd;			/* of map; -1 */

	bool has_cursor;
	struct gpu_cursor cursor;
};

#define SCREEN_NONE { .fd = -1, .buffer_fd = -1 }

/* Begins a screen of that size, black; 0 and 0: none. The cursor stays. 0, or -errno with @e and
 * everything as it was: -EMSGSIZE of what is larger than a screen may be. */
int screen_resize(struct screen *s, uint32_t width, uint32_t height, struct err *e);
/* Begins one that shows a part of the dma-buf *@fd, taken also when it fails; -1: none. 0, or
 * -errno with @e and everything as it was: -EINVAL when @b contradicts itself or the buffer,
 * -ENOTSUP when its pixels are in a form that cannot be read here. */
int screen_share(struct screen *s, const struct gpu_dmabuf *b, int *fd, struct err *e);
/* Copies @a, as far as it is on the screen, from the dma-buf; nothing without one. 0, or -errno
 * with @e when the buffer cannot be read. */
int screen_copy(struct screen *s, const struct gpu_area *a, struct err *e);
/* Whether all of @a is on the screen. */
bool screen_has(const struct screen *s, const struct gpu_area *a);
/* Line @y with the cursor over it, as width * 3 bytes: red, green, blue. */
void screen_line(const struct screen *s, uint32_t y, uint8_t *ret_rgb);
/* Works twice. */
void screen_fini(struct screen *s);

#endif
