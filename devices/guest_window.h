/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A window (memory/window.h) where the guest sees it: one memory slot of the machine, whose place
 * the transport chooses and the guest may move. Moving it is done in the loop, before the vCPU's
 * exit that asked for it ends.
 *
 * An object that shrank under its mapping stops the guest: KVM_RUN fails with EFAULT only where the
 * vCPU cannot be interrupted. Elsewhere KVM has the page fetched in the background (asynchronous
 * page fault), which fails, and tries again for ever inside KVM_RUN. So while something is mapped
 * the objects' sizes are also looked at by the clock. And an instruction that KVM emulates exits as
 * an access to a device, of an address that is memory: the loop does it then, through a pipe, since
 * a page that is missing is an error for a system call. In each case the guest finds zeros there,
 * and the window's owner is told.
 *
 * A hole of an object whose file system is full stops the guest by the same ways. Nothing is put in
 * its place: the vCPU is to wait for room. Inside KVM_RUN it does by itself.
 *
 * Under the device lock.
 */
#ifndef DEVICES_GUEST_WINDOW_H
#define DEVICES_GUEST_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/range.h"
#include "devices/machine.h"
#include "memory/window.h"

#define GUEST_WINDOW_NOWHERE UINT64_MAX
#define GUEST_WINDOW_IDLE_MAX GIB(4)	/* idle_max, unless window-idle-max= says otherwise */

struct guest_window_params {
	const char *name;		/* borrowed: the device's id */
	uint64_t size;			/* bytes */
	uint64_t idle_max;		/* see window_init */
	/* In the loop, each time that objects were found cut short: the device is not what its
	 * driver takes it for any more. NULL: nobody minds. */
	void (*cut_short)(void *arg);
	void *arg;
};

enum { GUEST_WINDOW_LOOK_MS = 1000 };	/* most that an object which shrank may hold up a vCPU */

struct guest_window {
	struct mem_window window;	/* window.gpa: where the slot is, or GUEST_WINDOW_NOWHERE */
	struct guest_window_params params;
	struct machine *machine;	/* NULL: not initialised */
	uint64_t wanted;		/* where it is to be, or GUEST_WINDOW_NOWHERE */
	struct loop_job move;
	int pipe[2];			/* this process touches what may be missing through it */
	struct loop_timer look;		/* at the sizes of what is mapped; set while something is */
	struct guest_window *next;	/* the machine's list */
	void (*moved)(void *arg);	/* loop, after each change of window.gpa; may be NULL */
	void *moved_arg;
	struct misuse refused;		/* places that the machine did not take */
	struct misuse repaired;		/* times that objects had shrunk under their mappings */
	struct misuse lost;		/* accesses that could not be done */
	struct misuse full;		/* times that an object was found without room */
};

/* Set-up. Nowhere yet. @w must not move until guest_window_fini. 0 or -errno with @e. */
int guest_window_init(struct guest_window *w, struct machine *m,
		      const struct guest_window_params *p, struct err *e);
/* Loop. Takes the slot away and unmaps all. Works on a zeroed struct, twice. */
void guest_window_fini(struct guest_window *w);
/* Any thread. The window is at @gpa, or GUEST_WINDOW_NOWHERE, when the exit ends. */
void guest_window_move(struct guest_window *w, uint64_t gpa);

/* Loop. Something was mapped: from now on its object is looked at. */
void guest_window_mapped(struct guest_window *w);

/*
 * Loop, after KVM_RUN failed with EFAULT: looks after every window of @m and covers what objects
 * that shrank no longer have. How many mappings were cut short, or -errno with @e.
 */
int guest_windows_repair(struct machine *m, struct err *e);

/*
 * Loop, after KVM_RUN failed with EFAULT and nothing was repaired: whether an object of @m's
 * windows is on a full file system, so that the vCPU is to try again later.
 */
bool guest_windows_lack_room(struct machine *m);

/* An access of a vCPU to a window that KVM cannot do. Zeroed at first. */
struct guest_access {
	struct machine *machine;
	uint64_t gpa;
	uint8_t *data;			/* borrowed: the vCPU's */
	unsigned len;			/* 1 to 8 */
	bool is_write;
	bool pending;
	struct loop_job job;
	struct loop_timer retry;
};

/*
 * In a vCPU's exit. Whether @gpa, which KVM says no memory slot could serve, is in a window. Then
 * the access is done before the exit ends, in the loop, which repairs first what has shrunk, and
 * waits for room where there is none. @data is zeros when the page is not to be had nevertheless,
 * or the wait ends by a reset. @a and @data must outlive the exit.
 */
bool guest_windows_access(struct machine *m, struct guest_access *a, uint64_t gpa, uint8_t *data,
			  unsigned len, bool is_write);
/* Loop: the machine is reset. @a is not done any more. */
void guest_access_drop(struct guest_access *a);

/*
 * Loop. A number that is another one whenever something was mapped, taken away or cut short. What a
 * vCPU ran into may be gone by the time that its EFAULT is looked into: another vCPU ran into it as
 * well, the clock was first, the daemon or its end took the mapping away.
 */
uint64_t guest_windows_changes(const struct machine *m);

#endif
