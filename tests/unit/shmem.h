/* SPDX-License-Identifier: Apache-2.0 */
/* owner.h's front end with a daemon that has one shared memory region, and what that daemon asks
 * for. Include after cmocka.h. */
#ifndef TESTS_UNIT_SHMEM_H
#define TESTS_UNIT_SHMEM_H

#include "tests/unit/owner.h"

enum { NEED_REPLY = VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, REGION = 3, PAGES = 16 };
#define PAGE ((uint64_t)VU_SHMEM_PAGE)
#define MAP VU_BACKEND_SHMEM_MAP
#define UNMAP VU_BACKEND_SHMEM_UNMAP

/* Begins to connect to the daemon, whose region of 16 pages has shmid 3; until ready; until running
 * with what the daemon got till then forgotten. */
struct owner *shmem_connect(void **state);
struct owner *shmem_ready(void **state);
struct owner *shmem_running(void **state);

/* A request for one writable page of the region, from the sixth of the file. */
struct vu_mmap shmem_page(uint64_t page);
/* The daemon sends SHMEM_MAP of that page, SHMEM_UNMAP of it; the loop has not run then. */
void shmem_send_map(struct owner *f, uint64_t page, uint32_t flags);
void shmem_send_unmap(struct owner *f, uint64_t page);
/* What it is answered, now: 0 or 1; -1 for nothing yet, -2 when the channel has ended. */
int shmem_answer(struct owner *f, uint32_t request);
/* Both, with need_reply. */
int shmem_map(struct owner *f, uint64_t page);
int shmem_unmap(struct owner *f, uint64_t page);
/* The front end sees the back channel before it sees the main one. */
void shmem_back_channel_first(struct owner *f);

#endif
