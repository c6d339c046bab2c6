/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk's transfers and flushes through io_uring: up to BLK_URING_IOS at a time, which end in any
 * order, in the loop's thread.
 *
 * The ring is made before the sandbox, and restricted: the kernel takes from it vectored reads and
 * writes and flushes and nothing else, whoever fills it. A request holds the file open while the
 * kernel works on it, also beyond the process's end; so the lock of the file is free only when no
 * write of a killed process can come any more.
 */
#ifndef VHOST_BACKENDS_BLK_URING_H
#define VHOST_BACKENDS_BLK_URING_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/loop.h"
#include "minivmm_config.h"
#include "vhost/backend.h"

enum { BLK_URING_IOS = 128 };

/* One request in flight. Its user sets the first part, and iov and n for a transfer. */
struct blk_io {
	struct backend_queue *queue;	/* NULL: dropped meanwhile, nobody waits for it */
	uint16_t head;
	uint32_t in_len;		/* bytes of its writable part */
	uint8_t *status;		/* last byte of that */
	struct iovec iov[RING_SEGMENTS_MAX];	/* what is left to transfer */
	unsigned n;

	const char *what;		/* "read", "write", "flush": what is under way */
	bool write, flush;		/* flush: one follows the write */
	uint64_t at;			/* byte of the file where iov goes on */
	struct blk_io *next;		/* free, too */
};

struct blk_uring;

struct blk_uring_ops {
	/* @io is over: 0 or an errno. It belongs to the ring again afterwards. */
	void (*done)(void *arg, struct blk_io *io, int error);
	/* There is room again. */
	void (*room)(void *arg);
};

#if HAVE_URING

/* For the file @fd (borrowed), before the sandbox. 0 or -errno with @e: the kernel has no io_uring,
 * or does not let this process have one. */
int blk_uring_open(struct blk_uring **ret, struct loop *loop, int fd,
		   const struct blk_uring_ops *ops, void *arg, struct err *e);
/* Nothing may be in flight. NULL is fine. */
void blk_uring_close(struct blk_uring *u);

bool blk_uring_has_room(const struct blk_uring *u);
/* A request to fill in and to begin; there must be room. */
struct blk_io *blk_uring_take(struct blk_uring *u);
/* Reads or writes all of io->iov[0..n), which is not empty, at byte @at, then flushes if @flush.
 * EIO at the end of the file. Begun by blk_uring_submit. */
void blk_uring_transfer(struct blk_uring *u, struct blk_io *io, bool write, uint64_t at,
			bool flush);
/* Makes durable what was written before. */
void blk_uring_flush(struct blk_uring *u, struct blk_io *io);
/* Each write that is in flight is followed by a flush, too. */
void blk_uring_flush_writes(struct blk_uring *u);
/* Lets the kernel begin; what is over at once is told at once. */
void blk_uring_submit(struct blk_uring *u);
/* Requests of @q are forgotten; returns when the kernel touches none of their memory any more. */
void blk_uring_drop(struct blk_uring *u, struct backend_queue *q);

#else	/* Nobody can have one, so nobody gets to what follows. */

static inline int blk_uring_open(struct blk_uring **ret, struct loop *loop, int fd,
				 const struct blk_uring_ops *ops, void *arg, struct err *e)
{
	(void)ret, (void)loop, (void)fd, (void)ops, (void)arg;
	return err_set(e, -ENOSYS, "built without liburing");
}

static inline void blk_uring_close(struct blk_uring *u) { (void)u; }
static inline bool blk_uring_has_room(const struct blk_uring *u) { (void)u; return true; }
static inline struct blk_io *blk_uring_take(struct blk_uring *u) { (void)u; return NULL; }
static inline void blk_uring_transfer(struct blk_uring *u, struct blk_io *io, bool write,
				      uint64_t at, bool flush)
{ (void)u, (void)io, (void)write, (void)at, (void)flush; }
static inline void blk_uring_flush(struct blk_uring *u, struct blk_io *io) { (void)u, (void)io; }
static inline void blk_uring_flush_writes(struct blk_uring *u) { (void)u; }
static inline void blk_uring_submit(struct blk_uring *u) { (void)u; }
static inline void blk_uring_drop(struct blk_uring *u, struct backend_queue *q)
{ (void)u, (void)q; }

#endif
#endif
