/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the console and numbers from the command line. A line is one write, so that kernel
 * messages never fall into it.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Formats: %s string, %u unsigned long, %x the same in hexadecimal, %e the name of an -errno (int),
 * %% a percent sign. The line is cut at TEXT_MAX.
 */
#define TEXT_MAX 1000

/* Prints "minivmm-init: ", the text and a newline */
void text_say(const char *fmt, ...);
void text_vsay(const char *prefix, const char *fmt, va_list ap);

/* Puts the string together in buf, always terminated; returns its length */
size_t text_format(char *buf, size_t size, const char *fmt, ...);

/* Lower-case hexadecimal of len bytes; hex has room for 2 * len + 1 */
void text_hex(char *hex, const void *bytes, size_t len);

/*
 * Reads a decimal or 0x number with an optional K, M or G at *s and moves *s behind it. False when
 * there is none or it does not fit.
 */
bool text_number(const char **s, uint64_t *ret_value);

/* The value of NAME=VALUE among the words of a kernel command line before "--"; a bare NAME has the
 * value "" */
bool text_option(const char *cmdline, const char *name, char *buf, size_t size);

#endif
