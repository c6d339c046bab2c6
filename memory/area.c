/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/area.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"

/* For programs, stacks, RAM and the C library, which have some hundred at most. */
enum { KERNELS_DEFAULT = 65530, EVERYTHING_ELSE = 2048 };

void area_budget_init(struct area_budget *b)
{
	autoclose int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	uint64_t n = KERNELS_DEFAULT;

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		n = min_u64(strtoull(text, NULL, 10), UINT32_MAX);
	*b = (struct area_budget){ .limit = n > EVERYTHING_ELSE ?
					    (unsigned)n - EVERYTHING_ELSE : 0 };
}

bool area_budget_take(struct area_budget *b, unsigned n)
{
	if (!b)
		return true;
	if (!range_ok(b->taken, n, b->limit))
		return false;
	b->taken += n;
	return true;
}

void area_budget_give(struct area_budget *b, unsigned n)
{
	if (b)
		b->taken -= n;
}

/* Under another entry of the topmost page table, on x86-64. Anything else is a hint, too. */
void *area_stage(void *to)
{
	return (void *)((uintptr_t)to - GIB(512));
}

int area_move(void *from, void *to, uint64_t len)
{
	int r;

	if (mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED)
		return 0;
	r = -errno;
	munmap(from, len);
	return r;
}
