/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * VMShm 1.0: what the guest sees. One header for the device, the Linux driver and the tests; it
 * includes nothing. Registers are 32 bits, little-endian, at aligned offsets of BAR 0; any other
 * access reads 0 and writes nothing, as does an offset that has no name here. vmshm(4) has the
 * words to it.
 *
 * A device of 0.1 has VMSHM_OPEN and VMSHM_CLOSE alone, and reads 0 at all the rest. What is above
 * 0x40 does nothing until it is used.
 */
#ifndef GUEST_VMSHM_REGS_H
#define GUEST_VMSHM_REGS_H

#define VMSHM_PCI_VENDOR	0x1af4
#define VMSHM_PCI_DEVICE	0x6661
#define VMSHM_PCI_REVISION	1		/* 0.1 had 0 */
#define VMSHM_PCI_CLASS		0x00ff00

#define VMSHM_BAR_REGS		0		/* 0x100 bytes */
#define VMSHM_BAR_WINDOW	1		/* 1 MiB, below 4 GiB */
#define VMSHM_BAR_NAME		2		/* 1 KiB, or more: what is behind it is ignored */
#define VMSHM_BAR_MSIX		3		/* with interrupts only */
#define VMSHM_BAR_LARGE		4		/* 64 bits; with a large window only */

#define VMSHM_REGS_SIZE		0x100
#define VMSHM_WINDOW_SIZE	0x100000
#define VMSHM_NAME_SIZE		0x400		/* the name and its NUL are within it */

#define VMSHM_OPEN		0x00		/* R: opens what is named; 0 or a VMSHM_E* */
#define VMSHM_CLOSE		0x20		/* R: unbinds; always 0 */
#define VMSHM_MAGIC		0x40		/* R: VMSHM_MAGIC_VALUE */
#define VMSHM_VERSION		0x44		/* R: major << 16 | minor */
#define VMSHM_FEATURES		0x48		/* R: VMSHM_F_* */
#define VMSHM_STATUS		0x4c		/* R: VMSHM_S_*, generation from bit 16 on */
#define VMSHM_ERROR		0x50		/* R: what the last OPEN gave */
#define VMSHM_SIZE_LO		0x58		/* R: bytes of the object at OPEN */
#define VMSHM_SIZE_HI		0x5c
#define VMSHM_MAPPED_LO		0x60		/* R: bytes of the window that it has */
#define VMSHM_MAPPED_HI		0x64
#define VMSHM_WINDOW_LO		0x68		/* R: bytes of the large window, or 0 */
#define VMSHM_WINDOW_HI		0x6c
#define VMSHM_OFFSET_LO		0x70		/* RW: in the object; the next OPEN zeroes it */
#define VMSHM_OFFSET_HI		0x74
#define VMSHM_FLAGS		0x78		/* RW: VMSHM_OPEN_*; the next OPEN zeroes it */
#define VMSHM_DOORBELL		0x80		/* W: the number of an event, from 0 on */
#define VMSHM_NEVENTS		0x84		/* R: how many of those there are */
#define VMSHM_NVECTORS		0x88		/* R: MSI-X vectors; 0: state, n + 1: event n */

#define VMSHM_MAGIC_VALUE	0x48534d56	/* "VMSH" */
#define VMSHM_VERSION_VALUE	0x00010000

#define VMSHM_F_SIZE		(1 << 0)	/* SIZE and MAPPED */
#define VMSHM_F_RO		(1 << 1)	/* VMSHM_OPEN_RO */
#define VMSHM_F_DOORBELL	(1 << 2)	/* DOORBELL, NEVENTS > 0 */
#define VMSHM_F_EVENTS		(1 << 3)	/* MSI-X, NVECTORS > 0 */
#define VMSHM_F_LARGE		(1 << 4)	/* BAR 4 */
#define VMSHM_F_OFFSET		(1 << 5)	/* OFFSET */
#define VMSHM_F_SEALED		(1 << 6)	/* VMSHM_S_SEALED is known */

#define VMSHM_S_OPEN		(1 << 0)
#define VMSHM_S_RO		(1 << 1)	/* the guest's stores do not reach it */
#define VMSHM_S_TRUNCATED	(1 << 2)	/* it shrank since; until CLOSE or OPEN */
#define VMSHM_S_PEER		(1 << 3)	/* somebody on the host takes the events */
#define VMSHM_S_SEALED		(1 << 4)	/* the object cannot shrink */
#define VMSHM_S_LARGE		(1 << 5)	/* it is in the large window */
#define VMSHM_S_GENERATION	16		/* shift; + 1 for OPEN, CLOSE, truncation */

#define VMSHM_OPEN_RO		(1 << 0)	/* reading is enough */
#define VMSHM_OPEN_LARGE	(1 << 1)	/* into the large one */
#define VMSHM_OPEN_WHOLE	(1 << 2)	/* fail if the object does not fit */

#define VMSHM_OK		0
#define VMSHM_ENOENT		1		/* absent or not allowed: no telling */
#define VMSHM_EBADNAME		2
#define VMSHM_EBADTYPE		3		/* no regular shared memory object */
#define VMSHM_EEMPTY		4		/* it has no bytes */
#define VMSHM_ETOOBIG		5		/* with VMSHM_OPEN_WHOLE */
#define VMSHM_EBADOFFSET	6		/* not of whole pages, or behind the end */
#define VMSHM_ENOMEM		7
#define VMSHM_EIO		8		/* its file system is full */
#define VMSHM_EUNSEALED		9		/* not given by this version */
#define VMSHM_EBUSY		10		/* another OPEN is under way; exclusive */
#define VMSHM_ENOTSUP		11		/* flags that it does not know or have */

#endif
