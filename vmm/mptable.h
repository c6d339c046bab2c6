/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as an Intel MultiProcessor Specification 1.4 table: for kernels without ACPI, and
 * always there, because without any table Linux does not set up its local APIC timer.
 *
 * With one CPU the table names no IOAPIC: interrupts come through the PIC in virtual wire mode
 * (3.6.2.2), which spares the guest some 600 IOAPIC accesses, each an exit, and costs nothing that
 * one CPU would miss. MSI needs no IOAPIC. With more CPUs there is an IOAPIC with the serial line
 * and the PCI lines. Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_MPTABLE_H
#define VMM_MPTABLE_H

#include "base/err.h"
#include "vmm/desc.h"
#include "vmm/place.h"

/* Writes floating pointer and configuration table. 0, or -errno with @e. */
int mptable_write(const struct machine_desc *d, const struct place *p, struct err *e);

#endif
