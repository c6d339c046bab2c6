/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the driver share: vmshm_pci.c has the life of a device, vmshm_file.c what
 * programs do with its node, vmshm_device.c its registers, vmshm_events.c its interrupts.
 *
 * A device is there from probe until both remove and the last close of its node: after remove,
 * `gone` is set and no register is touched any more. The lock is taken inside mmap_lock, so that
 * whatever may fault on user memory is done without it.
 */
#ifndef VMSHM_DRIVER_H
#define VMSHM_DRIVER_H

#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "vmshm.h"

#define VMSHM_VECTORS_MAX	8	/* bits of an event mask: state and seven events */

/* A range of guest-physical memory that the host's object appears in. Never mapped by the kernel:
 * it would be mapped uncached, and with it all mappings of it that are made meanwhile. */
struct vmshm_window {
	phys_addr_t start;
	u64 length;		/* 0: there is none */
};

struct vmshm;

struct vmshm_vector {
	struct vmshm *shm;
	u32 bit;
};

struct vmshm {
	struct kref ref;
	struct pci_dev *pdev;
	struct miscdevice misc;
	char misc_name[16];
	int id;
	struct vmshm_window small, large;

	/* Constant after probe; a device of 0.1 has zeros. */
	u32 version, features, events;
	int vectors;

	struct mutex lock;	/* everything below, and the registers, but for what is marked */
	bool gone;		/* read without it by those who wait */
	void __iomem *regs, *name;
	size_t name_size;	/* whole words */
	bool open, is_large, ro;	/* of the object */
	struct inode *inode;	/* of the one open file; NULL: the node is not open */
	struct list_head mms;	/* struct vmshm_mm: who may be mapping */

	atomic_t pending;	/* without the lock: events since the last read */
	wait_queue_head_t wait;
	struct vmshm_vector vector[VMSHM_VECTORS_MAX];
};

/* Frees at the last one. */
void vmshm_put(struct vmshm *shm);

extern const struct file_operations vmshm_fops;
/* Ends all mappings, once `gone` is set and the lock released. @inode, @mms were taken under it. */
void vmshm_file_unmap(struct inode *inode, struct list_head *mms);

/* Reads what kind of device it is, and closes what an earlier kernel left open. */
void vmshm_device_init(struct vmshm *shm);
/* Under the lock, as are the others. Opens the object @name, of name_size bytes, filled up with
 * zeros. 0, or -errno, and what was open stays so. */
int vmshm_device_open(struct vmshm *shm, const char *name, u64 offset, u32 flags);
void vmshm_device_close(struct vmshm *shm);
/* Reads size, mapped, status, generation. */
void vmshm_device_info(struct vmshm *shm, struct vmshm_ioc_info *ret_info);
/* @event < shm->events */
void vmshm_device_ring(struct vmshm *shm, u32 event);

/* Without interrupts the device works, but nobody can wait for it. */
void vmshm_events_init(struct vmshm *shm);
void vmshm_events_fini(struct vmshm *shm);

#endif
