/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory beside the guest itself. The page tables of the boot protocol map 4 GiB one to one:
 * a pointer is a guest-physical address.
 */
#ifndef BARE_MEMORY_H
#define BARE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define MEMORY_HEAP	UINT64_C(0x400000)
/* RAM that neither the loader nor the tables write: it keeps its bytes through a reset. */
#define MEMORY_KEPT	UINT64_C(0x800000)
/* What every bare guest is started with (run.py). */
#define MEMORY_END	UINT64_C(0x1000000)

/* For the compiler. */
void *memset(void *to, int byte, size_t n);
void *memcpy(void *to, const void *from, size_t n);

/* @n zeroed bytes aligned to @align, never given back. */
void *memory_alloc(size_t n, size_t align);
/* Maps the GiB around @gpa, below 512 GiB, one to one. */
void memory_map_gib(uint64_t gpa);

#endif
