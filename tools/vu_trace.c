/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/vu_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/err.h"
#include "base/log.h"

enum {
	DEVICE = 10,	/* columns of a device's name */
	ARROW = 44,	/* columns between the two ends */
};

/* Members that are shown as something else than NAME=TEXT behind the arrow. */
static const char *const drawn[] = {
	"ns", "device", "channel", "to", "message", "id", "n", "answers", "took_ns", "size", "fds",
	"flags", "need_reply", "reply", "event", NULL,
};

static int is_drawn(const char *name)
{
	for (const char *const *d = drawn; *d; d++)
		if (!strcmp(*d, name))
			return 1;
	return 0;
}

/* Whoever wrote the trace may want to talk to the terminal: what it would obey, and all that is not
 * ASCII, is a question mark. */
static void print_safely(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc(*text >= ' ' && *text < 0x7f ? *text : '?', out);
}

/* The messages of the back channel have double lines. */
static void draw_arrow(FILE *out, const char *message, int to_daemon, int back)
{
	char line[ARROW + 1];
	size_t n = strlen(message) < ARROW - 8 ? strlen(message) : ARROW - 8;
	size_t at = to_daemon ? 3 : ARROW - 3 - n;

	memset(line, back ? '=' : '-', ARROW);
	line[ARROW] = '\0';
	line[to_daemon ? ARROW - 1 : 0] = to_daemon ? '>' : '<';
	line[at - 1] = line[at + n] = ' ';
	memcpy(line + at, message, n);
	fputc('|', out);
	print_safely(out, line);
	fputc('|', out);
}

static void print_value(FILE *out, const json_t *value)
{
	char *text;

	if (json_is_string(value)) {
		print_safely(out, json_string_value(value));
		return;
	}
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	print_safely(out, text ? text : "?");
	free(text);
}

static const char *text_of(const json_t *line, const char *name)
{
	return json_string_value(json_object_get(line, name));
}

/* Whether member @name is a whole number from 0 up, and then *@ret. */
static bool number_of(const json_t *line, const char *name, uint64_t *ret)
{
	const json_t *value = json_object_get(line, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

static void print_rest(FILE *out, json_t *line)
{
	const char *name;
	json_t *value;
	uint64_t n;

	json_object_foreach(line, name, value) {
		if (is_drawn(name))
			continue;
		fputc(' ', out);
		print_safely(out, name);
		fputc('=', out);
		print_value(out, value);
	}
	if (number_of(line, "fds", &n) && n)
		fprintf(out, " +%" PRIu64 " fd%s", n, n > 1 ? "s" : "");
}

static void print_message(FILE *out, json_t *line, const char *message)
{
	const char *to = text_of(line, "to"), *channel = text_of(line, "channel");
	uint64_t n, took;

	draw_arrow(out, message, to && !strcmp(to, "daemon"), channel && !strcmp(channel, "back"));
	if (number_of(line, "answers", &n))
		fprintf(out, " answers #%" PRIu64, n);
	else if (number_of(line, "n", &n))
		fprintf(out, " #%" PRIu64 "%s", n,
			json_is_true(json_object_get(line, "need_reply")) ? "?" : "");
	if (number_of(line, "took_ns", &took))
		fprintf(out, " after %" PRIu64 ".%03u us", took / 1000, (unsigned)(took % 1000));
	print_rest(out, line);
}

static int print_line(FILE *out, json_t *line, struct err *e)
{
	const char *message = text_of(line, "message"), *event = text_of(line, "event");
	const char *device = text_of(line, "device");
	uint64_t ns;
	int width = device ? (int)strlen(device) : 0;

	if (!number_of(line, "ns", &ns) || (!message && !event))
		return err_set(e, -EINVAL, "it has no ns, or neither message nor event");
	fprintf(out, "%5" PRIu64 ".%06u  ", ns / 1000000000, (unsigned)(ns / 1000 % 1000000));
	print_safely(out, device ? device : "");
	fprintf(out, "%*s ", width < DEVICE ? DEVICE - width : 0, "");
	if (message) {
		print_message(out, line, message);
	} else {
		fprintf(out, "* ");
		print_safely(out, event);
		print_rest(out, line);
	}
	fputc('\n', out);
	return 0;
}

static int print_text(FILE *out, const char *text, size_t len, struct err *e)
{
	json_error_t why;
	json_t *line = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	int r;

	if (!line)
		/* Jansson's sentence quotes the line, which is not to reach a terminal. */
		return err_set(e, -EINVAL, "it is not one JSON object: character %d", why.column);
	r = print_line(out, line, e);
	json_decref(line);
	return r;
}

unsigned vu_trace_print(FILE *in, const char *name, FILE *out)
{
	unsigned bad = 0;
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	struct err e;

	fprintf(out, "%12s  %-*s %-*s%s\n", "seconds", DEVICE, "device", ARROW - 4, "front end", "daemon");
	for (uint64_t number = 1; (len = getline(&line, &size, in)) >= 0; number++) {
		if (print_text(out, line, (size_t)len, &e) == 0)
			continue;
		fflush(out);
		log_error("%s: line %" PRIu64 " is none of a trace: %s", name, number, e.msg);
		bad++;
	}
	free(line);
	return bad;
}

int vu_trace_main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	FILE *in = stdin;
	int code;

	log_setup("minivmm", LOG_WARN);
	if (argc != 2 || (name[0] == '-' && name[1])) {
		log_error("usage: minivmm vu-trace FILE, where FILE is what --vu-trace wrote; - is standard input");
		return 2;
	}
	if (strcmp(name, "-"))
		in = fopen(name, "re");
	if (!in) {
		log_error("%s: %s", name, strerror(errno));
		return 1;
	}
	code = vu_trace_print(in, name, stdout) ? 1 : 0;
	if (ferror(in)) {
		log_error("%s: %s", name, strerror(errno));
		code = 1;
	}
	if (in != stdin)
		fclose(in);
	return code;
}
