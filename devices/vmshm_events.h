/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events of a VMShm device: doorbells that the guest rings and interrupts that it gets, all of
 * them eventfds that KVM signals or takes by itself (ioeventfd, irqfd), and the sockets over which
 * other processes get those eventfds: events= listens for one program or VM of the host,
 * events-peer= takes the doorbells of another VM for interrupts of this one. Nothing is relayed
 * here.
 *
 *     guest writes DOORBELL n --ioeventfd--> kick[n] --> the host's program waits for it
 *                                                    \-> or: irqfd of the other VM
 *     the host's program writes --> call[n] --irqfd--> vector n + 1
 *
 * The VMM writes to no kick: who has one can fill it and make it one that waits, and no write is
 * safe from that. So a doorbell that is written while BAR 0 moves may be lost. A call is never
 * full, since KVM takes what is in it at once.
 *
 * Vector 0 tells the driver to look at STATUS. Under the device lock, in the loop, but for what is
 * marked.
 */
#ifndef DEVICES_VMSHM_EVENTS_H
#define DEVICES_VMSHM_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "devices/machine.h"
#include "devices/msix.h"
#include "devices/pci.h"
#include "devices/vmshm_listener.h"
#include "devices/vmshm_options.h"
#include "devices/vmshm_peer.h"
#include "guest/vmshm/vmshm_events.h"

struct vmshm_events_owner {
	/* What the guest has open now, asked for when somebody connects. @ret->fd is borrowed
	 * until the loop goes on. */
	void (*news)(void *arg, struct vmshm_news *ret);
	/* Somebody came or went (vmshm_events_has_peer): after it vector 0 is raised by this. */
	void (*changed)(void *arg);
	void *arg;
};

struct vmshm_events {
	struct machine *machine;	/* NULL: not initialised */
	const struct vmshm_options *options;	/* borrowed */
	struct vmshm_events_owner owner;
	struct msix msix;		/* only with vectors */
	unsigned vectors;
	unsigned count;			/* events each way */
	int kick[VMSHM_EVENTS_MAX];	/* owned eventfds, or -1 */
	int call[VMSHM_EVENTS_MAX];
	uint64_t doorbells_at, doorbells_wanted;	/* address of BAR 0, or PCI_UNMAPPED */
	uint32_t doorbells;		/* bits: those that KVM has */
	struct loop_job sync;
	struct misuse refused;		/* doorbells that KVM did not take */
	struct vmshm_listener listener;
	struct vmshm_peer peer;
};

/*
 * Set-up, before pci_dev_add: with vectors declares VMSHM_BAR_MSIX and the capability on @pci. @o,
 * @name and @owner's arg are borrowed until vmshm_events_fini; @v must not move. Without vectors
 * there are no events, but who connects to events= still hears what is open. 0 or -errno with @e.
 */
int vmshm_events_init(struct vmshm_events *v, struct machine *m, struct pci_dev *pci,
		      const struct vmshm_options *o, const struct vmshm_events_owner *owner,
		      struct err *e);
/* After pci_dev_del. Works on a zeroed struct, twice. */
void vmshm_events_fini(struct vmshm_events *v);
/* The machine is reset: registers as after power on; who is connected stays so. */
void vmshm_events_reset(struct vmshm_events *v);

/* Set-up. Takes *@listener, a listening non-blocking SOCK_SEQPACKET socket. 0 or -errno with @e. */
int vmshm_events_listen(struct vmshm_events *v, int *listener, struct err *e);
/* Set-up, with events-peer=: @dialer, borrowed, makes its connections, as of socket @number. */
void vmshm_events_dial(struct vmshm_events *v, const struct vhost_user_dialer *dialer, void *ctx,
		       unsigned number);

/* Any thread. BAR 0 is at @addr, or PCI_UNMAPPED, when the exit ends: doorbells follow. */
void vmshm_events_move(struct vmshm_events *v, uint64_t addr);
/* Any thread. For the owner's config_written hook. */
void vmshm_events_config_written(struct vmshm_events *v, unsigned off, unsigned len);

/* Any thread. VMSHM_NEVENTS, VMSHM_NVECTORS, and whether VMSHM_S_PEER. */
unsigned vmshm_events_count(const struct vmshm_events *v);
unsigned vmshm_events_vectors(const struct vmshm_events *v);
bool vmshm_events_has_peer(const struct vmshm_events *v);
/* Any thread. STATUS changed by itself: raises vector 0. */
void vmshm_events_state_changed(struct vmshm_events *v);
/* What the guest has open changed: tells who is connected. */
void vmshm_events_tell(struct vmshm_events *v, const struct vmshm_news *n);

#endif
