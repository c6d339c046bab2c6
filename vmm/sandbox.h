/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the VMM's threads may still ask of the kernel once a guest runs: two tables, one a thread
 * kind. The supervisor's is with it (supervisor.c).
 */
#ifndef VMM_SANDBOX_H
#define VMM_SANDBOX_H

#include "base/err.h"
#include "base/seccomp.h"

struct sandbox {
	struct seccomp_filter *vcpu;	/* installed by each vCPU thread */
	struct seccomp_filter *loop;	/* installed by sandbox_enter_loop */
};

/* Builds both filters. 0 or -errno with @e. */
int sandbox_init(struct sandbox *s, enum seccomp_mode mode, struct err *e);
void sandbox_fini(struct sandbox *s);
/* The calling thread, which becomes the loop, gives up what the loop does not need. */
int sandbox_enter_loop(struct sandbox *s, struct err *e);

#endif
