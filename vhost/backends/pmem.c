/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-pmem (VIRTIO 1.3, 5.19): a file that the guest has in its address space, as a disk that
 * needs no requests to be read or written.
 *
 * The file is shared memory region 0. It is mapped when the queue is enabled, before that is
 * answered, since the driver touches the region at once; each time anew, for nobody tells this side
 * what the front end dropped meanwhile. After that only flushes come here: what the guest stores is
 * in the file's page cache, and fdatasync makes it durable.
 *
 * A readonly file is mapped privately: what the guest stores there it alone sees, as long as the
 * mapping lives. virtio-pmem cannot tell the driver so; a flush, which would promise that it lasts,
 * fails.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_pmem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/backends/device.h"
#include "vhost/backends/image.h"

#ifndef VIRTIO_PMEM_F_SHMEM_REGION
#define VIRTIO_PMEM_F_SHMEM_REGION 0	/* older kernel headers do not have it */
#endif

enum { REGION = 0, FLUSHED = 0, FAILED = 1 };

/* Linux makes memory of whole subsections only, and leaves what lies behind the last one alone. */
#define GRANULE MIB(2)

struct pmem {
	const char *file;		/* borrowed */
	bool readonly;
	int fd;
	uint64_t size;
	bool mapped;			/* as far as this side knows */
	struct misuse failed;		/* flushes that were not done */
	struct ring_chain chain;
};

/* A failure is said once; the guest hears of each. */
static uint32_t flush(struct pmem *p)
{
	if (!p->readonly && fdatasync(p->fd) == 0)
		return FLUSHED;
	if (misuse_first(&p->failed)) {
		if (p->readonly)
			log_info("%s is readonly: what the guest writes is not kept, its flushes fail",
				 p->file);
		else
			log_error("%s: flush: %s", p->file, strerror(errno));
	}
	return FAILED;
}

static uint32_t execute(struct pmem *p)
{
	struct virtio_pmem_req req;

	if (ring_chain_read(&p->chain, 0, &req, sizeof(req)) < sizeof(req) ||
	    le32toh(req.type) != VIRTIO_PMEM_REQ_TYPE_FLUSH)
		return FAILED;
	return flush(p);
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct pmem *p = arg;

	while (backend_queue_pop(q, &p->chain)) {
		struct virtio_pmem_resp resp;

		if (p->chain.in_len < sizeof(resp)) {
			backend_queue_break(q, "a request has no room for its answer");
			backend_queue_push(q, p->chain.head, 0);
			break;
		}
		resp.ret = htole32(execute(p));
		ring_chain_write(&p->chain, 0, &resp, sizeof(resp));
		backend_queue_push(q, p->chain.head, sizeof(resp));
	}
	return true;
}

static int enable(void *arg, struct backend_queue *q, bool on, struct err *e)
{
	struct pmem *p = arg;
	const struct vu_shmem_map whole = { .shmid = REGION, .len = p->size, .rw = !p->readonly };
	struct err gone;
	int r;

	/* Refused when the front end has dropped it by itself. */
	if (p->mapped && backend_shmem_unmap(q->backend, &whole, &gone))
		log_debug("%s: %s", p->file, gone.msg);
	p->mapped = false;
	if (!on)
		return 0;
	r = backend_shmem_map(q->backend, &whole, p->fd, e);
	p->mapped = !r;
	return r;
}

/* With the front end go its mappings. */
static void negotiated(void *arg, uint64_t features)
{
	struct pmem *p = arg;

	if (!features)
		p->mapped = false;
}

/* Where the region is the front end alone knows. */
static void config_read(void *arg, uint8_t config[VU_CONFIG_MAX])
{
	const struct pmem *p = arg;
	struct virtio_pmem_config c = { .size = htole64(p->size) };

	memcpy(config, &c, sizeof(c));
}

static const struct backend_ops ops = {
	.handle_queue = handle_queue, .negotiated = negotiated, .enable = enable,
	.config_read = config_read,
};

static void pmem_close(void *dev)
{
	struct pmem *p = dev;

	fd_close(&p->fd);
	free(p);
}

static int find_size(struct pmem *p, struct err *e)
{
	int r = image_size(p->fd, p->file, &p->size, e);

	if (!r && p->size % GRANULE)
		return err_set(e, -EINVAL, "disk %s: its %" PRIu64 " bytes are no multiple of 2 MiB, and a guest "
			       "would lose what it wrote behind the last one: extend it by truncate -s %%2M",
			       p->file, p->size);
	return r;
}

static int pmem_open(const struct options *o, struct loop *loop, struct backend_device *ret,
		     struct err *e)
{
	struct pmem *p = calloc(1, sizeof(*p));
	int r;

	(void)loop;
	if (!p)
		return err_set(e, -ENOMEM, "disk %s: out of memory", o->blk.file);
	p->file = o->blk.file;
	p->readonly = o->blk.readonly;
	p->fd = image_open(p->file, p->readonly, IMAGE_MAPPED, e);
	r = p->fd < 0 ? p->fd : find_size(p, e);
	if (r) {
		pmem_close(p);
		return r;
	}
	*ret = (struct backend_device){ .name = "pmem", .features = BIT64(VIRTIO_PMEM_F_SHMEM_REGION),
					.queues = 1, .ops = &ops, .arg = p,
					.shmem = { [REGION] = p->size } };
	return 0;
}

static const struct seccomp_rule rules[] = {
	{ SYS_fdatasync, SECCOMP_ANY, 0 },
};

const struct device_type pmem_device = {
	.name = "pmem",
	.capabilities = "{\n  \"type\": \"pmem\",\n  \"features\": [\n    \"read-only\"\n  ]\n}\n",
	.open = pmem_open,
	.close = pmem_close,
	.rules = rules,
	.n_rules = ARRAY_SIZE(rules),
};
