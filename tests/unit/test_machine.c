/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/fake_machine.h"

static void count_run(void *arg)
{
	unsigned *runs = arg;

	(*runs)++;
}

static void a_job_asked_for_in_the_loop_runs_at_once(void **state)
{
	struct fake_machine f;
	unsigned runs = 0;
	struct loop_job job = { .run = count_run, .arg = &runs };

	(void)state;
	fake_machine_init(&f);
	machine_run_in_loop(&f.machine, &job);
	assert_int_equal(runs, 1);
	assert_int_equal(f.waits, 0);
	fake_machine_fini(&f);
}

static void a_job_asked_for_by_a_vcpu_waits_for_the_loop(void **state)
{
	struct fake_machine f;
	unsigned runs = 0;
	struct loop_job job = { .run = count_run, .arg = &runs };

	(void)state;
	fake_machine_init(&f);
	f.in_vcpu = true;
	machine_run_in_loop(&f.machine, &job);
	assert_int_equal(runs, 0);
	assert_int_equal(f.waits, 1);
	fake_machine_run_loop(&f);
	assert_int_equal(runs, 1);
	fake_machine_fini(&f);
}

static void msi_numbers_are_unique_and_end(void **state)
{
	struct fake_machine f;

	(void)state;
	fake_machine_init(&f);
	for (int gsi = MACHINE_GSI_MSI_FIRST; gsi < MACHINE_GSI_MAX; gsi++)
		assert_int_equal(machine_alloc_gsi(&f.machine), gsi);
	assert_int_equal(machine_alloc_gsi(&f.machine), -ENOSPC);
	assert_int_equal(machine_alloc_gsi(&f.machine), -ENOSPC);
	fake_machine_fini(&f);
}

static void slot_numbers_begin_behind_ram_and_end(void **state)
{
	struct fake_machine f;

	(void)state;
	fake_machine_init(&f);
	for (int slot = MACHINE_SLOT_WINDOW_FIRST; slot < MACHINE_SLOT_MAX; slot++)
		assert_int_equal(machine_alloc_slot(&f.machine), slot);
	assert_int_equal(machine_alloc_slot(&f.machine), -ENOSPC);
	fake_machine_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_asked_for_in_the_loop_runs_at_once),
		cmocka_unit_test(a_job_asked_for_by_a_vcpu_waits_for_the_loop),
		cmocka_unit_test(msi_numbers_are_unique_and_end),
		cmocka_unit_test(slot_numbers_begin_behind_ram_and_end),
	};

	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
