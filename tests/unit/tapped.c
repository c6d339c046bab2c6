/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/tapped.h"

int tapped_setup(void **state)
{
	struct tapped *t = calloc(1, sizeof(*t));
	char text[20];
	void *owner;
	struct err e;

	owner_setup(&owner);
	t->owner = owner;
	t->file = memfd_create("trace", MFD_CLOEXEC);
	assert_true(t->file >= 0);
	snprintf(text, sizeof(text), "fd=%d", t->file);
	assert_int_equal(vu_trace_open(&t->trace, text, &e), 0);
	assert_int_equal(vu_tap_init(&t->tap, "blk0", &t->owner->loop, &t->trace, t->faults, 0,
				     &e), 0);
	t->owner->params.tap = &t->tap;
	*state = t;
	return 0;
}

int tapped_teardown(void **state)
{
	struct tapped *t = *state;
	void *owner = t->owner;

	owner_fini(t->owner);
	vu_tap_fini(&t->tap);
	vu_tap_fini(&t->tap);
	owner_teardown(&owner);
	vu_trace_close(&t->trace);
	vu_trace_close(&t->trace);
	fd_close(&t->file);
	for (unsigned i = 0; i < TAPPED_FAULTS; i++)
		vu_fault_free(&t->faults[i]);
	free(t);
	return 0;
}

void tapped_fault(struct tapped *t, const char *rule)
{
	char text[128];
	struct err e;

	assert_true(t->tap.n_faults < TAPPED_FAULTS);
	snprintf(text, sizeof(text), "blk0:%s", rule);
	if (vu_fault_parse(&t->faults[t->tap.n_faults++], text, &e))
		fail_msg("%s", e.msg);
}

const char *tapped_trace(struct tapped *t)
{
	ssize_t n = pread(t->file, t->text, sizeof(t->text) - 1, 0);

	assert_true(n >= 0 && n < (ssize_t)sizeof(t->text) - 1);
	t->text[n] = '\0';
	return t->text;
}

static bool is_holding(const struct vu_tap *t)
{
	return t->main.out.first || t->main.in.first || t->back.out.first || t->back.in.first;
}

void tapped_wait(struct tapped *t)
{
	struct owner *f = t->owner;

	while (is_holding(&t->tap))
		loop_once(&f->loop, 1000);
	scripted_settle(&f->loop);
	if (!f->lost && f->frontend.deadline.at)
		f->frontend.deadline.expired(f->frontend.deadline.arg);
	scripted_settle(&f->loop);
}
