/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One JSON object that stands on one line, as --vu-trace writes them: its members, in order. An
 * array or object inside is kept as the text it is. Whoever wrote the line is not trusted.
 */
#ifndef TOOLS_JSON_LINE_H
#define TOOLS_JSON_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { JSON_LINE_MEMBERS = 48 };

/* Both point into the line; a string's text is without quotes and escapes. What is not printable
 * ASCII is a question mark. */
struct json_member {
	const char *name, *text;
};

struct json_line {
	struct json_member members[JSON_LINE_MEMBERS];
	unsigned count;
};

/* Reads @line, which is changed and must live as long as *@ret. 0, or -EINVAL with @e: it is not
 * such an object, or has more members than JSON_LINE_MEMBERS. */
int json_line_parse(struct json_line *ret, char *line, struct err *e);

/* The text of member @name; NULL when there is none. */
const char *json_line_text(const struct json_line *j, const char *name);
/* Whether member @name is a whole number from 0 up, and then *@ret. */
bool json_line_number(const struct json_line *j, const char *name, uint64_t *ret);
/* Whether member @name is true. */
bool json_line_true(const struct json_line *j, const char *name);

#endif
