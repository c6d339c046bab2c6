/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of minivmm-display. One table says what options there are; --help prints it, and
 * a test holds the manual page against it.
 */
#ifndef VHOST_DISPLAY_OPTIONS_H
#define VHOST_DISPLAY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct display_options {
	const char *socket;		/* path; all strings are borrowed from argv */
	const char *png, *dir;		/* one of the two; the other is NULL */
	uint32_t width, height;		/* of the mode that is told */
	uint64_t rate;			/* most pictures a second; 0: none by itself */
	uint64_t keep;			/* numbered pictures */
	int seccomp;			/* enum seccomp_mode */
	bool seccomp_given;
	int log_level;
	bool help, version;
};

/* 0, or -EINVAL with @e: a usage error. */
int display_options_parse(struct display_options *o, int argc, char **argv, struct err *e);
/* What --help shows. */
void display_options_help(FILE *out);

#endif
