/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X: table and pending bits in a BAR, one machine MSI number for each vector (PCI 3.0, 6.8.2).
 *
 * A vector's irqfds are added once, when its users start (msix_connect), and live through masking;
 * masking takes the route away, in the loop, before the guest's write ends. What was signalled
 * while masked is lost in the kernel, so unmasking a connected vector raises it once: a virtio
 * driver takes a spurious interrupt, never a missing one. Vectors raised by the VMM itself
 * (msix_raise) have exact pending bits.
 *
 * A vector that nobody uses costs nothing: it has no MSI number, no route and no eventfd, and what
 * the guest writes to its table entry is only remembered. Everything that talks to the kernel is
 * one job, `sync`, that brings kernel routes in line with table and control register. A vCPU waits
 * for it only when an interrupt is to stop (mask, function mask, disable); what is to begin may
 * begin a moment later, since it is raised then.
 *
 * Under the device lock. Guest accesses that the specification leaves undefined (a write of the
 * table that is not a naturally aligned 4 or 8 bytes) are ignored; reads of any shape give bytes.
 */
#ifndef DEVICES_MSIX_H
#define DEVICES_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "devices/pci.h"

enum {
	MSIX_VECTORS_MAX = 65,		/* 64 queues and one for config changes */
	MSIX_SOURCES_MAX = 65,		/* eventfds connected at a time */
	MSIX_NO_VECTOR = 0xffff,
	MSIX_ENTRY_SIZE = 16,
};

struct msix_vector {
	uint32_t address_lo, address_hi, data;
	bool masked;			/* bit 0 of vector control */
	bool pending;			/* raised by the VMM, not delivered yet */
	int gsi;			/* -1 until the vector is used */
	int own_eventfd;		/* for msix_raise; owned, an irqfd; -1 until needed */
	unsigned sources;		/* how many of msix.sources are this vector's */
	bool routed;			/* the kernel has a route, namely: */
	uint64_t route_address;
	uint32_t route_data;
};

struct msix {
	struct pci_dev *dev;		/* NULL: not initialised */
	struct machine *machine;
	unsigned cap;			/* offset in config */
	uint32_t table_off, pba_off;	/* within the BAR */
	unsigned count;
	bool enabled, function_masked;	/* as msix_config_written saw them last */
	struct msix_vector vectors[MSIX_VECTORS_MAX];
	struct msix_source {
		unsigned vector;
		int eventfd;		/* borrowed, an irqfd of the vector's gsi */
	} sources[MSIX_SOURCES_MAX];
	unsigned n_sources;
	struct loop_job sync;
	struct misuse refused;		/* messages the kernel did not take */
};

/* Bytes the table and the pending bits of @count vectors take in a BAR. */
#define MSIX_TABLE_SIZE(count)	((uint32_t)(count) * MSIX_ENTRY_SIZE)
#define MSIX_PBA_SIZE(count)	(((uint32_t)(count) + 63) / 64 * 8)

/*
 * Set-up, before pci_dev_add and after the BAR is declared. Adds the capability; table and PBA are
 * at the given offsets of @bar (multiples of 8, within it, apart), which the owner's BAR ops
 * forward to msix_read and msix_write. @x must not move until msix_fini. 0 or -EINVAL with @e.
 */
int msix_init(struct msix *x, struct pci_dev *d, struct machine *m, unsigned bar,
	      uint32_t table_off, uint32_t pba_off, unsigned count, struct err *e);
/* Loop. Works on a zeroed struct, twice. What is still connected ends with its eventfd. */
void msix_fini(struct msix *x);

/* Guest access to the table or PBA; @off relative to the BAR, @size 1, 2, 4 or 8. True when it
 * touched MSI-X's bytes; then it is done (what lies beside them reads 0). */
bool msix_read(struct msix *x, uint64_t off, unsigned size, uint64_t *ret_value);
bool msix_write(struct msix *x, uint64_t off, unsigned size, uint64_t value);
/* The owner's config_written hook calls this: enable and function mask may have changed. */
void msix_config_written(struct msix *x, unsigned off, unsigned len);

/* Whether the guest chose MSI-X, hence no INTx. */
bool msix_enabled(const struct msix *x);
/*
 * Loop. Joins the borrowed @eventfd (signalled by a daemon) to a vector; what is signalled already
 * is delivered. MSIX_NO_VECTOR does nothing. A vector outside the table: -EINVAL. 0 or -errno with
 * @e naming the device.
 */
int msix_connect(struct msix *x, unsigned vector, int eventfd, struct err *e);
/* Loop. Undoes it; costs milliseconds, so only at reset. Harmless when it is not connected. */
void msix_disconnect(struct msix *x, unsigned vector, int eventfd);
/* Any thread. Raises a vector from the VMM (config change); sets the pending bit when masked. While
 * MSI-X is disabled, or for a vector outside the table, nothing happens. */
void msix_raise(struct msix *x, unsigned vector);
/* Loop. Everything disconnected, table and control as after power on. */
void msix_reset(struct msix *x);

#endif
