/* SPDX-License-Identifier: Apache-2.0 */
/* Application processors: started by INIT and SIPI, they run what they get. After irq_init. */
#ifndef BARE_SMP_H
#define BARE_SMP_H

#include <stdint.h>

#include "tests/bare/lib/smp_layout.h"

/* Starts processor @id, which calls @run(id) on a stack of its own, interrupts off, and then halts
 * for good. Returns once it runs. */
void smp_start(unsigned id, void (*run)(unsigned id));
/* How many have come out of their run. */
extern volatile uint32_t smp_done;

#endif
