/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few ports of a PC that a guest without legacy hardware still writes: ways to reset, to power
 * off and to say something to whoever started the machine. What Linux probes without harm (PS/2
 * data, CMOS, PCI BIOS, ...) is not here: nobody answers, all-ones are read.
 *
 *   0x64   keyboard controller: reads 0 (nothing there, ready), 0xfe pulses the reset line
 *   0x80   boot mark: a byte, reported with its time
 *   0xf4   debug exit: a byte that ends the machine
 *   0xcf9  reset control: bit 2 going up resets (bit 1 is kept and read). It lies among the PCI
 *          ports whose writes KVM may collect: takes effect with the vCPU's next exit at the
 *          latest
 *   0x600  ACPI sleep control, 0x601 sleep status (ACPI 6, 4.8.3.7): S5 powers off
 *
 * Under the device lock; everything ends in machine_ops.request, nothing needs a system call.
 */
#ifndef DEVICES_PLATFORM_H
#define DEVICES_PLATFORM_H

#include <stdint.h>

#include "devices/machine.h"
#include "devices/pci.h"

enum {
	PLATFORM_KEYBOARD_PORT = 0x64,
	PLATFORM_KEYBOARD_RESET = 0xfe,		/* command byte */
	PLATFORM_BOOT_MARK_PORT = 0x80,
	PLATFORM_DEBUG_EXIT_PORT = 0xf4,	/* 4 ports wide; the first byte counts */
	PLATFORM_RESET_BYTE = 0x06,		/* what a reset through port 0xcf9 writes */
	PLATFORM_SLEEP_CONTROL_PORT = 0x600,	/* FADT: SLEEP_CONTROL_REG */
	PLATFORM_SLEEP_STATUS_PORT = 0x601,	/* FADT: SLEEP_STATUS_REG */
	PLATFORM_S5_TYPE = 5,			/* DSDT: _S5 package */
};

struct platform {
	struct machine *machine;	/* NULL: not initialised */
	struct pci_bus *pci;		/* borrowed; NULL: port 0xcf9 is a range of its own */
	struct bus_range keyboard, boot_mark, debug_exit, reset, sleep;
	uint8_t reset_control;
	uint8_t sleep_control;
};

/*
 * Set-up. Puts the ports on the machine's port bus. @pci (may be NULL) is the bus whose
 * configuration ports hide port 0xcf9, borrowed until platform_fini. @p must not move. 0 or -errno
 * with @e.
 */
int platform_init(struct platform *p, struct machine *m, struct pci_bus *pci, struct err *e);
/* Works on a zeroed or half-built struct, twice. */
void platform_fini(struct platform *p);
/* Registers as after power on. */
void platform_reset(struct platform *p);

#endif
