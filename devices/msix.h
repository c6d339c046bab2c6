/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X: table and pending bits in a BAR, one machine MSI number for each vector (PCI 3.0, 6.8.2).
 *
 * A vector's irqfd is added once, when its user starts (msix_connect), and lives through masking;
 * masking takes the route away, in the loop, before the guest's write returns. What was signalled
 * while masked is lost in the kernel, so unmasking a connected vector raises it once: a virtio
 * driver takes a spurious interrupt, never a missing one. Vectors raised by the VMM itself
 * (msix_raise) have exact pending bits.
 */
#ifndef DEVICES_MSIX_H
#define DEVICES_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/pci.h"

enum { MSIX_VECTORS_MAX = 65, MSIX_NO_VECTOR = 0xffff };

struct msix_vector {
	uint32_t address_lo, address_hi, data, control;
	int gsi;
	int eventfd;		/* connected irqfd source, borrowed from the queue; -1: none */
	int own_eventfd;	/* for msix_raise, owned */
	bool connected, own_connected, routed, pending;
	uint64_t route_address; uint32_t route_data;	/* what the kernel has now */
};

struct msix {
	struct pci_dev *dev;
	struct machine *machine;
	unsigned cap;			/* offset in config */
	unsigned count;
	struct msix_vector vectors[MSIX_VECTORS_MAX];
	struct loop_job sync;		/* brings kernel routes in line with the table, in the loop */
};

/* Set-up. Adds the capability; table and PBA at the given offsets of @bar, which the owner's BAR
 * ops forward to msix_read/msix_write. 0 or -errno with @e. */
int msix_init(struct msix *x, struct pci_dev *d, struct machine *m, unsigned bar,
	      uint32_t table_off, uint32_t pba_off, unsigned count, struct err *e);
void msix_fini(struct msix *x);

/* Guest access to the table or PBA; @off relative to the BAR. True when the offset was MSI-X's. */
bool msix_read(struct msix *x, uint64_t off, unsigned size, uint64_t *ret_value);
bool msix_write(struct msix *x, uint64_t off, unsigned size, uint64_t value);
/* The owner's config_written hook calls this: enable and function mask may have changed. */
void msix_config_written(struct msix *x, unsigned off, unsigned len);

bool msix_enabled(const struct msix *x);
/* Loop. Joins the borrowed @eventfd (signalled by a daemon) to a vector; MSIX_NO_VECTOR does nothing. */
int msix_connect(struct msix *x, unsigned vector, int eventfd, struct err *e);
/* Loop. Undoes it; costs milliseconds, so only at reset. */
void msix_disconnect(struct msix *x, unsigned vector, int eventfd);
/* Any thread. Raises a vector from the VMM (config change); sets the pending bit when masked. */
void msix_raise(struct msix *x, unsigned vector);
/* Loop. Everything disconnected, table and control as after power on. */
void msix_reset(struct msix *x);

#endif
