/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies beneath a window (memory/window.h) where nothing is mapped: readable, writable, and
 * bounded in what it costs however much of it the guest writes.
 *
 *     small window   |           private zero pages             |  costs as much as it is
 *     large window   | piece | piece | piece | ... | piece |       costs one piece
 *
 * Each piece is the same object, of 64 MiB unless that is too much: what the guest writes into one
 * it reads in all.
 *
 * Its areas are made elsewhere and moved over the window, since an mmap(MAP_FIXED) that fails has
 * unmapped its target already.
 */
#ifndef MEMORY_FILLER_H
#define MEMORY_FILLER_H

#include <stdint.h>

#include "base/err.h"

struct filler {
	int fd;				/* memfd of piece bytes; -1: private zero pages */
	uint64_t piece;			/* a power of two; the window's size when private */
};

/* Set-up. Filler for a window of @size that costs at most @most bytes. 0, or with @e -E2BIG (there
 * is none so small) or -errno. */
int filler_init(struct filler *f, uint64_t size, uint64_t most, struct err *e);
void filler_fini(struct filler *f);

/* The areas that it takes for a window of @size. */
unsigned filler_areas(const struct filler *f, uint64_t size);
/* Set-up. Puts it under a window of @size at @host, where nothing of worth is. 0 or -errno. */
int filler_lay(const struct filler *f, uint8_t *host, uint64_t size);
/* Puts it over [offset, offset + len) of the window at @host, whatever is there. 0, or -errno, and
 * then it may have got as far as a part of it. */
int filler_cover(const struct filler *f, uint8_t *host, uint64_t offset, uint64_t len);
/* Makes it zero again, where it is not private. 0 or -errno. */
int filler_empty(const struct filler *f);

/* Private zero pages of their own over [at, at + len), one area; they cost up to @len. 0 or
 * -errno. */
int filler_zeros(uint8_t *at, uint64_t len);

#endif
