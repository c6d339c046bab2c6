/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of the planted daemon: as little of a disk and others as vu-check asks for. */
#include "planted.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <linux/fuse.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>

#include "base/range.h"

static enum planted_quirk quirk(const struct planted *p)
{
	return p->fault ? p->fault->quirk : QUIRK_NONE;
}

bool planted_disk_is_new(const struct planted *p)
{
	static const uint8_t zeros[PLANTED_SECTOR];

	return !memcmp(p->disk + sizeof(p->disk) - PLANTED_SECTOR, zeros, PLANTED_SECTOR);
}

/* Moves a sector of the disk; its status. */
static uint8_t move(struct planted *p, const struct ring_chain *c, bool write, uint64_t sector)
{
	bool last = sector == PLANTED_SECTORS - 1;
	uint8_t *at = p->disk + sector % PLANTED_SECTORS * PLANTED_SECTOR;

	if (sector == PLANTED_SECTORS && quirk(p) == QUIRK_BLK_BEYOND)
		return VIRTIO_BLK_S_OK;
	if (sector > UINT64_MAX / PLANTED_SECTOR && quirk(p) == QUIRK_BLK_OVERFLOW)
		return VIRTIO_BLK_S_OK;
	if (last && !write && quirk(p) == QUIRK_BLK_READ_BACK && !planted_disk_is_new(p))
		return VIRTIO_BLK_S_IOERR;
	if (sector >= PLANTED_SECTORS || (last && !write && quirk(p) == QUIRK_BLK_LAST))
		return VIRTIO_BLK_S_IOERR;
	if (!write)
		ring_chain_write(c, 0, at, PLANTED_SECTOR);
	else if (quirk(p) != QUIRK_BLK_WRITE)
		ring_chain_read(c, sizeof(struct virtio_blk_outhdr), at, PLANTED_SECTOR);
	return VIRTIO_BLK_S_OK;
}

static uint32_t serve_blk(struct planted *p, const struct ring_chain *c)
{
	struct virtio_blk_outhdr head = { 0 };
	uint8_t status = VIRTIO_BLK_S_UNSUPP;

	ring_chain_read(c, 0, &head, sizeof(head));
	switch (head.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		status = move(p, c, head.type == VIRTIO_BLK_T_OUT, head.sector);
		break;
	case VIRTIO_BLK_T_GET_ID:
		status = quirk(p) == QUIRK_BLK_ID ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
		break;
	case VIRTIO_BLK_T_FLUSH:
		if (quirk(p) != QUIRK_BLK_FLUSH)
			status = VIRTIO_BLK_S_OK;
		break;
	default:
		if (quirk(p) == QUIRK_BLK_UNSUPPORTED)
			status = VIRTIO_BLK_S_OK;
	}
	ring_chain_write(c, c->in_len - 1, &status, 1);
	return (uint32_t)c->in_len - (quirk(p) == QUIRK_BLK_LENGTH);
}

static uint32_t serve_rng(struct planted *p, const struct ring_chain *c)
{
	uint8_t bytes[64];

	memset(bytes, quirk(p) == QUIRK_RNG_SAME ? 0 : ++p->last_random, sizeof(bytes));
	return (uint32_t)ring_chain_write(c, 0, bytes, sizeof(bytes));
}

static uint32_t serve_pmem(struct planted *p, const struct ring_chain *c)
{
	uint32_t result = quirk(p) == QUIRK_PMEM_ERROR;

	return (uint32_t)ring_chain_write(c, 0, &result, sizeof(result));
}

static uint32_t serve_fs(struct planted *p, const struct ring_chain *c)
{
	struct fuse_in_header ask = { 0 };
	struct { struct fuse_out_header head; struct fuse_init_out init; } answer = { 0 };

	ring_chain_read(c, 0, &ask, sizeof(ask));
	answer.head = (struct fuse_out_header){ .len = sizeof(answer), .unique = ask.unique };
	answer.init.major = FUSE_KERNEL_VERSION;
	if (ask.opcode != FUSE_INIT && quirk(p) != QUIRK_FS_UNKNOWN)
		answer.head.error = -ENOSYS;
	if (ask.opcode == FUSE_INIT && quirk(p) == QUIRK_FS_INIT)
		answer.head.error = -EIO;
	return (uint32_t)ring_chain_write(c, 0, &answer, sizeof(answer));
}

static bool is_type(const struct planted *p, const char *type)
{
	return !strcmp(p->type, type);
}

static uint32_t serve(struct planted *p, const struct ring_chain *c)
{
	if (is_type(p, "rng"))
		return serve_rng(p, c);
	if (is_type(p, "pmem"))
		return serve_pmem(p, c);
	if (is_type(p, "console"))
		return planted_console_send(p, c);
	return is_type(p, "fs") ? serve_fs(p, c) : serve_blk(p, c);
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	static struct ring_chain c;
	struct planted *p = arg;

	/* Who acks STATUS has to say that its driver is ready. */
	if (p->protocol & BIT64(VU_PF_STATUS) && !(p->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return false;
	if (quirk(p) == QUIRK_NEVER_SERVES || (p->reset && quirk(p) == QUIRK_DEAD_AFTER_RESET))
		return false;
	/* Only a kick that comes from now on is heard. */
	if (p->skip_run) {
		p->skip_run = false;
		return false;
	}
	/* What a console receives has to come first. */
	if (is_type(p, "console") && q->index == 0) {
		p->receive = q;
		return false;
	}
	while (backend_queue_pop(q, &c)) {
		backend_queue_push(q, c.head, serve(p, &c));
		if (quirk(p) == QUIRK_ONE_A_KICK)
			return false;
	}
	return true;
}

static void config_read(void *arg, uint8_t config[VU_CONFIG_MAX])
{
	struct virtio_blk_config blk = { .capacity = PLANTED_SECTORS };

	(void)arg;
	memcpy(config, &blk, sizeof(blk));
}

static const struct backend_ops ops = { .handle_queue = handle_queue, .config_read = config_read };

void planted_device(struct planted *p, struct backend_device *ret)
{
	*ret = (struct backend_device){
		.name = "planted", .queues = is_type(p, "fs") || is_type(p, "console") ? 2 : 1, .ops = &ops, .arg = p,
		.features = is_type(p, "blk") ? BIT64(VIRTIO_BLK_F_FLUSH) : 0,
		.shmem = { [0] = MIB(1) },
	};
}
