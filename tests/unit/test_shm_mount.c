/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM on a /dev/shm that is too small: refused, warned of, and found out while running. Runs
 * in a mount namespace of its own with a small tmpfs there; says so and exits 77 where that is
 * impossible.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/ram.h"
#include "tests/unit/small_shm.h"

/* Starts RAM with standard error kept in @text. */
static int try_ram_logged(struct guest_mem *m, const char *option, uint64_t size, struct err *e,
			  char text[512])
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC), r;
	ssize_t n;

	dup2(log, STDERR_FILENO);
	r = ram_try(m, option, size, e);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = pread(log, text, 511, 0);
	text[n > 0 ? n : 0] = '\0';
	close(log);
	return r;
}

static void more_than_the_mount_holds_is_refused_with_the_way_out(void **state)
{
	struct guest_mem m;
	struct err e;

	(void)state;
	assert_int_equal(ram_try(&m, "shm,thp=off", MIB(16), &e), -ENOSPC);
	assert_non_null(strstr(e.msg, "needs 16M, but /dev/shm holds 8M at most"));
	assert_non_null(strstr(e.msg, "mount -o remount,size=16M /dev/shm"));
	assert_non_null(strstr(e.msg, "--mem-backend=memfd"));
}

static void a_named_object_too_large_is_refused_and_leaves_no_name(void **state)
{
	struct guest_mem m;
	struct err e;

	(void)state;
	assert_int_equal(ram_try(&m, "shm,name=/ram", MIB(16), &e), -ENOSPC);
	assert_int_equal(access("/dev/shm/ram", F_OK), -1);
}

static void both_regions_count_together(void **state)
{
	struct guest_mem m;
	struct err e;

	(void)state;
	assert_int_equal(ram_try(&m, "shm,thp=off", GIB(5), &e), -ENOSPC);
	assert_non_null(strstr(e.msg, "needs 5G"));
}

static void memfd_is_not_bound_by_the_mount(void **state)
{
	struct guest_mem m;
	struct err e;

	(void)state;
	assert_int_equal(ram_try(&m, "memfd", MIB(16), &e), 0);
	guest_mem_fini(&m);
}

static void what_just_fits_is_taken_in_silence(void **state)
{
	struct guest_mem m;
	struct err e;
	char log[512];

	(void)state;
	assert_int_equal(try_ram_logged(&m, "shm,thp=off", MIB(8), &e, log), 0);
	assert_string_equal(log, "");
	guest_mem_fini(&m);
}

static void more_than_is_free_is_warned_of(void **state)
{
	int hog = small_shm_take(MIB(4));
	struct guest_mem m;
	struct err e;
	char log[512];

	(void)state;
	assert_int_equal(try_ram_logged(&m, "shm,thp=off", MIB(6), &e, log), 0);
	assert_non_null(strstr(log, "needs 6M, but only 4M of /dev/shm is free"));
	guest_mem_fini(&m);
	close(hog);
}

static void a_mount_that_runs_full_is_told_from_other_trouble(void **state)
{
	struct guest_mem m;
	struct err e;
	int hog;

	(void)state;
	assert_int_equal(ram_try(&m, "shm,thp=off", MIB(6), &e), 0);
	assert_int_equal(guest_mem_trouble(&m, &e), 0);
	hog = small_shm_take(MIB(8));
	assert_int_equal(guest_mem_trouble(&m, &e), -ENOSPC);
	assert_non_null(strstr(e.msg, "is full and the guest needs more"));
	close(hog);
	assert_int_equal(guest_mem_trouble(&m, &e), 0);
	guest_mem_fini(&m);
}

static void prealloc_on_a_full_mount_is_an_error_not_a_signal(void **state)
{
	int hog = small_shm_take(MIB(4));
	struct guest_mem m;
	struct err e;
	char log[512];

	(void)state;
	assert_int_equal(try_ram_logged(&m, "shm,thp=off,prealloc=on", MIB(6), &e, log), -ENOSPC);
	assert_non_null(strstr(e.msg, "prealloc=on: 6M cannot all be allocated"));
	assert_int_equal(try_ram_logged(&m, "shm,name=/ram,prealloc=on", MIB(6), &e, log), -ENOSPC);
	assert_int_equal(access("/dev/shm/ram", F_OK), -1);
	close(hog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(more_than_the_mount_holds_is_refused_with_the_way_out),
		cmocka_unit_test(a_named_object_too_large_is_refused_and_leaves_no_name),
		cmocka_unit_test(both_regions_count_together),
		cmocka_unit_test(memfd_is_not_bound_by_the_mount),
		cmocka_unit_test(what_just_fits_is_taken_in_silence),
		cmocka_unit_test(more_than_is_free_is_warned_of),
		cmocka_unit_test(a_mount_that_runs_full_is_told_from_other_trouble),
		cmocka_unit_test(prealloc_on_a_full_mount_is_an_error_not_a_signal),
	};

	if (!small_shm_mount())
		return small_shm_skip();
	return cmocka_run_group_tests_name("shm_mount", tests, NULL, NULL);
}
