/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port and memory accesses of a chosen width, and what else takes one instruction. Every function
 * is one access: the compiler neither splits nor joins them.
 */
#ifndef BARE_IO_H
#define BARE_IO_H

#include <stdint.h>

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t inl(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

/* @width bytes: 1, 2, 4. */
static inline uint32_t port_read(uint16_t port, unsigned width)
{
	return width == 1 ? inb(port) : width == 2 ? inw(port) : inl(port);
}

static inline uint8_t read8(uint64_t gpa)
{
	uint8_t v;

	__asm__ volatile("movb (%1), %0" : "=q"(v) : "r"(gpa) : "memory");
	return v;
}

static inline uint16_t read16(uint64_t gpa)
{
	uint16_t v;

	__asm__ volatile("movw (%1), %0" : "=r"(v) : "r"(gpa) : "memory");
	return v;
}

static inline uint32_t read32(uint64_t gpa)
{
	uint32_t v;

	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(gpa) : "memory");
	return v;
}

static inline uint64_t read64(uint64_t gpa)
{
	uint64_t v;

	__asm__ volatile("movq (%1), %0" : "=r"(v) : "r"(gpa) : "memory");
	return v;
}

static inline void write8(uint64_t gpa, uint8_t v)
{
	__asm__ volatile("movb %0, (%1)" : : "q"(v), "r"(gpa) : "memory");
}

static inline void write16(uint64_t gpa, uint16_t v)
{
	__asm__ volatile("movw %0, (%1)" : : "r"(v), "r"(gpa) : "memory");
}

static inline void write32(uint64_t gpa, uint32_t v)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(v), "r"(gpa) : "memory");
}

static inline void write64(uint64_t gpa, uint64_t v)
{
	__asm__ volatile("movq %0, (%1)" : : "r"(v), "r"(gpa) : "memory");
}

/* @width bytes: 1, 2, 4, 8. */
static inline uint64_t read_width(uint64_t gpa, unsigned width)
{
	switch (width) {
	case 1:
		return read8(gpa);
	case 2:
		return read16(gpa);
	case 4:
		return read32(gpa);
	}
	return read64(gpa);
}

static inline void write_width(uint64_t gpa, unsigned width, uint64_t v)
{
	if (width == 1)
		write8(gpa, (uint8_t)v);
	else if (width == 2)
		write16(gpa, (uint16_t)v);
	else if (width == 4)
		write32(gpa, (uint32_t)v);
	else
		write64(gpa, v);
}

/* All-ones of @width bytes: what nobody answers. */
static inline uint64_t ones(unsigned width)
{
	return UINT64_MAX >> (64 - 8 * width);
}

static inline uint64_t cycles(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline uint64_t read_cr3(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}

static inline void write_cr3(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

/* Orders every access before it against every one after it, device memory included. */
static inline void barrier(void)
{
	__asm__ volatile("lock; orl $0, (%%rsp)" : : : "memory", "cc");
}

static inline void relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/* For what has no event to wait for: that something does not happen, or has begun elsewhere. */
static inline void spend(uint64_t n_cycles)
{
	for (uint64_t since = cycles(); cycles() - since < n_cycles;)
		relax();
}

#endif
