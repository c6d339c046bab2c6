/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a VMShm device and whoever opens host objects for it: the question, the answer. The loop
 * has no right to open a path, and must not have: the policy is kept by another process (the
 * supervisor), so that a VMM which a guest has taken over can open nothing more than the policy
 * lets the guest open.
 */
#ifndef DEVICES_VMSHM_OPEN_H
#define DEVICES_VMSHM_OPEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { VMSHM_NAME_MAX = 255 };		/* bytes of an object's name, without the slash: NAME_MAX */

/* Plain bytes: goes over a socket as it is. */
struct vmshm_question {
	uint32_t device;		/* number of the device on the command line */
	uint32_t serial;		/* the device's; comes back with the answer */
	uint32_t ro;			/* reading is enough */
	char name[VMSHM_NAME_MAX + 1];	/* as vmshm_name_parse gave it */
};

struct vmshm_answer {
	uint32_t device, serial;	/* as asked */
	uint32_t status;		/* VMSHM_OK or VMSHM_E* of guest/vmshm/vmshm_regs.h */
	uint32_t rw;			/* it may be written, and the fd can */
	uint32_t sealed;		/* it cannot shrink */
};

/* What a device asks of the opener. */
struct vmshm_opener {
	/* Loop. Begins, and returns at once; vmshm_answered (vmshm.h) follows, not from inside.
	 * @held: the object that the device has open, borrowed during the call, or -1: with
	 * exclusive=on its lock belongs to this fd, and must not be in the way when the same object
	 * is opened anew. It may get lost on the way: the answer is VMSHM_EBUSY then. Questions are
	 * answered in order, each once; a device has one open at a time. 0; or -errno with @e when
	 * there will be no answer, now or ever. */
	int (*ask)(void *ctx, const struct vmshm_question *q, int held, struct err *e);
};

#endif
