/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: lines on standard error, "minivmm: warning: text". The level is the program's only
 * global. Legal in any thread: a line is one write(2), also under the vCPU's seccomp filter.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_LEVELS };

/* Lines above the level are dropped; LOG_WARN at start. @program is borrowed for the process's
 * life. */
void log_setup(const char *program, enum log_level level);
/* The level called @name ("error", "warn", "info", "debug"), or -EINVAL. */
int log_level_parse(const char *name);

/* A line, of its level and for its readers: what ended, what is not as it should be, what happened,
 * every step. @fmt has no newline. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * What a guest or a daemon can trigger is logged once for each place and counted always, so that
 * neither can fill a disk: `if (misuse_first(&dev->misuse)) log_warn(...)`.
 */
struct misuse {
	uint64_t count;
};

/* Counts, and is true the first time. */
static inline bool misuse_first(struct misuse *m)
{
	return m->count++ == 0;
}

#endif
