/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One JSON object on one line, written member by member into a buffer of the caller's. A member for
 * which there is no room is left out whole: the object is always one. One thread at a time.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json {
	char *buf;		/* borrowed */
	size_t size, len;
	bool cut;		/* something did not fit */
};

/* Begins an object in @buf of @size bytes, at least 8. */
void json_begin(struct json *j, char *buf, size_t size);
/* Adds a member. Text is UTF-8, of which all but printable ASCII is escaped, so that a line may be
 * shown to anybody; it may hold anything, and a byte that is none of UTF-8 becomes U+FFFD. Numbers
 * of 64 bits that a reader may round are better written by json_hex, as a string ("0x1f"). */
void json_text(struct json *j, const char *name, const char *text);
void json_number(struct json *j, const char *name, uint64_t n);
void json_hex(struct json *j, const char *name, uint64_t n);
void json_bool(struct json *j, const char *name, bool b);
/* Adds a member whose value @json already is JSON (an array, say). */
void json_raw(struct json *j, const char *name, const char *json);
/* Ends the object and the line; returns the bytes that are in the buffer. */
size_t json_end(struct json *j);

#endif
