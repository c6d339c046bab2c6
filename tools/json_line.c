/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/json_line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16 };

static char *skip_space(char *at)
{
	while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')
		at++;
	return at;
}

/* As which a character is shown: not what a terminal would obey, and nothing beyond ASCII. */
static char shown(unsigned long c)
{
	return c >= ' ' && c < 0x7f ? (char)c : '?';
}

/* The character that \uXXXX at @at stands for. */
static int unicode(const char *at, char *ret)
{
	char digits[5] = { 0 }, *end;
	unsigned long code;

	memcpy(digits, at, strnlen(at, 4));
	code = strtoul(digits, &end, 16);
	if (end != digits + 4 || digits[0] == '-' || digits[0] == '+')
		return -EINVAL;
	*ret = shown(code);
	return 0;
}

/* The string that begins after the quote at @at, unescaped in place; *@ret is behind its end. */
static int string(char *at, char **ret, struct err *e)
{
	static const char letters[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
	char *to = at;

	for (; *at != '"'; at++) {
		const char *letter;

		if ((unsigned char)*at < ' ')
			return err_set(e, -EINVAL, "a string does not end");
		if (*at != '\\') {
			*to++ = shown((unsigned char)*at);
			continue;
		}
		at++;
		letter = *at ? strchr(letters, *at) : NULL;
		if (letter) {
			*to++ = shown((unsigned char)means[letter - letters]);
		} else if (*at == 'u' && unicode(at + 1, to) == 0) {
			to++;
			at += 4;
		} else {
			return err_set(e, -EINVAL, "a backslash before no such character");
		}
	}
	*ret = at + 1;
	*to = '\0';
	return 0;
}

/* Past an array or object, whose brackets must match; what is in it is not looked at. */
static int nested(char *at, char **ret, struct err *e)
{
	char closing[DEPTH_MAX];
	unsigned depth = 0;
	bool quoted = false;

	do {
		if (!*at)
			return err_set(e, -EINVAL, "a bracket is not closed");
		*at = shown((unsigned char)*at);
		if (quoted && *at == '\\' && at[1]) {
			at++;
			*at = shown((unsigned char)*at);
		} else if (quoted) {
			quoted = *at != '"';
		} else if (*at == '"') {
			quoted = true;
		} else if (*at == '{' || *at == '[') {
			if (depth == DEPTH_MAX)
				return err_set(e, -EINVAL, "nested too deeply");
			closing[depth++] = *at == '{' ? '}' : ']';
		} else if ((*at == '}' || *at == ']') && *at != closing[--depth]) {
			return err_set(e, -EINVAL, "brackets do not match");
		}
		at++;
	} while (depth);
	*ret = at;
	return 0;
}

/* A number, true, false or null; only where it ends is looked for. */
static int word(char *at, char **ret, struct err *e)
{
	size_t n = strspn(at, "+-.0123456789abcdefghijklmnopqrstuvwxyzE");

	if (!n)
		return err_set(e, -EINVAL, "a value is missing");
	*ret = at + n;
	return 0;
}

/* One member from @at on, which is behind its separator; *@ret is behind it. */
static int member(struct json_line *j, char *at, char **ret, char *separator, struct err *e)
{
	struct json_member *m = &j->members[j->count];
	char *end;
	int r;

	if (j->count == JSON_LINE_MEMBERS)
		return err_set(e, -EINVAL, "more than %d members", JSON_LINE_MEMBERS);
	at = skip_space(at);
	if (*at != '"')
		return err_set(e, -EINVAL, "a name in quotes is missing");
	m->name = at + 1;
	if (string(at + 1, &at, e) < 0)
		return -EINVAL;
	at = skip_space(at);
	if (*at != ':')
		return err_set(e, -EINVAL, "no colon behind \"%.40s\"", m->name);
	at = skip_space(at + 1);
	m->text = *at == '"' ? at + 1 : at;
	if (*at == '"')
		r = string(at + 1, &end, e);
	else
		r = *at == '{' || *at == '[' ? nested(at, &end, e) : word(at, &end, e);
	if (r < 0)
		return r;
	at = skip_space(end);
	*separator = *at;
	if (*at != ',' && *at != '}')
		return err_set(e, -EINVAL, "neither comma nor bracket behind \"%.40s\"", m->name);
	*end = '\0';
	*ret = at + 1;
	j->count++;
	return 0;
}

int json_line_parse(struct json_line *ret, char *line, struct err *e)
{
	char *at = skip_space(line), separator = ',';

	ret->count = 0;
	if (*at != '{')
		return err_set(e, -EINVAL, "it does not begin with a bracket");
	at++;
	if (*skip_space(at) == '}') {
		separator = '}';
		at = skip_space(at) + 1;
	}
	while (separator == ',')
		if (member(ret, at, &at, &separator, e) < 0)
			return -EINVAL;
	if (*skip_space(at))
		return err_set(e, -EINVAL, "something follows its last bracket");
	return 0;
}

const char *json_line_text(const struct json_line *j, const char *name)
{
	for (unsigned i = 0; i < j->count; i++)
		if (!strcmp(j->members[i].name, name))
			return j->members[i].text;
	return NULL;
}

bool json_line_number(const struct json_line *j, const char *name, uint64_t *ret)
{
	const char *text = json_line_text(j, name);
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return !*end && !errno;
}

bool json_line_true(const struct json_line *j, const char *name)
{
	const char *text = json_line_text(j, name);

	return text && !strcmp(text, "true");
}
