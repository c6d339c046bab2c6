/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/exec_command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* The word at *@text goes to *@out, with its NUL; both are moved behind it. */
static int take_word(const char **text, char **out, struct err *e)
{
	char quote = '\0';
	const char *p = *text;

	for (; *p && (quote || !is_blank(*p)); p++) {
		if (quote ? *p == quote : *p == '\'' || *p == '"') {
			quote = quote ? '\0' : *p;
			continue;
		}
		if (*p == '\\' && (!quote || (quote == '"' && (p[1] == '"' || p[1] == '\\')))) {
			if (!*++p)
				return err_set(e, -EINVAL, "the \\ at its end is followed by nothing");
		}
		*(*out)++ = *p;
	}
	if (quote)
		return err_set(e, -EINVAL, "the quote %c is not closed", quote);
	*(*out)++ = '\0';
	*text = p;
	return 0;
}

static int split(struct exec_command *c, const char *text, struct err *e)
{
	char *out;
	int r = 0;

	/* A word is not longer than it was written, and each but the last was followed by one
	 * blank at least. */
	c->text = malloc(strlen(text) + 1);
	if (!c->text)
		return err_set(e, -ENOMEM, "out of memory");
	out = c->text;
	while (r == 0) {
		while (is_blank(*text))
			text++;
		if (!*text)
			break;
		c->count++;
		r = take_word(&text, &out, e);
	}
	return r;
}

static int find_places(struct exec_command *c, struct err *e)
{
	bool by_path = false;
	const char *p = c->text;

	for (unsigned i = 0; i < c->count; i++, p++) {
		for (; *p; p++) {
			if (*p != '%')
				continue;
			p++;
			if (*p == 's')
				by_path = true;
			else if (*p == 'd')
				c->by_fd = true;
			else if (*p != '%')
				return err_set(e, -EINVAL, "a %% is followed by s or d, or by another %%"
					       " where it is to be one");
		}
	}
	if (by_path && c->by_fd)
		return err_set(e, -EINVAL, "%%s and %%d are two ways to the same daemon; write one");
	if (!by_path && !c->by_fd)
		return err_set(e, -EINVAL, "where is the daemon to be found? Write %%s for the path where it"
			       " is to listen, or %%d for the number of its connected descriptor");
	return 0;
}

int exec_command_parse(struct exec_command *c, const char *text, struct err *e)
{
	int r;

	*c = (struct exec_command){ .text = NULL };
	r = split(c, text, e);
	if (r == 0 && (!c->count || !*c->text))
		r = err_set(e, -EINVAL, "it begins with no program's name");
	if (r == 0)
		r = find_places(c, e);
	return r;
}

/* Writes the word at @p with @place in it to @out; how many bytes that are, its NUL included. With
 * @out NULL it only counts. */
static size_t fill_word(const char *p, const char *place, char *out)
{
	size_t n = 0, len = strlen(place);

	for (; *p; p++) {
		if (*p == '%' && *++p != '%') {
			if (out)
				memcpy(out + n, place, len);
			n += len;
		} else {
			if (out)
				out[n] = *p;
			n++;
		}
	}
	if (out)
		out[n] = '\0';
	return n + 1;
}

char **exec_command_fill(const struct exec_command *c, const char *place)
{
	size_t table = (c->count + 1) * sizeof(char *), size = table;
	const char *p = c->text;
	char **words, *out;

	for (unsigned i = 0; i < c->count; i++, p += strlen(p) + 1)
		size += fill_word(p, place, NULL);
	words = malloc(size);
	if (!words)
		return NULL;
	out = (char *)words + table;
	p = c->text;
	for (unsigned i = 0; i < c->count; i++, p += strlen(p) + 1) {
		words[i] = out;
		out += fill_word(p, place, out);
	}
	words[c->count] = NULL;
	return words;
}

void exec_command_free(struct exec_command *c)
{
	free(c->text);
	*c = (struct exec_command){ .text = NULL };
}
