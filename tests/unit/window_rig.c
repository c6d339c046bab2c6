/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/window_rig.h"

int window_rig_object(uint32_t tag, uint64_t pages)
{
	int fd = memfd_create("object", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	for (uint32_t i = 0; i < pages; i++) {
		uint32_t word = tag + i;

		assert_int_equal(pwrite(fd, &word, sizeof(word), (off_t)i * PAGE), sizeof(word));
	}
	return fd;
}

struct mem_window window_rig_bounded(uint64_t size, uint64_t idle_max)
{
	struct mem_window w;
	struct err e;

	if (window_init(&w, size, idle_max, NULL, &e))
		fail_msg("%s", e.msg);
	return w;
}

struct mem_window window_rig_new(uint64_t size)
{
	return window_rig_bounded(size, UINT64_MAX);
}

struct mem_window window_rig_in_pieces(uint64_t size)
{
	return window_rig_bounded(size, size - PAGE);
}
