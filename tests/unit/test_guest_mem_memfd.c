/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM in a memfd: seals, and pages of the huge page pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/unit/ram.h"

static void a_memfd_is_sealed_against_resizing(void **state)
{
	struct guest_mem m = ram_new("memfd", MIB(4));
	int fd = m.regions[0].fd, seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	(void)state;
	assert_int_equal(fcntl(fd, F_GET_SEALS) & seals, seals);
	assert_int_equal(fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE, 0);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_string_equal(m.backing.kind, "memfd");
	guest_mem_fini(&m);
}

static void seal_off_leaves_a_memfd_that_can_be_resized(void **state)
{
	struct guest_mem m = ram_new("memfd,seal=off", MIB(4));

	(void)state;
	assert_int_equal(fcntl(m.regions[0].fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(ftruncate(m.regions[0].fd, (off_t)MIB(8)), 0);
	guest_mem_fini(&m);
}

static void more_huge_pages_than_the_pool_has_are_refused(void **state)
{
	autoclose int probe = memfd_create("probe", MFD_CLOEXEC | MFD_HUGETLB);

	(void)state;
	if (probe < 0) {
		print_message("SKIPPED: this kernel has no hugetlb\n");
		skip();
	}
	ram_assert_refused("memfd,hugetlb=on", GIB(8192), -ENOMEM, "nr_hugepages");
	ram_assert_refused("memfd,hugetlb=on", MIB(2) + RAM_PAGE, -EINVAL, "is not a multiple of");
	ram_assert_refused("memfd,hugetlb=on,hugetlbsize=8M", MIB(8), -ENODEV,
			   "hugetlbsize=8M (the host's sizes are listed");
}

/* Adds @more pages (or takes them back) to the host's pool of 2 MiB pages. */
static bool change_pool(int more)
{
	autoclose int fd =
		open("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", O_RDWR | O_CLOEXEC);
	char text[32] = "";
	int n;

	if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return false;
	n = snprintf(text, sizeof(text), "%ld", strtol(text, NULL, 10) + more);
	return pwrite(fd, text, (size_t)n, 0) == n;
}

static void pages_of_the_huge_page_pool_hold_ram(void **state)
{
	struct guest_mem m;
	struct err e;
	uint64_t page;
	bool has_pool;
	int r;

	(void)state;
	if (!change_pool(4)) {
		print_message("SKIPPED: the pool of 2 MiB pages cannot be changed here\n");
		skip();
	}
	r = ram_try(&m, "memfd,hugetlb=on,hugetlbsize=2M", MIB(4), &e);
	if (r == 0)
		*(uint8_t *)mem_ptr(&m, MIB(2), 1) = 1;
	has_pool = m.has_pool;
	page = m.backing.page_size;
	guest_mem_fini(&m);
	change_pool(-4);
	if (r == -ENOMEM) {
		print_message("SKIPPED: the host cannot put 4 pages in its pool: %s\n", e.msg);
		skip();
	}
	assert_int_equal(r, 0);
	assert_true(has_pool);
	assert_int_equal(page, MIB(2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_memfd_is_sealed_against_resizing),
		cmocka_unit_test(seal_off_leaves_a_memfd_that_can_be_resized),
		cmocka_unit_test(more_huge_pages_than_the_pool_has_are_refused),
		cmocka_unit_test(pages_of_the_huge_page_pool_hold_ram),
	};

	return cmocka_run_group_tests_name("guest_mem_memfd", tests, NULL, NULL);
}
