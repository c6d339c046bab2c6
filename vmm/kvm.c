/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"

/* Intel needs three pages for a TSS below 4 GiB to run real mode; KVM's customary place. */
#define TSS_ADDRESS  0xfffbd000u
#define IDENTITY_MAP 0xfffbc000u

/* Delivery modes of an IOAPIC entry. */
enum { DELIVERY_SMI = 2, DELIVERY_EXTINT = 7 };

static const struct {
	int capability;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQCHIP, "in-kernel interrupt controllers" },
	{ KVM_CAP_IRQFD, "irqfd" },
	{ KVM_CAP_IRQFD_RESAMPLE, "level-triggered irqfd" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd" },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd of any length" },
	{ KVM_CAP_SIGNAL_MSI, "MSI" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
};

static int open_device(struct kvm *k, struct err *e)
{
	k->fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (k->fd < 0 && errno == ENOENT)
		return err_set(
			e, -ENOENT,
			"/dev/kvm does not exist: this machine has no hardware virtualization, "
			"or the modules kvm and kvm_intel or kvm_amd are not loaded");
	if (k->fd < 0 && (errno == EACCES || errno == EPERM))
		return err_set(e, -errno,
			       "/dev/kvm may not be opened: run as root or add yourself to the "
			       "group that owns it (kvm)");
	if (k->fd < 0)
		return err_sys(e, "/dev/kvm cannot be opened");
	if (ioctl(k->fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return err_set(e, -ENOSYS, "/dev/kvm speaks an API version other than %d",
			       KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(k->fd, KVM_CHECK_EXTENSION, needed[i].capability) <= 0)
			return err_set(e, -ENOSYS,
				       "this machine's KVM lacks %s: a newer kernel is needed",
				       needed[i].name);
	return 0;
}

/* The pins as the in-kernel chips have them: PIC and IOAPIC share the first 16. */
static void legacy_routes(struct kvm *k)
{
	struct kvm_irq_routing_entry *r = k->routing->entries;

	for (unsigned pin = 0; pin < KVM_IOAPIC_PINS; pin++) {
		if (pin < 16 && pin != 2)
			*r++ = (struct kvm_irq_routing_entry){
				.gsi = pin,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = { .irqchip = pin < 8 ? KVM_IRQCHIP_PIC_MASTER
								  : KVM_IRQCHIP_PIC_SLAVE,
					       .pin = pin % 8 }
			};
		*r++ = (struct kvm_irq_routing_entry){ .gsi = pin,
						       .type = KVM_IRQ_ROUTING_IRQCHIP,
						       .u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC,
								      .pin = pin } };
	}
	k->routing->nr = (unsigned)(r - k->routing->entries);
}

static int create_vm(struct kvm *k, struct err *e)
{
	uint64_t identity_map = IDENTITY_MAP;

	/* KVM_CREATE_VM is interrupted by any signal, a terminal's resize included. */
	do {
		k->vm = ioctl(k->fd, KVM_CREATE_VM, 0);
	} while (k->vm < 0 && errno == EINTR);
	if (k->vm < 0)
		return err_sys(e, "KVM cannot create a virtual machine");
	k->vcpu_mmap_size = ioctl(k->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (k->vcpu_mmap_size < (int)sizeof(struct kvm_run))
		return err_set(e, -ENOSYS, "KVM gives no vCPU mapping");
	/* Both matter on old Intel processors only; elsewhere they may be unknown. */
	ioctl(k->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	ioctl(k->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	if (ioctl(k->vm, KVM_CREATE_IRQCHIP, 0))
		return err_sys(e, "KVM cannot create its interrupt controllers");
	return 0;
}

int kvm_init(struct kvm *k, struct err *e)
{
	int r;

	*k = (struct kvm){ .fd = -1, .vm = -1 };
	k->routing_room = 2 * KVM_IOAPIC_PINS + MACHINE_GSI_MAX;
	k->routing =
		calloc(1, sizeof(*k->routing) + k->routing_room * sizeof(k->routing->entries[0]));
	if (!k->routing)
		return err_set(e, -ENOMEM, "interrupt routing: out of memory");
	r = open_device(k, e);
	if (r == 0)
		r = create_vm(k, e);
	if (r == 0)
		legacy_routes(k);
	if (r)
		kvm_fini(k);
	return r;
}

void kvm_fini(struct kvm *k)
{
	free(k->routing);
	k->routing = NULL;
	fd_close(&k->vm);
	fd_close(&k->fd);
}

int kvm_slot_set(void *ctx, unsigned slot, uint64_t gpa, uint64_t size, void *host)
{
	struct kvm *k = ctx;
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	return ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &r) ? -errno : 0;
}

int kvm_add_memory(struct kvm *k, const struct guest_mem *m, struct err *e)
{
	for (unsigned i = 0; i < m->count; i++) {
		const struct mem_region *r = &m->regions[i];

		if (kvm_slot_set(k, r->slot, r->gpa, r->size, r->host))
			return err_sys(e, "KVM does not take the guest's memory region at %#llx",
				       (unsigned long long)r->gpa);
	}
	return 0;
}

void kvm_coalesce_ports(struct kvm *k, bool has_pci_devices)
{
	/* Writes whose effect nobody can see before the next exit: the address of a PCI access, the
	 * UART's FIFO, line and modem control, the PIT that is not there, and the configuration of
	 * a host bridge that is alone on its bus. Not the UART's data and interrupt enable, nor a
	 * PCI device's configuration: an interrupt that the guest waits for may follow from them.
	 */
	static const struct kvm_coalesced_mmio_zone zones[] = {
		{ .addr = 0xcf8, .size = 4, .pio = 1 },
		{ .addr = 0x3fa, .size = 3, .pio = 1 },
		{ .addr = 0x40, .size = 4, .pio = 1 },
		{ .addr = 0xcfc, .size = 4, .pio = 1 }, /* last: only without devices */
	};
	size_t n = ARRAY_SIZE(zones) - has_pci_devices;
	/* The ring is shared with coalesced MMIO, whose capability says where it is mapped. */
	int page = ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	if (page <= 0 || ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (ioctl(k->vm, KVM_REGISTER_COALESCED_MMIO, &zones[i]) == 0)
			k->coalesced_offset = page * (int)sysconf(_SC_PAGESIZE);
}

int kvm_reset_irqchip(struct kvm *k, struct err *e)
{
	/* The pins PCI uses are level-triggered at the PIC too: ELCR bits of 5, 9, 10 and 11. */
	struct kvm_irqchip chips[] = {
		{ .chip_id = KVM_IRQCHIP_PIC_MASTER,
		  .chip.pic = { .elcr = 1 << 5, .elcr_mask = 0xf8 } },
		{ .chip_id = KVM_IRQCHIP_PIC_SLAVE,
		  .chip.pic = { .elcr = 1 << 1 | 1 << 2 | 1 << 3, .elcr_mask = 0xde } },
		{ .chip_id = KVM_IRQCHIP_IOAPIC, .chip.ioapic = { .base_address = 0xfec00000 } },
	};

	/*
	 * Every pin is masked but pin 0, where the PIC would be connected (ExtINT), as firmware
	 * leaves it in virtual wire mode. It is what Linux looks for first, pin by pin; and a pin
	 * that may carry SMIs it does not clear. Both together spare every boot some 270 accesses,
	 * each an exit.
	 */
	for (unsigned pin = 0; pin < KVM_IOAPIC_PINS; pin++) {
		chips[2].chip.ioapic.redirtbl[pin].fields.mask = pin != 0;
		chips[2].chip.ioapic.redirtbl[pin].fields.delivery_mode =
			pin ? DELIVERY_SMI : DELIVERY_EXTINT;
	}
	for (size_t i = 0; i < ARRAY_SIZE(chips); i++)
		if (ioctl(k->vm, KVM_SET_IRQCHIP, &chips[i]))
			return err_sys(e, "KVM cannot reset interrupt controller %u",
				       chips[i].chip_id);
	return 0;
}

static int irqfd(struct kvm *k, unsigned gsi, int eventfd, int resample, unsigned flags)
{
	struct kvm_irqfd i = {
		.fd = (unsigned)eventfd,
		.gsi = gsi,
		.flags = flags | (resample >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0),
		.resamplefd = resample >= 0 ? (unsigned)resample : 0,
	};

	return ioctl(k->vm, KVM_IRQFD, &i) ? -errno : 0;
}

int kvm_irqfd_add(void *ctx, unsigned gsi, int eventfd, int resample)
{
	return irqfd(ctx, gsi, eventfd, resample, 0);
}

void kvm_irqfd_del(void *ctx, unsigned gsi, int eventfd)
{
	irqfd(ctx, gsi, eventfd, -1, KVM_IRQFD_FLAG_DEASSIGN);
}

int kvm_msi_route(void *ctx, unsigned gsi, bool enabled, uint64_t address, uint32_t data)
{
	struct kvm *k = ctx;
	struct kvm_irq_routing *t = k->routing;
	unsigned i;
	int r;

	for (i = 0; i < t->nr; i++)
		if (t->entries[i].type == KVM_IRQ_ROUTING_MSI && t->entries[i].gsi == gsi)
			break;
	if (!enabled) {
		if (i == t->nr)
			return 0;
		t->entries[i] = t->entries[--t->nr];
	} else {
		if (i == k->routing_room)
			return -ENOSPC;
		if (i == t->nr)
			t->nr++;
		t->entries[i] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = { .address_lo = (uint32_t)address,
				   .address_hi = (uint32_t)(address >> 32),
				   .data = data }
		};
	}
	r = ioctl(k->vm, KVM_SET_GSI_ROUTING, t) ? -errno : 0;
	/* The guest chose the address: one that KVM refuses must not spoil the other routes. */
	if (r && enabled)
		t->entries[i] = t->entries[--t->nr];
	return r;
}

static int ioeventfd(struct kvm *k, const struct machine_doorbell *d, int eventfd, unsigned flags)
{
	struct kvm_ioeventfd i = {
		.addr = d->addr,
		.len = d->one_value ? 4 : 0,
		.datamatch = d->value,
		.fd = eventfd,
		.flags = flags | (d->one_value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

	return ioctl(k->vm, KVM_IOEVENTFD, &i) ? -errno : 0;
}

int kvm_ioeventfd_add(void *ctx, const struct machine_doorbell *d, int eventfd)
{
	return ioeventfd(ctx, d, eventfd, 0);
}

void kvm_ioeventfd_del(void *ctx, const struct machine_doorbell *d, int eventfd)
{
	ioeventfd(ctx, d, eventfd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}
