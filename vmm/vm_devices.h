/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user devices of a VM (--vhost-user): steps of its boot and its life, by vm.c and
 * vm_life.c only. Set-up, but for what is marked; each 0 or -errno with @e.
 */
#ifndef VMM_VM_DEVICES_H
#define VMM_VM_DEVICES_H

#include "base/err.h"

struct vm;

/* While every descriptor there is, is somebody else's: whether those of fd= are connected
 * sockets. */
int vm_devices_check(struct vm *vm, struct err *e);
/* server=on: listens, before the supervisor is forked, which removes the sockets' names. Whoever
 * connects gets all of the guest's RAM, so it is for this user only. */
int vm_devices_listen(struct vm *vm, struct err *e);
/* exec=: forks who starts daemons, before this process has given up any right. What it holds of
 * them, the supervisor forked after them closes. */
int vm_devices_start_spawners(struct vm *vm, struct err *e);
/* Forks who serves the control queue of each device that has one, before there is anything to
 * inherit. */
int vm_devices_start_helpers(struct vm *vm, struct err *e);
/* Connects to every daemon, so that all of them negotiate while the kernel is loaded. */
int vm_devices_connect(struct vm *vm, struct err *e);
/* Waits until all have, and puts the devices on their bus. With vm->ended set, -EINTR. */
int vm_devices_realize(struct vm *vm, struct err *e);
/* Under the device lock. After it no daemon of exec= is left. Works after any of these has failed
 * or never was. */
void vm_devices_fini(struct vm *vm);

#endif
