/* SPDX-License-Identifier: Apache-2.0 */
/* A VMShm device, as a driver finds it (guest/vmshm/vmshm_regs.h). */
#ifndef BARE_VMSHM_H
#define BARE_VMSHM_H

#include <stdint.h>

#include "guest/vmshm/vmshm_regs.h"
#include "tests/bare/lib/io.h"

enum { VMSHM_PAGE = 4096, VMSHM_WINDOW_PAGES = VMSHM_WINDOW_SIZE / VMSHM_PAGE };

struct vmshm {
	unsigned slot;
	uint64_t regs, window, name;	/* guest-physical */
	uint64_t large;			/* in the page tables; 0: there is none */
};

/* The first one on the bus, with memory decoding and bus mastering on. */
void vmshm_bring_up(struct vmshm *d);
/* Likewise the one in a slot, which may have another id. */
void vmshm_bring_up_slot(struct vmshm *d, unsigned slot);
/* Writes the name as drivers do. */
void vmshm_name(const struct vmshm *d, const char *name);
/* That, and OPEN. */
uint32_t vmshm_open(const struct vmshm *d, const char *name);

static inline uint32_t vmshm_get(const struct vmshm *d, unsigned reg)
{
	return read32(d->regs + reg);
}

static inline void vmshm_set(const struct vmshm *d, unsigned reg, uint32_t value)
{
	write32(d->regs + reg, value);
}

/* The first word of a page of the window. */
static inline uint64_t vmshm_word(const struct vmshm *d, uint64_t page)
{
	return d->window + page * VMSHM_PAGE;
}

#endif
