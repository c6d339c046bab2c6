/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM of every kind: limits, mapping, layout, and nothing left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/unit/process.h"
#include "tests/unit/ram.h"

/* The VmFlags line of the area that begins at @host. */
static void vm_flags(const void *host, char flags[256])
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[256], start[32];
	bool inside = false;

	flags[0] = '\0';
	snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)host);
	assert_non_null(f);
	while (!flags[0] && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, start, strlen(start)))
			inside = true;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			snprintf(flags, 256, "%s", line);
	}
	fclose(f);
	assert_true(flags[0]);
}

/* --- sizes and limits --- */

static void sizes_that_cannot_be_are_refused(void **state)
{
	static const char *const options[] = { "shm", "shm,thp=off", "memfd",
					       "file,path=/dev/shm" };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		ram_assert_refused(options[i], 0, -EINVAL, "--memory is 0");
		ram_assert_refused(options[i], MIB(1) + 1, -EINVAL, "is not a multiple of");
		ram_assert_refused(options[i], MEM_SIZE_MAX + RAM_PAGE, -EINVAL, "is too large");
		ram_assert_refused(options[i], UINT64_MAX - RAM_PAGE + 1, -EINVAL, "is too large");
	}
	ram_assert_refused("file,path=/dev/shm,offset=8388607T", GIB(1024), -EINVAL,
			   "larger than a file can be");
	assert_int_equal(ram_shm_names(), 0);
}

static void a_limit_on_file_size_is_named_before_it_kills(void **state)
{
	static const char *const options[] = { "shm,thp=on", "shm,thp=off", "memfd",
					       "file,path=/dev/shm" };

	(void)state;
	ram_limit_set(RLIMIT_FSIZE, MIB(1));
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		ram_assert_refused(options[i], MIB(2), -EFBIG, "RLIMIT_FSIZE");
	ram_limit_reset(RLIMIT_FSIZE);
}

#if !PROCESS_SANITIZED
static void a_limit_on_address_space_is_named(void **state)
{
	(void)state;
	ram_limit_set(RLIMIT_AS, GIB(1));
	ram_assert_refused("memfd", GIB(2), -ENOMEM, "RLIMIT_AS");
	ram_assert_refused("memfd", GIB(1), -ENOMEM, "RLIMIT_AS");
	ram_limit_reset(RLIMIT_AS);
}
#endif

static void ram_larger_than_the_host_is_warned_of(void **state)
{
	int saved = dup(STDERR_FILENO), log = memfd_create("log", MFD_CLOEXEC);
	struct guest_mem m;
	char text[512] = "";

	(void)state;
	dup2(log, STDERR_FILENO);
	m = ram_new("memfd", GIB(16384));
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_true(pread(log, text, sizeof(text) - 1, 0) > 0);
	close(log);
	assert_non_null(strstr(text, "guest RAM of 16T is more than the host has"));
	guest_mem_fini(&m);
}

/* --- what mapping and allocation obey --- */

static void ram_stays_out_of_core_files_unless_asked_for(void **state)
{
	struct guest_mem m = ram_new("memfd", MIB(2));
	char flags[256];

	(void)state;
	vm_flags(m.regions[0].host, flags);
	assert_non_null(strstr(flags, " dd"));
	assert_non_null(strstr(flags, " sh"));
	assert_null(strstr(flags, " nr"));
	guest_mem_fini(&m);

	m = ram_new("memfd,dump=on,reserve=off", MIB(2));
	vm_flags(m.regions[0].host, flags);
	assert_null(strstr(flags, " dd"));
	assert_non_null(strstr(flags, " nr"));
	guest_mem_fini(&m);
}

static void prealloc_allocates_every_page(void **state)
{
	static const char *const options[] = {
		"memfd,prealloc=on",
		"memfd,prealloc=on,prealloc-threads=3",
		"shm,thp=off,prealloc=on",
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		struct guest_mem m = ram_new(options[i], MIB(192) + RAM_PAGE);

		assert_int_equal(ram_status(&m, 0).st_blocks * 512, MIB(192) + RAM_PAGE);
		guest_mem_fini(&m);
	}
}

static void without_prealloc_nothing_is_allocated(void **state)
{
	struct guest_mem m = ram_new("memfd", GIB(1));

	(void)state;
	assert_int_equal(ram_status(&m, 0).st_blocks, 0);
	guest_mem_fini(&m);
}

static void policy_bind_reaches_the_kernel(void **state)
{
	struct guest_mem m;
	struct err e;
	int mode = -1;

	(void)state;
	if (ram_try(&m, "memfd,policy=bind,host-nodes=0", MIB(2), &e)) {
		print_message("SKIPPED: %s\n", e.msg);
		assert_non_null(strstr(e.msg, "knows no NUMA policy"));
		skip();
	}
	assert_int_equal(
		syscall(SYS_get_mempolicy, &mode, NULL, 0ul, m.regions[0].host, MPOL_F_ADDR), 0);
	assert_int_equal(mode, MPOL_BIND);
	guest_mem_fini(&m);
	m = ram_new("memfd", MIB(2));
	assert_int_equal(
		syscall(SYS_get_mempolicy, &mode, NULL, 0ul, m.regions[0].host, MPOL_F_ADDR), 0);
	assert_int_equal(mode, MPOL_DEFAULT);
	guest_mem_fini(&m);
}

/* --- layout --- */

static const struct {
	uint64_t size, low, high; /* in pages */
} layouts[] = {
	{ 16, 16, 0 },
	{ GIB(3) / 4096 - 1, GIB(3) / 4096 - 1, 0 },
	{ GIB(3) / 4096, GIB(3) / 4096, 0 },
	{ GIB(3) / 4096 + 1, GIB(3) / 4096, 1 },
	{ GIB(5) / 4096, GIB(3) / 4096, GIB(2) / 4096 },
};

static void check_layout(const struct guest_mem *m, unsigned i, bool one_object)
{
	const struct mem_region *low = &m->regions[0], *high = &m->regions[1];

	assert_int_equal(m->size, layouts[i].size * 4096);
	assert_int_equal(m->count, layouts[i].high ? 2 : 1);
	assert_int_equal(low->gpa, 0);
	assert_int_equal(low->size, layouts[i].low * 4096);
	assert_int_equal(low->slot, 0);
	assert_non_null(mem_ptr(m, low->size - 1, 1));
	assert_null(mem_ptr(m, low->size, 1));
	assert_null(mem_ptr(m, low->size - 1, 2));
	if (low->size >= MIB(2))
		assert_int_equal((uintptr_t)low->host % MIB(2), 0);
	if (!layouts[i].high)
		return;
	assert_int_equal(high->gpa, GIB(4));
	assert_int_equal(high->size, layouts[i].high * 4096);
	assert_int_equal(high->slot, 1);
	assert_int_equal(high->fd_offset, one_object ? GIB(3) : 0);
	assert_int_not_equal(high->fd, low->fd);
	assert_int_equal(ram_status(m, 0).st_ino == ram_status(m, 1).st_ino, one_object);
	assert_ptr_equal(mem_ptr(m, GIB(4), 1), high->host);
	assert_null(mem_ptr(m, GIB(4) - 1, 1));
	assert_null(mem_ptr(m, GIB(4) + high->size, 1));
}

static void ram_lies_below_3_gib_and_above_4_gib(void **state)
{
	static const char *const options[] = { "memfd", "shm" };

	(void)state;
	for (unsigned o = 0; o < ARRAY_SIZE(options); o++) {
		for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
			struct guest_mem m = ram_new(options[o], layouts[i].size * 4096);

			check_layout(&m, i, false);
			guest_mem_fini(&m);
		}
	}
}

static void a_file_is_one_object_with_the_high_part_at_3_gib(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
		struct ram_file file = ram_file_new(layouts[i].size * 4096);
		struct guest_mem m =
			ram_new(ram_option("file,path=%s", file.path), layouts[i].size * 4096);

		check_layout(&m, i, true);
		if (m.count == 2) {
			*(uint8_t *)mem_ptr(&m, GIB(4), 1) = 0x5a;
			uint8_t byte = 0;

			assert_int_equal(pread(m.regions[0].fd, &byte, 1, (off_t)GIB(3)), 1);
			assert_int_equal(byte, 0x5a);
		}
		guest_mem_fini(&m);
		ram_file_fini(&file);
	}
}

static void pread_reaches_both_regions_and_nothing_else(void **state)
{
	struct guest_mem m = ram_new("memfd", GIB(3) + RAM_PAGE);
	uint16_t value = 0;

	(void)state;
	*(uint16_t *)mem_ptr(&m, GIB(3) - 2, 2) = 0x1122;
	*(uint16_t *)mem_ptr(&m, GIB(4) + RAM_PAGE - 2, 2) = 0x3344;
	assert_int_equal(guest_mem_pread(&m, GIB(3) - 2, &value, 2), 0);
	assert_int_equal(value, 0x1122);
	assert_int_equal(guest_mem_pread(&m, GIB(4) + RAM_PAGE - 2, &value, 2), 0);
	assert_int_equal(value, 0x3344);
	assert_int_equal(guest_mem_pread(&m, GIB(3) - 1, &value, 2), -EFAULT);
	assert_int_equal(guest_mem_pread(&m, GIB(4) - 1, &value, 2), -EFAULT);
	assert_int_equal(guest_mem_pread(&m, UINT64_MAX, &value, 2), -EFAULT);
	guest_mem_fini(&m);
}

/* --- trouble while running --- */

static void an_object_cut_off_is_told_from_other_trouble(void **state)
{
	struct guest_mem m = ram_new("shm,thp=off", MIB(4));
	struct err e = { "" };
	uint8_t byte;

	(void)state;
	assert_int_equal(guest_mem_trouble(&m, &e), 0);
	assert_string_equal(e.msg, "");
	assert_int_equal(ftruncate(m.regions[0].fd, (off_t)MIB(1)), 0);
	assert_int_equal(guest_mem_trouble(&m, &e), -EFAULT);
	assert_non_null(strstr(e.msg, "cut it off"));
	/* Reading it is an error, not a signal. */
	assert_int_equal(guest_mem_pread(&m, MIB(2), &byte, 1), -ENODATA);
	guest_mem_fini(&m);
}

static void fini_works_on_zeroed_failed_and_finished_ones(void **state)
{
	struct guest_mem m = { .count = 0 };
	unsigned fds = process_fds();
	struct err e;

	(void)state;
	guest_mem_fini(&m);
	guest_mem_fini(&m);
	assert_int_equal(process_fds(), fds);
	assert_int_not_equal(ram_try(&m, "memfd", 0, &e), 0);
	guest_mem_fini(&m);
	assert_int_equal(guest_mem_trouble(&m, &e), 0);
	assert_null(mem_ptr(&m, 0, 0));
}

static void a_thousand_machines_leave_no_fd_and_no_name(void **state)
{
	static const char *const options[] = { "shm", "shm,thp=off", "memfd",
					       "file,path=/dev/shm" };
	unsigned fds = process_fds();
	struct err e;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct guest_mem m = ram_new(options[i % ARRAY_SIZE(options)], MIB(2));

		guest_mem_fini(&m);
		assert_int_equal(ram_try(&m, options[i % ARRAY_SIZE(options)], MIB(2) + 1, &e),
				 -EINVAL);
	}
	assert_int_equal(process_fds(), fds);
	assert_int_equal(ram_shm_names(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_that_cannot_be_are_refused),
		cmocka_unit_test(a_limit_on_file_size_is_named_before_it_kills),
#if !PROCESS_SANITIZED
		cmocka_unit_test(a_limit_on_address_space_is_named),
#endif
		cmocka_unit_test(ram_larger_than_the_host_is_warned_of),
		cmocka_unit_test(ram_stays_out_of_core_files_unless_asked_for),
		cmocka_unit_test(prealloc_allocates_every_page),
		cmocka_unit_test(without_prealloc_nothing_is_allocated),
		cmocka_unit_test(policy_bind_reaches_the_kernel),
		cmocka_unit_test(ram_lies_below_3_gib_and_above_4_gib),
		cmocka_unit_test(a_file_is_one_object_with_the_high_part_at_3_gib),
		cmocka_unit_test(pread_reaches_both_regions_and_nothing_else),
		cmocka_unit_test(an_object_cut_off_is_told_from_other_trouble),
		cmocka_unit_test(fini_works_on_zeroed_failed_and_finished_ones),
		cmocka_unit_test(a_thousand_machines_leave_no_fd_and_no_name),
	};

	return cmocka_run_group_tests_name("guest_mem", tests, NULL, NULL);
}
