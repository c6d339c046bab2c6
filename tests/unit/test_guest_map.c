/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory as a front end hands it to a back end, region by region. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/range.h"
#include "tests/unit/mapped_ram.h"

static int setup(void **state)
{
	struct mapped_ram *f = test_calloc(1, sizeof(*f));

	mapped_ram_init(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct mapped_ram *f = *state;

	mapped_ram_fini(f);
	test_free(f);
	return 0;
}

static void bad_regions_are_refused_and_leave_the_map_as_it_was(void **state)
{
	struct mapped_ram *f = *state;
	static const struct vu_mem_region bad[] = {
		{ RAM, 0, 0x100000000, 0 },			  /* empty */
		{ RAM, 0x1000, 0x100000000, RAM },		  /* behind the object's end */
		{ RAM, RAM + 0x1000, 0x100000000, 0 },		  /* longer than the object */
		{ RAM, 0x1000, 0x100000000, UINT64_MAX - 0xfff }, /* offset wraps */
		{ UINT64_MAX - 0xfff, 0x2000, 0x100000000, 0 },	  /* gpa wraps */
		{ RAM, 0x1000, UINT64_MAX - 0xff, 0 },		  /* user address wraps */
		{ HALF - 0x1000, 0x2000, 0x100000000, 0 },	  /* overlaps in gpa */
		{ RAM, 0x1000, 0x7000000, 0 },			  /* overlaps in user address */
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(guest_map_add(&f->map, &bad[i], f->fd, &e) < 0);
		assert_int_equal(f->map.count, 2);
	}
	assert_int_equal(guest_map_del(&f->map, &(struct vu_mem_region){ 0, HALF, 1, 0 }, &e),
			 -ENOENT);
	assert_int_equal(f->map.count, 2);
}

static void a_region_may_start_inside_a_page_of_its_object(void **state)
{
	struct mapped_ram *f = *state;
	struct err e;
	uint8_t *p;

	f->guest[0x2345] = 77;
	assert_int_equal(guest_map_add(&f->map,
				       &(struct vu_mem_region){ RAM, 0x10, 0x100000000, 0x2340 },
				       f->fd, &e),
			 0);
	p = guest_map_gpa_all(&f->map, RAM + 5, 1);
	assert_non_null(p);
	assert_int_equal(*p, 77);
	assert_ptr_equal(guest_map_user_all(&f->map, 0x100000005, 11), p);
	assert_null(guest_map_user_all(&f->map, 0x100000005, 12));
	assert_null(guest_map_gpa_all(&f->map, RAM + 0x10, 1));
	assert_int_equal(
		guest_map_del(&f->map, &(struct vu_mem_region){ RAM, 0x10, 0x100000000, 0 }, &e),
		0);
	assert_null(guest_map_gpa_all(&f->map, RAM + 5, 1));
}

static void the_map_holds_509_regions_and_no_more(void **state)
{
	struct mapped_ram *f = *state;
	struct err e;

	for (uint64_t i = f->map.count; i < GUEST_MAP_REGIONS_MAX; i++)
		assert_int_equal(
			guest_map_add(&f->map,
				      &(struct vu_mem_region){ RAM + i * 0x2000, 0x1000,
							       GIB(1) + i * 0x2000, 0x1000 * i },
				      f->fd, &e),
			0);
	assert_int_equal(guest_map_add(&f->map,
				       &(struct vu_mem_region){ GIB(9), 0x1000, GIB(9), 0 }, f->fd,
				       &e),
			 -ENOSPC);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(bad_regions_are_refused_and_leave_the_map_as_it_was),
		CASE(a_region_may_start_inside_a_page_of_its_object),
		CASE(the_map_holds_509_regions_and_no_more),
	};

	return cmocka_run_group_tests_name("guest_map", tests, NULL, NULL);
}
