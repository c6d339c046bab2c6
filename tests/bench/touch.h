/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon of tests/bench/shmem and its guest have in common. */
#ifndef BENCH_TOUCH_H
#define BENCH_TOUCH_H

#include <stdint.h>

enum { TOUCH_VIRTIO_ID = 63 };		/* no device of anybody's */
#define TOUCH_WINDOW	(UINT64_C(2) << 30)	/* bytes of its shared memory region 0 */

/* Fills every chain of the guest; the next chain says that it was obeyed. */
struct touch_order {
	uint64_t offset, stride, count;	/* a store to each of @count places of the region */
	uint64_t last;			/* nothing is to be done any more */
};

#endif
