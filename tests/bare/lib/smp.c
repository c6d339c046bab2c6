/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bare/lib/smp.h"

#include "tests/bare/lib/irq.h"
#include "tests/bare/lib/memory.h"
#include "tests/bare/lib/test.h"

enum { COMMAND_INIT = 0x4500, COMMAND_SIPI = 0x4600 };

extern const uint8_t smp_trampoline[], smp_trampoline_end[], smp_trampoline_cr3[];
void smp_main(unsigned id);

volatile uint32_t smp_done;

static void (*volatile runs[SMP_CPUS_MAX])(unsigned id);
static volatile uint32_t is_up[SMP_CPUS_MAX];

/* From start.S, on a stack of its own. */
void smp_main(unsigned id)
{
	irq_init_cpu();
	is_up[id] = 1;
	runs[id](id);
	__atomic_add_fetch(&smp_done, 1, __ATOMIC_SEQ_CST);
}

void smp_start(unsigned id, void (*run)(unsigned id))
{
	CHECK(id > 0 && id < SMP_CPUS_MAX);
	memcpy((void *)SMP_TRAMPOLINE, smp_trampoline,
	       (size_t)(smp_trampoline_end - smp_trampoline));
	write32(SMP_TRAMPOLINE + (uint64_t)(smp_trampoline_cr3 - smp_trampoline),
		(uint32_t)read_cr3());
	runs[id] = run;
	barrier();
	apic_command(id, COMMAND_INIT);
	apic_command(id, COMMAND_SIPI | SMP_TRAMPOLINE >> 12);
	WAIT_FOR(is_up[id]);
}
