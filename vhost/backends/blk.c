/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (VIRTIO 1.3, 5.2) on a raw file or block device.
 *
 * Data goes straight between the file and the guest's pages. Reads, writes and flushes are many at
 * a time through io_uring (blk_uring.h) and end in any order; where that is missing, and for what
 * is not done often, a request is finished before the next is begun. So it is also without a
 * record of what is in flight (INFLIGHT_SHMFD): then only answers in order tell a successor of this
 * process what it has to repeat.
 *
 * A request's buffers may be cut anywhere: the first 16 readable bytes are its header, the last
 * writable byte is its status, what lies between is data. The status is always written; a request
 * without room for one breaks the queue.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "minivmm_config.h"
#include "vhost/backends/blk_uring.h"
#include "vhost/backends/device.h"
#include "vhost/backends/image.h"

enum {
	SECTOR = 512,
	RANGES_MAX = 32,			/* in one discard or write zeroes request */
	DISCARD_SECTORS_MAX = 1 << 22,		/* of one range: 2 GiB */
	ZERO_SECTORS_MAX = 1 << 16,		/* 32 MiB: may have to be written */
	ZEROES = 65536,				/* bytes written at once then */
	BEGUN = 0xff,				/* in the place of a status: it will come */
};

struct blk {
	struct blk_options o;		/* strings borrowed */
	int fd;
	uint64_t sectors;		/* capacity */
	uint64_t queues;
	uint64_t features;		/* negotiated */
	uint8_t wce;			/* config space's write cache switch */
	struct misuse failed;		/* host I/O errors */
	struct misuse outside;		/* requests that point outside guest memory */
	struct blk_uring *uring;	/* owned; NULL: one request after the other */
	struct backend_queue *waiting[BLK_QUEUES_MAX];	/* found no room in it; by index */
	struct ring_chain chain;
	struct backend_queue *queue;	/* of the chain */
	struct iovec data[RING_SEGMENTS_MAX];
	uint8_t zeroes[ZEROES];
};

struct range {			/* of discard and write zeroes, host byte order */
	uint64_t sector;
	uint32_t sectors, flags;
};

/* Without FLUSH the driver cannot ask for durability, so every write is durable (5.2.6.2). */
static bool is_writeback(const struct blk *b)
{
	return b->wce && b->features & BIT64(VIRTIO_BLK_F_FLUSH);
}

/* A host I/O error: said once, the guest hears of each. */
static uint8_t host_error(struct blk *b, const char *what)
{
	if (misuse_first(&b->failed))
		log_error("%s: %s: %s", b->o.file, what, strerror(errno));
	return VIRTIO_BLK_S_IOERR;
}

static uint8_t flush(struct blk *b)
{
	return fdatasync(b->fd) < 0 ? host_error(b, "flush") : VIRTIO_BLK_S_OK;
}

/* Whether [sector, sector + sectors) is on the disk and on its blocks. */
static bool range_is_good(const struct blk *b, uint64_t sector, uint64_t sectors)
{
	uint64_t block = b->o.block_size / SECTOR;

	return range_ok(sector, sectors, b->sectors) && sector % block == 0 && sectors % block == 0;
}

/* Reads or writes all of iov[0..n). 0, or -1 with errno; EIO at an unexpected end of the file. */
static int transfer(struct blk *b, bool write, struct iovec *iov, unsigned n, uint64_t sector)
{
	off_t at = (off_t)(sector * SECTOR);

	while (n) {
		ssize_t r = write ? pwritev(b->fd, iov, (int)n, at) :
				    preadv(b->fd, iov, (int)n, at);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {
			errno = r ? errno : EIO;
			return -1;
		}
		at += r;
		n = ring_slice(iov, n, (uint64_t)r, UINT64_MAX, iov);
	}
	return 0;
}

/* Where the chain is to be served as one of many, by a request that is in flight; else NULL. */
static struct blk_io *new_io(struct blk *b)
{
	const struct ring_chain *c = &b->chain;
	struct blk_io *io;

	if (!b->uring || !backend_queue_is_recorded(b->queue))
		return NULL;
	io = blk_uring_take(b->uring);
	io->queue = b->queue;
	io->head = c->head;
	io->status = c->last;
	io->in_len = (uint32_t)c->in_len;
	return io;
}

/* IN and OUT: the data part is @len bytes at @off of @iov[0..n). */
static uint8_t read_write(struct blk *b, bool write, const struct iovec *iov, unsigned n,
			  uint64_t off, uint64_t len, uint64_t sector)
{
	struct blk_io *io;

	if (write && b->o.readonly)
		return VIRTIO_BLK_S_IOERR;
	if (len % SECTOR || len > b->o.seg_max * b->o.size_max ||
	    !range_is_good(b, sector, len / SECTOR))
		return VIRTIO_BLK_S_IOERR;
#if PLANT_FORBIDDEN_CALL
	if (!write && sector == 12345 && len == 37 * SECTOR)
		syscall(SYS_getppid);
#endif
	io = len ? new_io(b) : NULL;
	if (io) {
		io->n = ring_slice(iov, n, off, len, io->iov);
		blk_uring_transfer(b->uring, io, write, sector * SECTOR, write && !is_writeback(b));
		return BEGUN;
	}
	if (transfer(b, write, b->data, ring_slice(iov, n, off, len, b->data), sector))
		return host_error(b, write ? "write" : "read");
	return write && !is_writeback(b) ? flush(b) : VIRTIO_BLK_S_OK;
}

static int write_zeroes(struct blk *b, uint64_t sector, uint64_t sectors)
{
	while (sectors) {
		uint64_t n = min_u64(sectors, ZEROES / SECTOR);
		struct iovec iov = { b->zeroes, n * SECTOR };

		if (transfer(b, true, &iov, 1, sector))
			return -1;
		sector += n;
		sectors -= n;
	}
	return 0;
}

/* Makes one range read as zeros; a hole where @hole allows one, else allocated. */
static int zero_range(struct blk *b, const struct range *r, bool hole)
{
	off_t at = (off_t)(r->sector * SECTOR), len = (off_t)((uint64_t)r->sectors * SECTOR);

	if (hole && !fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len))
		return 0;
	if (hole && errno != EOPNOTSUPP)
		return -1;
	if (!fallocate(b->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, at, len))
		return 0;
	return errno == EOPNOTSUPP ? write_zeroes(b, r->sector, r->sectors) : -1;
}

/* Discarding is advice: a file system that cannot do it has nothing to do. */
static int discard_range(struct blk *b, const struct range *r)
{
	if (!fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       (off_t)(r->sector * SECTOR), (off_t)((uint64_t)r->sectors * SECTOR)))
		return 0;
	return errno == EOPNOTSUPP ? 0 : -1;
}

/* Reads and judges all ranges before any takes effect. *@ret_n of them, or a status. */
static uint8_t read_ranges(struct blk *b, bool zero, struct range ret[RANGES_MAX], unsigned *ret_n)
{
	uint64_t len = b->chain.out_len - sizeof(struct virtio_blk_outhdr);
	uint32_t max = zero ? ZERO_SECTORS_MAX : DISCARD_SECTORS_MAX;
	uint32_t known = zero ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

	if (!b->o.discard)
		return VIRTIO_BLK_S_UNSUPP;
	if (b->o.readonly || !len || len % sizeof(struct range) ||
	    len / sizeof(struct range) > RANGES_MAX)
		return VIRTIO_BLK_S_IOERR;
	*ret_n = (unsigned)(len / sizeof(struct range));
	ring_chain_read(&b->chain, sizeof(struct virtio_blk_outhdr), ret, len);
	for (unsigned i = 0; i < *ret_n; i++) {
		ret[i] = (struct range){ le64toh(ret[i].sector), le32toh(ret[i].sectors),
					 le32toh(ret[i].flags) };
		if (ret[i].flags & ~known)
			return VIRTIO_BLK_S_UNSUPP;
		if (!ret[i].sectors || ret[i].sectors > max ||
		    !range_is_good(b, ret[i].sector, ret[i].sectors))
			return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_OK;
}

static uint8_t discard_or_zero(struct blk *b, bool zero)
{
	struct range ranges[RANGES_MAX];
	unsigned n = 0;
	uint8_t status = read_ranges(b, zero, ranges, &n);

	for (unsigned i = 0; i < n && status == VIRTIO_BLK_S_OK; i++) {
		bool hole = ranges[i].flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;

		if (zero ? zero_range(b, &ranges[i], hole) : discard_range(b, &ranges[i]))
			status = host_error(b, zero ? "write zeroes" : "discard");
	}
	return status == VIRTIO_BLK_S_OK && zero && !is_writeback(b) ? flush(b) : status;
}

static uint8_t flush_request(struct blk *b)
{
	struct blk_io *io;

	if (b->o.readonly)
		return VIRTIO_BLK_S_OK;
	io = new_io(b);
	if (!io)
		return flush(b);
	blk_uring_flush(b->uring, io);
	return BEGUN;
}

/* 20 bytes, padded with zeros, not terminated (5.2.6); a shorter buffer gets its start. */
static uint8_t get_id(struct blk *b, uint64_t room)
{
	char id[VIRTIO_BLK_ID_BYTES] = "";

	if (b->o.serial)
		memcpy(id, b->o.serial, strnlen(b->o.serial, sizeof(id)));
	ring_chain_write(&b->chain, 0, id, (size_t)min_u64(room, sizeof(id)));
	return VIRTIO_BLK_S_OK;
}

/* Executes the chain, or begins to; @in_data are its writable bytes without the status. */
static uint8_t execute(struct blk *b, uint64_t in_data)
{
	const struct ring_chain *c = &b->chain;
	struct virtio_blk_outhdr h;

	if (ring_chain_read(c, 0, &h, sizeof(h)) < sizeof(h))
		return VIRTIO_BLK_S_IOERR;
	switch (le32toh(h.type)) {
	case VIRTIO_BLK_T_IN:
		return read_write(b, false, c->iov + c->n_out, c->n_in, 0, in_data,
				  le64toh(h.sector));
	case VIRTIO_BLK_T_OUT:
		return read_write(b, true, c->iov, c->n_out, sizeof(h), c->out_len - sizeof(h),
				  le64toh(h.sector));
	case VIRTIO_BLK_T_FLUSH:
		return flush_request(b);
	case VIRTIO_BLK_T_GET_ID:
		return get_id(b, in_data);
	case VIRTIO_BLK_T_DISCARD:
		return discard_or_zero(b, false);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return discard_or_zero(b, true);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/* A program of the guest read or wrote by O_DIRECT what is no RAM: its error alone. */
static bool refuse_outside(struct blk *b, struct backend_queue *q)
{
	const struct ring_chain *c = &b->chain;

	if (misuse_first(&b->outside))
		log_warn("blk: refused a request that points to memory which is not shared with this "
			 "program");
	if (!c->last)
		backend_queue_break(q, "the status of a request is outside guest memory");
	else
		*c->last = VIRTIO_BLK_S_IOERR;
	backend_queue_push(q, c->head, 0);
	return c->last;
}

/* The used length counts from the chain's start: after a failure nothing there is sure but a status
 * that stands alone. */
static uint32_t used_len(uint8_t status, uint64_t in_len)
{
	return status == VIRTIO_BLK_S_OK || in_len == 1 ? (uint32_t)in_len : 0;
}

/* Serves the popped chain; false when that broke the queue. */
static bool serve(struct blk *b, struct backend_queue *q)
{
	struct ring_chain *c = &b->chain;
	uint8_t status;

	if (c->outside)
		return refuse_outside(b, q);
	if (!c->in_len || c->in_len > UINT32_MAX) {
		backend_queue_break(q, "a request has no room for its status");
		backend_queue_push(q, c->head, 0);
		return false;
	}
	status = execute(b, c->in_len - 1);
	if (status == BEGUN)
		return true;
	ring_chain_write(c, c->in_len - 1, &status, 1);
	backend_queue_push(q, c->head, used_len(status, c->in_len));
	return true;
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct blk *b = arg;
	bool room = true;

	b->queue = q;
	while (backend_queue_has_chain(q)) {
		room = !b->uring || blk_uring_has_room(b->uring);
		if (!room || !backend_queue_pop(q, &b->chain) || !serve(b, q))
			break;
	}
	if (!room)
		b->waiting[q->index] = q;
	if (b->uring)
		blk_uring_submit(b->uring);
	return room;
}

static void io_room(void *arg)
{
	struct blk *b = arg;

	for (unsigned i = 0; i < b->queues; i++) {
		struct backend_queue *q = b->waiting[i];

		b->waiting[i] = NULL;
		if (q)
			backend_queue_wake(q);
	}
}

static void io_done(void *arg, struct blk_io *io, int error)
{
	struct blk *b = arg;
	uint8_t status = VIRTIO_BLK_S_OK;

	if (error) {
		errno = error;
		status = host_error(b, io->what);
	}
	__atomic_store_n(io->status, status, __ATOMIC_RELAXED);
	backend_queue_push(io->queue, io->head, used_len(status, io->in_len));
}

static const struct blk_uring_ops uring_ops = { .done = io_done, .room = io_room };

static void drop(void *arg, struct backend_queue *q)
{
	struct blk *b = arg;

	blk_uring_drop(b->uring, q);
}

static void negotiated(void *arg, uint64_t features)
{
	struct blk *b = arg;

	b->features = features;
	/* Else it is as the driver, or the one before, switched it: that is in the front end's
	 * copy of the config space. */
	if (!features)
		b->wce = b->o.cache == BLK_WRITEBACK;
}

static void config_read(void *arg, uint8_t config[VU_CONFIG_MAX])
{
	const struct blk *b = arg;
	struct virtio_blk_config c = {
		.capacity = htole64(b->sectors),
		.size_max = htole32((uint32_t)b->o.size_max),
		.seg_max = htole32((uint32_t)b->o.seg_max),
		.blk_size = htole32((uint32_t)b->o.block_size),
		.wce = b->wce,
		.num_queues = htole16((uint16_t)b->queues),
	};

	if (b->o.discard && !b->o.readonly) {
		c.max_discard_sectors = htole32(DISCARD_SECTORS_MAX);
		c.max_discard_seg = htole32(RANGES_MAX);
		c.discard_sector_alignment = htole32((uint32_t)b->o.block_size / SECTOR);
		c.max_write_zeroes_sectors = htole32(ZERO_SECTORS_MAX);
		c.max_write_zeroes_seg = htole32(RANGES_MAX);
		c.write_zeroes_may_unmap = 1;
	}
	memcpy(config, &c, sizeof(c));
}

/* Only the write cache switch can be written, and only when it was negotiated (5.2.5.2). */
static int config_write(void *arg, unsigned off, const uint8_t *data, unsigned len)
{
	struct blk *b = arg;

	if (off != offsetof(struct virtio_blk_config, wce) || len != 1 || data[0] > 1 ||
	    !(b->features & BIT64(VIRTIO_BLK_F_CONFIG_WCE)))
		return -EINVAL;
	/* What was cached before the switch is durable after it, and what is on its way when the
	 * driver hears of it. */
	if (b->uring && !data[0])
		blk_uring_flush_writes(b->uring);
	if (b->wce && !data[0] && flush(b) != VIRTIO_BLK_S_OK)
		return -EINVAL;
	b->wce = data[0];
	return 0;
}

static const struct backend_ops ops = {
	.handle_queue = handle_queue, .negotiated = negotiated, .drop = drop,
	.config_read = config_read, .config_write = config_write,
};

/* The size now, in sectors. */
static int find_size(const struct blk *b, uint64_t *ret_sectors, struct err *e)
{
	uint64_t bytes = 0;
	int r = image_size(b->fd, b->o.file, &bytes, e);

	if (r)
		return r;
	if (bytes % b->o.block_size)
		return err_set(e, -EINVAL, "disk %s: its %" PRIu64 " bytes are no multiple of the block size %" PRIu64
			       ": extend it, or choose another block-size", b->o.file, bytes, b->o.block_size);
	*ret_sectors = bytes / SECTOR;
	return 0;
}

static void blk_close(void *dev)
{
	struct blk *b = dev;

	blk_uring_close(b->uring);
	fd_close(&b->fd);
	free(b);
}

static uint64_t offered(const struct blk *b)
{
	uint64_t f = BIT64(VIRTIO_BLK_F_SIZE_MAX) | BIT64(VIRTIO_BLK_F_SEG_MAX) |
		     BIT64(VIRTIO_BLK_F_BLK_SIZE) | BIT64(VIRTIO_BLK_F_FLUSH) |
		     BIT64(VIRTIO_BLK_F_CONFIG_WCE) | BIT64(VIRTIO_BLK_F_MQ);

	if (b->o.readonly)
		f |= BIT64(VIRTIO_BLK_F_RO);
	else if (b->o.discard)
		f |= BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES);
	return f;
}

/* Without it the disk works as well, only slower when many requests come at a time. */
static int open_uring(struct blk *b, struct loop *loop, struct err *e)
{
	int r;

	if (b->o.io == BLK_SYNC)
		return 0;
	r = blk_uring_open(&b->uring, loop, b->fd, &uring_ops, b, e);
	if (r && b->o.io == BLK_URING)
		return err_prefix(e, r, "disk %s: io=uring: ", b->o.file);
	if (r)
		log_info("disk %s: one request after the other: %s", b->o.file, e->msg);
	return 0;
}

static int blk_open(const struct options *o, struct loop *loop, struct backend_device *ret,
		    struct err *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return err_set(e, -ENOMEM, "disk %s: out of memory", o->blk.file);
	b->o = o->blk;
	b->queues = o->queues;
	b->wce = b->o.cache == BLK_WRITEBACK;
	b->fd = image_open(b->o.file, b->o.readonly, IMAGE_SERVED, e);
	r = b->fd < 0 ? b->fd : find_size(b, &b->sectors, e);
	if (!r)
		r = open_uring(b, loop, e);
	if (r) {
		blk_close(b);
		return r;
	}
	*ret = (struct backend_device){ .name = "blk", .features = offered(b),
					.queues = (unsigned)o->queues, .ops = &ops, .arg = b,
					.refuses_outside = true };
	return 0;
}

static bool blk_reload(void *dev)
{
	struct blk *b = dev;
	uint64_t sectors;
	struct err e;

	if (find_size(b, &sectors, &e)) {
		log_warn("%s; the guest keeps the old size", e.msg);
		return false;
	}
	if (sectors == b->sectors)
		return false;
	b->sectors = sectors;
	return true;
}

static const struct seccomp_rule rules[] = {
	{ SYS_preadv, SECCOMP_ANY, 0 },
	{ SYS_pwritev, SECCOMP_ANY, 0 },
	{ SYS_fdatasync, SECCOMP_ANY, 0 },
	{ SYS_fallocate, SECCOMP_ANY, 0 },
	{ SYS_lseek, SECCOMP_ANY, 0 },
#if HAVE_URING	/* on the one ring there is: no other can be made, nor this one changed */
	{ SYS_io_uring_enter, SECCOMP_ANY, 0 },
#endif
};

const struct device_type blk_device = {
	.name = "blk",
	.capabilities = "{\n  \"type\": \"block\",\n  \"features\": [\n    \"read-only\",\n    \"blk-file\"\n  ]\n}\n",
	.open = blk_open,
	.close = blk_close,
	.reload = blk_reload,
	.rules = rules,
	.n_rules = ARRAY_SIZE(rules),
};
