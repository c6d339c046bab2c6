/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory regions at the back end library: what it tells, asks and takes for an answer; and
 * both ends together, each in a thread of its own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/unit/driver.h"
#include "tests/unit/owner.h"
#include "tests/unit/process.h"
#include "vhost/backend.h"

#define PAGE ((uint64_t)VU_SHMEM_PAGE)

enum { REGION = 2, FAR_REGION = 255 };

/* A device that does nothing but what it is told to when a queue is enabled. */
struct mapper {
	struct loop loop;
	struct backend backend;
	struct driver driver;
	int back;			/* the front end's side of the back channel; -1 */
	unsigned enables, disables;
	int refuse_enable;		/* -errno */
	bool maps;			/* two pages at each enable, unmaps one at each disable */
	int mapped, unmapped, doubled;	/* what came of it */
	int fd;				/* borrowed: what it maps */
};

static bool serves_nothing(void *arg, struct backend_queue *q)
{
	(void)arg;
	(void)q;
	return true;
}

static const struct vu_shmem_map first = { .shmid = REGION, .rw = true, .fd_offset = 3 * PAGE,
					   .shm_offset = PAGE, .len = 2 * PAGE };

static int mapper_enable(void *arg, struct backend_queue *q, bool on, struct err *e)
{
	struct mapper *f = arg;
	struct err mine;

	*(on ? &f->enables : &f->disables) += 1;
	if (f->refuse_enable)
		return err_set(e, f->refuse_enable, "not now");
	if (!f->maps || q->index)
		return 0;
	if (!on) {
		f->unmapped = backend_shmem_unmap(&f->backend, &first, &mine);
		return 0;
	}
	f->mapped = backend_shmem_map(&f->backend, &first, f->fd, e);
	if (!f->mapped)
		f->doubled = backend_shmem_map(&f->backend, &(struct vu_shmem_map){ .shmid = 1,
					       .len = PAGE }, f->fd, &mine);
	return f->mapped;
}

static const struct backend_ops mapper_ops = { .handle_queue = serves_nothing,
					       .enable = mapper_enable };

static struct backend_device mapper_device(struct mapper *f)
{
	return (struct backend_device){
		.name = "mapper", .queues = 2, .ops = &mapper_ops, .arg = f,
		.shmem = { [REGION] = 16 * PAGE, [FAR_REGION] = GIB(8) },
	};
}

static int setup(void **state)
{
	struct mapper *f = test_calloc(1, sizeof(*f));
	struct backend_device dev = mapper_device(f);
	struct err e;

	assert_int_equal(loop_init(&f->loop, NULL, &e), 0);
	driver_serve(&f->driver, &f->backend, &f->loop, &dev);
	f->back = -1;
	f->fd = f->driver.ram_fd;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct mapper *f = *state;

	backend_fini(&f->backend);
	backend_fini(&f->backend);
	loop_fini(&f->loop);
	driver_fini(&f->driver);
	fd_close(&f->back);
	test_free(f);
	return 0;
}

static struct mapper *negotiated(void **state)
{
	struct mapper *f = *state;

	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(driver_mem_table(&f->driver), 0);
	f->back = driver_give_back_channel(&f->driver);
	return f;
}

/* An answer that will be there when it is looked for. */
static void put_answer(struct mapper *f, uint32_t request, uint32_t flags, uint32_t size,
		       uint64_t value)
{
	uint8_t bytes[sizeof(struct vu_header) + sizeof(value)];
	const struct vu_header h = { request, flags, size };

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + sizeof(h), &value, sizeof(value));
	assert_int_equal(send(f->back, bytes, sizeof(h) + size, 0), sizeof(h) + size);
}

static void get_request(struct mapper *f, struct vu_msg *ret)
{
	struct { struct vu_header h; uint8_t payload[64]; } m;
	int fds[FD_PASS_MAX];
	ssize_t n = fd_recv(f->back, &m, sizeof(m), fds, &ret->nfds);

	assert_true(n >= (ssize_t)sizeof(m.h));
	assert_int_equal(n, sizeof(m.h) + m.h.size);
	ret->header = m.h;
	memcpy(ret->payload.bytes, m.payload, m.h.size);
	for (size_t i = 0; i < ret->nfds; i++)
		ret->fds[i] = fds[i];
}

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

static void regions_are_offered_and_told(void **state)
{
	struct mapper *f = negotiated(state);
	struct vu_msg m;

	assert_true(f->driver.protocol & BIT64(VU_PF_SHMEM));
	assert_true(driver_send(&f->driver, VU_GET_SHMEM_CONFIG, VU_FLAG_VERSION, NULL, 0, NULL,
				0));
	assert_true(driver_recv(&f->driver, &m));
	assert_int_equal(m.header.request, VU_GET_SHMEM_CONFIG);
	assert_int_equal(m.header.flags, 0x5);
	assert_int_equal(m.header.size, 2056);
	assert_int_equal(m.payload.shmem.nregions, 2);
	assert_int_equal(m.payload.shmem.padding, 0);
	for (unsigned i = 0; i < VU_SHMEM_REGIONS; i++)
		assert_true(m.payload.shmem.sizes[i] == f->backend.dev.shmem[i]);
}

static void a_device_without_regions_offers_none(void **state)
{
	struct mapper *f = *state;
	struct backend_device dev = mapper_device(f);
	struct backend plain;
	unsigned level = process_fds();
	struct err e;

	memset(dev.shmem, 0, sizeof(dev.shmem));
	assert_int_equal(backend_init(&plain, &f->loop, &dev, &e), 0);
	assert_int_equal(process_fds(), level);
	assert_true((backend_protocol_features(&plain) ^ backend_protocol_features(&f->backend)) ==
		    (BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_SEND_FD)));
	backend_fini(&plain);
}

static void a_front_end_that_did_not_ack_is_not_told(void **state)
{
	struct mapper *f = *state;

	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_PROTOCOL_FEATURES,
					BIT64(VU_PF_REPLY_ACK)), 0);
	assert_true(driver_send(&f->driver, VU_GET_SHMEM_CONFIG, VU_FLAG_VERSION, NULL, 0, NULL,
				0));
	assert_true(driver_is_closed(&f->driver));
}

static void a_mapping_is_asked_for_with_its_fd(void **state)
{
	struct mapper *f = negotiated(state);
	unsigned level = process_fds();
	struct stat mine, theirs;
	struct vu_msg m;
	struct err e;

	put_answer(f, VU_BACKEND_SHMEM_MAP, 0x5, 8, 0);
	assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), 0);
	get_request(f, &m);
	assert_memory_equal(&m.header, &((struct vu_header){ VU_BACKEND_SHMEM_MAP, 0x9, 40 }), 12);
	assert_memory_equal(&m.payload.mmap, &((struct vu_mmap){ .shmid = REGION, .flags = 1,
			    .fd_offset = 3 * PAGE, .shm_offset = PAGE, .len = 2 * PAGE }), 40);
	assert_int_equal(m.nfds, 1);
	assert_true(!fstat(f->fd, &mine) && !fstat(m.fds[0], &theirs));
	assert_true(mine.st_ino == theirs.st_ino);
	vu_msg_close_fds(&m);
	assert_int_equal(process_fds(), level);
}

static void an_unmapping_names_the_place_alone(void **state)
{
	struct mapper *f = negotiated(state);
	struct vu_msg m;
	struct err e;

	put_answer(f, VU_BACKEND_SHMEM_UNMAP, 0x5, 8, 0);
	assert_int_equal(backend_shmem_unmap(&f->backend, &first, &e), 0);
	get_request(f, &m);
	assert_memory_equal(&m.header, &((struct vu_header){ VU_BACKEND_SHMEM_UNMAP, 0x9, 40 }),
			    12);
	assert_memory_equal(&m.payload.mmap, &((struct vu_mmap){ .shmid = REGION,
			    .shm_offset = PAGE, .len = 2 * PAGE }), 40);
	assert_int_equal(m.nfds, 0);
}

static void a_refusal_is_an_outcome(void **state)
{
	struct mapper *f = negotiated(state);
	struct err e;

	for (int i = 0; i < 3; i++) {
		put_answer(f, VU_BACKEND_SHMEM_MAP, 0x5, 8, 22);
		assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), -EREMOTEIO);
		assert_non_null(strstr(e.msg, "region 2 (answer 22)"));
	}
	put_answer(f, VU_BACKEND_SHMEM_UNMAP, 0x5, 8, 0);
	assert_int_equal(backend_shmem_unmap(&f->backend, &first, &e), 0);
}

static void a_front_end_that_lacks_a_feature_is_not_asked(void **state)
{
	static const enum vu_protocol_feature needed[] = { VU_PF_SHMEM, VU_PF_BACKEND_SEND_FD,
							   VU_PF_REPLY_ACK };
	struct mapper *f = negotiated(state);
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		f->backend.protocol = f->driver.protocol & ~BIT64(needed[i]);
		assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), -ENOTSUP);
		assert_int_equal(backend_shmem_unmap(&f->backend, &first, &e), -ENOTSUP);
		assert_non_null(strstr(e.msg, "unmap"));
	}
	assert_false(is_readable(f->back));
}

static void without_a_back_channel_nobody_is_asked(void **state)
{
	struct mapper *f = *state;
	struct err e;

	driver_negotiate(&f->driver, UINT64_MAX);
	assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), -ENOTCONN);
	f->back = driver_give_back_channel(&f->driver);
	fd_close(&f->driver.sock);
	driver_settle(&f->driver);
	assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), -ENOTSUP);
}

static void no_answer_in_time_closes_the_back_channel(void **state)
{
	struct mapper *f = negotiated(state);
	struct err e;

	f->backend.reply_ms = 1;
	assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.msg, "map shared memory: no answer within 1 ms"));
	assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), -ENOTCONN);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_NUM, 0, 8), 0);
}

static void nothing_of_the_main_channel_is_read_meanwhile(void **state)
{
	struct mapper *f = negotiated(state);
	struct err e;

	assert_true(driver_send(&f->driver, VU_GET_FEATURES, VU_FLAG_VERSION, NULL, 0, NULL, 0));
	f->backend.reply_ms = 1;
	assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), -ETIMEDOUT);
	assert_false(is_readable(f->driver.sock));
	driver_settle(&f->driver);
	assert_true(is_readable(f->driver.sock));
}

static void a_front_end_that_left_is_noticed_at_once(void **state)
{
	struct mapper *f = negotiated(state);
	struct err e;

	fd_close(&f->back);
	assert_true(backend_shmem_map(&f->backend, &first, f->fd, &e) < 0);
	assert_int_equal(f->backend.back.sock, -1);
}

static void nonsense_for_an_answer_closes_the_back_channel(void **state)
{
	static const struct vu_header wrong[] = {
		{ VU_BACKEND_SHMEM_UNMAP, 0x5, 8 }, { VU_BACKEND_SHMEM_MAP, 0xd, 8 },
		{ VU_BACKEND_SHMEM_MAP, 0x1, 8 }, { VU_BACKEND_SHMEM_MAP, 0x5, 4 },
		{ VU_BACKEND_SHMEM_MAP, 0x5, 0 }, { UINT32_MAX, 0x5, 8 },
	};
	struct mapper *f = negotiated(state);
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		put_answer(f, wrong[i].request, wrong[i].flags, wrong[i].size, 0);
		assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), -EPROTO);
		assert_int_equal(f->backend.back.sock, -1);
		fd_close(&f->back);
		f->back = driver_give_back_channel(&f->driver);
	}
	put_answer(f, VU_BACKEND_SHMEM_MAP, 0x5, 8, 0);
	assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), 0);
}

/* The front end may keep its copy of the end it gave away. */
static void a_back_channel_is_forgotten_for_the_next(void **state)
{
	struct mapper *f = negotiated(state);
	struct err e;
	int old = dup(f->backend.back.sock), peer = f->back;
	struct epoll_event event;

	f->back = driver_give_back_channel(&f->driver);
	assert_int_equal(send(peer, "x", 1, 0), 1);
	assert_int_equal(epoll_wait(f->backend.back_wait, &event, 1, 0), 0);
	put_answer(f, VU_BACKEND_SHMEM_MAP, 0x5, 8, 0);
	assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), 0);
	close(old);
	close(peer);
}

static void queue_enable_is_the_devices_to_refuse(void **state)
{
	struct mapper *f = negotiated(state);

	driver_start_queue(&f->driver, 1, 16);
	assert_int_equal(f->enables, 1);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 1, 0), 0);
	assert_int_equal(f->disables, 1);
	f->refuse_enable = -EIO;
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 1, 1), 1);
	assert_false(f->backend.queues[1].enabled);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 1, 2), 1);
	assert_int_equal(f->enables, 2);
}

static void an_answer_to_a_config_change_may_come_first(void **state)
{
	struct mapper *f = negotiated(state);
	struct err e;

	for (int refused = 0; refused < 2; refused++) {
		put_answer(f, VU_BACKEND_CONFIG_CHANGE_MSG, 0x5, 8, refused);
		put_answer(f, VU_BACKEND_SHMEM_MAP, 0x5, 8, 0);
		assert_int_equal(backend_shmem_map(&f->backend, &first, f->fd, &e), 0);
	}
}

static void *run_backend(void *arg)
{
	loop_run(arg);
	return NULL;
}

/* Turns the front end's loop until *@told, ten seconds at most. */
static void until(struct owner *o, const unsigned *told, unsigned n)
{
	for (int i = 0; i < 1000 && *told < n && !o->lost; i++)
		loop_once(&o->loop, 10);
	if (*told < n)
		fail_msg("not told in time: %s", o->why);
}

/* What the device maps while SET_VRING_ENABLE waits is mapped when the device has started; then
 * SET_VRING_ENABLE 0 takes it away. Twice, over one connection. */
static void both_ends_agree(void **state)
{
	struct mapper *f = *state;
	void *owner_state = NULL;
	unsigned level = process_fds();
	pthread_t thread;
	struct owner *o;
	struct err e;
	int pair[2];

	assert_int_equal(owner_setup(&owner_state), 0);
	o = owner_state;
	o->mem.count = 1;
	o->params.config_size = 0;
	driver_reconnect(&f->driver, &(int){ -1 });
	driver_settle(&f->driver);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(backend_connect(&f->backend, &pair[1], &e), 0);
	f->maps = true;
	f->mapped = f->unmapped = f->doubled = 1;
	assert_int_equal(pthread_create(&thread, NULL, run_backend, &f->loop), 0);
	assert_int_equal(vu_frontend_init(&o->frontend, &o->loop, &o->mem, &pair[0], &o->params,
					  &owner_ops, o, &e), 0);
	until(o, &o->ready, 1);
	assert_true(o->frontend.shmem[FAR_REGION] == GIB(8));
	for (unsigned life = 1; life <= 2; life++) {
		o->frontend.n_rings = 1;
		o->frontend.rings[0] = (struct vu_ring){
			.enabled = true, .size = 16, .kick = o->kick[0], .call = o->call[0],
			.desc = 0x10000, .avail = 0x14000, .used = 0x18000,
		};
		assert_int_equal(vu_frontend_start(&o->frontend, VERSION_1, &e), 0);
		until(o, &o->started, life);
		assert_int_equal(o->n_mapped, 1);
		assert_int_equal(o->mapped[0].len, first.len);
		assert_true(o->mapped[0].rw);
		vu_frontend_stop(&o->frontend);
		until(o, &o->stopped, life);
		assert_int_equal(o->maps, life);
		assert_int_equal(o->unmaps, life);
	}
	vu_frontend_fini(&o->frontend);
	/* The back end's loop ends with its connection. */
	pthread_join(thread, NULL);
	assert_int_equal(f->mapped, 0);
	assert_int_equal(f->unmapped, 0);
	assert_int_equal(f->doubled, -EREMOTEIO);
	owner_teardown(&owner_state);
	/* The connection that set-up made is gone, too. */
	assert_int_equal(process_fds(), level - 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(regions_are_offered_and_told),
		TEST(a_device_without_regions_offers_none),
		TEST(a_front_end_that_did_not_ack_is_not_told),
		TEST(a_mapping_is_asked_for_with_its_fd),
		TEST(an_unmapping_names_the_place_alone),
		TEST(a_refusal_is_an_outcome),
		TEST(a_front_end_that_lacks_a_feature_is_not_asked),
		TEST(without_a_back_channel_nobody_is_asked),
		TEST(no_answer_in_time_closes_the_back_channel),
		TEST(nothing_of_the_main_channel_is_read_meanwhile),
		TEST(a_front_end_that_left_is_noticed_at_once),
		TEST(nonsense_for_an_answer_closes_the_back_channel),
		TEST(a_back_channel_is_forgotten_for_the_next),
		TEST(an_answer_to_a_config_change_may_come_first),
		TEST(queue_enable_is_the_devices_to_refuse),
		TEST(both_ends_agree),
	};

	return cmocka_run_group_tests_name("backend_shmem", tests, NULL, NULL);
}
