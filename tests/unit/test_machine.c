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

/* A register whose value is known only after the loop has worked. */
struct slow_register {
	struct machine *machine;
	bool known;
	uint64_t value;
};

static bool is_known(void *arg)
{
	return ((struct slow_register *)arg)->known;
}

static uint64_t slow_read(void *dev, uint64_t off, unsigned size)
{
	struct slow_register *r = dev;

	(void)off;
	(void)size;
	machine_wait_until(r->machine, is_known, r, &r->value);
	return 1;
}

static void a_read_ends_with_the_answer_it_waited_for(void **state)
{
	static const struct bus_ops ops = { .read = slow_read };
	struct fake_machine f;
	struct slow_register r = { .machine = &f.machine };
	struct bus_range range = { .base = 16, .len = 4, .ops = &ops, .dev = &r, .name = "slow" };
	struct err e;

	(void)state;
	fake_machine_init(&f);
	assert_int_equal(bus_add(&f.machine.mmio, &range, &e), 0);
	fake_vcpu_read(&f, &f.machine.mmio, 16, 4);
	assert_true(fake_vcpu_waits(&f));
	r.value = 42;
	assert_true(fake_vcpu_waits(&f));
	r.known = true;
	assert_false(fake_vcpu_waits(&f));
	assert_int_equal(f.answered, 42);
	r.value = 43;
	assert_int_equal(fake_vcpu_read(&f, &f.machine.mmio, 16, 4), 43);
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
		cmocka_unit_test(a_read_ends_with_the_answer_it_waited_for),
		cmocka_unit_test(msi_numbers_are_unique_and_end),
		cmocka_unit_test(slot_numbers_begin_behind_ram_and_end),
	};

	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
