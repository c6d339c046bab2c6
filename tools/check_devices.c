/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that a request is known for, and rules of what some of them answer. */
#include <string.h>

#include <linux/fuse.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_pmem.h>
#include <linux/virtio_vsock.h>

#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

enum {
	IN_AT = 2048,			/* of a slot: where the device writes */
	FRAME = 60, NET_HEAD = 12,	/* the least Ethernet frame; virtio_net_hdr of VIRTIO 1 */
	RANDOM = 64,
	HOST_CID = 2,
	UNIQUE = 0x1234,
	NO_OPCODE = 4000,
};

static unsigned blk_request(uint8_t *slot, struct driver_part *parts)
{
	struct virtio_blk_outhdr head = { .type = VIRTIO_BLK_T_GET_ID };

	memcpy(slot, &head, sizeof(head));
	parts[0] = (struct driver_part){ .len = sizeof(head) };
	parts[1] = (struct driver_part){ .off = IN_AT, .len = VIRTIO_BLK_ID_BYTES, .in = true };
	parts[2] = (struct driver_part){ .off = IN_AT + 64, .len = 1, .in = true };
	return 3;
}

static unsigned rng_request(uint8_t *slot, struct driver_part *parts)
{
	(void)slot;
	parts[0] = (struct driver_part){ .off = IN_AT, .len = RANDOM, .in = true };
	return 1;
}

static unsigned pmem_request(uint8_t *slot, struct driver_part *parts)
{
	struct virtio_pmem_req request = { .type = VIRTIO_PMEM_REQ_TYPE_FLUSH };

	memcpy(slot, &request, sizeof(request));
	parts[0] = (struct driver_part){ .len = sizeof(request) };
	parts[1] = (struct driver_part){ .off = IN_AT, .len = 4, .in = true };
	return 2;
}

static unsigned console_request(uint8_t *slot, struct driver_part *parts)
{
	slot[0] = '\n';
	parts[0] = (struct driver_part){ .len = 1 };
	return 1;
}

static unsigned net_request(uint8_t *slot, struct driver_part *parts)
{
	/* To nobody, of an experimental protocol, from an address that is locally administered. */
	memset(slot + NET_HEAD, 0x02, 12);
	slot[NET_HEAD + 12] = 0x88;
	slot[NET_HEAD + 13] = 0xb5;
	parts[0] = (struct driver_part){ .len = NET_HEAD + FRAME };
	return 1;
}

/* The end of a connection that there is not: heard and forgotten. */
static unsigned vsock_request(uint8_t *slot, struct driver_part *parts)
{
	struct virtio_vsock_hdr head = { .src_cid = 3, .dst_cid = HOST_CID, .src_port = 1,
					 .dst_port = 1, .type = VIRTIO_VSOCK_TYPE_STREAM,
					 .op = VIRTIO_VSOCK_OP_RST };

	memcpy(slot, &head, sizeof(head));
	parts[0] = (struct driver_part){ .len = sizeof(head) };
	return 1;
}

static unsigned fuse_request(uint8_t *slot, struct driver_part *parts, uint32_t opcode)
{
	struct fuse_in_header head = {
		.len = sizeof(head) + sizeof(struct fuse_init_in), .opcode = opcode,
		.unique = UNIQUE, .nodeid = FUSE_ROOT_ID,
	};
	struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION, .minor = 31 };

	memcpy(slot, &head, sizeof(head));
	memcpy(slot + sizeof(head), &init, sizeof(init));
	parts[0] = (struct driver_part){ .len = sizeof(head) };
	parts[1] = (struct driver_part){ .off = sizeof(head), .len = sizeof(init) };
	parts[2] = (struct driver_part){ .off = IN_AT, .len = sizeof(struct fuse_out_header),
					 .in = true };
	parts[3] = (struct driver_part){ .off = IN_AT + sizeof(struct fuse_out_header),
					 .len = sizeof(struct fuse_init_out), .in = true };
	return 4;
}

static unsigned fs_request(uint8_t *slot, struct driver_part *parts)
{
	return fuse_request(slot, parts, FUSE_INIT);
}

static const struct check_device devices[] = {
	{ "blk", 1, 0, BIT64(VIRTIO_BLK_F_FLUSH), blk_request },
	{ "rng", 1, 0, 0, rng_request },
	{ "pmem", 1, 0, 0, pmem_request },
	{ "console", 2, 1, 0, console_request },
	{ "fs", 2, 1, 0, fs_request },
	{ "net", 2, 1, 0, net_request },
	{ "vsock", 2, 1, 0, vsock_request },
};

const struct check_device *check_device_named(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++)
		if (!strcmp(devices[i].name, name))
			return &devices[i];
	return NULL;
}

/* Random bytes until @bytes is full: how many come at a time is the device's choice. */
static int rng_gather(struct check *c, uint8_t bytes[RANDOM])
{
	for (int64_t have = 0, len; have < RANDOM; have += len) {
		const uint8_t *slot = driver_ring_slot(c->ring);
		int r = check_serve(c);

		if (r)
			return r;
		len = driver_ring_used_len(c->ring, c->ring->avail);
		if (len < 1 || len > RANDOM)
			return check_fail(c, "of %d bytes asked for, %lld are said to have come",
					  RANDOM, (long long)len);
		memcpy(bytes + have, slot + IN_AT,
		       (size_t)(len < RANDOM - have ? len : RANDOM - have));
	}
	return 0;
}

/* So many bytes are not the same twice by chance, even from a daemon that gives one at a time. */
static int rng_fills(struct check *c)
{
	uint8_t first[RANDOM], second[RANDOM];
	int r = rng_gather(c, first);

	if (r == 0)
		r = rng_gather(c, second);
	if (r == 0 && !memcmp(first, second, RANDOM))
		return check_fail(c, "what is asked for twice is the same %d bytes", RANDOM);
	return r;
}

static int pmem_flushes(struct check *c)
{
	const uint8_t *slot = driver_ring_slot(c->ring);
	uint32_t got;
	int r = check_serve(c);

	memcpy(&got, slot + IN_AT, sizeof(got));
	if (r || !got)
		return r;
	return check_fail(c, "a flush gets %u, not 0", got);
}

/* The answer's head after @opcode was asked. */
static int fuse_ask(struct check *c, uint32_t opcode, uint8_t **ret_slot,
		    struct fuse_out_header *ret)
{
	struct driver_part parts[DRIVER_CHAIN_MAX] = { { .off = 0 } };
	unsigned n;
	int r;

	*ret_slot = driver_ring_slot(c->ring);
	n = fuse_request(*ret_slot, parts, opcode);
	driver_ring_add(c->ring, parts, n);
	fd_signal(c->ring->kick);
	r = check_wait_used(c);
	memcpy(ret, *ret_slot + IN_AT, sizeof(*ret));
	if (!r && ret->unique != UNIQUE)
		return check_fail(c, "the answer is to request 0x%llx, not to 0x%x",
				  (unsigned long long)ret->unique, UNIQUE);
	return r;
}

static int fs_init(struct check *c)
{
	struct fuse_out_header head;
	struct fuse_init_out init;
	uint8_t *slot;
	int r = fuse_ask(c, FUSE_INIT, &slot, &head);

	if (r)
		return r;
	memcpy(&init, slot + IN_AT + sizeof(head), sizeof(init));
	if (head.error)
		return check_fail(c, "FUSE_INIT gets error %d", head.error);
	if (init.major != FUSE_KERNEL_VERSION)
		return check_fail(c, "FUSE_INIT gets version %u, not %u", init.major,
				  FUSE_KERNEL_VERSION);
	return 0;
}

static int fs_unknown(struct check *c)
{
	struct fuse_out_header head;
	uint8_t *slot;
	int r = fuse_ask(c, FUSE_INIT, &slot, &head);

	if (!r)
		r = fuse_ask(c, NO_OPCODE, &slot, &head);
	if (r || head.error < 0)
		return r;
	return check_fail(c, "an unknown request gets error %d, a negative one is due", head.error);
}

#define RUNNING .requests = true, .from = CHECK_FROM_SERVING

const struct check_rule check_device_rules[] = {
	{ "rng.fills", "VIRTIO 5.4.6", "a buffer gets at least one byte, and others than the last",
	  .device = "rng", RUNNING, .run = rng_fills },
	{ "pmem.flush", "VIRTIO 5.19.6", "a flush gets 0", .device = "pmem", RUNNING,
	  .run = pmem_flushes },
	{ "fs.init", "VIRTIO 5.11.6", "FUSE_INIT is answered with FUSE 7", .device = "fs", RUNNING,
	  .run = fs_init },
	{ "fs.unknown", "VIRTIO 5.11.6", "an unknown FUSE request gets an error", .device = "fs",
	  RUNNING, .run = fs_unknown },
	{ .id = NULL },
};
