// SPDX-License-Identifier: GPL-2.0-only
/*
 * What programs do with /dev/vmshmN. One at a time has it open; that one file may be in several
 * processes.
 */
#include <linux/compat.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "vmshm_driver.h"

/* A process that mapped a window, or is about to */
struct vmshm_mm {
	struct list_head node;
	struct mm_struct *mm;	/* grabbed: the struct, not what it maps */
};

static void free_mms(struct list_head *mms)
{
	struct vmshm_mm *m, *next;

	list_for_each_entry_safe(m, next, mms, node) {
		mmdrop(m->mm);
		kfree(m);
	}
}

static int add_mm(struct vmshm *shm, struct mm_struct *mm)
{
	struct vmshm_mm *m;

	list_for_each_entry(m, &shm->mms, node) {
		if (m->mm == mm)
			return 0;
	}
	m = kmalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	mmgrab(mm);
	m->mm = mm;
	list_add(&m->node, &shm->mms);
	return 0;
}

/*
 * The kernel enters a mapping into the list of its file after the driver's mmap has filled it, and
 * what is not in the list is not unmapped here. But until it is, mmap_lock is held; so once that
 * was free in each process, all that was mapped before `gone` is in the list, and nothing comes
 * after.
 */
void vmshm_file_unmap(struct inode *inode, struct list_head *mms)
{
	struct vmshm_mm *m;

	list_for_each_entry(m, mms, node) {
		if (!mmget_not_zero(m->mm))
			continue;
		mmap_read_lock(m->mm);
		mmap_read_unlock(m->mm);
		mmput(m->mm);
	}
	if (inode) {
		unmap_mapping_range(inode->i_mapping, 0, 0, 1);
		iput(inode);
	}
	free_mms(mms);
}

static int file_open(struct inode *inode, struct file *file)
{
	struct vmshm *shm = container_of(file->private_data, struct vmshm, misc);
	int err = 0;

	/* not after misc_deregister, which waits for us: the device is there */
	mutex_lock(&shm->lock);
	if (shm->inode)
		err = -EBUSY;
	else if (shm->gone)
		err = -ENODEV;
	else
		shm->inode = inode;
	mutex_unlock(&shm->lock);
	if (err)
		return err;
	kref_get(&shm->ref);
	file->private_data = shm;
	return nonseekable_open(inode, file);
}

/* Comes after the last mapping's end, which holds the file */
static int file_release(struct inode *inode, struct file *file)
{
	struct vmshm *shm = file->private_data;
	LIST_HEAD(mms);

	mutex_lock(&shm->lock);
	if (!shm->gone)
		vmshm_device_close(shm);
	shm->inode = NULL;
	list_splice_init(&shm->mms, &mms);
	mutex_unlock(&shm->lock);
	free_mms(&mms);
	vmshm_put(shm);
	return 0;
}

/* Takes the lock of a device that is there */
static int lock_present(struct vmshm *shm)
{
	int err = mutex_lock_interruptible(&shm->lock);

	if (err)
		return err;
	if (!shm->gone)
		return 0;
	mutex_unlock(&shm->lock);
	return -ENODEV;
}

/* A copy: the lock is not held while user memory is read. Freed by the caller; or an ERR_PTR. */
static char *copy_name(struct vmshm *shm, const char __user *from)
{
	char *name = kzalloc(shm->name_size, GFP_KERNEL);
	long len;

	if (!name)
		return ERR_PTR(-ENOMEM);
	len = strncpy_from_user(name, from, shm->name_size);
	if (len >= 0 && (size_t)len < shm->name_size) {
		/* whole words are copied, and go to the device: nothing behind the end does */
		memset(name + len, 0, shm->name_size - len);
		return name;
	}
	kfree(name);
	return ERR_PTR(len < 0 ? len : -ENAMETOOLONG);
}

static long open_object(struct vmshm *shm, const char __user *from, u64 offset, u32 flags,
			struct vmshm_ioc_info *ret_info)
{
	char *name = copy_name(shm, from);
	long err;

	if (IS_ERR(name))
		return PTR_ERR(name);
	err = lock_present(shm);
	if (!err) {
		err = vmshm_device_open(shm, name, offset, flags);
		if (!err)
			vmshm_device_info(shm, ret_info);
		mutex_unlock(&shm->lock);
	}
	kfree(name);
	return err;
}

static long ioctl_open(struct vmshm *shm, struct vmshm_ioc_open __user *user)
{
	const u32 known = VMSHM_OPEN_RO | VMSHM_OPEN_LARGE | VMSHM_OPEN_WHOLE;
	struct vmshm_ioc_info info = { 0 };
	struct vmshm_ioc_open o;
	bool large;
	long err;

	if (copy_from_user(&o, user, sizeof(o)))
		return -EFAULT;
	if (o.reserved || (o.flags & ~known) || o.offset & ~PAGE_MASK)
		return -EINVAL;
	err = open_object(shm, u64_to_user_ptr(o.name), o.offset, o.flags, &info);
	if (err)
		return err;
	large = o.flags & VMSHM_OPEN_LARGE;
	o.size = info.size;
	o.mapped = info.mapped;
	o.length = large ? info.large : info.length;
	o.mmap_offset = large ? VMSHM_MMAP_LARGE : 0;
	return copy_to_user(user, &o, sizeof(o)) ? -EFAULT : 0;
}

static long ioctl_info(struct vmshm *shm, struct vmshm_ioc_info __user *user)
{
	struct vmshm_ioc_info info;
	long err;

	if (copy_from_user(&info, user, sizeof(info)))
		return -EFAULT;
	if (info.reserved)
		return -EINVAL;
	info = (struct vmshm_ioc_info){ 0 };
	err = lock_present(shm);
	if (err)
		return err;
	vmshm_device_info(shm, &info);
	mutex_unlock(&shm->lock);
	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static long ioctl_close(struct vmshm *shm, unsigned long arg)
{
	long err = arg ? -EINVAL : lock_present(shm);

	if (err)
		return err;
	vmshm_device_close(shm);
	mutex_unlock(&shm->lock);
	return 0;
}

static long file_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	struct vmshm *shm = file->private_data;
	struct vmshm_ioc_info ignored = { 0 };

	switch (request) {
	case 0:
		return open_object(shm, (const char __user *)arg, 0, 0, &ignored);
	case VMSHM_IOC_OPEN:
		return ioctl_open(shm, (struct vmshm_ioc_open __user *)arg);
	case VMSHM_IOC_INFO:
		return ioctl_info(shm, (struct vmshm_ioc_info __user *)arg);
	case VMSHM_IOC_CLOSE:
		return ioctl_close(shm, arg);
	}
	return -ENOTTY;
}

static void forbid_writing(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_clear(vma, VM_MAYWRITE);
#else
	vma->vm_flags &= ~VM_MAYWRITE;
#endif
}

/* Memory as any other, cached: the protection is left as it is. The offsets of the large window are
 * taken for its own during the call. */
static int map_window(struct vmshm *shm, struct vm_area_struct *vma)
{
	const struct vmshm_window *w = shm->is_large ? &shm->large : &shm->small;
	unsigned long offset = vma->vm_pgoff;
	unsigned long first = shm->is_large ? VMSHM_MMAP_LARGE >> PAGE_SHIFT : 0;
	int err;

	if (!shm->open || (offset >= VMSHM_MMAP_LARGE >> PAGE_SHIFT) != shm->is_large)
		return -ENXIO;
	if (shm->ro && (vma->vm_flags & VM_WRITE))
		return -EACCES;
	err = add_mm(shm, vma->vm_mm);
	if (err)
		return err;
	if (shm->ro)
		forbid_writing(vma);
	vma->vm_pgoff = offset - first;
	err = vm_iomap_memory(vma, w->start, w->length);
	vma->vm_pgoff = offset;
	return err;
}

static int file_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct vmshm *shm = file->private_data;
	int err;

	/* VM_SHARED is not set when the file is open for reading only */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	err = lock_present(shm);
	if (err)
		return err;
	err = map_window(shm, vma);
	mutex_unlock(&shm->lock);
	return err;
}

static __poll_t file_poll(struct file *file, poll_table *table)
{
	struct vmshm *shm = file->private_data;
	__poll_t ret = 0;
	u32 pending;

	poll_wait(file, &shm->wait, table);
	if (READ_ONCE(shm->gone))
		return EPOLLERR | EPOLLHUP;
	/* nothing would ever come */
	if (!shm->vectors)
		return EPOLLERR;
	pending = atomic_read(&shm->pending);
	if (pending)
		ret |= EPOLLIN | EPOLLRDNORM;
	if (pending & VMSHM_EVENT_STATE)
		ret |= EPOLLPRI;
	return ret;
}

static ssize_t file_read(struct file *file, char __user *to, size_t size, loff_t *pos)
{
	struct vmshm *shm = file->private_data;
	u32 events;

	if (size != sizeof(events))
		return -EINVAL;
	for (;;) {
		if (READ_ONCE(shm->gone))
			return -ENODEV;
		if (!shm->vectors)
			return -EOPNOTSUPP;
		events = atomic_xchg(&shm->pending, 0);
		if (events)
			break;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (wait_event_interruptible(shm->wait, atomic_read(&shm->pending) ||
							READ_ONCE(shm->gone)))
			return -ERESTARTSYS;
	}
	if (!copy_to_user(to, &events, sizeof(events)))
		return sizeof(events);
	atomic_or(events, &shm->pending);
	return -EFAULT;
}

static ssize_t file_write(struct file *file, const char __user *from, size_t size, loff_t *pos)
{
	struct vmshm *shm = file->private_data;
	u32 event;
	int err;

	if (size != sizeof(event))
		return -EINVAL;
	if (copy_from_user(&event, from, sizeof(event)))
		return -EFAULT;
	if (!shm->events)
		return -EOPNOTSUPP;
	if (event >= shm->events)
		return -EINVAL;
	err = lock_present(shm);
	if (err)
		return err;
	vmshm_device_ring(shm, event);
	mutex_unlock(&shm->lock);
	return sizeof(event);
}

const struct file_operations vmshm_fops = {
	.owner = THIS_MODULE,
	.open = file_open,
	.release = file_release,
	.unlocked_ioctl = file_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = file_mmap,
	.poll = file_poll,
	.read = file_read,
	.write = file_write,
};
