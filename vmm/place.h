/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing into guest RAM, at the first boot and again at every reset.
 *
 * At a reset daemons are connected, and one may have truncated the RAM object: a store through the
 * mapping would then be SIGBUS. So nothing here stores through the mapping; the kernel copies into
 * it (read from a file, or from a small staging file), and a hole is -EFAULT and a sentence.
 * Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_PLACE_H
#define VMM_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "memory/guest_mem.h"

/* A memfd that only we have: bytes to copy, behind them a hole that reads as zeroes. */
struct place_staging {
	int fd;			/* -1: none */
	uint8_t *map;		/* of the bytes; NULL: none */
};

struct place {
	const struct guest_mem *mem;		/* borrowed */
	const struct place_staging *staging;	/* borrowed */
};

/* 0, or -errno with @e. Fini is legal after a failure, and twice. */
int place_staging_init(struct place_staging *s, struct err *e);
void place_staging_fini(struct place_staging *s);

/*
 * All: 0, or -errno with @e naming @what (an article and a noun: "the page tables").
 * -EFAULT when no RAM region holds [gpa, gpa + len), or its object was truncated.
 */
int place_bytes(const struct place *p, uint64_t gpa, const void *data, size_t len,
		const char *what, struct err *e);
int place_zeroes(const struct place *p, uint64_t gpa, uint64_t len, const char *what,
		 struct err *e);
/* Copies [off, off + len) of @fd. @fresh: nobody else has the RAM object yet, so the copy may go
 * into it and leave the mapping's page tables alone, which is quicker for small pages. */
int place_file(const struct place *p, uint64_t gpa, int fd, uint64_t off, uint64_t len, bool fresh,
	       const char *what, struct err *e);

#endif
