/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/aml.h"

#include <assert.h>
#include <string.h>

enum {
	OP_ZERO = 0x00, OP_ONE = 0x01, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b,
	OP_DWORD = 0x0c, OP_STRING = 0x0d, OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12, OP_EXT = 0x5b, OP_DEVICE = 0x82, ROOT = '\\',
};

/* Resource descriptors (6.4.2, 6.4.3). */
enum {
	RES_IO = 0x47, RES_END = 0x79, RES_MEMORY32_FIXED = 0x86, RES_WORD = 0x88, RES_DWORD = 0x87,
	RES_QWORD = 0x8a, RES_INTERRUPT = 0x89,
};
enum { SPACE_MEMORY = 0, SPACE_BUS = 2, RANGE_FIXED = 0x0c, MEMORY_RW = 1 };
enum { INTERRUPT_EDGE_CONSUMER = 3, INTERRUPT_SHARED = 8 };

size_t aml_scope(struct cursor *c, const char *name)
{
	size_t mark;

	cursor_u8(c, OP_SCOPE);
	mark = c->at;
	cursor_u8(c, ROOT);
	cursor_put(c, name, 4);
	return mark;
}

size_t aml_device(struct cursor *c, const char *name)
{
	size_t mark;

	cursor_u8(c, OP_EXT);
	cursor_u8(c, OP_DEVICE);
	mark = c->at;
	cursor_put(c, name, 4);
	return mark;
}

size_t aml_package(struct cursor *c, uint8_t count)
{
	size_t mark;

	cursor_u8(c, OP_PACKAGE);
	mark = c->at;
	cursor_u8(c, count);
	return mark;
}

/*
 * Puts the package length (20.2.4), which counts itself, in front of the content: 6 bits in one
 * byte, or 4 bits and as many bytes as the two top bits say.
 */
void aml_end(struct cursor *c, size_t mark)
{
	size_t content = c->at - mark, more = content + 1 < 0x40 ? 0 : content + 2 < 0x1000 ? 1 : 2;
	size_t len = content + 1 + more;
	uint8_t field[3] = { (uint8_t)len };

	if (c->overflow || more + 1 > c->size - c->at) {
		c->overflow = true;
		return;
	}
	if (more) {
		field[0] = (uint8_t)(more << 6 | (len & 0xf));
		field[1] = (uint8_t)(len >> 4);
		field[2] = (uint8_t)(len >> 12);
	}
	memmove(c->base + mark + 1 + more, c->base + mark, content);
	memcpy(c->base + mark, field, 1 + more);
	c->at += 1 + more;
}

void aml_name(struct cursor *c, const char *name)
{
	cursor_u8(c, OP_NAME);
	cursor_put(c, name, 4);
}

void aml_integer(struct cursor *c, uint64_t v)
{
	static const struct { uint64_t max; uint8_t op, bytes; } forms[] = {
		{ 0, OP_ZERO, 0 }, { 1, OP_ONE, 0 }, { UINT8_MAX, OP_BYTE, 1 },
		{ UINT16_MAX, OP_WORD, 2 }, { UINT32_MAX, OP_DWORD, 4 },
		{ UINT64_MAX, OP_QWORD, 8 },
	};
	size_t i = 0;

	while (v > forms[i].max)
		i++;
	cursor_u8(c, forms[i].op);
	cursor_le(c, v, forms[i].bytes);
}

void aml_string(struct cursor *c, const char *s)
{
	cursor_u8(c, OP_STRING);
	cursor_put(c, s, strlen(s) + 1);
}

/* Three letters of five bits and four hexadecimal digits, big-endian (19.3.4). */
void aml_eisa_id(struct cursor *c, const char *name, const char *id)
{
	uint32_t v = 0;

	assert(strlen(id) == 7);
	for (int i = 0; i < 3; i++)
		v = v << 5 | (uint32_t)(id[i] - '@');
	for (int i = 3; i < 7; i++)
		v = v << 4 | (uint32_t)(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10);
	aml_name(c, name);
	aml_integer(c, __builtin_bswap32(v));
}

/* The buffer's own size, a number, is written as a word and filled in at the end. */
size_t aml_crs(struct cursor *c)
{
	size_t mark;

	aml_name(c, "_CRS");
	cursor_u8(c, OP_BUFFER);
	mark = c->at;
	cursor_u8(c, OP_WORD);
	cursor_u16(c, 0);
	return mark;
}

void aml_crs_end(struct cursor *c, size_t mark)
{
	size_t size;

	cursor_u8(c, RES_END);
	cursor_u8(c, 0);		/* checksum: 0 is "not checked" */
	if (c->overflow)
		return;
	size = c->at - mark - 3;
	c->base[mark + 1] = (uint8_t)size;
	c->base[mark + 2] = (uint8_t)(size >> 8);
	aml_end(c, mark);
}

void aml_io(struct cursor *c, uint16_t port, uint8_t len)
{
	cursor_u8(c, RES_IO);
	cursor_u8(c, 1);		/* decodes 16 bits */
	cursor_u16(c, port);
	cursor_u16(c, port);
	cursor_u8(c, 1);
	cursor_u8(c, len);
}

void aml_memory32_fixed(struct cursor *c, uint32_t base, uint32_t len)
{
	cursor_u8(c, RES_MEMORY32_FIXED);
	cursor_u16(c, 9);
	cursor_u8(c, MEMORY_RW);
	cursor_u32(c, base);
	cursor_u32(c, len);
}

void aml_interrupt(struct cursor *c, uint32_t gsi, bool shared)
{
	cursor_u8(c, RES_INTERRUPT);
	cursor_u16(c, 6);
	cursor_u8(c, INTERRUPT_EDGE_CONSUMER | (shared ? INTERRUPT_SHARED : 0));
	cursor_u8(c, 1);
	cursor_u32(c, gsi);
}

/* The three address space descriptors differ in the width of their five numbers. */
static void address_space(struct cursor *c, uint8_t res, size_t width, uint8_t space, uint8_t flags,
			  uint64_t base, uint64_t len)
{
	cursor_u8(c, res);
	cursor_u16(c, (uint16_t)(3 + 5 * width));
	cursor_u8(c, space);
	cursor_u8(c, RANGE_FIXED);
	cursor_u8(c, flags);
	cursor_le(c, 0, width);			/* granularity */
	cursor_le(c, base, width);
	cursor_le(c, base + len - 1, width);
	cursor_le(c, 0, width);			/* translation */
	cursor_le(c, len, width);
}

void aml_bus_range(struct cursor *c, uint16_t first, uint16_t last)
{
	address_space(c, RES_WORD, 2, SPACE_BUS, 0, first, (uint64_t)last - first + 1);
}

void aml_window32(struct cursor *c, uint32_t base, uint32_t len)
{
	address_space(c, RES_DWORD, 4, SPACE_MEMORY, MEMORY_RW, base, len);
}

void aml_window64(struct cursor *c, uint64_t base, uint64_t len)
{
	address_space(c, RES_QWORD, 8, SPACE_MEMORY, MEMORY_RW, base, len);
}
