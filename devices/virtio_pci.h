/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI, the modern interface only (VIRTIO 1.3, 4.1).
 *
 * One 32-bit memory BAR holds it all:
 *
 *     0x0000  common configuration, 0x38 bytes
 *     0x0400  ISR status, 1 byte
 *     0x0800  device configuration
 *     0x1000  doorbells: 4 bytes a queue, so each has an address, hence an eventfd, of its own
 *     0x2000  MSI-X table        0x3000  MSI-X pending bits
 *
 * A second BAR, of 64 bits and prefetchable, is the window of the device's shared memory regions
 * when it has some (4.1.4.7).
 *
 * Doorbells and MSI-X have pages of their own, so that a guest can hand them on. The capability
 * PCI_CFG reaches the same bytes through config space.
 *
 * Doorbells. From DRIVER_OK to reset, while the BAR decodes, each enabled queue's doorbell is an
 * ioeventfd. A write that gets here all the same (before that, or through PCI_CFG) signals the kick
 * itself.
 *
 * Interrupts. With MSI-X each enabled queue's call eventfd is an irqfd of its vector, connected
 * once at DRIVER_OK. Without, the loop watches the calls, sets the ISR bit and raises INTx; reading
 * the ISR clears it and lowers the pin. When the guest moves the BAR or turns MSI-X on or off, one
 * job, `sync`, brings both in line.
 *
 * Under the device lock.
 */
#ifndef DEVICES_VIRTIO_PCI_H
#define DEVICES_VIRTIO_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "devices/msix.h"
#include "devices/pci.h"
#include "devices/virtio.h"

enum {
	VIRTIO_PCI_BAR = 0, VIRTIO_PCI_SHMEM_BAR = 2,
	VIRTIO_PCI_BAR_SIZE = 0x4000,
	VIRTIO_PCI_COMMON = 0x0000, VIRTIO_PCI_COMMON_SIZE = 0x38,
	VIRTIO_PCI_ISR_OFF = 0x0400,	/* VIRTIO_PCI_ISR is the legacy interface's, in <linux> */
	VIRTIO_PCI_DEVICE_CONFIG = 0x0800,
	VIRTIO_PCI_NOTIFY = 0x1000, VIRTIO_PCI_NOTIFY_STRIDE = 4,
	VIRTIO_PCI_REGIONS_MAX = 3,	/* capabilities end at byte 256 */
	VIRTIO_PCI_MSIX_TABLE = 0x2000, VIRTIO_PCI_MSIX_PBA = 0x3000,
};

enum virtio_pci_join { VIRTIO_PCI_APART, VIRTIO_PCI_INTX, VIRTIO_PCI_MSIX };

struct virtio_pci {
	struct pci_dev pci;
	struct msix msix;
	struct virtio_dev *virtio;	/* borrowed; NULL: not initialised */
	struct machine *machine;
	unsigned cfg_cap;		/* offset of PCI_CFG in config space */

	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t isr;

	bool connected;			/* from DRIVER_OK to the end of the reset */
	enum virtio_pci_join joined;	/* how the calls reach the guest */
	uint64_t doorbells_at;		/* BAR address of the ioeventfds; PCI_UNMAPPED: none */
	struct loop_job sync;
	struct virtio_pci_call {
		struct virtio_pci *p;
		struct loop_watch watch;
	} calls[VIRTIO_QUEUES_MAX];	/* watched in INTx mode */
	struct misuse refused;		/* ioeventfds or irqfds the machine did not take */
};

/*
 * Set-up. Becomes the transport of @d, whose queues and config size are known, on @bus. @class_code
 * is 24 bits. @d and @bus are borrowed, and @p must not move, until the transport's fini. 0 or
 * -errno with @e.
 */
int virtio_pci_init(struct virtio_pci *p, struct virtio_dev *d, struct pci_bus *bus,
		    uint32_t class_code, struct err *e);

/* virtio_pci_common.c. The common configuration registers; any offset within them, any size. */
uint64_t virtio_pci_common_read(struct virtio_pci *p, uint64_t off, unsigned size);
void virtio_pci_common_write(struct virtio_pci *p, uint64_t off, unsigned size, uint64_t value);

#endif
