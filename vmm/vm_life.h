/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a VM that runs: requests from the guest, signals, reset, crash and end. All in the
 * loop, but vm_life_request, which a vCPU's exit calls under the device lock.
 */
#ifndef VMM_VM_LIFE_H
#define VMM_VM_LIFE_H

#include <stdbool.h>

#include "base/err.h"

struct vm;

/* Set-up: signals become events of the loop. 0 or -errno with @e. */
int vm_life_init(struct vm *vm, struct err *e);
/* Kernel and initrd to RAM; @again after the guest ran. 0 or -errno with @e. */
int vm_life_load(struct vm *vm, bool again, struct err *e);
/* Power-on state of everything but devices: boot tables and registers. */
int vm_life_boot(struct vm *vm, bool again, struct err *e);

/* machine_ops.request. */
void vm_life_request(void *vm, int request, unsigned value);
/* Every vCPU has parked, or one stopped for good. */
void vm_life_parked(void *vm);
/* The user asked to quit. */
void vm_life_quit(void *vm);
/* The guest wrote its first byte to the serial port. */
void vm_life_first_byte(void *vm);

#endif
