/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verb is one thing that init does, one word of its arguments: NAME or NAME=VALUE. The tables are
 * const; a verb returns 0 or what verb_fail returns, and prints its results itself.
 */
#ifndef VERB_H
#define VERB_H

struct call {
	const char *verb;
	const char *value; /* "" without one */
};

enum verb_kind {
	VERB_PLAIN,
	VERB_MACHINE, /* only as PID 1: not to be done by mistake to the machine where this is
			 compiled */
	VERB_END,     /* the same, and does not come back: all that was asked for is done when it is
			 reached */
};

struct verb {
	const char *name;
	const char *value; /* what the help says of it; NULL: takes none */
	enum verb_kind kind;
	int (*run)(const struct call *c);
	const char *help;
};

/* Each ends with a row without a name */
extern const struct verb disk_verbs[];
extern const struct verb hammer_verbs[];
extern const struct verb machine_verbs[];
extern const struct verb net_verbs[];
extern const struct verb process_verbs[];
extern const struct verb request_verbs[];

/* Prints "minivmm-init: FAIL VERB: ..." (formats as in text.h); returns -1 */
int verb_fail(const struct call *c, const char *fmt, ...);

/* Prints "minivmm-init: VERB: ..." */
void verb_say(const struct call *c, const char *fmt, ...);

/* Copies a file to the console */
int verb_cat(const struct call *c, const char *path);

#endif
