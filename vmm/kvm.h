/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The KVM virtual machine: what devices/machine.h asks for, done with ioctls.
 *
 * Owns /dev/kvm, the VM fd and the GSI routing table. All calls are for the loop thread (or
 * set-up), which is also the only one whose filter allows them.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "devices/machine.h"
#include "memory/guest_mem.h"

enum { KVM_IOAPIC_PINS = 24 };

struct kvm {
	int fd, vm;
	int vcpu_mmap_size;
	int coalesced_offset;		/* of the coalesced PIO ring in a vCPU's mapping; 0: none */
	struct kvm_irq_routing *routing;	/* legacy pins, then one entry an enabled MSI */
	unsigned routing_room;
};

/* Opens /dev/kvm and makes the VM with its in-kernel PIC, IOAPIC and LAPICs. 0 or -errno with @e:
 * no device, no permission and what is too old are told apart. */
int kvm_init(struct kvm *k, struct err *e);
void kvm_fini(struct kvm *k);

/* Makes every region of @m a memory slot. */
int kvm_add_memory(struct kvm *k, const struct guest_mem *m, struct err *e);
/* Lets the kernel collect port writes that can wait for the next exit, so that a PCI access is one
 * exit to us, not two. Before the first run. */
void kvm_coalesce_ports(struct kvm *k, bool has_pci_devices);
/* PIC and IOAPIC as after power on. */
int kvm_reset_irqchip(struct kvm *k, struct err *e);

/* The rows of machine_ops that are plain ioctls; @ctx is a struct kvm. */
int kvm_irqfd_add(void *ctx, unsigned gsi, int eventfd, int resample);
void kvm_irqfd_del(void *ctx, unsigned gsi, int eventfd);
int kvm_msi_route(void *ctx, unsigned gsi, bool enabled, uint64_t address, uint32_t data);
int kvm_ioeventfd_add(void *ctx, const struct machine_doorbell *d, int eventfd);
void kvm_ioeventfd_del(void *ctx, const struct machine_doorbell *d, int eventfd);
int kvm_slot_set(void *ctx, unsigned slot, uint64_t gpa, uint64_t size, void *host);

#endif
