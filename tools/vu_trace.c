/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/vu_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tools/json_line.h"

enum { ARROW = 44 };	/* columns between the two ends */

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
	fprintf(out, "|%s|", line);
}

static void print_rest(FILE *out, const struct json_line *j)
{
	uint64_t n;

	for (unsigned i = 0; i < j->count; i++)
		if (!is_drawn(j->members[i].name))
			fprintf(out, " %s=%s", j->members[i].name, j->members[i].text);
	if (json_line_number(j, "fds", &n) && n)
		fprintf(out, " +%" PRIu64 " fd%s", n, n > 1 ? "s" : "");
}

static void print_message(FILE *out, const struct json_line *j, const char *message)
{
	const char *to = json_line_text(j, "to"), *channel = json_line_text(j, "channel");
	uint64_t n, took;

	draw_arrow(out, message, to && !strcmp(to, "daemon"), channel && !strcmp(channel, "back"));
	if (json_line_number(j, "answers", &n))
		fprintf(out, " answers #%" PRIu64, n);
	else if (json_line_number(j, "n", &n))
		fprintf(out, " #%" PRIu64 "%s", n, json_line_true(j, "need_reply") ? "?" : "");
	if (json_line_number(j, "took_ns", &took))
		fprintf(out, " after %" PRIu64 ".%03u us", took / 1000, (unsigned)(took % 1000));
	print_rest(out, j);
}

static int print_line(FILE *out, char *line, struct err *e)
{
	const char *message, *event, *device;
	struct json_line j;
	uint64_t ns;

	if (json_line_parse(&j, line, e) < 0)
		return -EINVAL;
	message = json_line_text(&j, "message");
	event = json_line_text(&j, "event");
	device = json_line_text(&j, "device");
	if (!json_line_number(&j, "ns", &ns) || (!message && !event))
		return err_set(e, -EINVAL, "it has no ns, or neither message nor event");
	fprintf(out, "%5" PRIu64 ".%06u  %-10s ", ns / 1000000000,
		(unsigned)(ns / 1000 % 1000000), device ? device : "");
	if (message) {
		print_message(out, &j, message);
	} else {
		fprintf(out, "* %s", event);
		print_rest(out, &j);
	}
	fputc('\n', out);
	return 0;
}

unsigned vu_trace_print(FILE *in, const char *name, FILE *out)
{
	unsigned bad = 0;
	char *line = NULL;
	size_t size = 0;
	struct err e;

	fprintf(out, "%12s  %-10s %-*s%s\n", "seconds", "device", ARROW - 4, "front end", "daemon");
	for (uint64_t number = 1; getline(&line, &size, in) >= 0; number++) {
		if (print_line(out, line, &e) == 0)
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
