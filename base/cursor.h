/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte cursor over a borrowed buffer, for tables we write. Past the end nothing is written and
 * `overflow` stays set: check it once, at the end. Integers are little-endian, as every table a
 * PC guest reads.
 */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
	uint8_t *base;		/* borrowed */
	size_t size;
	size_t at;		/* bytes written so far */
	bool overflow;
};

static inline void cursor_put(struct cursor *c, const void *data, size_t len)
{
	if (c->overflow || len > c->size - c->at) {
		c->overflow = true;
		return;
	}
	memcpy(c->base + c->at, data, len);
	c->at += len;
}

static inline void cursor_u8(struct cursor *c, uint8_t v)
{
	cursor_put(c, &v, 1);
}

static inline void cursor_le(struct cursor *c, uint64_t v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		cursor_u8(c, (uint8_t)(v >> (8 * i)));
}

static inline void cursor_u16(struct cursor *c, uint16_t v)
{
	cursor_le(c, v, 2);
}

static inline void cursor_u32(struct cursor *c, uint32_t v)
{
	cursor_le(c, v, 4);
}

static inline void cursor_u64(struct cursor *c, uint64_t v)
{
	cursor_le(c, v, 8);
}

static inline void cursor_zero(struct cursor *c, size_t len)
{
	while (len-- > 0 && !c->overflow)
		cursor_u8(c, 0);
}

#endif
