/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/owner.h"

/* What the front end tells: counted, and never while the owner is calling it. */
#define TOLD(name)				\
	static void on_##name(void *arg)	\
	{					\
		struct owner *f = arg;		\
						\
		assert_false(f->in_call);	\
		f->name++;			\
	}

TOLD(ready)
TOLD(started)
TOLD(switched)
TOLD(dead)
TOLD(config_changed)
TOLD(ring_error)

static void on_stopped(void *arg)
{
	struct owner *f = arg;

	assert_false(f->in_call);
	f->stopped++;
	f->n_mapped = 0;
}

static int on_shmem_map(void *arg, const struct vu_shmem_map *m, int fd, struct err *e)
{
	struct owner *f = arg;
	struct stat st;

	assert_false(f->in_call);
	assert_true(f->ready && !f->lost);
	assert_true(m->len && range_ok(m->shm_offset, m->len, f->frontend.shmem[m->shmid]));
	assert_int_equal(fstat(fd, &st), 0);
	f->mapped_inode = st.st_ino;
	f->maps++;
	if (f->in_map)
		f->in_map(f);
	if (f->refuse_map)
		return err_set(e, f->refuse_map, "the owner does not like it");
	assert_true(f->n_mapped < OWNER_MAPPINGS);
	f->mapped[f->n_mapped++] = *m;
	return 0;
}

static int on_shmem_unmap(void *arg, const struct vu_shmem_map *m, struct err *e)
{
	struct owner *f = arg;

	assert_false(f->in_call);
	assert_true(f->ready && !f->lost);
	f->unmaps++;
	if (f->refuse_unmap)
		return err_set(e, f->refuse_unmap, "the owner does not like it");
	for (unsigned i = 0; i < f->n_mapped; i++) {
		const struct vu_shmem_map *o = &f->mapped[i];

		if (o->shmid != m->shmid || o->shm_offset != m->shm_offset || o->len != m->len)
			continue;
		f->mapped[i] = f->mapped[--f->n_mapped];
		return 0;
	}
	return err_set(e, -ENOENT, "nothing is mapped so");
}

static void on_lost(void *arg, const char *why, bool daemon_dead)
{
	struct owner *f = arg;

	assert_false(f->in_call);
	f->lost++;
	f->lost_dead = daemon_dead;
	f->n_mapped = 0;
	snprintf(f->why, sizeof(f->why), "%s", why);
	if (f->fini_when_lost)
		vu_frontend_fini(&f->frontend);
}

const struct vu_frontend_ops owner_ops = {
	.ready = on_ready, .started = on_started, .stopped = on_stopped, .lost = on_lost,
	.switched = on_switched,
	.dead = on_dead, .config_changed = on_config_changed, .ring_error = on_ring_error,
	.shmem_map = on_shmem_map, .shmem_unmap = on_shmem_unmap,
};

static int ram_fd(void)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	return fd;
}

int owner_setup(void **state)
{
	struct owner *f = calloc(1, sizeof(*f));
	struct err e;

	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	f->mem.count = 2;
	f->mem.regions[0] = (struct mem_region){ .gpa = 0, .size = MIB(1), .fd = ram_fd() };
	f->mem.regions[1] = (struct mem_region){ .gpa = GIB(4), .size = MIB(1), .fd = ram_fd(),
						 .fd_offset = GIB(3) };
	for (int i = 0; i < OWNER_RINGS; i++) {
		f->kick[i] = fd_eventfd();
		f->call[i] = fd_eventfd();
	}
	f->params = (struct vu_frontend_params){ .name = "blk0", .socket = "blk.sock",
						 .config_size = OWNER_CONFIG };
	f->ops = &owner_ops;
	*state = f;
	return 0;
}

void owner_fini(struct owner *f)
{
	vu_frontend_fini(&f->frontend);
	vu_frontend_fini(&f->frontend);
	scripted_daemon_fini(&f->daemon);
}

int owner_teardown(void **state)
{
	struct owner *f = *state;

	owner_fini(f);
	for (int i = 0; i < OWNER_RINGS; i++) {
		fd_close(&f->kick[i]);
		fd_close(&f->call[i]);
	}
	fd_close(&f->mem.regions[0].fd);
	fd_close(&f->mem.regions[1].fd);
	loop_fini(&f->loop);
	free(f);
	return 0;
}

void owner_connect(struct owner *f)
{
	int sock = scripted_daemon_init(&f->daemon, &f->loop);
	struct err e;

	f->in_call = true;
	assert_int_equal(vu_frontend_init(&f->frontend, &f->loop, &f->mem, &sock, &f->params,
					  f->ops, f, &e), 0);
	f->in_call = false;
	assert_int_equal(sock, -1);
}

void owner_connected(struct owner *f)
{
	scripted_settle(&f->loop);
	if (f->lost)
		fail_msg("lost: %s", f->why);
	assert_int_equal(f->ready, 1);
	assert_int_equal(f->frontend.state, VU_READY);
}

struct owner *owner_ready(void **state, uint64_t protocol)
{
	struct owner *f = *state;

	owner_connect(f);
	f->daemon.protocol = protocol;
	owner_connected(f);
	return f;
}

void owner_latch(struct owner *f, unsigned i, unsigned at)
{
	f->frontend.rings[at] = (struct vu_ring){
		.enabled = true, .size = 128, .kick = f->kick[i], .call = f->call[i],
		.desc = 0x10000 + 0x10000 * i, .avail = 0x14000 + 0x10000 * i,
		.used = GIB(4) + 0x1000 + 0x10000 * i,
	};
}

int owner_start(struct owner *f, struct err *e)
{
	int r;

	f->frontend.n_rings = OWNER_RINGS;
	for (unsigned i = 0; i < OWNER_RINGS; i++)
		owner_latch(f, i, i);
	f->in_call = true;
	r = vu_frontend_start(&f->frontend, VERSION_1, e);
	f->in_call = false;
	return r;
}

void owner_stop(struct owner *f)
{
	f->in_call = true;
	vu_frontend_stop(&f->frontend);
	f->in_call = false;
}

struct owner *owner_running(void **state, uint64_t protocol)
{
	struct owner *f = owner_ready(state, protocol);
	struct err e;

	scripted_daemon_order(&f->daemon);
	assert_int_equal(owner_start(f, &e), 0);
	scripted_settle(&f->loop);
	assert_int_equal(f->started, 1);
	assert_int_equal(f->frontend.state, VU_RUNNING);
	return f;
}

void owner_assert_legal(struct owner *f)
{
	assert_string_equal(f->daemon.illegal.msg, "");
}

void owner_assert_lost(struct owner *f, const char *what)
{
	scripted_settle(&f->loop);
	assert_int_equal(f->lost, 1);
	assert_int_equal(f->frontend.state, VU_GONE);
	assert_memory_equal(f->why, "blk0 (socket blk.sock): ", 24);
	if (!strstr(f->why, what))
		fail_msg("\"%s\" does not say \"%s\"", f->why, what);
}

void owner_config_change(struct owner *f, uint32_t flags)
{
	scripted_daemon_back_request(&f->daemon, VU_BACKEND_CONFIG_CHANGE_MSG, flags, NULL, 0,
				     NULL, 0);
}

void owner_live(struct owner *f)
{
	struct err e;

	scripted_settle(&f->loop);
	if (f->ready && !f->lost && owner_start(f, &e) == 0)
		scripted_settle(&f->loop);
	if (f->started && !f->lost) {
		vu_frontend_config_write(&f->frontend, 0, 4);
		scripted_settle(&f->loop);
		if (f->daemon.back.sock >= 0)
			owner_config_change(f, 0x9);
		scripted_settle(&f->loop);
		owner_stop(f);
		scripted_settle(&f->loop);
	}
}

unsigned owner_life_length(uint64_t protocol)
{
	void *state = NULL;
	struct owner *f;
	unsigned n;

	owner_setup(&state);
	f = state;
	owner_connect(f);
	f->daemon.protocol = protocol;
	owner_live(f);
	assert_int_equal(f->stopped, 1);
	assert_int_equal(f->lost, 0);
	owner_assert_legal(f);
	n = f->daemon.received;
	owner_teardown(&state);
	return n;
}
