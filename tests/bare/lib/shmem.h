/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory regions (VIRTIO 1.3, 2.10) as either transport tells them, and shmem_daemon. */
#ifndef BARE_SHMEM_H
#define BARE_SHMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/bare/lib/virtio.h"
#include "tests/bare/shmem_protocol.h"

enum { SHMEM_REGIONS_MAX = 8, SHMEM_BAR = 2 };

struct shmem_region {
	uint32_t id;
	uint64_t at, len;		/* guest-physical */
	uint64_t offset;		/* in the BAR; by MMIO from the first region on */
};

struct shmem {
	struct virtio virtio;
	bool mmio;
	unsigned count;
	struct shmem_region regions[SHMEM_REGIONS_MAX];	/* as they are met: by id */
};

/* A case for either transport: which one it is, is the doing of cases.py, by the name's end. */
#define SHMEM_CASES(function) CASE(function), { #function "_by_mmio", function }

/* Device number 0 by MMIO when that is one, else the one on the PCI bus; its regions are in the
 * page tables then. */
void shmem_find(struct shmem *s);
/* That, and the device runs. */
void shmem_bring_up(struct shmem *s);
/* A device of another kind, number @n by MMIO, by the transport that @s has. */
struct virtio shmem_neighbour(const struct shmem *s, unsigned n, unsigned device);
/* The regions' places again, after the BAR has moved. */
void shmem_locate(struct shmem *s);
/* Guest-physical, @offset into region @id, which must be there. */
uint64_t shmem_at(const struct shmem *s, uint32_t id, uint64_t offset);
uint64_t shmem_bar(const struct shmem *s);
/* Moves the BAR while memory decoding is off. */
void shmem_move_bar(const struct shmem *s, uint64_t to);

/* Makes the request and returns; shmem_answer waits for it. One at a time. */
void shmem_ask(struct shmem *s, const struct shmem_request *q);
bool shmem_is_answered(const struct shmem *s);
struct shmem_answer shmem_answer(struct shmem *s);
/* Both. The value; a fault of the daemon's or a result other than 0 fails the case. */
uint64_t shmem_do(struct shmem *s, const struct shmem_request *q);

/* @pages of @object, from page 0 of it. True: done; false: refused. */
bool shmem_map(struct shmem *s, uint32_t object, uint32_t id, uint64_t offset, uint64_t pages,
	       bool rw);
bool shmem_unmap(struct shmem *s, uint32_t id, uint64_t offset, uint64_t pages);
/* Words of the object that are not as it was made. */
uint64_t shmem_changed(struct shmem *s, uint32_t object, uint64_t pages);
/* The object's word at @offset, as the daemon sees it. */
uint64_t shmem_read(struct shmem *s, uint32_t object, uint64_t offset);

#endif
