/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/blk_uring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/range.h"

enum { AGAIN_MS = 10 };

struct blk_uring {
	struct io_uring ring;
	struct loop *loop;		/* borrowed */
	struct loop_watch watch;	/* of completions */
	struct loop_timer again;	/* the kernel did not take all: memory is short */
	int fd;				/* borrowed: the file */
	const struct blk_uring_ops *ops;
	void *arg;
	struct blk_io *free;
	unsigned dropped;		/* requests under way that nobody waits for */
	struct blk_io ios[BLK_URING_IOS];
};

/* The submission queue holds as much as there are requests, so there is always an entry. */
static struct io_uring_sqe *entry(struct blk_uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	assert(sqe);
	return sqe;
}

static void go_on(struct blk_uring *u, struct blk_io *io)
{
	struct io_uring_sqe *sqe = entry(u);

	if (io->write)
		io_uring_prep_writev(sqe, u->fd, io->iov, io->n, io->at);
	else
		io_uring_prep_readv(sqe, u->fd, io->iov, io->n, io->at);
	io_uring_sqe_set_data(sqe, io);
}

static void begin_flush(struct blk_uring *u, struct blk_io *io)
{
	struct io_uring_sqe *sqe = entry(u);

	io->what = "flush";
	io->n = 0;
	io->flush = false;
	io_uring_prep_fsync(sqe, u->fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data(sqe, io);
}

static void finish(struct blk_uring *u, struct blk_io *io, int error)
{
	bool full = !u->free;

	if (io->queue)
		u->ops->done(u->arg, io, error);
	else
		u->dropped--;
	io->queue = NULL;
	io->next = u->free;
	u->free = io;
	if (full)
		u->ops->room(u->arg);
}

/* One step of @io ended with @res, as the system call would have. */
static void step(struct blk_uring *u, struct blk_io *io, int res)
{
	bool flushing = !io->n;

	if (!io->queue)
		return finish(u, io, 0);
	if (res == -EINTR || res == -EAGAIN)
		return flushing ? begin_flush(u, io) : go_on(u, io);
	if (res < 0 || flushing)
		return finish(u, io, res < 0 ? -res : 0);
	if (!res)
		return finish(u, io, EIO);
	io->at += (uint64_t)res;
	io->n = ring_slice(io->iov, io->n, (uint64_t)res, UINT64_MAX, io->iov);
	if (io->n)
		return go_on(u, io);
	if (io->flush)
		return begin_flush(u, io);
	finish(u, io, 0);
}

/* Takes what is over. */
static void reap(struct blk_uring *u)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&u->ring, &cqe)) {
		struct blk_io *io = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		step(u, io, res);
	}
}

void blk_uring_submit(struct blk_uring *u)
{
	/* What is reaped may have a next step. */
	do {
		if (io_uring_sq_ready(&u->ring))
			io_uring_submit(&u->ring);
		if (io_uring_sq_ready(&u->ring)) {
			loop_timer_set(u->loop, &u->again, clock_ns() + MS_TO_NS(AGAIN_MS));
			return;
		}
		reap(u);
	} while (io_uring_sq_ready(&u->ring));
}

static void ready(void *arg, uint32_t events)
{
	(void)events;
	reap(arg);
	blk_uring_submit(arg);
}

static void again(void *arg)
{
	blk_uring_submit(arg);
}

bool blk_uring_has_room(const struct blk_uring *u)
{
	return u->free;
}

struct blk_io *blk_uring_take(struct blk_uring *u)
{
	struct blk_io *io = u->free;

	assert(io);
	u->free = io->next;
	return io;
}

void blk_uring_transfer(struct blk_uring *u, struct blk_io *io, bool write, uint64_t at, bool flush)
{
	io->what = write ? "write" : "read";
	io->write = write;
	io->flush = flush;
	io->at = at;
	go_on(u, io);
}

void blk_uring_flush(struct blk_uring *u, struct blk_io *io)
{
	begin_flush(u, io);
}

void blk_uring_flush_writes(struct blk_uring *u)
{
	for (unsigned i = 0; i < BLK_URING_IOS; i++)
		if (u->ios[i].queue && u->ios[i].n && u->ios[i].write)
			u->ios[i].flush = true;
}

void blk_uring_drop(struct blk_uring *u, struct backend_queue *q)
{
	for (unsigned i = 0; i < BLK_URING_IOS; i++) {
		if (u->ios[i].queue != q)
			continue;
		u->ios[i].queue = NULL;
		u->dropped++;
	}
	while (u->dropped) {
		io_uring_submit_and_wait(&u->ring, 1);
		reap(u);
	}
}

/* The kernel reads, writes and flushes for this ring and does nothing else. */
static int restrict_ring(int fd)
{
	static const uint8_t ops[] = { IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC };
	struct io_uring_restriction only[ARRAY_SIZE(ops)] = { { 0 } };

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		only[i].opcode = IORING_RESTRICTION_SQE_OP;
		only[i].sqe_op = ops[i];
	}
	/* The shared library of release 2.3 lacks the functions for these two calls. */
	if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_RESTRICTIONS, only,
		    ARRAY_SIZE(ops)) < 0 ||
	    syscall(SYS_io_uring_register, fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
		return -errno;
	return 0;
}

static int open_ring(struct blk_uring *u, struct err *e)
{
	struct io_uring_params p = { .flags = IORING_SETUP_R_DISABLED };
	int r = io_uring_queue_init_params(BLK_URING_IOS, &u->ring, &p);

	if (r)
		return err_set(e, r, "io_uring: %s", strerror(-r));
	r = restrict_ring(u->ring.ring_fd);
	if (r) {
		err_set(e, r, "io_uring cannot be restricted: %s", strerror(-r));
	} else {
		u->watch = (struct loop_watch){ .fd = u->ring.ring_fd, .events = EPOLLIN,
						.ready = ready, .arg = u };
		r = loop_watch(u->loop, &u->watch, e);
	}
	if (r)
		io_uring_queue_exit(&u->ring);
	return r;
}

int blk_uring_open(struct blk_uring **ret, struct loop *loop, int fd,
		   const struct blk_uring_ops *ops, void *arg, struct err *e)
{
	struct blk_uring *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return err_set(e, -ENOMEM, "io_uring: out of memory");
	u->loop = loop;
	u->fd = fd;
	u->ops = ops;
	u->arg = arg;
	u->again = (struct loop_timer){ .expired = again, .arg = u };
	for (unsigned i = 0; i < BLK_URING_IOS; i++) {
		u->ios[i].next = u->free;
		u->free = &u->ios[i];
	}
	r = open_ring(u, e);
	if (r)
		free(u);
	else
		*ret = u;
	return r;
}

void blk_uring_close(struct blk_uring *u)
{
	if (!u)
		return;
	loop_unwatch(u->loop, &u->watch);
	loop_timer_cancel(u->loop, &u->again);
	io_uring_queue_exit(&u->ring);
	free(u);
}
