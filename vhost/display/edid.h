/* SPDX-License-Identifier: Apache-2.0 */
/* What a monitor says of itself: E-EDID, version 1.4. */
#ifndef VHOST_DISPLAY_EDID_H
#define VHOST_DISPLAY_EDID_H

#include <stdint.h>

/* Sides that a detailed timing has room for, in pixels. */
enum { EDID_SIZE = 128, EDID_SIDE_MIN = 16, EDID_SIDE_MAX = 4080 };

/* That of a monitor with one mode: @width by @height, each from EDID_SIDE_MIN to _MAX. */
void edid_make(uint32_t width, uint32_t height, uint8_t ret[EDID_SIZE]);

#endif
