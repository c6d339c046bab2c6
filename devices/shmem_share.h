/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device's daemon maps into the device's window, given to the daemons of other devices as
 * well (shmem-share=on), so that a guest can have its disk read straight into a DAX page.
 *
 * Theory of operation. Writable mappings only, each a region of the machine's table
 * (memory/shared.h), whose takers are the front ends of devices that share nothing themselves:
 * frontend.h says why. A mapping gets into the table when its daemon was told that it is there, and
 * leaves it before it is taken away:
 *
 *     SHMEM_MAP     map it | answer | table -> ADD_MEM_REG to each taker
 *     SHMEM_UNMAP   table -> REM_MEM_REG to each taker that has it | its answer | unmap | answer
 *     clear         the same for all, unanswered, before the window is emptied
 *     window moved  all leave the table and come back at their new addresses; none while nowhere
 *
 * What has to wait for takers says so: it is to be tried again when `settled` is called. A taker
 * that does not answer in time is lost, and counts as one that has let go. While a clear waits
 * nothing is mapped or unmapped. Without sharing everything is done at once.
 *
 * Under the device lock, in the loop.
 */
#ifndef DEVICES_SHMEM_SHARE_H
#define DEVICES_SHMEM_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/loop.h"
#include "devices/machine.h"
#include "devices/shmem.h"
#include "memory/shared.h"

struct shared_mapping {
	uint64_t offset;		/* in the window, where a mapping begins */
	struct mem_shared_region *region;	/* NULL: the window is nowhere, the table full */
};

struct shmem_share {
	struct shmem *shmem;
	struct machine *machine;
	struct mem_shared *table;	/* NULL: nothing is shared */
	struct mem_shared_giver giver;
	struct shared_mapping *mappings;	/* room for MEM_SHARED_MAX */
	unsigned count;
	bool clearing;			/* a clear waits */
	struct loop_job released;
	struct misuse full;		/* mappings that found no place in the table */
	/* Called in the loop when what had to wait may be tried again. */
	void (*settled)(void *arg);
	void *arg;
};

/* Set-up, after shmem_init. @on false: nothing is shared. Borrows all, until shmem_share_fini,
 * which comes before shmem_fini. 0, or with @e -EINVAL (@on, and there is no region), -ENOMEM. */
int shmem_share_init(struct shmem_share *s, struct shmem *shmem, struct machine *m,
		     const char *name, bool on, void (*settled)(void *arg), void *arg,
		     struct err *e);
/* Works on a zeroed struct, twice. */
void shmem_share_fini(struct shmem_share *s);

/* As shmem_map and shmem_unmap; also -EINPROGRESS: try again when settled. */
int shmem_share_map(struct shmem_share *s, const struct vu_shmem_map *m, int fd, struct err *e);
int shmem_share_unmap(struct shmem_share *s, const struct vu_shmem_map *m, struct err *e);
/* The daemon was told that @m is mapped: others get it now. */
void shmem_share_mapped(struct shmem_share *s, const struct vu_shmem_map *m);
/* As shmem_clear. True when it is done; false: it waits, and `settled` follows. */
bool shmem_share_clear(struct shmem_share *s);

#endif
