/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that C and assembly share: where an application processor begins. */
#ifndef BARE_SMP_LAYOUT_H
#define BARE_SMP_LAYOUT_H

#define SMP_TRAMPOLINE	0x10000		/* free below the command line; a SIPI's page 0x10 */
#define SMP_GDT		0x500		/* the boot protocol's, and its 64-bit code is 0x10 */
#define SMP_GDT_SIZE	0x30
#define SMP_CPUS_MAX	8
#define SMP_STACK_SIZE	4096

#endif
