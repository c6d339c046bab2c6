/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMShm devices of a VM: steps of its boot and its life, by vm.c and vm_life.c only. Set-up,
 * but for what is marked.
 */
#ifndef VMM_VM_VMSHM_H
#define VMM_VM_VMSHM_H

#include "base/err.h"

struct vm;

/* While every descriptor there is, is somebody else's: whether those of map= are what they have to
 * be. Says on the log how to allow a name to a device that may open none. 0 or -errno with @e. */
int vm_vmshm_check(struct vm *vm, struct err *e);
/* Listens where events= says, for devices that do not exist yet: before the supervisor is forked,
 * which removes the sockets' names. 0 or -errno with @e. */
int vm_vmshm_listen(struct vm *vm, struct err *e);
/* The devices, on their bus. After errands_init. 0 or -errno with @e. */
int vm_vmshm_init(struct vm *vm, struct err *e);
/* Loop. The machine is reset. */
void vm_vmshm_reset(struct vm *vm);
/* Under the device lock. Works after a vm_vmshm_init that failed or never was. */
void vm_vmshm_fini(struct vm *vm);

#endif
