/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RAM whose file system runs full while the guest runs: what it lacks becomes inaccessible, what it
 * has does not, and who then ran into it is told to try again or that it is the end. In a /dev/shm
 * of 8 MiB of its own; RAM has 6, of which two MiB, the first and the fifth, are there at first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "memory/shm_named.h"
#include "memory/starvation.h"
#include "tests/unit/ram.h"
#include "tests/unit/small_shm.h"

enum { ALL_OF_IT = 6 };

struct fixture {
	struct guest_mem mem;
	struct loop loop;
	struct starvation s;
	struct err e;
	int hog;
};

static struct fixture fixture_new(const char *option)
{
	return (struct fixture){ .mem = ram_new(option, MIB(6)), .hog = -1 };
}

static void start(struct fixture *f)
{
	memset(f->mem.regions[0].host, 0x55, MIB(1));
	memset(f->mem.regions[0].host + MIB(4), 0x55, MIB(1));
	assert_int_equal(loop_init(&f->loop, NULL, &f->e), 0);
	starvation_watch(&f->s, &f->mem, &f->loop);
}

static void fixture_fini(struct fixture *f)
{
	if (f->hog >= 0)
		close(f->hog);
	loop_fini(&f->loop);
	guest_mem_fini(&f->mem);
}

/* The next look, now. */
static void look(struct fixture *f)
{
	assert_int_not_equal(f->s.timer.at, 0);
	loop_timer_set(&f->loop, &f->s.timer, 1);
	loop_once(&f->loop, 0);
}

/* Seconds, rounded up, to the next look; 0 for never. */
static unsigned next_look(const struct fixture *f)
{
	uint64_t now = clock_ns(), second = MS_TO_NS(1000);

	return f->s.timer.at ? (unsigned)((f->s.timer.at - now + second - 1) / second) : 0;
}

static bool is_accessible(const struct fixture *f, uint64_t at)
{
	uintptr_t wanted = (uintptr_t)f->mem.regions[0].host + at, start, end;
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], mode[5] = "";

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &start, &end, mode) == 3 &&
		    wanted >= start && wanted < end)
			break;
	fclose(maps);
	return !strcmp(mode, "rw-s");
}

static void assert_guarded(const struct fixture *f, bool guarded)
{
	for (unsigned mib = 0; mib < ALL_OF_IT; mib++)
		assert_int_equal(is_accessible(f, MIB(mib)), !guarded || mib == 0 || mib == 4);
	assert_true(is_accessible(f, MIB(1) - 1));
	assert_int_equal(is_accessible(f, MIB(4) - 1), !guarded);
	assert_int_equal(is_accessible(f, MIB(6) - 1), !guarded);
}

static void what_ram_lacks_is_inaccessible_while_there_is_no_room(void **state)
{
	struct fixture f = fixture_new("shm,thp=off");

	(void)state;
	start(&f);
	look(&f);
	assert_guarded(&f, false);
	f.hog = small_shm_take(MIB(6));
	look(&f);
	assert_guarded(&f, true);
	look(&f);
	assert_guarded(&f, true);
	close(f.hog);
	f.hog = -1;
	look(&f);
	assert_guarded(&f, false);
	fixture_fini(&f);
}

static void a_named_object_is_watched_too(void **state)
{
	struct fixture f = fixture_new("shm,name=/ram");

	(void)state;
	start(&f);
	f.hog = small_shm_take(MIB(6));
	look(&f);
	assert_guarded(&f, true);
	starvation_lift(&f.s);
	assert_guarded(&f, false);
	shm_named_unlink(f.mem.regions[0].fd, "/ram");
	fixture_fini(&f);
}

static void who_needs_more_of_a_full_file_system_is_told_so(void **state)
{
	struct fixture f = fixture_new("shm,thp=off");

	(void)state;
	start(&f);
	f.hog = small_shm_take(MIB(6));
	look(&f);
	assert_int_equal(starvation_judge(&f.s, &f.e), -ENOSPC);
	assert_non_null(strstr(f.e.msg, "is full and the guest needs more"));
	fixture_fini(&f);
}

static void who_met_a_guard_that_came_down_too_late_may_go_on(void **state)
{
	struct fixture f = fixture_new("shm,thp=off");

	(void)state;
	start(&f);
	f.hog = small_shm_take(MIB(6));
	look(&f);
	close(f.hog);
	f.hog = -1;
	assert_int_equal(starvation_judge(&f.s, &f.e), -EAGAIN);
	assert_guarded(&f, false);
	/* Without a guard an EFAULT is somebody else's. */
	assert_int_equal(starvation_judge(&f.s, &f.e), 0);
	fixture_fini(&f);
}

/* A daemon writes to RAM by its own mapping; what it got is the guest's to read. */
static void a_page_that_a_daemon_got_meanwhile_is_accessible_again(void **state)
{
	struct fixture f = fixture_new("shm,thp=off");
	uint64_t page = RAM_PAGE;

	(void)state;
	start(&f);
	f.hog = small_shm_take(MIB(6));
	look(&f);
	assert_int_equal(ftruncate(f.hog, (off_t)(MIB(6) - page)), 0);
	assert_int_equal(pwrite(f.mem.regions[0].fd, "x", 1, (off_t)MIB(2)), 1);
	assert_int_equal(starvation_judge(&f.s, &f.e), -EAGAIN);
	assert_true(is_accessible(&f, MIB(2)));
	assert_false(is_accessible(&f, MIB(2) + page));
	assert_int_equal(starvation_judge(&f.s, &f.e), -ENOSPC);
	fixture_fini(&f);
}

static void ram_that_was_cut_off_stays_a_crash(void **state)
{
	struct fixture f = fixture_new("shm,thp=off");

	(void)state;
	start(&f);
	f.hog = small_shm_take(MIB(6));
	look(&f);
	assert_int_equal(ftruncate(f.mem.regions[0].fd, (off_t)MIB(1)), 0);
	assert_int_equal(starvation_judge(&f.s, &f.e), -EFAULT);
	fixture_fini(&f);
}

static void it_looks_as_often_as_it_must(void **state)
{
	struct fixture f = fixture_new("shm,thp=off");

	(void)state;
	start(&f);
	assert_int_equal(next_look(&f), 1);
	look(&f);
	assert_int_equal(next_look(&f), 5);
	f.hog = small_shm_take(MIB(3));
	look(&f);
	assert_int_equal(next_look(&f), 1);
	close(f.hog);
	f.hog = -1;
	memset(f.mem.regions[0].host, 0x55, MIB(6));
	look(&f);
	assert_int_equal(next_look(&f), 0);
	fixture_fini(&f);
}

static void ram_that_nothing_bounds_is_not_looked_at(void **state)
{
	struct fixture f = fixture_new("memfd");

	(void)state;
	start(&f);
	look(&f);
	assert_int_equal(next_look(&f), 0);
	fixture_fini(&f);
}

static void a_private_tmpfs_is_not_looked_at(void **state)
{
	struct fixture f = fixture_new("shm");

	(void)state;
	if (!f.mem.backing.own_mount) {
		guest_mem_fini(&f.mem);
		skip();
	}
	start(&f);
	assert_int_equal(next_look(&f), 0);
	fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_ram_lacks_is_inaccessible_while_there_is_no_room),
		cmocka_unit_test(a_named_object_is_watched_too),
		cmocka_unit_test(who_needs_more_of_a_full_file_system_is_told_so),
		cmocka_unit_test(who_met_a_guard_that_came_down_too_late_may_go_on),
		cmocka_unit_test(a_page_that_a_daemon_got_meanwhile_is_accessible_again),
		cmocka_unit_test(ram_that_was_cut_off_stays_a_crash),
		cmocka_unit_test(it_looks_as_often_as_it_must),
		cmocka_unit_test(ram_that_nothing_bounds_is_not_looked_at),
		cmocka_unit_test(a_private_tmpfs_is_not_looked_at),
	};

	if (!small_shm_mount())
		return small_shm_skip();
	return cmocka_run_group_tests_name("starvation", tests, NULL, NULL);
}
