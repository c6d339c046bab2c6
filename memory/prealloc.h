/* SPDX-License-Identifier: Apache-2.0 */
/* Allocating RAM before the guest starts, in threads, without ever raising SIGBUS. Set-up only. */
#ifndef MEMORY_PREALLOC_H
#define MEMORY_PREALLOC_H

#include <stdint.h>

#include "base/err.h"

struct prealloc_range {
	uint8_t *host;		/* mapped MAP_SHARED from @fd at @fd_offset */
	uint64_t size;
	int fd;			/* borrowed */
	uint64_t fd_offset;
	uint64_t page_size;	/* of the object */
};

/*
 * Allocates every page of the range and returns when all are there. @threads 0: one for each CPU,
 * at most 16. The work is MADV_POPULATE_WRITE (Linux 5.14) and, where that is missing, fallocate.
 * 0, or -errno with @e; pages got before a failure stay.
 */
int prealloc_range(const struct prealloc_range *r, unsigned threads, struct err *e);

#endif
