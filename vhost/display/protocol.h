/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vhost-user-gpu daemon and a display say to each other over the socket of GPU_SET_SOCKET:
 * the specification "Vhost-user-gpu Protocol". The daemon asks, the display answers some of it. All
 * numbers are the host's, but in the two answers of which a guest gets a copy: those are of
 * linux/virtio_gpu.h and little-endian.
 */
#ifndef VHOST_DISPLAY_PROTOCOL_H
#define VHOST_DISPLAY_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_gpu.h>

enum gpu_request {
	GPU_GET_PROTOCOL_FEATURES = 1,
	GPU_SET_PROTOCOL_FEATURES,
	GPU_GET_DISPLAY_INFO,
	GPU_CURSOR_POS,
	GPU_CURSOR_POS_HIDE,
	GPU_CURSOR_UPDATE,
	GPU_SCANOUT,
	GPU_UPDATE,
	GPU_DMABUF_SCANOUT,
	GPU_DMABUF_UPDATE,
	GPU_GET_EDID,
	GPU_DMABUF_SCANOUT2,
	GPU_REQUEST_END
};

enum { GPU_PF_EDID, GPU_PF_DMABUF2 };		/* bits of GET_PROTOCOL_FEATURES' answer */
enum { GPU_FLAG_REPLY = 4 };			/* of a header */
enum { GPU_CURSOR_SIDE = 64 };			/* pixels */
enum { GPU_DMABUF_Y_0_TOP = 1 };		/* of gpu_dmabuf.flags: the first line is the top */

struct gpu_header {
	uint32_t request, flags, size;		/* size: bytes that follow */
};

struct gpu_cursor_pos {
	uint32_t scanout, x, y;			/* of its upper left corner; both have a sign */
};

struct gpu_cursor {
	struct gpu_cursor_pos pos;
	uint32_t hot_x, hot_y;			/* what of it points, from pos on */
	uint32_t pixels[GPU_CURSOR_SIDE * GPU_CURSOR_SIDE];	/* a8r8g8b8 */
};

struct gpu_scanout {
	uint32_t scanout, width, height;	/* 0 and 0: it shows nothing any more */
};

/* In UPDATE, pixels follow (x8r8g8b8), width of them a line, without gaps. */
struct gpu_area {
	uint32_t scanout, x, y, width, height;
};

/* With an fd; without one the scanout shows nothing any more. */
struct gpu_dmabuf {
	uint32_t scanout, x, y, width, height;	/* what of the buffer is shown */
	uint32_t fd_width, fd_height, stride, flags;
	uint32_t fourcc;			/* linux/dri: a format */
	uint64_t modifier;			/* of DMABUF_SCANOUT2 */
};

enum { GPU_DMABUF_SIZE = 40, GPU_DMABUF2_SIZE = 48 };	/* bytes on the wire */

struct gpu_edid_request {
	uint32_t scanout;
};

#endif
