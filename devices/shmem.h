/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VIRTIO shared memory regions of a device (VIRTIO 1.3, 2.10), which its daemon fills by
 * SHMEM_MAP: numbered parts of one window.
 *
 *     window   |  region 0   |  region 3      | no region |    a power of two, as a PCI BAR is
 *     beneath  | object | filler | object |  filler      |
 *
 * A region begins on a multiple of 2 MiB when it is that big, for the guest's large pages, else of
 * the page size. Mappings are whole pages within one region, never across two. Filler is what the
 * guest reaches where nothing is mapped: zeros, or what it wrote there itself.
 *
 * Under the device lock, in the loop unless it says otherwise.
 */
#ifndef DEVICES_SHMEM_H
#define DEVICES_SHMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/guest_window.h"
#include "vhost/proto.h"

struct shmem_region {
	uint8_t id;
	uint64_t offset;		/* in the window */
	uint64_t size;
};

struct shmem {
	struct guest_window window;
	unsigned count;			/* 0: the device has none, and the window is not there */
	struct shmem_region regions[VU_SHMEM_REGIONS];	/* by ascending id */
};

/*
 * Set-up. Lays out regions of @sizes[id] bytes (0: there is none of that number), all together at
 * most @max, in a window as @p says, whose size follows from the regions. @p's name and @m are
 * borrowed, and @s must not move, until shmem_fini. 0, also when there are no regions, or -errno
 * with @e.
 */
int shmem_init(struct shmem *s, struct machine *m, const uint64_t sizes[VU_SHMEM_REGIONS],
	       uint64_t max, const struct guest_window_params *p, struct err *e);
/* Works on a zeroed struct, twice. */
void shmem_fini(struct shmem *s);

/* Any thread. The region, or NULL. */
const struct shmem_region *shmem_find(const struct shmem *s, uint32_t id);
/* Any thread. Bytes of the window; 0 when there is none. */
uint64_t shmem_size(const struct shmem *s);

/* Where @m is in the window: 0 with *@ret, or -errno with @e: -ENXIO (no such region), -EINVAL
 * (empty or beyond the region). */
int shmem_place(const struct shmem *s, const struct vu_shmem_map *m, uint64_t *ret, struct err *e);

/*
 * Maps a part of @fd, borrowed, into a region; live for every vCPU when it returns. 0, or with @e
 * and nothing changed: -ENXIO (no such region), -EINVAL (beyond the region), or what window_map
 * says.
 */
int shmem_map(struct shmem *s, const struct vu_shmem_map *m, int fd, struct err *e);
/* Takes away exactly one mapping; no vCPU reaches the object when it returns. 0 or -errno with
 * @e, and then it is still there. */
int shmem_unmap(struct shmem *s, const struct vu_shmem_map *m, struct err *e);
/* Takes away all: reset, disconnect. */
void shmem_clear(struct shmem *s);

#endif
