/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An owner (owner.h) whose front end has a tap: a trace that goes to memory, and faults by their
 * text. Include after cmocka.h.
 */
#ifndef TESTS_UNIT_TAPPED_H
#define TESTS_UNIT_TAPPED_H

#include "tests/unit/owner.h"
#include "vhost/tap.h"

enum { TAPPED_FAULTS = 4, TAPPED_TRACE = 1 << 18 };

struct tapped {
	struct owner *owner;
	struct vu_tap tap;
	struct vu_trace trace;
	int file;			/* of the trace */
	struct vu_fault faults[TAPPED_FAULTS];
	char text[TAPPED_TRACE];	/* what tapped_trace has read */
};

/* cmocka's set-up and tear-down, nothing is connected yet. */
int tapped_setup(void **state);
int tapped_teardown(void **state);
/* Adds a rule, "SET_OWNER,drop" for instance, before owner_connect. */
void tapped_fault(struct tapped *t, const char *rule);
/* What was traced so far; valid until the next call. */
const char *tapped_trace(struct tapped *t);
/* Waits for what is held back (delays should be short), and then not for the deadline: it has
 * come when something still is owed an answer. */
void tapped_wait(struct tapped *t);

#endif
