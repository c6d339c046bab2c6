/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over MMIO, the modern interface only (VIRTIO 1.3, 4.2).
 *
 * Device number n of the machine has one page of registers at VIRTIO_MMIO_BASE and an IOAPIC pin
 * behind those that PCI and ISA use; machine description or command line tell the guest. There are
 * eight such pins, so devices eight apart share one.
 *
 * Doorbells. From DRIVER_OK to reset the value of each enabled queue, written to QueueNotify, is an
 * ioeventfd. A write that gets here all the same signals the kick itself.
 *
 * Interrupts. A pin, which is edge-triggered, has one eventfd, and that is its irqfd: the calls of
 * all queues of all its devices are copies of it, so that a daemon's interrupt does not pass
 * through this process. Two irqfds of one pin would lose interrupts: KVM raises the line and lowers
 * it again for each, and a rise while it is still up for the other is no edge, though the guest may
 * have handled that one already. One irqfd's rises follow one another. Nobody but the driver knows,
 * therefore, whether a queue has something: InterruptStatus says "used buffer" as long as the
 * device runs, and a driver that looks in vain finds nothing, as it must be able to.
 *
 * Reset. A driver writes 0 to Status and goes on as if that was done, so the write's exit ends only
 * when it is (4.2.2.1 asks no polling of the driver).
 *
 * Under the device lock.
 */
#ifndef DEVICES_VIRTIO_MMIO_H
#define DEVICES_VIRTIO_MMIO_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/bus.h"
#include "devices/virtio.h"

#define VIRTIO_MMIO_BASE UINT64_C(0xe1000000)
/* Shared memory regions, above RAM and below PCI's 64-bit BARs. */
#define VIRTIO_MMIO_WINDOWS	(UINT64_C(1) << 37)
#define VIRTIO_MMIO_WINDOWS_END (UINT64_C(1) << 38)

enum {
	VIRTIO_MMIO_SIZE = 0x1000,
	VIRTIO_MMIO_GSI_FIRST = 16,	/* up to the IOAPIC's last pin */
	VIRTIO_MMIO_GSI_COUNT = 8,
};

struct virtio_mmio {
	struct virtio_dev *virtio;	/* borrowed; NULL: not initialised */
	struct machine *machine;
	struct bus_range range;
	unsigned gsi;

	uint32_t device_features_sel, driver_features_sel, queue_sel, shm_sel;
	bool config_changed;		/* a bit of InterruptStatus */

	bool connected;			/* from DRIVER_OK to the end of the reset */
	int call;			/* the pin's eventfd, or a copy of it; owned */
	struct virtio_mmio *before;	/* the machine's device before this one */
	struct misuse refused;		/* ioeventfds the machine did not take */
	struct misuse misshapen;	/* accesses of registers by other than 4 bytes */
};

/* Where device number @n has its registers and its interrupt. */
uint64_t virtio_mmio_address(unsigned n);
unsigned virtio_mmio_gsi(unsigned n);

/*
 * Set-up. Becomes the transport of @d, whose queues and config size are known, as the machine's
 * next device of this kind; the pin's eventfd takes the place of the queues' calls. @d is borrowed,
 * and @t must not move, until the transport's fini. 0 or -errno with @e.
 */
int virtio_mmio_init(struct virtio_mmio *t, struct virtio_dev *d, struct err *e);

#endif
