/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
	const char *program;
	enum log_level level;
} log_state = { "minivmm", LOG_WARN };

static const struct {
	const char *option; /* as the user writes it */
	const char *label;  /* as the line shows it */
} levels[] = {
	[LOG_ERROR] = { "error", "" },
	[LOG_WARN] = { "warn", "warning: " },
	[LOG_INFO] = { "info", "" },
	[LOG_DEBUG] = { "debug", "debug: " },
};
static_assert(sizeof(levels) / sizeof(levels[0]) == LOG_LEVELS, "every level has its words");

void log_setup(const char *program, enum log_level level)
{
	log_state.program = program;
	log_state.level = level;
}

int log_level_parse(const char *name)
{
	for (int i = 0; i < LOG_LEVELS; i++)
		if (!strcmp(levels[i].option, name))
			return i;
	return -EINVAL;
}

static void log_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[768];
	int n, m;

	if (level > log_state.level)
		return;
	n = snprintf(line, sizeof(line), "%s: %s", log_state.program, levels[level].label);
	m = vsnprintf(line + n, sizeof(line) - 1 - (size_t)n, fmt, ap);
	n += m < 0 ? 0 : m;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	/* Nobody to tell when the log itself fails. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

#define LOG_FUNCTION(name, level)         \
	void name(const char *fmt, ...)   \
	{                                 \
		va_list ap;               \
					  \
		va_start(ap, fmt);        \
		log_line(level, fmt, ap); \
		va_end(ap);               \
	}

LOG_FUNCTION(log_error, LOG_ERROR)
LOG_FUNCTION(log_warn, LOG_WARN)
LOG_FUNCTION(log_info, LOG_INFO)
LOG_FUNCTION(log_debug, LOG_DEBUG)
