/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts: an IDT whose every vector counts, the local APIC, the IOAPIC. An exception fails the
 * case. The boot processor sets up with irq_init; others take its IDT with irq_init_cpu.
 */
#ifndef BARE_IRQ_H
#define BARE_IRQ_H

#include <stdbool.h>
#include <stdint.h>

/* Vectors of the cases' choice begin here; below are exceptions and an uninitialised PIC's. */
enum { IRQ_FIRST = 0x40, IRQ_VECTORS = 256 };

/* How often each vector came. */
extern volatile uint32_t irq_counts[IRQ_VECTORS];
/* Called in the interrupt, before its EOI; NULL: nothing. */
extern void (*volatile irq_hook)(unsigned vector);

/* IDT, PIC masked, local APIC on. Interrupts stay disabled. */
void irq_init(void);
void irq_init_cpu(void);

static inline void irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

/* Local APIC: a register, and the command that reaches other processors. */
uint32_t apic_read(unsigned reg);
void apic_write(unsigned reg, uint32_t value);
void apic_command(unsigned apic_id, uint32_t command);
unsigned apic_id(void);

/* IOAPIC: pin @gsi raises @vector here. */
void ioapic_set(unsigned gsi, unsigned vector, bool level, bool masked);

/* What an MSI must say to raise @vector here. */
static inline uint64_t msi_address(void)
{
	return 0xfee00000;
}

#endif
