/* SPDX-License-Identifier: Apache-2.0 */
/* Objects whose file system has no room for their holes: an error, before any guest touches one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/range.h"
#include "memory/window.h"
#include "tests/unit/small_shm.h"
#include "tests/unit/window_rig.h"

static int sparse(uint64_t size)
{
	int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void assert_no_room(bool rw)
{
	struct mem_window w = window_rig_new(MIB(1));
	int old = window_rig_object(0x1000, 4), full = sparse(MIB(1));
	int hog = small_shm_take(MIB(8) - KIB(64));
	struct err e = { "" };

	assert_int_equal(window_replace(&w, old, 0, 4 * PAGE, true, true, &e), 0);
	assert_int_equal(window_replace(&w, full, 0, MIB(1), rw, true, &e), -EIO);
	assert_non_null(strstr(e.msg, "is it full?"));
	assert_int_equal(*window_rig_word(&w, 3), 0x1003);
	assert_int_equal(w.count, 1);
	close(hog);
	assert_int_equal(window_replace(&w, full, 0, MIB(1), rw, true, &e), 0);
	*window_rig_word(&w, 255) = 1;
	window_fini(&w);
	close(full);
	close(old);
}

static void an_object_without_room_for_its_holes_is_not_mapped(void **state)
{
	(void)state;
	assert_no_room(true);
}

/* Reading a hole of a tmpfs takes a page as well. */
static void nor_is_it_to_be_read_only(void **state)
{
	(void)state;
	assert_no_room(false);
}

static void without_populate_it_is(void **state)
{
	struct mem_window w = window_rig_new(MIB(1));
	int full = sparse(MIB(1)), hog = small_shm_take(MIB(8));
	struct err e = { "" };

	(void)state;
	assert_int_equal(window_replace(&w, full, 0, MIB(1), true, false, &e), 0);
	assert_int_equal(window_room(&w), WINDOW_LACKS);
	window_fini(&w);
	close(full);
	close(hog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_object_without_room_for_its_holes_is_not_mapped),
		cmocka_unit_test(nor_is_it_to_be_read_only),
		cmocka_unit_test(without_populate_it_is),
	};

	if (!small_shm_mount())
		return small_shm_skip();
	return cmocka_run_group_tests_name("window_full", tests, NULL, NULL);
}
