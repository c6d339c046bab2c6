/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual CPU and its thread.
 *
 * The thread makes few system calls (vmm/sandbox.c): ioctl(KVM_RUN), futex (device lock), write
 * (eventfds, log), clock_gettime. Every exit takes the device lock, lets the bus act, and goes back
 * in. Anything that needs more is posted to the loop; an exit whose device code asked for work in
 * the loop (machine_run_in_loop) waits, without the lock, until that work has run, which nothing
 * interrupts. One that waits for an event (machine_wait_until: a daemon's answer) lets pauses come
 * between, as the loop may need the vCPUs parked before that event can be. An exit may have a wait
 * of either kind. A vCPU that cannot go on (shutdown, KVM error) says so and parks; the loop
 * decides what that means.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/seccomp.h"
#include "devices/guest_window.h"
#include "devices/machine.h"
#include "vmm/kvm.h"

enum vcpu_exit {
	EXIT_PIO, EXIT_MMIO, EXIT_SIGNAL, EXIT_SHUTDOWN, EXIT_FAULT, EXIT_ERROR, EXIT_OTHER,
	EXIT_KINDS
};

/* "pio", for the boot report. */
extern const char *const vcpu_exit_names[EXIT_KINDS];

/* Why a vCPU stopped for good. */
struct vcpu_stop {
	bool stopped;
	enum vcpu_exit kind;	/* EXIT_SHUTDOWN, EXIT_FAULT or EXIT_ERROR */
	int error;		/* errno of KVM_RUN */
	uint32_t reason;	/* kvm_run.exit_reason */
	uint64_t detail;	/* hardware or internal error code */
};

struct vcpus;

struct vcpu {
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	struct vcpus *all;
	uint64_t exits[EXIT_KINDS];
	struct vcpu_stop stop;
	struct guest_access access;
	uint64_t windows_changes;	/* vm_life.c's: guest_windows_changes at its last fault */
	/* Its place in the loop's queue while an exit waits; see vcpu.c. */
	struct loop_job fence;
	bool fence_wanted, fence_passed;
	/* What else an exit waits for; NULL: nothing. */
	bool (*until)(void *arg);
	void *until_arg;
	const uint64_t *answer;	/* the MMIO read it is gets this; NULL: what it has already */
};

/* All of a VM's vCPUs. Fields below `lock` in comments are under the device lock. */
struct vcpus {
	struct machine *machine;
	struct kvm *kvm;
	struct seccomp_filter *filter;
	struct vcpu *vcpu;
	unsigned count;
	pthread_cond_t wake;		/* pause began or ended, fence passed, wait may be over */
	bool pause;			/* vCPUs park before they enter the guest */
	unsigned parked;
	struct loop_job all_parked;	/* the last one parked, or one stopped for good */
	uint64_t first_run;		/* clock_ns() of the first KVM_RUN */
};

/*
 * Creates @count vCPUs, not yet their threads. @on_parked runs in the loop, with @arg, each time
 * all of them have parked and when one stops for good. 0 or -errno with @e.
 */
int vcpus_init(struct vcpus *v, struct kvm *k, struct machine *m, unsigned count,
	       void (*on_parked)(void *arg), void *arg, struct err *e);
/* Only after threads were never started: a running VM ends with its process. */
void vcpus_fini(struct vcpus *v);

/* Starts the threads; each installs @filter, which is borrowed, and waits for vcpus_resume before
 * it enters the guest. */
int vcpus_start(struct vcpus *v, struct seccomp_filter *filter, struct err *e);
/* Loop. Makes every vCPU leave the guest and park; on_parked follows. */
void vcpus_pause(struct vcpus *v);
/* Loop. Lets parked vCPUs enter the guest. */
void vcpus_resume(struct vcpus *v);

/* Whether the calling thread is one of these vCPUs. */
bool vcpus_in_vcpu(const struct vcpus *v);
/* On a vCPU, under the lock: posts @job; this exit ends only when it has run. */
void vcpus_wait_for_job(struct vcpus *v, struct loop_job *job);
/* On a vCPU, under the lock: this exit ends only when @done(@arg); a pause comes between. @answer
 * is as in machine_wait_until. */
void vcpus_wait_until(struct vcpus *v, bool (*done)(void *arg), void *arg,
		      const uint64_t *answer);
/* Under the lock. What a `done` asks about may have changed. */
void vcpus_wake(struct vcpus *v);

#endif
