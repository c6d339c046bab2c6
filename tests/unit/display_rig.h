/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-display's screen and peer, and the daemon's end of the connection: the test. */
#ifndef TESTS_DISPLAY_RIG_H
#define TESTS_DISPLAY_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhost/display/peer.h"

enum { DISPLAY_RIG_WIDTH = 640, DISPLAY_RIG_HEIGHT = 480 };

struct display_rig {
	struct loop loop;
	struct screen screen;
	struct peer peer;
	int sock;			/* the daemon's end */
	unsigned changed, ended;
	unsigned fds;			/* of this process, before */
	struct err e;
};

/* cmocka's set-up and tear-down: *state is a rig, connected. The tear-down fails the test when a
 * descriptor is left. */
int display_rig_setup(void **state);
int display_rig_teardown(void **state);
/* A new connection, when the one before has ended. */
void display_rig_connect(struct display_rig *r);
/* Runs the loop until nothing is ready. */
void display_rig_settle(struct display_rig *r);

/* Sends bytes, with an fd unless that is -1, and runs the loop; a header, and a whole message. */
void display_rig_send(struct display_rig *r, const void *bytes, size_t size, int fd);
void display_rig_header(struct display_rig *r, uint32_t request, uint32_t flags, uint32_t size);
void display_rig_message(struct display_rig *r, uint32_t request, const void *payload, size_t size,
			 int fd);
/* Receives an answer of @size bytes. */
void display_rig_receive(struct display_rig *r, uint32_t request, void *payload, size_t size);

/* Red, green, blue of a pixel as a picture has it. */
uint32_t display_rig_seen(struct display_rig *r, uint32_t x, uint32_t y);
bool display_rig_is_connected(const struct display_rig *r);

#endif
