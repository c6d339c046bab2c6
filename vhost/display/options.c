/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/display/options.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/keyval.h"
#include "base/log.h"
#include "base/range.h"
#include "base/seccomp.h"
#include "minivmm_config.h"
#include "vhost/display/edid.h"

enum { RATE_MAX = 1000, KEEP_MAX = 1000000 };

enum option_id {
	OPT_SOCKET, OPT_PNG, OPT_DIR, OPT_KEEP, OPT_SIZE, OPT_RATE, OPT_SECCOMP, OPT_LOG_LEVEL,
	OPT_HELP, OPT_VERSION, OPT_IDS
};

static const struct option_row {
	const char *name;	/* without the dashes */
	const char *argument;	/* NULL: a flag */
	const char *help;
} rows[] = {
	[OPT_SOCKET] = { "socket", "PATH", "listen on this socket, serve one daemon after the other" },
	[OPT_PNG] = { "png", "FILE", "what is on the screen, always the latest" },
	[OPT_DIR] = { "dir", "DIR", "instead: numbered pictures, 000001.png and so on" },
	[OPT_KEEP] = { "keep", "N", "of --dir the N latest stay (100)" },
	[OPT_SIZE] = { "size", "WIDTHxHEIGHT", "of the screen, in pixels (1280x800)" },
	[OPT_RATE] = { "rate", "N", "at most N pictures a second; 0: by SIGUSR1 alone (10)" },
	[OPT_SECCOMP] = { "seccomp", "kill|log|errno|off", "what a system call off the list does (kill)" },
	[OPT_LOG_LEVEL] = { "log-level", "error|warn|info|debug", "what is worth a line (warn)" },
	[OPT_HELP] = { "help", NULL, "print this" },
	[OPT_VERSION] = { "version", NULL, "print the version" },
};
static_assert(ARRAY_SIZE(rows) == OPT_IDS, "every option has its row");

void display_options_help(FILE *out)
{
	fputs("usage: minivmm-display --socket PATH (--png FILE | --dir DIR) [OPTION...]\n"
	      "The screen of a vhost-user-gpu device, as PNG pictures.\n\noptions:\n", out);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct option_row *r = &rows[i];
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", r->name, r->argument ? " " : "",
			 r->argument ? r->argument : "");
		fprintf(out, "  %-34s %s\n", left, r->help);
	}
}

static int take_string(const char **field, const char *name, const char *value, struct err *e)
{
	if (*field)
		return err_set(e, -EINVAL, "--%s is given twice", name);
	if (!*value)
		return err_set(e, -EINVAL, "--%s needs a value that is not empty", name);
	*field = value;
	return 0;
}

static int take_size(struct display_options *o, const char *value, struct err *e)
{
	unsigned width, height;
	char end;

	if (value[strspn(value, "0123456789x")] || strlen(value) > 9 ||
	    sscanf(value, "%ux%u%c", &width, &height, &end) != 2 || width < EDID_SIDE_MIN ||
	    width > EDID_SIDE_MAX || height < EDID_SIDE_MIN || height > EDID_SIDE_MAX)
		return err_set(e, -EINVAL, "--size: %s is not WIDTHxHEIGHT, each from %d to %d", value,
			       EDID_SIDE_MIN, EDID_SIDE_MAX);
	o->width = width;
	o->height = height;
	return 0;
}

static int take_seccomp(struct display_options *o, const char *value, struct err *e)
{
	for (int i = 0; seccomp_mode_words[i]; i++) {
		if (!strcmp(seccomp_mode_words[i], value)) {
			o->seccomp = i;
			o->seccomp_given = true;
			return 0;
		}
	}
	return err_set(e, -EINVAL, "--seccomp: %s is none of kill, log, errno, off", value);
}

/* @value is NULL exactly for flags. */
static int take_option(struct display_options *o, enum option_id id, const char *value,
		       struct err *e)
{
	switch (id) {
	case OPT_SOCKET:
		return take_string(&o->socket, "socket", value, e);
	case OPT_PNG:
		return take_string(&o->png, "png", value, e);
	case OPT_DIR:
		return take_string(&o->dir, "dir", value, e);
	case OPT_KEEP:
		return uint_parse("--keep", value, 1, KEEP_MAX, &o->keep, e);
	case OPT_SIZE:
		return take_size(o, value, e);
	case OPT_RATE:
		return uint_parse("--rate", value, 0, RATE_MAX, &o->rate, e);
	case OPT_SECCOMP:
		return take_seccomp(o, value, e);
	case OPT_LOG_LEVEL:
		o->log_level = log_level_parse(value);
		return o->log_level >= 0 ? 0 : err_set(e, -EINVAL, "--log-level: %s is none of error, warn, info,"
						       " debug", value);
	case OPT_HELP:
		o->help = true;
		return 0;
	case OPT_VERSION:
		o->version = true;
		return 0;
	case OPT_IDS:
		break;
	}
	return err_set(e, -EINVAL, "an option without a meaning");
}

/* The row of "--name" or "--name=value"; *ret_value is behind the "=", or NULL. */
static int find_option(const char *word, const char **ret_value)
{
	const char *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word);

	*ret_value = eq ? eq + 1 : NULL;
	for (int i = 0; i < (int)ARRAY_SIZE(rows) && len > 2 && !strncmp(word, "--", 2); i++)
		if (strlen(rows[i].name) == len - 2 && !strncmp(rows[i].name, word + 2, len - 2))
			return i;
	return -1;
}

static int check(const struct display_options *o, struct err *e)
{
	if (o->help || o->version)
		return 0;
	if (!o->socket)
		return err_set(e, -EINVAL, "no socket: give --socket PATH, and to minivmm display=PATH");
	if (!o->png == !o->dir)
		return err_set(e, -EINVAL, "where are pictures to go? Give one of --png FILE and --dir DIR");
	return 0;
}

int display_options_parse(struct display_options *o, int argc, char **argv, struct err *e)
{
	*o = (struct display_options){
		.width = 1280, .height = 800, .rate = 10, .keep = 100, .log_level = LOG_WARN,
		.seccomp = HAVE_SECCOMP ? SECCOMP_KILL : SECCOMP_OFF,
	};
	for (int i = 1; i < argc; i++) {
		const char *value;
		int id = find_option(argv[i], &value), r;

		if (id < 0)
			return err_set(e, -EINVAL, "\"%s\" is no option of minivmm-display; --help lists them", argv[i]);
		if (!rows[id].argument && value)
			return err_set(e, -EINVAL, "--%s takes no value", rows[id].name);
		if (rows[id].argument && !value) {
			if (++i == argc)
				return err_set(e, -EINVAL, "--%s needs a value: %s", rows[id].name, rows[id].argument);
			value = argv[i];
		}
		r = take_option(o, (enum option_id)id, value, e);
		if (r)
			return r;
	}
	return check(o, e);
}
