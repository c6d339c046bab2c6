/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/display/edid.h"

#include <stdio.h>
#include <string.h>

#include "base/range.h"

/* Section 3.10.2: what is around the picture; few monitors need more. */
enum {
	H_BLANK = 160, H_FRONT = 48, H_SYNC = 32, V_BLANK = 30, V_FRONT = 3, V_SYNC = 6,
};

/* Five bits of the maker's name, A is 1. */
#define LETTER(c) ((c) - '@')

/* In units of 10 kHz, 60 pictures a second as far as its 16 bits go. */
static unsigned pixel_clock(uint32_t width, uint32_t height)
{
	uint64_t clock = (uint64_t)(width + H_BLANK) * (height + V_BLANK) * 60 / 10000;

	return (unsigned)min_u64(clock, UINT16_MAX);
}

static void make_timing(uint32_t width, uint32_t height, uint8_t *d)
{
	/* At 96 pixels an inch. */
	uint32_t mm_x = width * 254 / 960, mm_y = height * 254 / 960;
	unsigned clock = pixel_clock(width, height);

	d[0] = (uint8_t)clock;
	d[1] = (uint8_t)(clock >> 8);
	d[2] = (uint8_t)width;
	d[3] = H_BLANK;
	d[4] = (uint8_t)(width >> 8 << 4);
	d[5] = (uint8_t)height;
	d[6] = V_BLANK;
	d[7] = (uint8_t)(height >> 8 << 4);
	d[8] = H_FRONT;
	d[9] = H_SYNC;
	d[10] = V_FRONT << 4 | V_SYNC;
	d[12] = (uint8_t)mm_x;
	d[13] = (uint8_t)mm_y;
	d[14] = (uint8_t)(mm_x >> 8 << 4 | mm_y >> 8);
	d[17] = 0x1e;		/* separate sync, both positive */
}

/* Section 3.10.3.4: a name of up to 13 bytes, ended and filled up. */
static void make_name(const char *name, uint8_t *d)
{
	d[3] = 0xfc;
	memset(d + 5, ' ', 13);
	memcpy(d + 5, name, strlen(name));
	d[5 + strlen(name)] = '\n';
}

void edid_make(uint32_t width, uint32_t height, uint8_t ret[EDID_SIZE])
{
	static const uint8_t head[] = {
		0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00,
		/* maker MVM, product 1, no serial number, of the first year there is */
		LETTER('M') << 2 | LETTER('V') >> 3, (LETTER('V') << 5 | LETTER('M')) & 0xff,
		1, 0, 0, 0, 0, 0, 1, 0,
		1, 4,			/* version */
		0xa5,			/* digital, 8 bits a colour, DisplayPort */
	};
	/* Section 3.7: sRGB. */
	static const uint8_t colours[] = {
		0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54,
	};
	unsigned sum = 0;

	memset(ret, 0, EDID_SIZE);
	memcpy(ret, head, sizeof(head));
	ret[21] = (uint8_t)(width * 254 / 9600);	/* cm */
	ret[22] = (uint8_t)(height * 254 / 9600);
	ret[23] = 120;					/* gamma 2.2 */
	ret[24] = 0x06;					/* sRGB; the first timing is native */
	memcpy(ret + 25, colours, sizeof(colours));
	memset(ret + 38, 1, 16);			/* no standard timings */
	make_timing(width, height, ret + 54);
	make_name("minivmm", ret + 72);
	ret[90 + 3] = ret[108 + 3] = 0x10;		/* dummy descriptors */
	for (unsigned i = 0; i < EDID_SIZE - 1; i++)
		sum += ret[i];
	ret[EDID_SIZE - 1] = (uint8_t)(256 - sum % 256);
}
