/* SPDX-License-Identifier: Apache-2.0 */
/* The ways out of the machine. */
#ifndef MACHINE_H
#define MACHINE_H

/* f_type of the two file systems that an initrd can lie in (linux/magic.h) */
#define MACHINE_RAMFS 0x858458f6
#define MACHINE_TMPFS 0x01021994

/* Writes a byte to an I/O port: 0 or -errno of ioperm */
int machine_out(unsigned port, unsigned value);

/* Cleans the file systems and powers off; a code other than 0 goes to the debug exit port first */
void __attribute__((noreturn)) machine_end(unsigned code);

#endif
