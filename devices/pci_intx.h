/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The INTx pins of a PCI bus and the four level-triggered lines that they share (PCI 3.0, 2.2.6);
 * for pci.c and pci_config.c. Under the device lock.
 */
#ifndef DEVICES_PCI_INTX_H
#define DEVICES_PCI_INTX_H

#include "devices/pci.h"

/* That of a device on a bus. */
struct intx_line *pci_intx_line(const struct pci_dev *d);
/* Any thread. Brings the line in line with d->intx and the COMMAND register. */
void pci_intx_update(struct pci_dev *d);
/* Set-up or loop. Joins the line to its interrupt; harmless when it is. 0 or -errno with @e. */
int pci_intx_connect(struct intx_line *line, struct err *e);
/* Loop. Undoes it; harmless when it is not. */
void pci_intx_disconnect(struct intx_line *line);

#endif
