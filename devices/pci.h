/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI: one root bus, type 0 devices at function 0, reached by configuration mechanism #1 (ports
 * 0xcf8/0xcfc) and, when asked for, ECAM. PCI Local Bus 3.0, PCI Express base for ECAM.
 *
 * A device is its config space plus masks that say which bits a guest writes; the device is told
 * only when COMMAND or a BAR changed what decodes where (pci_remap). BARs are assigned before boot
 * and COMMAND is 0 at reset. Runs under the device lock.
 */
#ifndef DEVICES_PCI_H
#define DEVICES_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "devices/bus.h"
#include "devices/machine.h"

/* Where things are. The tables of vmm/ (ACPI, MPTable, FDT) render the same numbers. */
#define PCI_ECAM_BASE	UINT64_C(0xe0000000)	/* 1 MiB: bus 0 only */
#define PCI_ECAM_SIZE	UINT64_C(0x00100000)
#define PCI_MMIO_BASE	UINT64_C(0xc0000000)	/* 32-bit BARs */
#define PCI_MMIO_END	UINT64_C(0xe0000000)
#define PCI_MMIO64_BASE	(UINT64_C(1) << 38)	/* 64-bit BARs; bounded by the guest's physical address width */

enum { PCI_SLOTS = 32, PCI_BARS = 6, PCI_CONFIG_SIZE = 4096, PCI_INTX_LINES = 4 };

struct pci_dev;

struct pci_bar {
	uint64_t size;			/* power of two; 0: no BAR here */
	bool is_64, prefetch;
	const struct bus_ops *ops;	/* register BAR: on the MMIO bus while it decodes; NULL: the owner's `mapped` acts */
	void *dev;			/* handed to ops */
	/* Called when the BAR begins (addr), moves (addr) or ends (PCI_UNMAPPED) to decode. May be NULL. In
	 * a vCPU's exit this runs on the vCPU: anything needing the loop goes through machine_run_in_loop. */
	void (*mapped)(struct pci_dev *d, unsigned bar, uint64_t addr);
	uint64_t addr;			/* where it decodes now, or PCI_UNMAPPED */
	struct bus_range range;		/* pci.c's */
};
#define PCI_UNMAPPED UINT64_MAX

struct pci_dev {
	const char *name;		/* borrowed: the device's id, for messages */
	unsigned slot;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t wmask[PCI_CONFIG_SIZE];	/* bits a guest may write */
	uint8_t w1c[PCI_CONFIG_SIZE];	/* bits cleared by writing 1 */
	uint16_t cap_end;		/* next free byte for capabilities */
	uint8_t *last_cap;		/* where the next capability's offset is written */
	struct pci_bar bars[PCI_BARS];
	struct pci_bus *bus;
	/* After a guest write to [off, off + len) that changed bytes; before, for reads of live registers. May be NULL. */
	void (*config_written)(struct pci_dev *d, unsigned off, unsigned len);
	void (*config_reading)(struct pci_dev *d, unsigned off, unsigned len);
	bool intx;			/* level of the INTx pin as the device wants it */
};

struct pci_bus {
	struct machine *machine;
	struct pci_dev *slots[PCI_SLOTS];
	struct pci_dev bridge;		/* host bridge, 00:00.0 */
	uint32_t config_address;	/* 0xcf8 */
	struct bus_range conf1, ecam;
	uint64_t next_mmio, next_mmio64;	/* allocators used before boot */
	unsigned next_slot;
	struct intx_line {
		unsigned gsi;
		int eventfd, resample;	/* level irqfd: signal raises, EOI reports; re-raised while a pin is up */
		struct loop_watch watch;
		struct pci_bus *bus;
	} intx[PCI_INTX_LINES];
};

/* GSI of INTx line @line (0 to 3) that a device in @slot uses with pin A: line = slot & 3. */
extern const unsigned pci_intx_gsi[PCI_INTX_LINES];

/* Set-up. The bus with its host bridge on the machine's buses; ECAM only when @ecam. 0 or -errno with @e. */
int pci_bus_init(struct pci_bus *b, struct machine *m, bool ecam, struct err *e);
void pci_bus_fini(struct pci_bus *b);

/* Set-up: dead values, ids and class (24 bits) in config. @name is borrowed. */
void pci_dev_init(struct pci_dev *d, const char *name, uint16_t vendor, uint16_t device,
		  uint32_t class_code, uint8_t revision);
/* Set-up. Declares BAR @bar (two entries when 64-bit). */
void pci_dev_bar(struct pci_dev *d, unsigned bar, struct pci_bar desc);
/* Set-up. Appends a capability of @len bytes (id and next included); returns its offset in config. */
unsigned pci_dev_capability(struct pci_dev *d, uint8_t id, unsigned len);
/* Set-up. Puts the device in the next slot, assigns BARs and the INTx pin. 0 or -errno with @e. */
int pci_dev_add(struct pci_bus *b, struct pci_dev *d, struct err *e);
/* Reset: COMMAND 0, all BARs unmapped (addresses as assigned at boot), INTx down. Loop. */
void pci_dev_reset(struct pci_dev *d);
/* Drives the INTx pin. Any thread. */
void pci_dev_intx(struct pci_dev *d, bool level);

#endif
