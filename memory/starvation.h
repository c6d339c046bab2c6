/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host cannot give any more: RAM that is not there yet, on a file system that is full.
 *
 * KVM_RUN fails with EFAULT for such a page only while the guest has interrupts off. Else KVM hands
 * the fault to a worker of its own, nobody hears of that one's failure, and the vCPU tries again
 * for ever. A fault in a mapping that forbids the access, however, is EFAULT at once, whatever the
 * guest does. So the loop looks at the file system now and then, and while it has nothing to give,
 * what RAM lacks is kept inaccessible in this process: the guest's next step there ends KVM_RUN,
 * and starvation_judge tells whether that is the end or the guest may try again. RAM that is there
 * is not touched, nor is a guest that gets by with it.
 *
 * It looks every second when the file system has less than RAM lacks, every five when it has enough
 * for now, and not at all when nothing bounds it (memfd), nobody else can fill it (private huge
 * tmpfs), it is a pool (hugetlb), or all of RAM is there. On file systems other than tmpfs it needs
 * Linux 5.14.
 *
 * Borrows RAM and the loop. All calls are for the loop's thread, under the lock it takes; its
 * filter must allow fstat, fstatfs, lseek, madvise and mprotect.
 */
#ifndef MEMORY_STARVATION_H
#define MEMORY_STARVATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "memory/guest_mem.h"

struct starvation {
	const struct guest_mem *mem;
	struct loop *loop;
	struct loop_timer timer;
	bool guarded;		/* what RAM lacked is inaccessible */
	uint64_t allocated;	/* bytes its objects had when that was done */
};

/* Starts to look after @m, first in a second. Both must outlive the loop's run. */
void starvation_watch(struct starvation *s, const struct guest_mem *m, struct loop *l);

/* Makes all of RAM accessible until the next look: before this process writes to it. */
void starvation_lift(struct starvation *s);

/*
 * After KVM_RUN failed with EFAULT: -EAGAIN when nothing but the guard was in the way and the vCPU
 * may go on; else what guest_mem_trouble says, with its sentence in @e.
 */
int starvation_judge(struct starvation *s, struct err *e);

#endif
