/* SPDX-License-Identifier: Apache-2.0 */
/* NUMA placement of guest RAM, by mbind(2) without libnuma. Set-up only. */
#ifndef MEMORY_NUMA_H
#define MEMORY_NUMA_H

#include <stdint.h>

#include "base/err.h"
#include "memory/mem_options.h"

enum { NUMA_NODES_MAX = 1024 };

struct numa_nodes {
	unsigned long mask[NUMA_NODES_MAX / (8 * sizeof(unsigned long))];
	unsigned count;		/* bits set */
	unsigned highest;	/* number of the highest */
};

/* Reads a list such as "0-1,3". 0 or -EINVAL with @e. */
int numa_parse(const char *text, struct numa_nodes *ret, struct err *e);

/*
 * Binds [host, host + len), mapped MAP_SHARED, as o->policy and o->host_nodes say; nothing for the
 * default policy. The policy belongs to the object, so pages a daemon touches first obey it as
 * well. 0, or -errno with @e.
 */
int numa_bind(void *host, uint64_t len, const struct mem_options *o, struct err *e);

#endif
