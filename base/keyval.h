/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option values of the form `WORD[,key=value...]`, parsed against a table.
 *
 * Grammar: items are separated by commas; the first may be a bare word (its key is the table's
 * `first`); a bool key may be bare (= on); a comma in a value is written twice, as QEMU does. A
 * key may come once, a list's often; a dash in it may be written as an underscore, and the reverse.
 * Every error names the option, the key and what would be accepted.
 */
#ifndef BASE_KEYVAL_H
#define BASE_KEYVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum keyval_type {
	KEYVAL_STRING,		/* char *: allocated; keyval_free frees all of a struct */
	KEYVAL_BOOL,		/* bool: on, off, yes, no, true, false */
	KEYVAL_UINT,		/* uint64_t: decimal or 0x..., within [min, max] */
	KEYVAL_SIZE,		/* uint64_t: bytes, unit required, see size_parse */
	KEYVAL_ENUM,		/* int: index in `words` */
	KEYVAL_LIST,		/* struct keyval_list: may come many times; kept in order */
	KEYVAL_REFUSED,		/* known, never accepted: `help` says why and what to do */
};

/* Of KEYVAL_LIST: the values in the order given. */
struct keyval_list {
	char **items;			/* allocated, as each of them; keyval_free frees */
	unsigned count;
};

struct keyval {
	const char *key;
	enum keyval_type type;
	size_t offset;			/* of the field in the target struct */
	uint64_t min, max;		/* of KEYVAL_UINT; max 0 = UINT64_MAX */
	const char *const *words;	/* of KEYVAL_ENUM, NULL at the end */
	size_t given;			/* offset of a bool set when the key was given; 0: none
					 * (so it cannot be a struct's first field) */
	const char *help;		/* one line for --help and the manual page */
};

/*
 * Parses @text into @target by @table (ended by key NULL). @option ("--mem-backend") is for
 * messages; @first is the key of a bare first word, or NULL when a bare word must be a bool key.
 * 0, or -EINVAL with @e set; strings parsed before a failure stay owned by @target.
 */
int keyval_parse(const char *option, const char *text, const char *first,
		 const struct keyval *table, void *target, struct err *e);

/* Frees every string and list of @target and sets it to NULL, or empty. */
void keyval_free(const struct keyval *table, void *target);

/*
 * A size with a unit: 4096B, 512K, 256M, 3G, 1T (and KiB, MiB, ...; powers of 1024). A bare number
 * is refused, but for 0. 0, or -EINVAL with @e naming @what, or -ERANGE on overflow.
 */
int size_parse(const char *what, const char *text, uint64_t *ret_bytes, struct err *e);

/* A decimal or 0x number within [min, max]. 0 or -EINVAL with @e naming @what and the bounds. */
int uint_parse(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret,
	       struct err *e);

/* Writes @bytes with the largest exact unit ("256M", "4097B") to @buf of 24 bytes; returns @buf. */
const char *size_format(uint64_t bytes, char buf[24]);

#endif
