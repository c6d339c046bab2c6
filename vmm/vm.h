/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual machine: every part, wired by explicit calls in boot order (vm_init), and its life.
 *
 * One process, one loop thread (main's), one thread a vCPU, one supervisor process or two
 * (supervisor.h), one keeper process an exec= (keeper.h), one helper process a control queue
 * (helper.h). Devices run under machine.lock, from the loop or from a vCPU's exit. Resetting is:
 * vCPUs parked -> devices stopped by their daemons -> registers, kernel and tables as at power on
 * -> vCPUs go on; the daemons stay connected.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <limits.h>

#include "base/err.h"
#include "base/listener.h"
#include "devices/pci.h"
#include "devices/platform.h"
#include "devices/serial.h"
#include "devices/vhost_user_device.h"
#include "devices/vhost_user_door.h"
#include "devices/vmshm.h"
#include "memory/starvation.h"
#include "vhost/tap.h"
#include "vmm/arch_x86.h"
#include "vmm/console.h"
#include "vmm/desc.h"
#include "vmm/errands.h"
#include "vmm/helper.h"
#include "vmm/kvm.h"
#include "vmm/loader.h"
#include "vmm/options.h"
#include "vmm/report.h"
#include "vmm/sandbox.h"
#include "vmm/spawner.h"
#include "vmm/supervisor.h"
#include "vmm/vcpu.h"

/* Exit codes of the program, besides 128 + N for signal N and a guest's own by the debug exit. */
enum vm_exit_code {
	VM_EXIT_OK = 0,
	VM_EXIT_SETUP = 1,
	VM_EXIT_USAGE = 2,
	VM_EXIT_MEMORY = 3,		/* the host ran out of memory for guest RAM */
	VM_EXIT_CRASH = 4,		/* triple fault, KVM error */
	VM_EXIT_SECCOMP = SECCOMP_EXIT_CODE,
	VM_EXIT_DEVICE_LOST = 6,	/* on-lost=exit: a daemon ended */
};

struct vm {
	const struct options *options;
	struct report report;
	struct supervisor supervisor;
	struct spawner spawners[OPTIONS_LIST_MAX];	/* by --vhost-user; pid 0: it is not with
							 * exec= */
	/* By --vmshm, the first n_events_socks: what events= listens on, until the device takes
	 * it; or -1. */
	int events_socks[OPTIONS_LIST_MAX];
	unsigned n_events_socks;
	/* Where daemons connect, by --vhost-user; sock -1: it is not with server=on. */
	struct vhost_user_door doors[OPTIONS_LIST_MAX];
	/* The names of all these sockets, until there is a supervisor to remove them. */
	struct listener names[2 * OPTIONS_LIST_MAX];
	unsigned n_names;
	/* By --vhost-user, until the device takes it; there are n_helpers. */
	struct helper helpers[OPTIONS_LIST_MAX];
	unsigned n_helpers;
	struct sandbox sandbox;
	struct loop loop;
	struct kvm kvm;
	struct guest_mem mem;
	struct starvation starvation;
	struct loop_timer retry;	/* set while a vCPU waits for the host to have room */
	struct machine machine;
	struct pci_bus pci;
	struct serial serial;
	struct platform platform;
	struct console console;
	struct loader loader;
	char kernel_path[PATH_MAX];	/* of the default kernel, when none was given */
	struct machine_desc desc;
	char *cmdline;			/* owned: the whole command line */
	struct vcpus vcpus;
	struct errands errands;
	struct vhost_user_device *devices;	/* n_devices of them */
	struct vu_trace trace;
	struct vu_fault faults[OPTIONS_LIST_MAX];	/* options', which count here */
	struct vu_tap *taps;		/* one a device; NULL: no trace, no faults */
	unsigned n_devices;
	struct vmshm *vmshms;		/* n_vmshms of them */
	unsigned n_vmshms;
	int signals;			/* signalfd */
	struct loop_watch signal_watch;

	/* Requests from vCPUs, under the device lock; request_job acts on them in the loop. */
	struct loop_job request_job;
	bool reset_wanted, ended;
	unsigned devices_resetting;
	int exit_code;
};

/* Everything up to the first guest instruction. 0, or negative with @e; vm_fini cleans up either
 * way. When it fails with vm->ended set, exit_code says more than "set-up"; a signal has no
 * sentence. */
int vm_init(struct vm *vm, const struct options *o, struct err *e);
/* Runs the guest until it ends; returns the program's exit code. After vm_init succeeded, once. */
int vm_run(struct vm *vm);
/* Gives the terminal back, removes what has a name, ends the supervisor. The process must end then:
 * its vCPU threads are parked for good. Works on a failed vm_init. 0; or -errno, and told, when the
 * boot report cannot be written. */
int vm_fini(struct vm *vm);

#endif
