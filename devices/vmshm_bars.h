/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMShm device's bytes that are not memory: its registers (BAR 0) and the name (BAR 2). Both are
 * looked at by vCPUs, under the device lock.
 */
#ifndef DEVICES_VMSHM_BARS_H
#define DEVICES_VMSHM_BARS_H

#include <stdint.h>

#include "devices/bus.h"
#include "devices/vmshm.h"

/* Both are handed the struct vmshm. */
extern const struct bus_ops vmshm_regs_ops, vmshm_name_ops;

/* vmshm.c's: what the two registers do that have effects. In a vCPU's exit, which ends when it is
 * done; an OPEN's value is known only then (machine_wait_until). */
uint32_t vmshm_read_open(struct vmshm *d);
uint32_t vmshm_read_close(struct vmshm *d);

#endif
