/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's ways to the config space of a bus's devices: the ports 0xcf8 to 0xcff (PCI 3.0,
 * 3.2.2.3.2) and ECAM (PCI Express, 7.2.2). In a vCPU's exit, under the device lock.
 */
#ifndef DEVICES_PCI_CONFIG_H
#define DEVICES_PCI_CONFIG_H

#include "devices/pci.h"

/* Their device is a struct pci_bus. */
extern const struct bus_ops pci_config_conf1_ops, pci_config_ecam_ops;

#endif
