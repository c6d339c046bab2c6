/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of a split virtqueue, in guest RAM, without a guest: chains of a few buffers,
 * each in a slot of its own with room for what they hold.
 *
 * It owns its eventfds and borrows the RAM, of which it uses DRIVER_RING_BYTES at `gpa` and
 * DRIVER_DATA_BYTES at `data`. One thread. What the daemon writes is read once and judged, never
 * trusted. VIRTIO 1.3, 2.7.
 */
#ifndef TOOLS_DRIVER_RING_H
#define TOOLS_DRIVER_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/range.h"
#include "memory/guest_mem.h"

enum {
	DRIVER_RING_SIZE = 64,		/* entries */
	DRIVER_CHAIN_MAX = 4,		/* buffers in a chain */
	DRIVER_SLOTS = DRIVER_RING_SIZE / DRIVER_CHAIN_MAX,
	DRIVER_SLOT_BYTES = 4096,	/* of data */
	DRIVER_RING_BYTES = 0x4000,
	DRIVER_DATA_BYTES = DRIVER_SLOTS * DRIVER_SLOT_BYTES,
};

/* One buffer of a chain: @off bytes into the slot, or anywhere when `elsewhere` is set. */
struct driver_part {
	uint32_t off, len;
	bool in;			/* the device writes it */
	bool elsewhere;
	uint64_t gpa;			/* with elsewhere */
};

struct driver_ring {
	const struct guest_mem *ram;
	uint64_t gpa, data;
	unsigned index;			/* of the queue */
	uint16_t avail;			/* index: chains made available, modulo 2^16 */
	int kick, call, err;		/* owned; -1 before driver_ring_init */
};

/* Lays an empty ring out whose indices begin at @base. 0 or -errno with @e. */
int driver_ring_init(struct driver_ring *r, const struct guest_mem *ram, unsigned index,
		     uint64_t gpa, uint64_t data, uint16_t base, struct err *e);
/* Closes the eventfds. Works twice. */
void driver_ring_fini(struct driver_ring *r);

/* Guest addresses of the three parts. */
static inline uint64_t driver_ring_desc(const struct driver_ring *r)
{
	return r->gpa;
}

static inline uint64_t driver_ring_avail(const struct driver_ring *r)
{
	return r->gpa + 0x1000;
}

static inline uint64_t driver_ring_used(const struct driver_ring *r)
{
	return r->gpa + 0x2000;
}

/* The slot of the chain that comes next, DRIVER_SLOT_BYTES, zeroed: to be filled before that is
 * added; it keeps until DRIVER_SLOTS further ones were added. */
uint8_t *driver_ring_slot(struct driver_ring *r);
/* Makes a chain of @n parts available. */
void driver_ring_add(struct driver_ring *r, const struct driver_part *parts, unsigned n);
/* The same of one that loops: its last buffer's descriptor names its first. */
void driver_ring_add_loop(struct driver_ring *r, const struct driver_part *parts, unsigned n);
/* Says that @by more chains are available than there are. */
void driver_ring_lie(struct driver_ring *r, uint16_t by);

/* The used index as the device has it now. */
uint16_t driver_ring_used_idx(const struct driver_ring *r);
/* Bytes written, as the entry before used index @idx has it; -1 when it names no chain. */
int64_t driver_ring_used_len(const struct driver_ring *r, uint16_t idx);

#endif
