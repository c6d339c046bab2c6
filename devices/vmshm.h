/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMShm: a PCI device by which the guest opens shared memory objects of the host by name
 * (guest/vmshm/vmshm_regs.h has its registers, vmshm(4) the words).
 *
 * Under the device lock; what is not marked otherwise, in the loop.
 */
#ifndef DEVICES_VMSHM_H
#define DEVICES_VMSHM_H

#include "base/err.h"
#include "devices/machine.h"
#include "devices/pci.h"
#include "devices/vmshm_events.h"
#include "devices/vmshm_open.h"
#include "devices/vmshm_options.h"

struct vmshm {
	const struct vmshm_options *options;
	struct machine *machine;	/* NULL: not initialised */
	struct pci_dev pci;
	const struct vmshm_opener *opener;	/* NULL: nothing can be opened */
	void *opener_ctx;
	struct vmshm_events events;
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
