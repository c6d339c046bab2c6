/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI: one root bus, type 0 devices at function 0, reached by configuration mechanism #1 (ports
 * 0xcf8/0xcfc) and, when asked for, ECAM. PCI Local Bus 3.0, PCI Express base for ECAM.
 *
 * A device is its config space plus masks that say which bits a guest writes; the device is told
 * only when COMMAND or a BAR changed what decodes where. BARs are memory BARs, assigned before
 * boot, and COMMAND is 0 at reset. Runs under the device lock.
 *
 * How a BAR decodes: with COMMAND.MEM off, nowhere. With it on, at the address its register holds,
 * as soon as that is possible; until then it stays where it was. Possible is a place inside the PCI
 * windows, not in RAM, not on other registers, and not on a BAR that is where its own register
 * says (one that is not gives way). So a 32-bit BAR sized while it decodes does not move (half of a
 * 64-bit one may, and comes back), and of two BARs put on one address the first stays and the other
 * follows once there is room.
 */
#ifndef DEVICES_PCI_H
#define DEVICES_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "devices/bus.h"
#include "devices/machine.h"

/* Where things are. The tables of vmm/ (ACPI, MPTable, FDT) render the same numbers. */
#define PCI_ECAM_BASE	UINT64_C(0xe0000000)	/* 1 MiB: bus 0 only */
#define PCI_ECAM_SIZE	UINT64_C(0x00100000)
#define PCI_MMIO_BASE	UINT64_C(0xc0000000)	/* 32-bit BARs */
#define PCI_MMIO_END	UINT64_C(0xe0000000)
#define PCI_MMIO64_BASE	(UINT64_C(1) << 38)	/* 64-bit BARs; see pci_bus */
#define PCI_MMIO64_END	(UINT64_C(1) << 39)	/* what a CPU of 39 address bits reaches */

enum {
	PCI_SLOTS = 32, PCI_BARS = 6, PCI_CONFIG_SIZE = 4096, PCI_INTX_LINES = 4,
	PCI_CONF1_PORT = 0xcf8,		/* 8 ports */
	PCI_RESET_CONTROL_PORT = 0xcf9,	/* lies within, a register of its own for byte accesses */
};

struct pci_dev;

struct pci_bar {
	uint64_t size;			/* power of two, at least 16; 0: no BAR here */
	bool is_64, prefetch;
	const struct bus_ops *ops;	/* on the MMIO bus while the BAR decodes; may be NULL */
	void *dev;			/* handed to ops */
	/*
	 * Called when the BAR begins (addr), moves (addr) or ends (PCI_UNMAPPED) to decode; at that
	 * moment `addr` below is the same. May be NULL. In a vCPU's exit this runs on the vCPU:
	 * anything needing the loop goes through machine_run_in_loop, with a job that looks at
	 * `addr` when it runs. A BAR that gives way is told before the one that takes its place.
	 */
	void (*mapped)(struct pci_dev *d, unsigned bar, uint64_t addr);
	uint64_t addr;			/* where it decodes now, or PCI_UNMAPPED */
	uint64_t home;			/* pci.c's: assigned before boot */
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
	struct pci_bus *bus;		/* NULL: not on one */
	/*
	 * After a guest write to [off, off + len) in which any bit is writable, changed or not (a
	 * doorbell in config space is rung twice with one value), and after BARs have moved. Before
	 * a guest read of [off, off + len), for live registers. May be NULL; must not change
	 * COMMAND or a BAR.
	 */
	void (*config_written)(struct pci_dev *d, unsigned off, unsigned len);
	void (*config_reading)(struct pci_dev *d, unsigned off, unsigned len);
	bool no_intx;			/* set-up: it has no interrupt pin */
	bool intx;			/* level of the INTx pin as the device wants it */
	bool intx_driven;		/* pci_intx.c's: not while COMMAND disables INTx */
	struct misuse collisions;	/* BARs put where they cannot be */
};

struct pci_bus {
	struct machine *machine;
	struct pci_dev *slots[PCI_SLOTS];
	struct pci_dev bridge;		/* host bridge, 00:00.0 */
	uint32_t config_address;	/* 0xcf8 */
	struct bus_range conf1, ecam;
	/* Byte accesses at port 0xcf9, which dwords at 0xcf8 hide: the owner of the reset control
	 * register (platform.c) puts itself here. NULL: nobody. */
	const struct bus_ops *reset_control;
	void *reset_control_dev;
	/* 64-bit BARs go here. The start lies above RAM; the end is PCI_MMIO64_END until set-up
	 * lowers or raises it to the guest's physical address width, before the first
	 * pci_dev_add. */
	uint64_t mmio64_base, mmio64_end;
	struct intx_line {
		unsigned gsi;
		/* Level irqfd, owned: a signal raises, EOI reports; raised again while a pin is
		 * up. */
		int eventfd, resample;
		struct loop_watch watch;
		struct pci_bus *bus;
	} intx[PCI_INTX_LINES];		/* connected with the line's first device */
};

/* GSI of INTx line @line (0 to 3) that a device in @slot uses with pin A: line = slot & 3. All are
 * below 16, so that they work through the PIC as well; a guest must take them as level. */
extern const unsigned pci_intx_gsi[PCI_INTX_LINES];

/* Set-up. The bus with its host bridge on the machine's buses; ECAM only when @ecam. @b must not
 * move until pci_bus_fini. 0 or -errno with @e. */
int pci_bus_init(struct pci_bus *b, struct machine *m, bool ecam, struct err *e);
/* Loop. Forgets the devices. Works on a zeroed or half-built bus, twice. */
void pci_bus_fini(struct pci_bus *b);
/* A COMMAND register or a BAR has changed: what is mapped follows, of all devices. */
void pci_bus_remap(struct pci_bus *b);
/* Loop. The bus's own registers as after power on, and every device's pci_dev_reset. */
void pci_bus_reset(struct pci_bus *b);

/* Set-up: dead values, ids and class (24 bits) in config. @name is borrowed. */
void pci_dev_init(struct pci_dev *d, const char *name, uint16_t vendor, uint16_t device,
		  uint32_t class_code, uint8_t revision);
/* Set-up. Declares BAR @bar (two entries when 64-bit). */
void pci_dev_bar(struct pci_dev *d, unsigned bar, struct pci_bar desc);
/* Set-up. Appends a capability of @len bytes (id and next included); returns its offset in
 * config. */
unsigned pci_dev_capability(struct pci_dev *d, uint8_t id, unsigned len);
/* Set-up or loop. Puts the device in the first free slot, assigns BARs and INTx pin A (no_intx:
 * none). 0 or -errno with @e. The device must not move in memory until pci_dev_del or
 * pci_bus_fini. */
int pci_dev_add(struct pci_bus *b, struct pci_dev *d, struct err *e);
/* Loop. Takes the device off its bus, BARs unmapped and INTx down; harmless when it is on none. */
void pci_dev_del(struct pci_dev *d);
/* Reset: COMMAND 0, all BARs unmapped (addresses as assigned at boot), INTx down. Loop. What the
 * device itself made writable is the device's to reset. */
void pci_dev_reset(struct pci_dev *d);
/* Drives the INTx pin and the interrupt status bit. Any thread; no system call but an eventfd
 * write. */
void pci_dev_intx(struct pci_dev *d, bool level);

/* Little-endian config fields of 1, 2, 4 or 8 bytes, masks disregarded; for devices, not the
 * guest. */
uint64_t pci_dev_get(const struct pci_dev *d, unsigned off, unsigned len);
void pci_dev_set(struct pci_dev *d, unsigned off, unsigned len, uint64_t value);

#endif
