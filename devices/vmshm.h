/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMShm: a PCI device by which the guest opens shared memory objects of the host by name
 * (guest/vmshm/vmshm_regs.h has its registers, vmshm(4) the words).
 *
 * Theory of operation. OPEN is a read that is answered when the loop has asked the opener
 * (vmshm_open.h), and has put the object that came into the window (vmshm_binding.h):
 *
 *     read of OPEN                    the loop                    the opener
 *     name, flags, offset taken  -->  one question at a time -->  policy, open
 *     ... the exit waits ...          bind, wake             <--  object, or why not
 *     <-- the status
 *
 * Another OPEN meanwhile is told to be busy; a CLOSE ends the wait, and what comes for it later is
 * thrown away. CLOSE is answered when the loop has emptied the window.
 *
 * Under the device lock; what is not marked otherwise, in the loop.
 */
#ifndef DEVICES_VMSHM_H
#define DEVICES_VMSHM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "devices/machine.h"
#include "devices/pci.h"
#include "devices/vmshm_binding.h"
#include "devices/vmshm_events.h"
#include "devices/vmshm_open.h"
#include "devices/vmshm_options.h"

enum vmshm_opening {
	VMSHM_IDLE,
	VMSHM_WANTED,	/* the opener is to be asked */
	VMSHM_ASKED,	/* ... and was */
	VMSHM_DONE,	/* `result` is known, and the vCPU has not taken it yet */
};

struct vmshm {
	const struct vmshm_options *options;
	struct machine *machine;	/* NULL: not initialised */
	struct pci_dev pci;
	const struct vmshm_opener *opener;
	void *opener_ctx;
	struct vmshm_events events;
	struct vmshm_binding binding;

	/* Any thread: */
	char *name;			/* owned: BAR 2, options->name_size bytes */
	struct vmshm_wish next;		/* flags and offset for the next OPEN */
	uint32_t error;			/* of the last OPEN */
	uint16_t generation;
	enum vmshm_opening opening;
	struct vmshm_wish wish;		/* of the OPEN under way */
	uint64_t result;		/* what its read gives: VMSHM_EBUSY until it is known */
	bool close_wanted;
	bool gone;			/* the opener is */
	struct loop_job ask, close;

	uint32_t serial;		/* of the last question */
	bool in_flight;			/* ... which has not been answered */
};

/* Set-up. The device on its bus, closed. All but @e is borrowed until vmshm_fini; @d must not move.
 * 0 or -errno with @e. */
int vmshm_init(struct vmshm *d, const struct vmshm_options *o, struct machine *m,
	       struct pci_bus *bus, const struct vmshm_opener *opener, void *opener_ctx,
	       struct err *e);
/* Works on a zeroed struct, twice. */
void vmshm_fini(struct vmshm *d);
/* The machine is reset: closed, all registers, BARs and the name as after power on. */
void vmshm_reset(struct vmshm *d);

/* The opener's answer. *@fd, -1 unless the status is VMSHM_OK, is taken either way. */
void vmshm_answered(struct vmshm *d, const struct vmshm_answer *a, int *fd);
/* The opener's: it is gone, no answer comes, now or ever. */
void vmshm_opener_gone(struct vmshm *d);

#endif
