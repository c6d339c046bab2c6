/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of init that comes before its verbs: mount points, modules, and from an initrd to the
 * disk.
 */
#ifndef BOOT_H
#define BOOT_H

#include <stdbool.h>

/* True when the root file system is the kernel's own, that is when we come from an initrd */
bool boot_in_initrd(void);

/* Mounts /dev, /proc, /sys, and on a disk /tmp and /run; what is mounted already stays. 0 or a
 * failed verb. */
int boot_mounts(void);

/* Loads what /modules/order names, in order, and frees the memory of the files. 0 or a failed verb.
 */
int boot_modules(void);

/*
 * When the command line has root=: waits for that device, mounts it and becomes its init (init= or
 * /sbin/init) with the same arguments. Returns 0 without root=, else a failed verb.
 */
int boot_root(char **argv, char **envp);

#endif
