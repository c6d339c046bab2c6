/* SPDX-License-Identifier: Apache-2.0 */
/* The host's pools of huge pages (hugetlb). Set-up, but for what says otherwise. */
#ifndef MEMORY_HUGETLB_H
#define MEMORY_HUGETLB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Whether @fd's file lies in a hugetlbfs, with *@ret_page the size of its pages. */
bool hugetlb_is(int fd, uint64_t *ret_page);

/*
 * Whether the pool of @page-sized pages can give @need bytes more: free pages nobody reserved and
 * pages the kernel may add to the pool. 0, or -ENOMEM with @e (have, need, the way out); 0 too when
 * the pool cannot be read: then mapping decides.
 */
int hugetlb_check(uint64_t page, uint64_t need, struct err *e);

/* Opens the pool's count of free pages for hugetlb_is_empty; the caller's fd, or -errno. */
int hugetlb_open_pool(uint64_t page);
/* Any thread, under any filter that allows pread(2): whether that pool has no free page left. */
bool hugetlb_is_empty(int pool_fd);

#endif
