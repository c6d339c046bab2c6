/* SPDX-License-Identifier: Apache-2.0 */
/* The ways out of the machine, and its I/O ports. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

/* f_type of the two file systems that an initrd can lie in (linux/magic.h) */
#define MACHINE_RAMFS 0x858458f6
#define MACHINE_TMPFS 0x01021994

/*
 * I/O ports, by /dev/port where the kernel has it, else by ioperm. 0 or -errno; -EFAULT when the
 * processor refuses what ioperm allowed.
 */
int machine_out(unsigned port, unsigned value);
int machine_in(unsigned port, uint8_t *ret_value);

/* Cleans the file systems and powers off; a code other than 0 goes to the debug exit port first */
void __attribute__((noreturn)) machine_end(unsigned code);

#endif
