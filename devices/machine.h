/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What devices ask of the machine: interrupt lines, MSI routes, irqfds, ioeventfds, memory slots,
 * work in the loop. vmm/kvm.c implements it on KVM; tests/unit/fake_machine.c without.
 *
 * Threads: device code runs under machine.lock, in the loop or in a vCPU's exit. A vCPU may only
 * use what is marked "any"; all else needs system calls that its filter forbids and is done in the
 * loop (or at set-up, before the loop runs): post a job, or, when the guest must not run on before
 * it is done, machine_run_in_loop. Operations that return int give 0 or -errno.
 */
#ifndef DEVICES_MACHINE_H
#define DEVICES_MACHINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "devices/bus.h"
#include "memory/area.h"
#include "memory/guest_mem.h"
#include "memory/shared.h"

struct virtio_mmio;

/* A guest write, on the MMIO bus, that signals an eventfd instead of leaving the kernel. */
struct machine_doorbell {
	uint64_t addr;
	bool one_value;			/* 4 bytes that are `value`; else any value of any size */
	uint32_t value;
};

struct machine_ops {
	/* Loop. Connects an eventfd to an interrupt: each signal raises @gsi. With @resample >=
	 * 0 the line is level-triggered: it stays up until the guest's EOI, which signals
	 * @resample. */
	int (*irqfd_add)(void *ctx, unsigned gsi, int eventfd, int resample);
	/* Loop. Undoes it, which takes milliseconds. Closing the eventfd does the same without a
	 * wait, so a device's fini only closes. */
	void (*irqfd_del)(void *ctx, unsigned gsi, int eventfd);
	/* Loop. Sets where MSI number @gsi goes; @enabled false (and at first): nowhere. Takes
	 * effect before it returns. Address and data are the guest's words: what the kernel
	 * refuses is an error here, leaves the MSI going nowhere and disturbs no other. */
	int (*msi_route)(void *ctx, unsigned gsi, bool enabled, uint64_t address, uint32_t data);
	/* Loop. Joins a doorbell to an eventfd, and undoes it. */
	int (*ioeventfd_add)(void *ctx, const struct machine_doorbell *d, int eventfd);
	void (*ioeventfd_del)(void *ctx, const struct machine_doorbell *d, int eventfd);
	/* Loop. Sets memory slot @slot to [gpa, gpa + size) backed by @host; size 0 removes it. */
	int (*slot_set)(void *ctx, unsigned slot, uint64_t gpa, uint64_t size, void *host);
	/* Any. The guest asked for one of enum machine_request, or a device has to. Returns at
	 * once. */
	void (*request)(void *ctx, int request, unsigned value);
	/* Any. True in a vCPU's exit, false in the loop (and in tests, unless they say
	 * otherwise). */
	bool (*in_vcpu)(void *ctx);
	/* Any. Called by machine_run_in_loop in a vCPU's exit: the exit ends only when @job has
	 * run. */
	void (*wait_for_job)(void *ctx, struct loop_job *job);
	/* Any. Called by machine_wait_until in a vCPU's exit: the exit ends only when @done says
	 * so, which is asked under the lock, at once and after each wake. */
	void (*wait_until)(void *ctx, bool (*done)(void *arg), void *arg, const uint64_t *answer);
	/* Any. What a `done` asks about may have changed. */
	void (*wake)(void *ctx);
};

enum machine_request {
	MACHINE_RESET,		/* reset line, port 0x64, triple fault is not one */
	MACHINE_POWER_OFF,	/* ACPI S5 */
	MACHINE_DEBUG_EXIT,	/* value: byte written to the debug exit port */
	MACHINE_BOOT_MARK,	/* value: byte written to port 0x80 */
	MACHINE_DEVICE_LOST,	/* not the guest's: a daemon ended, without which there shall be
				 * no machine (on-lost=exit) */
};

enum {
	MACHINE_GSI_SERIAL = 4,		/* ISA IRQ 4, edge */
	MACHINE_GSI_MSI_FIRST = 24,	/* MSI numbers begin behind the IOAPIC's pins */
	MACHINE_GSI_MAX = 1024,
	MACHINE_SLOT_WINDOW_FIRST = 8,	/* slots below are RAM's */
	MACHINE_SLOT_MAX = 509,		/* what every KVM for x86-64 has */
};

struct guest_window;

struct machine {
	const struct machine_ops *ops;
	void *ctx;
	pthread_mutex_t lock;		/* the device lock */
	struct loop *loop;
	struct guest_mem *mem;
	struct bus pio, mmio;
	unsigned next_gsi;		/* MSI number given out next */
	unsigned next_slot;		/* memory slot given out next */
	unsigned mmio_devices;		/* virtio_mmio.c's: how many there are, ... */
	struct virtio_mmio *mmio_last;	/* ... and the newest, borrowed */
	uint64_t mmio_windows;		/* bytes taken for their shared memory regions */
	struct guest_window *windows;	/* guest_window.c's: all of them, ... */
	struct area_budget areas;	/* ... and what they may take of the process's areas:
					 * known when there is one */
	struct mem_shared shared;	/* shmem_share.c's: what daemons get of windows */
};

/*
 * @ops, @ctx, @loop and @mem (may be NULL: no RAM) are borrowed until machine_fini. The caller
 * gives machine.lock to loop_init, so that the loop takes it around callbacks; the loop may be
 * initialised after this.
 */
void machine_init(struct machine *m, const struct machine_ops *ops, void *ctx,
		  struct loop *loop, struct guest_mem *mem);
void machine_fini(struct machine *m);

/* Under the lock. An MSI number of its own for one vector, kept for the machine's life; -ENOSPC
 * when there is none left. */
int machine_alloc_gsi(struct machine *m);
/* Under the lock. A memory slot number for one window; -ENOSPC when there is none left. */
int machine_alloc_slot(struct machine *m);

/*
 * Any thread, under the lock. Runs @job in the loop: called in the loop it runs at once; called in
 * a vCPU's exit, the exit does not end before it has run (the wait is without the lock, after the
 * device code returned). A job waits for one thing only: it brings the outside in line with the
 * device's state of the moment it runs, because a second request while it is posted adds nothing.
 */
void machine_run_in_loop(struct machine *m, struct loop_job *job);

/*
 * Any thread, under the lock. In a vCPU's exit: the exit does not end before @done(@arg) is true;
 * one wait an exit. What makes it true calls machine_wake. The wait is without the lock, after the
 * device code returned, and a pause of the machine interrupts it; a reset ends it, since @done is
 * to be true of a device that was reset. In the loop nothing happens.
 *
 * With @answer (borrowed until then, may be NULL), in the exit of an MMIO read: the guest reads
 * *@answer as it is when @done was true, in place of what the device code returned. KVM must finish
 * an instruction before its vCPU can be paused, so a pause takes *@answer as it is.
 */
void machine_wait_until(struct machine *m, bool (*done)(void *arg), void *arg,
			const uint64_t *answer);
/* Any thread, under the lock. */
void machine_wake(struct machine *m);

#endif
