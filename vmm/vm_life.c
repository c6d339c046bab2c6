/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm_life.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "vmm/boot.h"
#include "vmm/vm.h"
#include "vmm/vm_devices.h"
#include "vmm/vm_vmshm.h"

/* Port 0x80: user space begins, as cloud-hypervisor's debug port numbers it. */
enum { BOOT_MARK_INIT = 0x41 };

/* Between two attempts of a vCPU to get a page that the host has no room for. */
enum { RETRY_MS = 1000 };

/* Under the lock, in any thread. The first reason to end is the one told. */
static void decide(struct vm *vm, int exit_code)
{
	if (!vm->ended)
		vm->exit_code = exit_code;
	vm->ended = true;
}

static void end(struct vm *vm, int exit_code)
{
	decide(vm, exit_code);
	loop_stop(&vm->loop);
}

/* --- signals --- */

static void suspend(struct vm *vm)
{
	bool had_terminal = console_suspend(&vm->console);

	kill(getpid(), SIGSTOP);
	if (had_terminal)
		console_resume(&vm->console);
}

static void on_signal(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct signalfd_siginfo info;

	(void)events;
	while (fd_read_all(vm->signals, &info, sizeof(info)) == 0) {
		if (info.ssi_signo == SIGTSTP)
			suspend(vm);
		else
			end(vm, 128 + (int)info.ssi_signo);
	}
}

/* RAM whose pages are not there: the host's memory is exhausted, or somebody cut the object off. */
static void on_sigbus(int sig)
{
	static const char line[] =
		"minivmm: the host has no memory left for the guest's RAM: ended; "
		"give --memory less, or free space in the backend's file system\n";

	(void)sig;
	if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		_exit(VM_EXIT_MEMORY);
	_exit(VM_EXIT_MEMORY);
}

/* A reset resumes by itself. */
static void try_again(void *arg)
{
	struct vm *vm = arg;

	if (!vm->ended && !vm->reset_wanted)
		vcpus_resume(&vm->vcpus);
}

int vm_life_init(struct vm *vm, struct err *e)
{
	static const int ours[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	struct sigaction bus = { .sa_handler = on_sigbus };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		struct sigaction old;

		/* Who started us with a signal ignored (nohup, a shell's background job) wants
		 * that: a signalfd would report it nevertheless. */
		if (sigaction(ours[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaddset(&set, ours[i]);
	}
	/* Before any thread exists: all of them inherit it. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	/* A limit on file sizes (RLIMIT_FSIZE) is an error like others, with a sentence. */
	signal(SIGXFSZ, SIG_IGN);
	sigaction(SIGBUS, &bus, NULL);
	vm->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (vm->signals < 0)
		return err_sys(e, "signalfd");
	vm->retry = (struct loop_timer){ .expired = try_again, .arg = vm };
	vm->signal_watch = (struct loop_watch){ vm->signals, EPOLLIN, on_signal, vm };
	return loop_watch(&vm->loop, &vm->signal_watch, e);
}

/* --- requests from devices --- */

static void act_on_request(void *arg)
{
	struct vm *vm = arg;

	if (vm->ended)
		loop_stop(&vm->loop);
	else if (vm->reset_wanted)
		vcpus_pause(&vm->vcpus);
}

static void grant(struct vm *vm, enum machine_request request, unsigned value)
{
	switch (request) {
	case MACHINE_BOOT_MARK:
		if (value == BOOT_MARK_INIT)
			report_stamp(&vm->report, STAMP_GUEST_INIT);
		break;
	case MACHINE_POWER_OFF:
		decide(vm, VM_EXIT_OK);
		break;
	case MACHINE_DEBUG_EXIT:
		decide(vm, (int)(value << 1 | 1) & 0xff);
		break;
	case MACHINE_DEVICE_LOST:
		decide(vm, VM_EXIT_DEVICE_LOST);
		break;
	case MACHINE_RESET:
		if (vm->options->on_reset == ON_RESET_EXIT)
			decide(vm, VM_EXIT_OK);
		else
			vm->reset_wanted = true;
		break;
	}
}

void vm_life_request(void *arg, int request, unsigned value)
{
	struct vm *vm = arg;

	/*
	 * The first is granted. Another vCPU may ask for something else before the loop has acted,
	 * and so may this one after a reset by port 0xcf9, which KVM hands over with the next exit.
	 */
	if (!vm->ended && !vm->reset_wanted)
		grant(vm, (enum machine_request)request, value);
	/* The guest runs no instruction more before the loop has acted. */
	if (request != MACHINE_BOOT_MARK)
		machine_run_in_loop(&vm->machine, &vm->request_job);
}

void vm_life_quit(void *arg)
{
	end(arg, VM_EXIT_OK);
}

void vm_life_first_byte(void *arg)
{
	report_stamp(&((struct vm *)arg)->report, STAMP_FIRST_SERIAL);
}

/* --- crash --- */

/* @trouble, or 0: what is wrong with RAM; @why has the sentence. */
static void crash(struct vm *vm, const struct vcpu *c, int trouble, const struct err *why)
{
	if (trouble == -ENOSPC || trouble == -ENOMEM) {
		log_error("%s", why->msg);
		end(vm, VM_EXIT_MEMORY);
		return;
	}
	/* On a raw terminal lines would not begin at its left edge. */
	console_suspend(&vm->console);
	if (c->stop.kind == EXIT_SHUTDOWN)
		log_error("the guest crashed: triple fault on vCPU %u", c->index);
	else if (c->stop.kind == EXIT_FAULT)
		log_error("the guest crashed: vCPU %u touched memory that is no longer there%s%s",
			  c->index, why->msg[0] ? ": " : "", why->msg);
	else if (c->stop.error)
		log_error("KVM cannot run vCPU %u: %s", c->index, strerror(c->stop.error));
	else
		log_error("KVM cannot run vCPU %u: exit reason %u, detail %#llx", c->index,
			  c->stop.reason, (unsigned long long)c->stop.detail);
	arch_vcpu_dump(c->fd, c->index, stderr);
	end(vm, VM_EXIT_CRASH);
}

/* --- reset --- */

static void restart(struct vm *vm)
{
	struct err e = { "" };

	starvation_lift(&vm->starvation);
	pci_bus_reset(&vm->pci);
	if (kvm_reset_irqchip(&vm->kvm, &e) || vm_life_load(vm, true, &e) ||
	    vm_life_boot(vm, true, &e)) {
		log_error("the guest cannot be reset: %s", e.msg);
		end(vm, VM_EXIT_CRASH);
		return;
	}
	vm->reset_wanted = false;
	vcpus_resume(&vm->vcpus);
}

static void device_is_reset(void *arg)
{
	struct vm *vm = arg;

	if (--vm->devices_resetting == 0)
		restart(vm);
}

/* All vCPUs are parked. The daemons stop their rings, in their own time; then the machine starts
 * again. */
static void reset(struct vm *vm)
{
	serial_reset(&vm->serial);
	platform_reset(&vm->platform);
	/* One more, so that a device that is done at once does not restart before the last was
	 * asked. */
	vm->devices_resetting = vm->n_devices + 1;
	for (unsigned i = 0; i < vm->vcpus.count; i++)
		guest_access_drop(&vm->vcpus.vcpu[i].access);
	vm_vmshm_reset(vm);
	for (unsigned i = 0; i < vm->n_devices; i++)
		vhost_user_device_reset(&vm->devices[i], device_is_reset, vm);
	device_is_reset(vm);
}

/* After KVM_RUN failed with EFAULT: -EAGAIN when the vCPU may try again, -EBUSY when it may later,
 * or as starvation_judge. */
static int judge_fault(struct vm *vm, struct vcpu *c, struct err *e)
{
	int r = guest_windows_repair(&vm->machine, e);
	uint64_t changes = guest_windows_changes(&vm->machine);

	if (r < 0)
		return r;
	/* Whoever changed a window since: it may be what this vCPU ran into. */
	if (changes != c->windows_changes) {
		c->windows_changes = changes;
		return -EAGAIN;
	}
	r = starvation_judge(&vm->starvation, e);
	return r == 0 && guest_windows_lack_room(&vm->machine) ? -EBUSY : r;
}

void vm_life_parked(void *arg)
{
	struct vm *vm = arg;
	bool go_on = false;

	if (vm->ended)
		return;
	/* A guest that asked for a reset may run into anything until it is parked. */
	for (unsigned i = 0; i < vm->vcpus.count && !vm->reset_wanted; i++) {
		struct vcpu *c = &vm->vcpus.vcpu[i];
		struct err e = { "" };
		int r = 0;

		if (!c->stop.stopped)
			continue;
		if (c->stop.kind == EXIT_FAULT)
			r = judge_fault(vm, c, &e);
		if (r == -EBUSY) {
			loop_timer_set(&vm->loop, &vm->retry, clock_ns() + MS_TO_NS(RETRY_MS));
			continue;
		}
		if (r != -EAGAIN) {
			crash(vm, c, r, &e);
			return;
		}
		go_on = true;
	}
	if (go_on)
		vcpus_resume(&vm->vcpus);
	if (vm->reset_wanted && vm->vcpus.parked == vm->vcpus.count && !vm->devices_resetting)
		reset(vm);
}

/* @r of a write to RAM. When RAM was not there, says why it was not. */
static int explain(struct vm *vm, int r, struct err *e)
{
	int trouble = r == -EFAULT ? guest_mem_trouble(&vm->mem, e) : 0;

	if (trouble == -ENOSPC || trouble == -ENOMEM)
		decide(vm, VM_EXIT_MEMORY);
	return r;
}

int vm_life_load(struct vm *vm, bool again, struct err *e)
{
	return explain(vm, loader_load(&vm->loader, &vm->mem, again, e), e);
}

int vm_life_boot(struct vm *vm, bool again, struct err *e)
{
	struct boot_regs regs;
	int r;

	vm->request_job = (struct loop_job){ .run = act_on_request, .arg = vm };
	r = boot_setup(&vm->loader, &vm->mem, &vm->desc, vm->cmdline, &regs, e);
	for (unsigned i = 0; i < vm->vcpus.count && r == 0; i++)
		r = arch_vcpu_reset(vm->vcpus.vcpu[i].fd, i, &regs, again, e);
	return explain(vm, r, e);
}

/* --- the run itself --- */

int vm_run(struct vm *vm)
{
	loop_run(&vm->loop);
	return vm->exit_code;
}

int vm_fini(struct vm *vm)
{
	int r = 0;

	/* vCPUs must not go on while what they use is taken down: without the lock they park at
	 * their next exit. */
	if (vm->vcpus.filter || (vm->vcpus.vcpu && vm->vcpus.vcpu[0].started))
		pthread_mutex_lock(&vm->machine.lock);
	console_fini(&vm->console);
	if (vm->vcpus.vcpu)
		r = report_write(&vm->report, &vm->mem, &vm->vcpus, vm->exit_code);
	vm_devices_fini(vm);
	vm_vmshm_fini(vm);
	guest_mem_discard(&vm->mem);
	supervisor_end(&vm->supervisor);
	return r;
}
