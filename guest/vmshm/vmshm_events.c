// SPDX-License-Identifier: GPL-2.0-only
/* The interrupts of a VMShm device: vector n is bit n of what a program reads. */
#include <linux/atomic.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/poll.h>

#include "vmshm_driver.h"

static irqreturn_t handle(int irq, void *arg)
{
	struct vmshm_vector *vector = arg;

	atomic_or(vector->bit, &vector->shm->pending);
	wake_up_interruptible_poll(&vector->shm->wait, EPOLLIN | EPOLLRDNORM | EPOLLPRI);
	return IRQ_HANDLED;
}

static int request(struct vmshm *shm, int wanted)
{
	int err = pci_alloc_irq_vectors(shm->pdev, wanted, wanted, PCI_IRQ_MSIX);

	if (err < 0)
		return err;
	while (shm->vectors < wanted) {
		struct vmshm_vector *vector = &shm->vector[shm->vectors];

		vector->shm = shm;
		vector->bit = 1u << shm->vectors;
		err = pci_request_irq(shm->pdev, shm->vectors, handle, NULL, vector, "%s",
				      shm->misc_name);
		if (err) {
			vmshm_events_fini(shm);
			return err;
		}
		shm->vectors++;
	}
	return 0;
}

void vmshm_events_init(struct vmshm *shm)
{
	u32 vectors;
	int err;

	if (!(shm->features & VMSHM_F_EVENTS))
		return;
	vectors = min_t(u32, readl(shm->regs + VMSHM_NVECTORS), VMSHM_VECTORS_MAX);
	if (!vectors)
		return;
	/* an interrupt of this kind is a write to memory */
	pci_set_master(shm->pdev);
	err = request(shm, vectors);
	if (err)
		pci_warn(shm->pdev, "no interrupts (%d): nobody can wait for the host\n", err);
}

void vmshm_events_fini(struct vmshm *shm)
{
	while (shm->vectors > 0) {
		shm->vectors--;
		pci_free_irq(shm->pdev, shm->vectors, &shm->vector[shm->vectors]);
	}
	pci_free_irq_vectors(shm->pdev);
}
