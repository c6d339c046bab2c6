/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System call filters from tables, through libseccomp.
 *
 * One filter a thread kind, installed for the calling thread as its last act before it meets
 * foreign data; no_new_privs goes with it. A blocked call is reported by name on standard error
 * and ends the process with SECCOMP_EXIT_CODE.
 */
#ifndef BASE_SECCOMP_H
#define BASE_SECCOMP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum seccomp_mode { SECCOMP_KILL, SECCOMP_LOG, SECCOMP_ERRNO, SECCOMP_OFF, SECCOMP_MODES };

/* The user's words for the modes, NULL at the end: for option tables. */
extern const char *const seccomp_mode_words[SECCOMP_MODES + 1];

enum { SECCOMP_EXIT_CODE = 5, SECCOMP_ANY = -1 };

/* One allowed system call; with @arg other than SECCOMP_ANY only when that argument's lower 32 bits
 * equal @value. */
struct seccomp_rule {
	int nr;			/* SYS_... */
	int arg;		/* 0 to 5, or SECCOMP_ANY */
	uint32_t value;
};

/* What tcgetattr and tcsetattr call in newer C libraries (glibc 2.42). The kernel's macros need its
 * own struct termios, whose header the C library's excludes. */
#define SECCOMP_TCGETS2 0x802c542aU
#define SECCOMP_TCSETS2 0x402c542bU

struct seccomp_filter;

/*
 * Builds the filter that allows @rules and nothing else. @kind ("vcpu") names the thread in the
 * report; borrowed for the process's life. 0 with *@ret NULL in mode off; -errno with @e.
 */
int seccomp_filter_new(const char *kind, const struct seccomp_rule *rules, size_t n_rules,
		       enum seccomp_mode mode, struct seccomp_filter **ret, struct err *e);
/* Installs it for the calling thread, whose kind a report then names. NULL: does nothing. */
int seccomp_filter_install(struct seccomp_filter *f, struct err *e);
void seccomp_filter_free(struct seccomp_filter *f);

/* Installs the SIGSYS handler that reports and ends the process. Once, before any filter. */
void seccomp_report_setup(void);

#endif
