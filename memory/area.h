/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Areas of the process's address space (VMAs). The kernel gives a process so many
 * (vm.max_map_count) and then refuses even to take something away, since that may split an area.
 * What daemons have mapped comes out of a budget, so that what they do cannot bring the process
 * there.
 *
 * Under the lock of what the budget belongs to.
 */
#ifndef MEMORY_AREA_H
#define MEMORY_AREA_H

#include <stdbool.h>
#include <stdint.h>

struct area_budget {
	unsigned limit, taken;
};

/* Set-up. What the kernel allows, less a part for everything else the process maps. */
void area_budget_init(struct area_budget *b);
/* False when there are no @n left. A NULL budget is endless. */
bool area_budget_take(struct area_budget *b, unsigned n);
void area_budget_give(struct area_budget *b, unsigned n);

/*
 * A hint for mmap where to make what area_move is then to bring @to: far from all else. A move
 * looks at each 2 MiB for which there may be page tables, at a GiB at once where there are none.
 */
void *area_stage(void *to);
/* Moves [from, from + len), one area, over what is at @to. 0, or -errno and @from is unmapped. */
int area_move(void *from, void *to, uint64_t len);

#endif
