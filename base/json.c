/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { END = 3 };	/* bracket, newline and the string's zero */

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

static void put_quoted(struct json *j, const char *text)
{
	put(j, "\"", 1);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		char escaped[8];
		int n = c == '"' || c == '\\' ? snprintf(escaped, sizeof(escaped), "\\%c", c) :
			c < ' ' || c > '~' ? snprintf(escaped, sizeof(escaped), "\\u%04x", c) :
			snprintf(escaped, sizeof(escaped), "%c", c);

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
