/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An address space of registers: port I/O or MMIO.
 *
 * Reads and writes go by value, 1, 2, 4 or 8 bytes wholly inside one range, at any alignment;
 * anything else reads all-ones, is dropped and counted. Devices never see an illegal size or an
 * offset outside their range. Runs under the device lock. Ranges are embedded in their devices; the
 * bus allocates nothing. A zeroed struct is an empty bus.
 */
#ifndef DEVICES_BUS_H
#define DEVICES_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct bus_ops {
	/* @off is relative to the range, @size is 1, 2, 4 or 8. The bus cuts off bits above the
	 * size, of the value read and before the value is written. */
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t value);
};

struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *dev;			/* handed to ops */
	const char *name;		/* borrowed, for messages */
	struct bus_range *next;		/* the bus's own; sorted by base */
};

struct bus {
	struct bus_range *ranges;
	struct bus_range *last;		/* hit last time */
	uint64_t unclaimed;		/* accesses that no range held */
};

/*
 * Adds a range, which stays the caller's and must not move until bus_del. 0, or with @e set:
 * -EEXIST naming both when it overlaps another, -EINVAL when it is empty or wraps. No system call.
 */
int bus_add(struct bus *b, struct bus_range *r, struct err *e);
/* Removes a range; harmless when it is not on the bus. */
void bus_del(struct bus *b, struct bus_range *r);

/* The first range that shares a byte with [base, base + len), or NULL. */
const struct bus_range *bus_overlap(const struct bus *b, uint64_t base, uint64_t len);

/* A guest access: of any size at any address, see above. */
uint64_t bus_read(struct bus *b, uint64_t addr, unsigned size);
void bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t value);

#endif
