/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wiring, in boot order, and what happens when the loop hears of an end. Life of a VM
 * (reset, crash, signals) is in vm_life.c.
 */
#include "vmm/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/virtio_ids.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "memory/shm_named.h"
#include "vmm/boot.h"
#include "vmm/kernel_path.h"
#include "vmm/vm_devices.h"
#include "vmm/vm_life.h"
#include "vmm/vm_vmshm.h"

static const char default_cmdline[] = "console=ttyS0 reboot=k panic=-1 root=/dev/vda rw";

/* What devices ask for, on KVM (devices/machine.h). */
static int irqfd_add(void *ctx, unsigned gsi, int eventfd, int resample)
{
	return kvm_irqfd_add(&((struct vm *)ctx)->kvm, gsi, eventfd, resample);
}

static void irqfd_del(void *ctx, unsigned gsi, int eventfd)
{
	kvm_irqfd_del(&((struct vm *)ctx)->kvm, gsi, eventfd);
}

static int msi_route(void *ctx, unsigned gsi, bool enabled, uint64_t address, uint32_t data)
{
	return kvm_msi_route(&((struct vm *)ctx)->kvm, gsi, enabled, address, data);
}

static int ioeventfd_add(void *ctx, const struct machine_doorbell *d, int eventfd)
{
	return kvm_ioeventfd_add(&((struct vm *)ctx)->kvm, d, eventfd);
}

static void ioeventfd_del(void *ctx, const struct machine_doorbell *d, int eventfd)
{
	kvm_ioeventfd_del(&((struct vm *)ctx)->kvm, d, eventfd);
}

static int slot_set(void *ctx, unsigned slot, uint64_t gpa, uint64_t size, void *host)
{
	return kvm_slot_set(&((struct vm *)ctx)->kvm, slot, gpa, size, host);
}

static bool in_vcpu(void *ctx)
{
	return vcpus_in_vcpu(&((struct vm *)ctx)->vcpus);
}

static void wait_for_job(void *ctx, struct loop_job *job)
{
	vcpus_wait_for_job(&((struct vm *)ctx)->vcpus, job);
}

static void wait_until(void *ctx, bool (*done)(void *arg), void *arg, const uint64_t *answer)
{
	vcpus_wait_until(&((struct vm *)ctx)->vcpus, done, arg, answer);
}

static void wake(void *ctx)
{
	vcpus_wake(&((struct vm *)ctx)->vcpus);
}

static const struct machine_ops machine_ops = {
	.irqfd_add = irqfd_add,
	.irqfd_del = irqfd_del,
	.msi_route = msi_route,
	.ioeventfd_add = ioeventfd_add,
	.ioeventfd_del = ioeventfd_del,
	.slot_set = slot_set,
	.request = vm_life_request,
	.in_vcpu = in_vcpu,
	.wait_for_job = wait_for_job,
	.wait_until = wait_until,
	.wake = wake,
};

/* fd=N: sockets that whoever started us has connected, and objects that he has opened. */
static int check_inherited(struct vm *vm, struct err *e)
{
	int r = vm_devices_check(vm, e);

	return r ? r : vm_vmshm_check(vm, e);
}

static int init_trace(struct vm *vm, struct err *e)
{
	return vu_trace_open(&vm->trace, vm->options->vu_trace, e);
}

static int init_report(struct vm *vm, struct err *e)
{
	return report_init(&vm->report, vm->options->boot_report, e);
}

static int init_loop(struct vm *vm, struct err *e)
{
	const struct options *o = vm->options;
	int r = loop_init(&vm->loop, &vm->machine.lock, e);

	/* Only where eventfds are shared: with it the kernel takes some 30 ms to end a process. */
	if (!r && (o->n_devices || o->n_vmshms) && !bell_init(&vm->loop.bell))
		log_warn("no asynchronous reads from the kernel (see fs.aio-max-nr): a daemon that fills the"
			 " eventfds it shares could hold up the machine");
	return r;
}

/* Gives up the names: to the supervisor, once it is forked; or, with @remove, to nobody. Twice. */
static void drop_names(struct vm *vm, bool remove)
{
	for (unsigned i = 0; i < vm->n_names; i++) {
		if (remove)
			listener_close(&vm->names[i]);
		fd_close(&vm->names[i].dir);
	}
}

static int init_supervisor(struct vm *vm, struct err *e)
{
	const struct options *o = vm->options;
	struct supervisor_socket sockets[ERRANDS_SOCKETS] = { { NULL, 0 } };
	struct supervisor_rights rights = { .sockets = sockets,
					    .n_sockets = ARRAY_SIZE(sockets),
					    .vmshms = o->vmshms,
					    .n_vmshms = o->n_vmshms,
					    .listeners = vm->names,
					    .n_listeners = vm->n_names,
					    .shm_name = o->mem.name };
	int r;

	for (unsigned i = 0; i < o->n_devices; i++) {
		const struct vhost_user_options *d = &o->devices[i];
		const char *path = d->server ? NULL : d->socket;

		sockets[i] = (struct supervisor_socket){ path, SOCK_STREAM };
		sockets[ERRANDS_DISPLAY + i] =
			(struct supervisor_socket){ d->display, SOCK_STREAM };
	}
	for (unsigned i = 0; i < o->n_vmshms; i++)
		sockets[ERRANDS_EVENTS_PEER + i] =
			(struct supervisor_socket){ o->vmshms[i].events_peer, SOCK_SEQPACKET };
	r = supervisor_start(&vm->supervisor, &rights, o->seccomp, e);
	if (r == 0)
		drop_names(vm, false);
	return r;
}

static int init_kvm(struct vm *vm, struct err *e)
{
	int r = kvm_init(&vm->kvm, e);

	report_stamp(&vm->report, STAMP_VM_CREATED);
	return r;
}

static int init_memory(struct vm *vm, struct err *e)
{
	const struct options *o = vm->options;
	int r = guest_mem_init(&vm->mem, &o->mem, vm->supervisor.shm, o->memory, e);

	if (r == 0)
		r = kvm_add_memory(&vm->kvm, &vm->mem, e);
	report_stamp(&vm->report, STAMP_RAM_READY);
	return r;
}

/* Bus devices: what every machine has. */
static int init_platform(struct vm *vm, struct err *e)
{
	int r;

	machine_init(&vm->machine, &machine_ops, vm, &vm->loop, &vm->mem);
	r = kvm_reset_irqchip(&vm->kvm, e);
	if (r == 0)
		r = pci_bus_init(&vm->pci, &vm->machine, vm->options->machine == MACHINE_ACPI, e);
	if (r == 0)
		r = console_init(&vm->console, vm->options->serial ? vm->options->serial : "stdio",
				 &vm->loop, &vm->serial, vm_life_quit, vm_life_first_byte, vm, e);
	if (r == 0)
		r = serial_init(&vm->serial, &vm->machine, &vm->machine.pio, SERIAL_PORT,
				MACHINE_GSI_SERIAL, &console_serial_ops, &vm->console, e);
	if (r == 0)
		r = platform_init(&vm->platform, &vm->machine, &vm->pci, e);
	return r;
}

static int open_kernel(struct vm *vm, struct err *e)
{
	const struct options *o = vm->options;
	const char *kernel = o->kernel;

	if (!kernel) {
		int r = kernel_path_default(vm->kernel_path, sizeof(vm->kernel_path), e);

		if (r)
			return r;
		kernel = vm->kernel_path;
	}
	return loader_open(&vm->loader, kernel, o->initrds.items, o->initrds.count, e);
}

static int load_kernel(struct vm *vm, struct err *e)
{
	return vm_life_load(vm, false, e);
}

static int boot(struct vm *vm, struct err *e)
{
	return vm_life_boot(vm, false, e);
}

/* Devices by MMIO, to a kernel that reads the MPTable, which cannot tell of them. In front: what
 * follows a "--" is init's. */
static void announce_mmio(FILE *out, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		fprintf(out, "virtio_mmio.device=%uK@%#" PRIx64 ":%u ", VIRTIO_MMIO_SIZE / 1024,
			virtio_mmio_address(i), virtio_mmio_gsi(i));
}

static int make_cmdline(struct vm *vm, struct err *e)
{
	const struct options *o = vm->options;
	size_t size;
	FILE *out = open_memstream(&vm->cmdline, &size);

	if (!out)
		return err_set(e, -ENOMEM, "command line: out of memory");
	if (o->machine != MACHINE_FDT)
		announce_mmio(out, vm->machine.mmio_devices);
	fputs(o->cmdline ? o->cmdline : default_cmdline, out);
	if (o->append)
		fprintf(out, " %s", o->append);
	return fclose(out) ? err_set(e, -ENOMEM, "command line: out of memory") : 0;
}

/* What boot_setup tells the guest of all this. */
static void describe(struct vm *vm, unsigned phys_bits)
{
	desc_init(&vm->desc, vm->vcpus.count, phys_bits);
	vm->desc.acpi = vm->options->machine == MACHINE_ACPI;
	vm->desc.ecam = vm->desc.acpi;
	vm->desc.fdt = vm->options->machine == MACHINE_FDT;
	vm->desc.mmio_devices = vm->machine.mmio_devices;
	for (unsigned i = 0; i < vm->n_devices; i++)
		if (vm->options->devices[i].virtio_id == VIRTIO_ID_SCMI)
			vm->desc.scmi = true;
	vm->desc.pci_slots = 0;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (vm->pci.slots[slot])
			vm->desc.pci_slots |= 1u << slot;
}

static int init_vcpus(struct vm *vm, struct err *e)
{
	unsigned n = (unsigned)vm->options->cpus;
	struct kvm_cpuid2 *cpuid = NULL;
	int r;

	r = vcpus_init(&vm->vcpus, &vm->kvm, &vm->machine, n, vm_life_parked, vm, e);
	if (r == 0)
		r = arch_cpuid_new(&vm->kvm, n, &cpuid, e);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = arch_vcpu_init(vm->vcpus.vcpu[i].fd, i, cpuid, e);
	if (r == 0)
		describe(vm, arch_phys_bits(cpuid));
	free(cpuid);
	return r;
}

static int watch_memory(struct vm *vm, struct err *e)
{
	(void)e;
	starvation_watch(&vm->starvation, &vm->mem, &vm->loop);
	return 0;
}

static int start_console(struct vm *vm, struct err *e)
{
	return console_start(&vm->console, e);
}

static int init_sandbox(struct vm *vm, struct err *e)
{
	return sandbox_init(&vm->sandbox, vm->options->seccomp, e);
}

static int start_vcpus(struct vm *vm, struct err *e)
{
	return vcpus_start(&vm->vcpus, vm->sandbox.vcpu, e);
}

/* Everybody is confined before the guest's first instruction. */
static int confine_and_go(struct vm *vm, struct err *e)
{
	int r = sandbox_enter_loop(&vm->sandbox, e);

	if (r)
		return r;
	pthread_mutex_lock(&vm->machine.lock);
	vcpus_resume(&vm->vcpus);
	pthread_mutex_unlock(&vm->machine.lock);
	return 0;
}

/* From nothing to the guest's first instruction. */
/* clang-format off: a line a step */
static int (*const boot_order[])(struct vm *vm, struct err *e) = {
	check_inherited,	/* while every descriptor there is, is somebody else's */
	init_trace,
	init_report,
	vm_vmshm_listen,
	vm_devices_listen,
	vm_devices_start_spawners, /* forked before this process has given up any right */
	init_supervisor,	/* forked before there is anything to inherit */
	vm_devices_start_helpers, /* as are these */
	init_loop,
	vm_life_init,
	open_kernel,
	init_kvm,
	init_memory,
	init_platform,
	vm_devices_connect,	/* daemons negotiate while ... */
	vm_vmshm_init,
	load_kernel,
	vm_devices_realize,	/* ... and are waited for here */
	make_cmdline,
	init_vcpus,
	boot,
	init_sandbox,
	watch_memory,
	start_console,
	start_vcpus,
	confine_and_go,
};
/* clang-format on */

int vm_init(struct vm *vm, const struct options *o, struct err *e)
{
	int r = 0;

	*vm = (struct vm){ .options = o,
			   .signals = -1,
			   .signal_watch.fd = -1,
			   .supervisor = SUPERVISOR_NONE,
			   .kvm = { .fd = -1, .vm = -1 } };
	for (size_t i = 0; i < ARRAY_SIZE(boot_order) && r == 0; i++)
		r = boot_order[i](vm, e);
	/* What ends the start may have ended the supervisors, too: a host without seccomp does. */
	if (r && o->mem.name)
		shm_named_unlink(vm->supervisor.shm, o->mem.name);
	drop_names(vm, true);
	return r;
}
