// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a VMShm device: found, its node /dev/vmshmN made; unbound or unplugged, perhaps while
 * programs have the node open and the window mapped.
 */
#include <linux/idr.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/version.h>

#include "vmshm_driver.h"

static DEFINE_IDA(ids);

static void release(struct kref *ref)
{
	kfree(container_of(ref, struct vmshm, ref));
}

void vmshm_put(struct vmshm *shm)
{
	kref_put(&shm->ref, release);
}

static struct vmshm_window window_of(struct pci_dev *pdev, int bar)
{
	struct vmshm_window w = { 0 };

	if (pci_resource_flags(pdev, bar) & IORESOURCE_MEM) {
		w.start = pci_resource_start(pdev, bar);
		w.length = pci_resource_len(pdev, bar);
	}
	return w;
}

/* Managed: it is all released when the driver is unbound */
static int request_bars(struct pci_dev *pdev)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	return pcim_request_all_regions(pdev, KBUILD_MODNAME);
#else
	return pci_request_regions(pdev, KBUILD_MODNAME);
#endif
}

static int map_bars(struct vmshm *shm)
{
	struct pci_dev *pdev = shm->pdev;
	int err = pcim_enable_device(pdev);

	if (!err)
		err = request_bars(pdev);
	if (err)
		return err;
	shm->small = window_of(pdev, VMSHM_BAR_WINDOW);
	shm->name_size = min_t(u64, pci_resource_len(pdev, VMSHM_BAR_NAME), VMSHM_NAME_SIZE) & ~3ul;
	if (pci_resource_len(pdev, VMSHM_BAR_REGS) < VMSHM_REGS_SIZE || !shm->small.length ||
	    !shm->name_size) {
		pci_err(pdev, "the BARs are not those of a VMShm device\n");
		return -ENODEV;
	}
	shm->regs = pcim_iomap(pdev, VMSHM_BAR_REGS, 0);
	shm->name = pcim_iomap(pdev, VMSHM_BAR_NAME, 0);
	return shm->regs && shm->name ? 0 : -ENOMEM;
}

static int add_node(struct vmshm *shm)
{
	int err;

	shm->misc.minor = MISC_DYNAMIC_MINOR;
	shm->misc.name = shm->misc_name;
	shm->misc.fops = &vmshm_fops;
	shm->misc.parent = &shm->pdev->dev;
	shm->misc.mode = 0600;
	err = misc_register(&shm->misc);
	if (err)
		pci_err(shm->pdev, "/dev/%s: %d\n", shm->misc_name, err);
	return err;
}

static int probe_named(struct vmshm *shm)
{
	int err = map_bars(shm);

	if (err)
		return err;
	vmshm_device_init(shm);
	if (shm->features & VMSHM_F_LARGE)
		shm->large = window_of(shm->pdev, VMSHM_BAR_LARGE);
	vmshm_events_init(shm);
	pci_set_drvdata(shm->pdev, shm);
	err = add_node(shm);
	if (err)
		vmshm_events_fini(shm);
	return err;
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vmshm *shm = kzalloc(sizeof(*shm), GFP_KERNEL);
	int err;

	if (!shm)
		return -ENOMEM;
	kref_init(&shm->ref);
	mutex_init(&shm->lock);
	INIT_LIST_HEAD(&shm->mms);
	init_waitqueue_head(&shm->wait);
	shm->pdev = pdev;
	shm->id = ida_alloc(&ids, GFP_KERNEL);
	if (shm->id < 0) {
		err = shm->id;
		vmshm_put(shm);
		return err;
	}
	snprintf(shm->misc_name, sizeof(shm->misc_name), "vmshm%d", shm->id);
	err = probe_named(shm);
	if (err) {
		ida_free(&ids, shm->id);
		vmshm_put(shm);
	}
	return err;
}

/* Nobody opens an object any more, or touches a register; who waits, waits no longer */
static void end(struct vmshm *shm)
{
	struct inode *inode;
	LIST_HEAD(mms);

	mutex_lock(&shm->lock);
	if (!shm->gone)
		vmshm_device_close(shm);
	WRITE_ONCE(shm->gone, true);
	inode = shm->inode ? igrab(shm->inode) : NULL;
	list_splice_init(&shm->mms, &mms);
	mutex_unlock(&shm->lock);
	wake_up_all(&shm->wait);
	vmshm_file_unmap(inode, &mms);
}

static void remove(struct pci_dev *pdev)
{
	struct vmshm *shm = pci_get_drvdata(pdev);

	misc_deregister(&shm->misc);
	end(shm);
	vmshm_events_fini(shm);
	ida_free(&ids, shm->id);
	vmshm_put(shm);
}

/* The next kernel, after kexec, finds nothing open */
static void shutdown(struct pci_dev *pdev)
{
	end(pci_get_drvdata(pdev));
}

static const struct pci_device_id pci_ids[] = {
	{ PCI_DEVICE(VMSHM_PCI_VENDOR, VMSHM_PCI_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, pci_ids);

static struct pci_driver vmshm_driver = {
	.name = KBUILD_MODNAME,
	.id_table = pci_ids,
	.probe = probe,
	.remove = remove,
	.shutdown = shutdown,
};
module_pci_driver(vmshm_driver);

MODULE_DESCRIPTION("VMShm: shared memory objects of the host, by name");
MODULE_AUTHOR("The minivmm authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
