/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bare/lib/memory.h"

#include "tests/bare/lib/io.h"

enum { PTE_PRESENT = 1, PTE_WRITE = 2, PTE_LARGE = 0x80, ENTRIES = 512 };

static uint64_t heap = MEMORY_HEAP;

void *memset(void *to, int byte, size_t n)
{
	void *d = to;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *d = to;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memory_alloc(size_t n, size_t align)
{
	uint64_t at = (heap + align - 1) & ~(uint64_t)(align - 1);

	heap = at + n;
	return memset((void *)at, 0, n);
}

void memory_map_gib(uint64_t gpa)
{
	uint64_t *pml4 = (uint64_t *)(read_cr3() & ~UINT64_C(0xfff));
	uint64_t *pdpt = (uint64_t *)(pml4[0] & ~UINT64_C(0xfff));
	uint64_t *pd = memory_alloc(4096, 4096);
	uint64_t base = gpa >> 30 << 30;

	for (uint64_t i = 0; i < ENTRIES; i++)
		pd[i] = (base + (i << 21)) | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
	pdpt[base >> 30 & (ENTRIES - 1)] = (uint64_t)pd | PTE_PRESENT | PTE_WRITE;
	write_cr3(read_cr3());
}
