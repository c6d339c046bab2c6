/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest RAM as a back end sees it: the regions a front end handed over, mapped, and the only door
 * from a guest or user address to a pointer. vhost-user specification, "Memory region description".
 *
 * Owns the mappings, not the fds. Everything in the back end's loop thread. A front end that
 * shrinks an object afterwards can still raise SIGBUS here: the program must say so and end.
 */
#ifndef VHOST_GUEST_MAP_H
#define VHOST_GUEST_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vhost/proto.h"

enum { GUEST_MAP_REGIONS_MAX = 509 };	/* the number GET_MAX_MEM_SLOTS tells */

struct guest_map_region {
	struct vu_mem_region at;	/* as the front end described it */
	uint8_t *host;			/* of at.gpa */
	void *base;			/* of the mapping: whole pages of the object */
	size_t base_len;
};

/* All zero is an empty map. */
struct guest_map {
	struct guest_map_region regions[GUEST_MAP_REGIONS_MAX];
	unsigned count;
	unsigned last;			/* region found last, tried first */
};

/*
 * Maps a region of the borrowed @fd, which may be closed afterwards. 0, or -errno with @e: too many
 * regions, empty or wrapping ranges, an overlap, an object that is too short, a failing mmap.
 */
int guest_map_add(struct guest_map *m, const struct vu_mem_region *r, int fd, struct err *e);
/* Unmaps the region with the same gpa, size and user address. 0 or -ENOENT with @e. */
int guest_map_del(struct guest_map *m, const struct vu_mem_region *r, struct err *e);
/* Unmaps everything. Works twice. */
void guest_map_clear(struct guest_map *m);

/* Host address of @gpa, and in *@ret_len how many of the @len bytes follow it in the same region;
 * NULL when no region holds @gpa. */
void *guest_map_gpa(struct guest_map *m, uint64_t gpa, uint64_t len, uint64_t *ret_len);
/* Host address of all @len bytes at @gpa, or at a front end's user address; NULL unless one region
 * holds them. */
void *guest_map_gpa_all(struct guest_map *m, uint64_t gpa, uint64_t len);
void *guest_map_user_all(struct guest_map *m, uint64_t user_addr, uint64_t len);

#endif
