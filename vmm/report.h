/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --boot-report: when things happened and what they cost, from one clock, as one JSON object.
 * The file is opened before the sandbox closes paths and written when the VM ends.
 */
#ifndef VMM_REPORT_H
#define VMM_REPORT_H

#include <stdio.h>

#include "base/err.h"
#include "memory/guest_mem.h"
#include "vmm/vcpu.h"

enum report_stamp {
	STAMP_EXEC, STAMP_VM_CREATED, STAMP_RAM_READY, STAMP_DAEMONS_READY, STAMP_FIRST_RUN,
	STAMP_FIRST_SERIAL, STAMP_GUEST_INIT, STAMPS
};

struct report {
	FILE *out;			/* NULL: nobody wants one */
	const char *path;		/* borrowed */
	uint64_t stamps[STAMPS];	/* clock_ns(); 0: did not happen */
};

/* @path NULL: no report; "-": standard error. 0 or -errno with @e. */
int report_init(struct report *r, const char *path, struct err *e);
/* Any thread, under the device lock. The first call for a stamp counts. */
void report_stamp(struct report *r, enum report_stamp s);
/* Writes the object and closes. @exit_code is the program's. 0, or -errno, told, when it cannot be
 * written. */
int report_write(struct report *r, const struct guest_mem *m, const struct vcpus *v,
		 int exit_code);

#endif
