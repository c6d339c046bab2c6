/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory on transparent huge pages, whatever the host's defaults for shm are: objects in a
 * tmpfs of our own that was made with huge=always and is mounted nowhere. Set-up only.
 *
 * Theory of operation. A mount's huge= decides about its files' pages, and a tmpfs can be made
 * and used through fds alone (fsopen, fsmount, openat of O_TMPFILE), without a place in any
 * directory tree; its files outlive the mount's fd. Whoever may mount does so directly. Others
 * become able to in a user and mount namespace of their own, which a short-lived child enters by
 * clone(2): it shares memory and fd table with us, so the files it opens are ours when it has
 * gone, nothing is copied or passed, and this process stays in the namespaces it was started in.
 * The child's uid must be mapped, or its new files would have an owner the tmpfs cannot express.
 */
#ifndef MEMORY_THP_H
#define MEMORY_THP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Makes @count unnamed objects of mode 0 with @sizes bytes in one private huge tmpfs that holds
 * exactly them. 0 with @ret_fds the caller's and *@ret_huge the size of a huge page, or -errno with
 * the reason in @e and nothing left behind.
 */
int thp_create(const uint64_t *sizes, unsigned count, int *ret_fds, uint64_t *ret_huge,
	       struct err *e);

/*
 * Measures: touches the first page at @host, the start of a mapping of such an object aligned to
 * @huge and as large at least, and sees whether a whole huge page came. Not before NUMA policy is
 * set.
 */
bool thp_is_huge(void *host, uint64_t huge);

#endif
