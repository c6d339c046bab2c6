/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bare/lib/irq.h"

#include "tests/bare/lib/test.h"

/* As start.S pushes it, from the last to the first; then what the processor pushed. */
struct irq_frame {
	uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

enum {
	CODE = 0x10, INTERRUPT_GATE = 0x8e, STUB_SIZE = 16,
	PIC_MASTER_MASK = 0x21, PIC_SLAVE_MASK = 0xa1,
	APIC_ID = 0x20, APIC_EOI = 0xb0, APIC_SPURIOUS = 0xf0, APIC_COMMAND_LOW = 0x300,
	APIC_COMMAND_HIGH = 0x310, APIC_LVT0 = 0x350, APIC_ENABLE = 0x100, APIC_MASKED = 0x10000,
	COMMAND_BUSY = 1 << 12,
	IOAPIC_REDIRECTION = 0x10, IOAPIC_LEVEL = 1 << 15, IOAPIC_MASKED = 1 << 16,
};
#define APIC	UINT64_C(0xfee00000)
#define IOAPIC	UINT64_C(0xfec00000)

extern const uint8_t irq_stubs[];
void irq_dispatch(const struct irq_frame *f);

volatile uint32_t irq_counts[IRQ_VECTORS];
void (*volatile irq_hook)(unsigned vector);

static struct gate idt[IRQ_VECTORS];

static void exception(const struct irq_frame *f)
{
	uint64_t cr2;

	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	test_note_hex("exception", f->vector);
	test_note_hex("error code", f->error);
	test_note_hex("rip", f->rip);
	test_note_hex("cr2", cr2);
	test_fail(__FILE__, __LINE__, "without an exception");
}

void irq_dispatch(const struct irq_frame *f)
{
	if (f->vector < 32)
		exception(f);
	__atomic_add_fetch(&irq_counts[f->vector], 1, __ATOMIC_SEQ_CST);
	if (irq_hook)
		irq_hook((unsigned)f->vector);
	apic_write(APIC_EOI, 0);
}

void irq_init_cpu(void)
{
	const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = { sizeof(idt) - 1, (uint64_t)idt };

	__asm__ volatile("lidt %0" : : "m"(idtr));
	apic_write(APIC_LVT0, APIC_MASKED);
	apic_write(APIC_SPURIOUS, APIC_ENABLE | 0xff);
}

void irq_init(void)
{
	for (unsigned i = 0; i < IRQ_VECTORS; i++) {
		uint64_t stub = (uint64_t)irq_stubs + i * STUB_SIZE;

		idt[i] = (struct gate){
			.offset_low = (uint16_t)stub, .selector = CODE, .type = INTERRUPT_GATE,
			.offset_middle = (uint16_t)(stub >> 16),
			.offset_high = (uint32_t)(stub >> 32),
		};
	}
	outb(PIC_MASTER_MASK, 0xff);
	outb(PIC_SLAVE_MASK, 0xff);
	irq_init_cpu();
}

uint32_t apic_read(unsigned reg)
{
	return read32(APIC + reg);
}

void apic_write(unsigned reg, uint32_t value)
{
	write32(APIC + reg, value);
}

void apic_command(unsigned id, uint32_t command)
{
	apic_write(APIC_COMMAND_HIGH, id << 24);
	apic_write(APIC_COMMAND_LOW, command);
	WAIT_FOR(!(apic_read(APIC_COMMAND_LOW) & COMMAND_BUSY));
}

unsigned apic_id(void)
{
	return apic_read(APIC_ID) >> 24;
}

void ioapic_set(unsigned gsi, unsigned vector, bool level, bool masked)
{
	uint32_t low = vector | (level ? IOAPIC_LEVEL : 0) | (masked ? IOAPIC_MASKED : 0);

	write32(IOAPIC, IOAPIC_REDIRECTION + 2 * gsi + 1);
	write32(IOAPIC + 0x10, apic_id() << 24);
	write32(IOAPIC, IOAPIC_REDIRECTION + 2 * gsi);
	write32(IOAPIC + 0x10, low);
}
