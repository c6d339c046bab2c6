/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the loader and the first instruction: the tables of the machine, the parameters of the
 * boot protocol, and the registers. Knows guest memory, not KVM: vmm/arch_x86 turns struct
 * boot_regs into what KVM takes. Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_BOOT_H
#define VMM_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "memory/guest_mem.h"
#include "vmm/desc.h"
#include "vmm/loader.h"

/* A segment register with what the CPU caches of its descriptor. Present, privilege level 0. */
struct boot_segment {
	uint32_t base, limit;		/* limit in bytes, as the CPU caches it */
	uint16_t selector;
	uint8_t type;			/* 4 bits */
	bool s, l, db, g;
};

/* The boot CPU at its first instruction. Registers not named are 0, interrupts off, IDT empty. */
struct boot_regs {
	uint64_t rip, rsp, rflags, rsi, rbx;
	uint64_t cr0, cr3, cr4, efer;
	struct boot_segment code, data, tss;	/* data: ds, es, fs, gs and ss */
	uint64_t gdt_base;			/* the GDT lies in guest memory */
	uint16_t gdt_limit;
};

/*
 * Writes everything the guest finds in memory beside kernel and initrd: GDT, page tables, MPTable,
 * ACPI or device tree as @d says, command line, parameters of the protocol that @l chose. After
 * loader_load, at the first boot and at every reset. 0, or -errno with @e.
 */
int boot_setup(const struct loader *l, const struct guest_mem *m, const struct machine_desc *d,
	       const char *cmdline, struct boot_regs *ret, struct err *e);

#endif
