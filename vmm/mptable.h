/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as an Intel MultiProcessor Specification 1.4 table: for kernels without ACPI, and
 * there whenever no device tree is, because without any table Linux does not set up its local APIC
 * timer.
 *
 * There is an IOAPIC with the serial line and the PCI lines. Leaving it out for one CPU would spare
 * some 600 accesses, but 64-bit Linux then masks LINT0 (it unmasks it with `noapic` only), so no
 * interrupt of the PIC would arrive. Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_MPTABLE_H
#define VMM_MPTABLE_H

#include "base/err.h"
#include "vmm/desc.h"
#include "vmm/place.h"

/* Writes floating pointer and configuration table. 0, or -errno with @e. */
int mptable_write(const struct machine_desc *d, const struct place *p, struct err *e);

#endif
