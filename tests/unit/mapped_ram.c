/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

#include "base/range.h"
#include "tests/unit/mapped_ram.h"

void mapped_ram_init(struct mapped_ram *m)
{
	static const struct vu_mem_region regions[] = {
		{ 0, HALF, 0x7000000, 0 },
		{ HALF, HALF, 0x7000000 + HALF, HALF },
	};
	struct err e;

	*m = (struct mapped_ram){ .fd = memfd_create("ram", MFD_CLOEXEC) };
	assert_int_equal(ftruncate(m->fd, RAM), 0);
	m->guest = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	assert_ptr_not_equal(m->guest, MAP_FAILED);
	for (size_t i = 0; i < ARRAY_SIZE(regions); i++)
		assert_int_equal(guest_map_add(&m->map, &regions[i], m->fd, &e), 0);
}

void mapped_ram_fini(struct mapped_ram *m)
{
	guest_map_clear(&m->map);
	munmap(m->guest, RAM);
	close(m->fd);
}
