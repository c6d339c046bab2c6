/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of disks: requests of VIRTIO 1.3, 5.2. What is written is what was read there before. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <linux/virtio_blk.h>

#include "base/fd.h"
#include "base/range.h"
#include "tools/check.h"

enum {
	SECTOR = 512,
	HEAD = sizeof(struct virtio_blk_outhdr),
	DATA_AT = 64,			/* of the slot; the status is the last byte of it */
	STATUS_AT = DRIVER_SLOT_BYTES - 1,
	NOBODYS = 0x7e,			/* a request type that does not exist */
	UNSET = 0xff,
};

static void put_head(uint8_t *slot, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr head = { .type = type, .sector = sector };

	memcpy(slot, &head, sizeof(head));
	slot[STATUS_AT] = UNSET;
}

/* One request of @len bytes of data, to the device or from it, and its status in *@ret. The data is
 * at DATA_AT of *@slot, which is filled before and read after. */
static int request(struct check *c, uint8_t *slot, uint32_t len, bool in, uint8_t *ret)
{
	struct driver_part parts[3] = { { .len = HEAD } };
	unsigned n = 1;
	int r;

	if (len)
		parts[n++] = (struct driver_part){ .off = DATA_AT, .len = len, .in = in };
	parts[n++] = (struct driver_part){ .off = STATUS_AT, .len = 1, .in = true };
	driver_ring_add(c->ring, parts, n);
	fd_signal(c->ring->kick);
	r = check_wait_used(c);
	*ret = slot[STATUS_AT];
	return r;
}

/* A request of @type at @sector with a sector of data must get status @want. */
static int expect(struct check *c, uint32_t type, uint64_t sector, uint32_t len, bool in,
		  uint8_t want)
{
	uint8_t *slot = driver_ring_slot(c->ring), got;
	int r;

	put_head(slot, type, sector);
	r = request(c, slot, len, in, &got);
	if (r || got == want)
		return r;
	return check_fail(c, "request of type %u at sector %" PRIu64 " gets status %u, not %u", type,
			  sector, got, want);
}

static int capacity(struct check *c, uint64_t *ret)
{
	struct vu_msg m = vu_client_msg(VU_GET_CONFIG);
	int r;

	m.payload.config.head.size = sizeof(*ret);
	m.header.size = sizeof(struct vu_config) + sizeof(*ret);
	r = vu_client_ask(&c->client, &m, &c->e);
	if (r)
		return r;
	vu_msg_close_fds(&m);
	if (m.header.size < sizeof(struct vu_config) + sizeof(*ret))
		return check_skip(c, "GET_CONFIG does not give the capacity");
	memcpy(ret, m.payload.config.data, sizeof(*ret));
	return *ret ? 0 : check_skip(c, "the disk is empty");
}

static int get_id(struct check *c)
{
	return expect(c, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES, true, VIRTIO_BLK_S_OK);
}

static int reads(struct check *c)
{
	uint64_t sectors;
	int r = capacity(c, &sectors);

	if (!r)
		r = expect(c, VIRTIO_BLK_T_IN, 0, SECTOR, true, VIRTIO_BLK_S_OK);
	return r ? r : expect(c, VIRTIO_BLK_T_IN, sectors - 1, SECTOR, true, VIRTIO_BLK_S_OK);
}

static int read_len(struct check *c)
{
	int r = expect(c, VIRTIO_BLK_T_IN, 0, SECTOR, true, VIRTIO_BLK_S_OK);
	int64_t len = driver_ring_used_len(c->ring, c->ring->avail);

	if (r || len == SECTOR + 1)
		return r;
	return check_fail(c, "a read of %d bytes says that %" PRId64 " were written, with the status"
			  " there are %d", SECTOR, len, SECTOR + 1);
}

static int flushes(struct check *c)
{
	if (!(c->acked & BIT64(VIRTIO_BLK_F_FLUSH)))
		return check_skip(c, "feature FLUSH is not offered");
	return expect(c, VIRTIO_BLK_T_FLUSH, 0, 0, false, VIRTIO_BLK_S_OK);
}

static int unsupported(struct check *c)
{
	return expect(c, NOBODYS, 0, SECTOR, true, VIRTIO_BLK_S_UNSUPP);
}

static int beyond(struct check *c)
{
	uint64_t sectors;
	int r = capacity(c, &sectors);

	return r ? r : expect(c, VIRTIO_BLK_T_IN, sectors, SECTOR, true, VIRTIO_BLK_S_IOERR);
}

static int beyond_overflow(struct check *c)
{
	return expect(c, VIRTIO_BLK_T_IN, UINT64_MAX, SECTOR, true, VIRTIO_BLK_S_IOERR);
}

/* Reads or writes the sector @at; its bytes are in @data. */
static int move(struct check *c, bool write, uint64_t at, uint8_t data[SECTOR])
{
	uint8_t *slot = driver_ring_slot(c->ring), got;
	int r;

	put_head(slot, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, at);
	if (write)
		memcpy(slot + DATA_AT, data, SECTOR);
	r = request(c, slot, SECTOR, !write, &got);
	if (!r && got)
		return check_fail(c, "sector %" PRIu64 " cannot be %s: status %u", at,
				  write ? "written" : "read", got);
	if (!write)
		memcpy(data, slot + DATA_AT, SECTOR);
	return r;
}

static int writes(struct check *c)
{
	uint8_t before[SECTOR], pattern[SECTOR], after[SECTOR];
	uint64_t sectors;
	int r, restored;

	if (!c->options->write)
		return check_skip(c, "it writes to the disk, and write=on is not given");
	r = capacity(c, &sectors);
	if (r)
		return r;
	if (move(c, false, sectors - 1, before))
		return check_skip(c, "the sector to be written cannot be read");
	for (unsigned i = 0; i < SECTOR; i++)
		pattern[i] = (uint8_t)(before[i] + i + 1);
	r = move(c, true, sectors - 1, pattern);
	if (!r)
		r = move(c, false, sectors - 1, after);
	/* Whatever has failed: a write that did may have written. */
	restored = move(c, true, sectors - 1, before);
	if (r || restored)
		return r ? r : restored;
	if (memcmp(pattern, after, SECTOR))
		return check_fail(c, "sector %" PRIu64 " does not read as it was written", sectors - 1);
	return 0;
}

#define DISK .device = "blk", .requests = true, .from = CHECK_FROM_SERVING
#define WITH_CONFIG .protocol = BIT64(VU_PF_CONFIG)

const struct check_rule check_blk_rules[] = {
	{ "blk.id", "VIRTIO 5.2.6", "GET_ID gets status OK", DISK, .run = get_id },
	{ "blk.read", "VIRTIO 5.2.6", "the first and the last sector can be read", DISK,
	  WITH_CONFIG, .run = reads },
	{ "blk.length", "VIRTIO 2.7.8", "a read counts the bytes that it wrote", DISK,
	  .run = read_len },
	{ "blk.flush", "VIRTIO 5.2.6", "FLUSH gets status OK", DISK, .run = flushes },
	{ "blk.unsupported", "VIRTIO 5.2.6", "an unknown request gets status UNSUPP", DISK,
	  .run = unsupported },
	{ "blk.beyond", "VIRTIO 5.2.6", "a read behind the last sector gets status IOERR", DISK,
	  WITH_CONFIG, .run = beyond },
	{ "blk.overflow", "VIRTIO 5.2.6", "a read at the largest sector number gets status IOERR",
	  DISK, .run = beyond_overflow },
	{ "blk.write", "VIRTIO 5.2.6", "a sector reads as it was written", DISK, WITH_CONFIG,
	  .run = writes },
	{ .id = NULL },
};
