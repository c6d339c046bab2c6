/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { END = 3 };	/* bracket, newline and the string's zero */
enum { SURROGATES = 0xd800, SURROGATES_END = 0xe000, REPLACEMENT = 0xfffd, UNICODE_MAX = 0x10ffff };

void json_begin(struct json *j, char *buf, size_t size)
{
	*j = (struct json){ .buf = buf, .size = size - END };
	j->buf[j->len++] = '{';
}

static void put(struct json *j, const char *text, size_t n)
{
	if (n > j->size - j->len) {
		j->cut = true;
		return;
	}
	memcpy(j->buf + j->len, text, n);
	j->len += n;
}

/* The code point that the UTF-8 at *@text begins with, which is moved behind it; of a byte that
 * begins none, U+FFFD, as Unicode recommends. */
static uint32_t next_character(const unsigned char **text)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	unsigned char first = *(*text)++;
	unsigned more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
	uint32_t c = more ? first & (0x3fu >> more) : first;

	if (first >= 0x80 && (first < 0xc2 || first > 0xf4))
		return REPLACEMENT;
	for (unsigned i = 0; i < more; i++) {
		if (((*text)[i] & 0xc0) != 0x80)
			return REPLACEMENT;
		c = c << 6 | ((*text)[i] & 0x3f);
	}
	if (c < least[more] || c > UNICODE_MAX || (c >= SURROGATES && c < SURROGATES_END))
		return REPLACEMENT;
	*text += more;
	return c;
}

static void put_quoted(struct json *j, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	put(j, "\"", 1);
	while (*at) {
		uint32_t c = next_character(&at);
		char escaped[16];
		int n;

		if (c == '"' || c == '\\')
			n = snprintf(escaped, sizeof(escaped), "\\%c", (char)c);
		else if (c >= ' ' && c <= '~')
			n = snprintf(escaped, sizeof(escaped), "%c", (char)c);
		else if (c < 0x10000)
			n = snprintf(escaped, sizeof(escaped), "\\u%04" PRIx32, c);
		else
			n = snprintf(escaped, sizeof(escaped), "\\u%04" PRIx32 "\\u%04" PRIx32,
				     SURROGATES + ((c - 0x10000) >> 10),
				     SURROGATES + 0x400 + ((c - 0x10000) & 0x3ff));
		put(j, escaped, (size_t)n);
	}
	put(j, "\"", 1);
}

/* Begins a member; returns what to go back to when it does not fit. */
static struct json begin(struct json *j, const char *name)
{
	struct json before = *j;

	j->cut = false;
	if (j->len > 1)
		put(j, ", ", 2);
	put_quoted(j, name);
	put(j, ": ", 2);
	return before;
}

static void end(struct json *j, struct json before)
{
	bool cut = j->cut;

	if (cut)
		*j = before;
	j->cut = cut || before.cut;
}

void json_raw(struct json *j, const char *name, const char *json)
{
	struct json before = begin(j, name);

	put(j, json, strlen(json));
	end(j, before);
}

void json_text(struct json *j, const char *name, const char *text)
{
	struct json before = begin(j, name);

	put_quoted(j, text);
	end(j, before);
}

void json_number(struct json *j, const char *name, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	json_raw(j, name, text);
}

void json_hex(struct json *j, const char *name, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "\"0x%" PRIx64 "\"", n);
	json_raw(j, name, text);
}

void json_bool(struct json *j, const char *name, bool b)
{
	json_raw(j, name, b ? "true" : "false");
}

size_t json_end(struct json *j)
{
	memcpy(j->buf + j->len, "}\n", END);
	return j->len + END - 1;
}
