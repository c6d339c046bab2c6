/* SPDX-License-Identifier: Apache-2.0 */
/* The test daemon of shared memory regions: its objects, and what it does with them. */
#ifndef BARE_SHMEM_DAEMON_H
#define BARE_SHMEM_DAEMON_H

#include "tests/bare/shmem_protocol.h"
#include "vhost/backend.h"

struct object {
	int fd;
	uint64_t size;
	uint64_t *mem;			/* of those nobody truncates; else NULL */
};

struct shmem_daemon {
	struct loop loop;
	struct backend backend;
	struct object objects[SHMEM_OBJECTS];
	unsigned filled;		/* pages of SHMEM_OP_FILL that are mapped */
	uint64_t swaps;			/* made so far */
	/* The page that processors store to, as it was when its object was last unmapped. */
	uint64_t left[SHMEM_SWAPS][SHMEM_WORDS];
	struct ring_chain chain;
};

/* shmem_refusals.c: SHMEM_OP_REFUSED. */
int64_t shmem_refused(struct shmem_daemon *d, uint64_t n);
/* shmem_swaps.c: SHMEM_OP_SWAP, @cpus store meanwhile. 0 or a fault. */
int64_t shmem_swap(struct shmem_daemon *d, uint64_t count, unsigned cpus);

#endif
