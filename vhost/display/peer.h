/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon at the other end of a display's connection: takes its messages apart, puts what they
 * show on the screen, answers. Pixels go straight from the socket to the screen, so that no size
 * that a message tells costs memory; what is told of scanouts that there are not is read and thrown
 * away. A message that contradicts itself ends the connection, by a line of the log.
 *
 * In the loop.
 */
#ifndef VHOST_DISPLAY_PEER_H
#define VHOST_DISPLAY_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/loop.h"
#include "vhost/display/protocol.h"
#include "vhost/display/screen.h"

struct peer_ops {
	/* Something else is on the screen, and whole: no message is half read. */
	void (*changed)(void *arg);
	/* The connection has ended, and @peer may be used again. */
	void (*ended)(void *arg);
};

struct peer {
	struct loop *loop;
	struct screen *screen;		/* borrowed */
	uint32_t width, height;		/* of the one mode that is told */
	const struct peer_ops *ops;
	void *arg;
	struct loop_watch watch;	/* fd -1: nobody is connected */

	enum { PEER_HEADER, PEER_PAYLOAD, PEER_PIXELS, PEER_SKIP } state;
	uint8_t *to;			/* where what comes next goes, and how much of it */
	size_t need;
	uint64_t skip;			/* of PEER_SKIP: bytes after those */
	uint32_t lines;			/* of PEER_PIXELS: lines after those */
	struct gpu_area area;		/* of them */
	struct gpu_header header;
	int fd;				/* that came with it; -1 */
	union {
		struct gpu_cursor_pos pos;
		struct gpu_cursor cursor;
		struct gpu_scanout scanout;
		struct gpu_area area;
		struct gpu_dmabuf dmabuf;
		struct gpu_edid_request edid;
		uint64_t u64;
		uint8_t bytes[sizeof(struct gpu_cursor)];
	} payload;
	struct misuse elsewhere, unreadable;	/* for other scanouts; a buffer, or its size */
};

/* Nobody is connected. What is borrowed is so until peer_fini. */
void peer_init(struct peer *p, struct loop *loop, struct screen *screen, uint32_t width,
	       uint32_t height, const struct peer_ops *ops, void *arg);
/* Serves the connected, non-blocking *@sock, which it takes also when it fails. 0 or -errno with
 * @e. While nobody else is connected. */
int peer_serve(struct peer *p, int *sock, struct err *e);
bool peer_is_connected(const struct peer *p);
/* Whether pixels of a message are on the screen, and others of it not yet. */
bool peer_is_drawing(const struct peer *p);
/* Ends the connection, calls nobody. Works on a zeroed struct's init only; twice. */
void peer_fini(struct peer *p);

#endif
