/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as ACPI 6.5 tables, hardware-reduced: RSDP, XSDT, FADT, MADT, DSDT and, with ECAM,
 * MCFG.
 *
 * There is no 8042, CMOS clock, VGA, PM timer or SCI, and the FADT says so; power off is S5 through
 * the sleep control register. A hardware-reduced kernel does not use the PIC, so the serial port is
 * a device in the DSDT (PNP0501) and kernels need its driver (CONFIG_SERIAL_8250_PNP) for its
 * interrupt. Set-up, or the loop while no vCPU runs.
 */
#ifndef VMM_ACPI_H
#define VMM_ACPI_H

#include "base/err.h"
#include "vmm/desc.h"
#include "vmm/place.h"

/* Writes all tables from LAYOUT_ACPI on, the RSDP first. 0, or -errno with @e. */
int acpi_write(const struct machine_desc *d, const struct place *p, struct err *e);

#endif
