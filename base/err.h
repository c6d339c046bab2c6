/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Set-up errors: one sentence for the user, filled where the facts are known, printed by main only.
 *
 * A function that can fail takes a `struct err *` last, returns 0 or -errno, and on failure leaves
 * one sentence that says what failed, on which object, why, and what to do about it. Legal in any
 * thread; the caller owns the struct.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

struct err {
	char msg[512];		/* one sentence, no newline; empty while nothing failed */
};

/* Sets the sentence and returns @code, a negative errno: callers `return err_set(...)`. */
int err_set(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a failed system call: appends ": " and the text of errno, and returns -errno. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts what the caller knows in front of the sentence ("disk blk0: ...") and returns @code. */
int err_prefix(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* For a sentence that lists names: adds @name to the list ("a, b") in @buf, a string, which is cut
 * off where its @size bytes end. */
void err_list_add(char *buf, size_t size, const char *name);

#endif
