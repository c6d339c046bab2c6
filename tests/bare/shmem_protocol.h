/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest asks of shmem_daemon, one request a chain: struct shmem_request, then room for
 * struct shmem_answer. Both are of this machine, so they have its byte order.
 */
#ifndef BARE_SHMEM_PROTOCOL_H
#define BARE_SHMEM_PROTOCOL_H

#include <stdint.h>

enum {
	SHMEM_DEVICE = 63,		/* a virtio device id that nobody has */
	SHMEM_PAGE = 4096, SHMEM_WORDS = SHMEM_PAGE / 8,

	/* Regions: the sparse ids are part of the test. The last one needs more room than PCI's
	 * configuration space has, and is there with --many. */
	SHMEM_CONTROL = 1, SHMEM_MIDDLE = 7, SHMEM_BIG = 200, SHMEM_MANY = 255,

	/* Objects. Those of the swaps differ in size, which is what is mapped of them. */
	SHMEM_OBJECTS = 10, SHMEM_SWAPPED = 4, SHMEM_SWAPS = 4, SHMEM_STATE = 8, SHMEM_LARGE = 9,
	SHMEM_OBJECT_PAGES = 16,	/* of objects 0 to 3 */
	SHMEM_CPUS = 8,
};
#define SHMEM_CONTROL_SIZE	UINT64_C(0x1000)
#define SHMEM_MIDDLE_SIZE	UINT64_C(0x600000)
#define SHMEM_BIG_SIZE		UINT64_C(0x200000000)
#define SHMEM_MANY_SIZE		UINT64_C(0x201000)
/* Where in SHMEM_BIG swaps are made, and where refusals expect two mappings of REFUSED_LEN side
 * by side with nothing around them. */
#define SHMEM_SWAP_AT		UINT64_C(0x140000000)
#define SHMEM_REFUSED_AT	UINT64_C(0x180000000)
#define SHMEM_REFUSED_LEN	UINT64_C(0x4000)
#define SHMEM_FREE_AT		UINT64_C(0x1c0000000)
#define SHMEM_FULL_AT		UINT64_C(0x40000000)

/* Every word of an object's page, as long as nobody has stored there. */
static inline uint64_t shmem_tag(uint64_t object, uint64_t page)
{
	return UINT64_C(0x7a60000000000000) | object << 32 | page;
}

enum shmem_op {
	SHMEM_OP_MAP,		/* `object` from fd_offset; 0, or 1: refused */
	SHMEM_OP_UNMAP,		/* the same */
	SHMEM_OP_CHANGED,	/* value: words without their tag in `len` bytes of `object` */
	SHMEM_OP_READ,		/* value: the word at fd_offset of `object` */
	SHMEM_OP_WRITE,		/* the word at fd_offset of `object` becomes `value` */
	SHMEM_OP_TRUNCATE,	/* `object` to `len` bytes */
	SHMEM_OP_REFUSED,	/* sends refusal number `value`; result: enum shmem_refused */
	SHMEM_OP_FILL,		/* maps a page at a time from SHMEM_FULL_AT on; value: how many */
	SHMEM_OP_EMPTY,		/* takes `value` of them away; value: how many went */
	SHMEM_OP_SWAP,		/* `value` maps and unmaps beneath `object` processors */
};

enum shmem_refused {
	SHMEM_REFUSED, SHMEM_OBEYED,
	SHMEM_NO_SUCH,		/* there is none of that number */
	SHMEM_IMPOSSIBLE,	/* for this host */
};

struct shmem_request {
	uint32_t op, object;
	uint32_t shmid, rw;
	uint64_t shm_offset, fd_offset, len, value;
};

struct shmem_answer {
	int64_t result;		/* negative: the daemon has found a fault, and said which */
	uint64_t value;
};

/*
 * Object SHMEM_STATE, mapped as region SHMEM_CONTROL: what both sides of the swaps see of each
 * other without an exit. `state` is odd while a map or unmap is under way; else, shifted right by
 * one, in its low half the number of the object that is mapped plus one, or 0 for none.
 */
struct shmem_state {
	uint64_t state;
	uint64_t turns[SHMEM_CPUS];	/* times each processor has stored and loaded */
};

static inline uint64_t shmem_state(uint64_t count, uint64_t object_or_none)
{
	return count << 33 | object_or_none << 1;
}

static inline uint64_t shmem_state_object(uint64_t state)
{
	return (uint32_t)state >> 1;
}

#endif
