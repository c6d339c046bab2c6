/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/lines.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void lines_init(struct lines *l, const char *name, int fd)
{
	*l = (struct lines){ .fd = fd };
	snprintf(l->name, sizeof(l->name), "%s", name);
}

void lines_read(struct lines *l)
{
	ssize_t n = read(l->fd, l->text + l->len, sizeof(l->text) - l->len);

	if (n > 0)
		l->len += (size_t)n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		l->ended = true;
}

/* Of the first line, without its end; the whole when there is no end. */
static size_t first_length(const struct lines *l)
{
	const char *end = memchr(l->text, '\n', l->len);

	return end ? (size_t)(end - l->text) : l->len;
}

bool lines_due(const struct lines *l)
{
	return l->len && (first_length(l) < l->len || l->len == sizeof(l->text) || l->ended);
}

static bool is_harmless(char c)
{
	return c == '\t' || ((unsigned char)c >= ' ' && c != 0x7f);
}

size_t lines_take(struct lines *l, const char *end, char ret_line[LINES_OUT_MAX])
{
	size_t len = first_length(l), used = len < l->len ? len + 1 : len;
	size_t n = (size_t)snprintf(ret_line, LINES_OUT_MAX, "%s: ", l->name);

	assert(lines_due(l) && strlen(end) <= 2);
	/* A return before the end is part of it. */
	if (len && l->text[len - 1] == '\r')
		len--;
	for (size_t i = 0; i < len; i++)
		ret_line[n++] = is_harmless(l->text[i]) ? l->text[i] : '?';
	memcpy(ret_line + n, end, strlen(end));
	l->len -= used;
	memmove(l->text, l->text + used, l->len);
	return n + strlen(end);
}
