/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every unit test is linked with this, around cmocka's runner of a table of cases: asked by the
 * environment it names them and runs none. So tests/run.sh --list knows what a run reports.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

/* The linker's names (--wrap): what the test calls, and cmocka's own. */
int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
				   CMFixtureFunction setup, CMFixtureFunction teardown);
int __real__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
				   CMFixtureFunction setup, CMFixtureFunction teardown);

int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
				   CMFixtureFunction setup, CMFixtureFunction teardown)
{
	if (!getenv("MINIVMM_TEST_LIST"))
		return __real__cmocka_run_group_tests(name, tests, n, setup, teardown);
	for (size_t i = 0; i < n; i++)
		printf("case %s\n", tests[i].name);
	return 0;
}
