// SPDX-License-Identifier: GPL-2.0-only
/* The registers of a VMShm device. */
#include <linux/errno.h>
#include <linux/io.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#include "vmshm_driver.h"

#define VERSION_MAJOR(v) ((v) >> 16)

static const int status_errno[] = {
	[VMSHM_ENOENT] = -ENOENT,
	[VMSHM_EBADNAME] = -EINVAL,
	[VMSHM_EBADTYPE] = -EINVAL,
	[VMSHM_EEMPTY] = -ENODATA,
	[VMSHM_ETOOBIG] = -EFBIG,
	[VMSHM_EBADOFFSET] = -EINVAL,
	[VMSHM_ENOMEM] = -ENOMEM,
	[VMSHM_EIO] = -EIO,
	[VMSHM_EUNSEALED] = -EPERM,
	[VMSHM_EBUSY] = -EBUSY,
	[VMSHM_ENOTSUP] = -EOPNOTSUPP,
};

static u32 reg_read(struct vmshm *shm, unsigned int reg)
{
	return readl(shm->regs + reg);
}

/* The halves are read one after another: again, should the upper have changed between them */
static u64 reg_read64(struct vmshm *shm, unsigned int lo, unsigned int hi)
{
	u32 high = reg_read(shm, hi), low = reg_read(shm, lo), again = reg_read(shm, hi);

	if (again != high)
		low = reg_read(shm, lo);
	return (u64)again << 32 | low;
}

/* A device of 0.1 has no magic number. Of a version that is not known yet that much is sure: it
 * opens and closes as that one did. */
void vmshm_device_init(struct vmshm *shm)
{
	if (reg_read(shm, VMSHM_MAGIC) == VMSHM_MAGIC_VALUE) {
		u32 version = reg_read(shm, VMSHM_VERSION);

		if (VERSION_MAJOR(version) == VERSION_MAJOR(VMSHM_VERSION_VALUE)) {
			shm->version = version;
			shm->features = reg_read(shm, VMSHM_FEATURES);
		} else {
			pci_notice(shm->pdev, "version %u is used as 0.1: a newer driver knows more\n",
				   VERSION_MAJOR(version));
		}
	}
	if (shm->features & VMSHM_F_DOORBELL)
		shm->events = reg_read(shm, VMSHM_NEVENTS);
	reg_read(shm, VMSHM_CLOSE);
}

static int errno_of(struct vmshm *shm, u32 status)
{
	if (status == VMSHM_OK)
		return 0;
	/* 0.1 gave a file descriptor of the host that was none: -1 */
	if (!shm->version)
		return -ENOENT;
	if (status < ARRAY_SIZE(status_errno))
		return status_errno[status];
	return -EIO;
}

/* Words: each store is an exit to the VMM, and the name's end is within one */
static void write_name(struct vmshm *shm, const char *name)
{
	size_t size = strlen(name) + 1;

	for (size_t i = 0; i < size; i += 4)
		writel(get_unaligned_le32(name + i), shm->name + i);
}

/* What a device lacks it would ignore, and open something else than was asked for */
static bool can_open(struct vmshm *shm, u64 offset, u32 flags)
{
	u32 wanted = 0;

	if ((offset || flags) && !shm->version)
		return false;
	if (offset)
		wanted |= VMSHM_F_OFFSET;
	if (flags & VMSHM_OPEN_RO)
		wanted |= VMSHM_F_RO;
	if (flags & VMSHM_OPEN_LARGE)
		wanted |= VMSHM_F_LARGE;
	return !(wanted & ~shm->features) && (!(flags & VMSHM_OPEN_LARGE) || shm->large.length);
}

int vmshm_device_open(struct vmshm *shm, const char *name, u64 offset, u32 flags)
{
	int err;

	if (!can_open(shm, offset, flags))
		return -EOPNOTSUPP;
	if (shm->version) {
		writel(flags, shm->regs + VMSHM_FLAGS);
		writel(lower_32_bits(offset), shm->regs + VMSHM_OFFSET_LO);
		writel(upper_32_bits(offset), shm->regs + VMSHM_OFFSET_HI);
	}
	write_name(shm, name);
	err = errno_of(shm, reg_read(shm, VMSHM_OPEN));
	if (err)
		return err;
	shm->open = true;
	shm->is_large = flags & VMSHM_OPEN_LARGE;
	shm->ro = flags & VMSHM_OPEN_RO;
	if (shm->version && (reg_read(shm, VMSHM_STATUS) & VMSHM_S_RO))
		shm->ro = true;
	return 0;
}

void vmshm_device_close(struct vmshm *shm)
{
	if (shm->open)
		reg_read(shm, VMSHM_CLOSE);
	shm->open = false;
	shm->is_large = false;
	shm->ro = false;
}

void vmshm_device_info(struct vmshm *shm, struct vmshm_ioc_info *ret_info)
{
	u32 status = shm->open ? VMSHM_S_OPEN : 0;

	/* all of it is there */
	ret_info->mapped = shm->open ? shm->small.length : 0;
	if (shm->version)
		status = reg_read(shm, VMSHM_STATUS);
	if (shm->features & VMSHM_F_SIZE) {
		ret_info->size = reg_read64(shm, VMSHM_SIZE_LO, VMSHM_SIZE_HI);
		ret_info->mapped = reg_read64(shm, VMSHM_MAPPED_LO, VMSHM_MAPPED_HI);
	}
	ret_info->status = status & ((1u << VMSHM_S_GENERATION) - 1);
	ret_info->generation = status >> VMSHM_S_GENERATION;
	ret_info->length = shm->small.length;
	ret_info->large = shm->large.length;
	ret_info->version = shm->version;
	ret_info->features = shm->features;
	ret_info->events = shm->events;
	ret_info->vectors = shm->vectors;
}

void vmshm_device_ring(struct vmshm *shm, u32 event)
{
	writel(event, shm->regs + VMSHM_DOORBELL);
}
