/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * /dev/vmshm0, /dev/vmshm1..: what a program in the guest asks of the Linux driver. README.md
 * beside this file has the words to it. Besides these requests there is that of 0.1:
 *
 *	ioctl(fd, 0, "/name")	opens the object for reading and writing
 */
#ifndef VMSHM_H
#define VMSHM_H

#include <linux/ioctl.h>
#include <linux/types.h>

#include "vmshm_regs.h"

/* The offset of mmap(2) by which the large window is reached; the other is at 0. */
#define VMSHM_MMAP_LARGE	0x100000000ull

/* What read(2) gives, one __u32: which of these happened since the last. poll(2) says POLLIN for
 * any, POLLPRI for the first. */
#define VMSHM_EVENT_STATE	(1u << 0)		/* VMSHM_IOC_INFO says something else now */
#define VMSHM_EVENT(n)		(1u << ((n) + 1))	/* the host gave event n */

/* VMSHM_IOC_OPEN. An open that fails leaves open what was. */
struct vmshm_ioc_open {
	__u64 name;		/* address of it, a string */
	__u64 offset;		/* in the object, of the window's first byte; whole pages */
	__u32 flags;		/* VMSHM_OPEN_* */
	__u32 reserved;		/* 0 */
	/* The answer, when it is 0: */
	__u64 size;		/* bytes of the object; 0: a device of 0.1 cannot tell */
	__u64 mapped;		/* bytes of the window that are the object's; no more */
	__u64 length;		/* bytes of the window */
	__u64 mmap_offset;	/* what mmap(2) takes: 0 or VMSHM_MMAP_LARGE */
};

struct vmshm_ioc_info {
	__u64 reserved;		/* 0 */
	/* The answer: */
	__u64 size, mapped;	/* as of VMSHM_IOC_OPEN; of now */
	__u64 length;		/* bytes of the window at 0, */
	__u64 large;		/* and of that at VMSHM_MMAP_LARGE; 0: there is none */
	__u32 version;		/* VMSHM_VERSION_VALUE; 0: a device of 0.1 */
	__u32 features;		/* VMSHM_F_* */
	__u32 status;		/* VMSHM_S_* but the generation */
	__u32 generation;	/* another one when status, size or mapped changed */
	__u32 events;		/* numbers for the host, from 0 on: what write(2) takes */
	__u32 vectors;		/* bits that read(2) may give; 0: it cannot */
};

#define VMSHM_IOC_OPEN		_IOWR(0xE7, 1, struct vmshm_ioc_open)
#define VMSHM_IOC_INFO		_IOWR(0xE7, 2, struct vmshm_ioc_info)
#define VMSHM_IOC_CLOSE		_IO(0xE7, 3)	/* takes 0; the object only, the file stays open */

#endif
