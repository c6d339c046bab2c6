/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <sys/epoll.h>

#include <cmocka.h>

#include "tests/unit/shmem.h"

struct owner *shmem_connect(void **state)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.protocol = SHMEM;
	f->daemon.shmem.nregions = 1;
	f->daemon.shmem.sizes[REGION] = PAGES * PAGE;
	return f;
}

struct owner *shmem_ready(void **state)
{
	struct owner *f = shmem_connect(state);

	owner_connected(f);
	return f;
}

struct owner *shmem_running(void **state)
{
	struct owner *f = shmem_ready(state);
	struct err e;

	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->frontend.state, VU_RUNNING);
	scripted_daemon_order(&f->daemon);
	return f;
}

struct vu_mmap shmem_page(uint64_t page)
{
	return (struct vu_mmap){ .shmid = REGION, .fd_offset = 5 * PAGE, .shm_offset = page * PAGE,
				 .len = PAGE, .flags = VU_SHMEM_RW };
}

void shmem_send_map(struct owner *f, uint64_t page, uint32_t flags)
{
	struct vu_mmap m = shmem_page(page);

	scripted_daemon_back_request(&f->daemon, VU_BACKEND_SHMEM_MAP, flags, &m, sizeof(m),
				     &f->mem.regions[0].fd, 1);
}

void shmem_send_unmap(struct owner *f, uint64_t page)
{
	struct vu_mmap m = { .shmid = REGION, .shm_offset = page * PAGE, .len = PAGE };

	scripted_daemon_back_request(&f->daemon, VU_BACKEND_SHMEM_UNMAP, NEED_REPLY, &m, sizeof(m),
				     NULL, 0);
}

int shmem_answer(struct owner *f, uint32_t request)
{
	uint64_t answer;
	int r;

	scripted_settle(&f->loop);
	r = scripted_daemon_back_answer(&f->daemon, request, &answer);
	return r > 0 ? answer != 0 : r - 1;
}

int shmem_map(struct owner *f, uint64_t page)
{
	shmem_send_map(f, page, NEED_REPLY);
	return shmem_answer(f, VU_BACKEND_SHMEM_MAP);
}

int shmem_unmap(struct owner *f, uint64_t page)
{
	shmem_send_unmap(f, page);
	return shmem_answer(f, VU_BACKEND_SHMEM_UNMAP);
}

void shmem_back_channel_first(struct owner *f)
{
	struct loop_watch *w = &f->frontend.back_watch;

	w->ready(w->arg, EPOLLIN);
}
