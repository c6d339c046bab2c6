/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A build with plant_forbidden_call makes a system call that no vCPU may make when port 0x81 is
 * written: a guest that has taken over its vCPU's thread. Others know nothing of that port.
 */
#include "minivmm_config.h"
#include "tests/bare/lib/test.h"

enum { FORBIDDEN_CALL = 0x81 };

#if PLANT_FORBIDDEN_CALL && HAVE_SECCOMP
static void provoke(void)
{
	outb(FORBIDDEN_CALL, 1);
}

/* run.py gives each another --seccomp. */
static void a_forbidden_call_is_killed(void)
{
	provoke();
}

static void a_forbidden_call_is_killed_by_default(void)
{
	provoke();
}

static void a_forbidden_call_is_logged(void)
{
	provoke();
}

static void a_forbidden_call_fails(void)
{
	provoke();
}

static void without_a_filter_it_is_allowed(void)
{
	provoke();
}
#else
static void nobody_planted_a_call(void)
{
	outb(FORBIDDEN_CALL, 1);
	CHECK_EQ(inb(FORBIDDEN_CALL), 0xff);
}
#endif

const struct test_case test_cases[] = {
#if PLANT_FORBIDDEN_CALL && HAVE_SECCOMP
	CASE(a_forbidden_call_is_killed),
	CASE(a_forbidden_call_is_killed_by_default),
	CASE(a_forbidden_call_is_logged),
	CASE(a_forbidden_call_fails),
	CASE(without_a_filter_it_is_allowed),
#else
	CASE(nobody_planted_a_call),
#endif
	{ NULL, NULL },
};
