/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine without KVM, for unit tests and fuzzers: implements struct machine_ops, remembers what
 * devices asked for, and plays the kernel's part of interrupts.
 *
 * It has a real event loop and real eventfds, and one thread: the loop runs when a test says so.
 * An operation that is legal in the loop only asserts that no vCPU is making it, so each test
 * checks the thread rule as well. Tests that reach into the records may; fuzzers read nothing.
 *
 * How KVM is imitated: a signalled irqfd is an interrupt the moment it is signalled, so it goes by
 * the route of that moment; with its MSI route off it is lost. A level line stays up until
 * fake_machine_eoi.
 */
#ifndef TESTS_FAKE_MACHINE_H
#define TESTS_FAKE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "devices/machine.h"
#include "memory/guest_mem.h"

enum { FAKE_IRQFDS = 256, FAKE_IOEVENTFDS = 256, FAKE_SLOTS = 64, FAKE_REQUESTS = 64 };

struct fake_machine {
	struct machine machine;
	struct loop loop;
	struct guest_mem mem;		/* empty; a test may fill it before devices start */

	bool in_vcpu;			/* what machine_ops.in_vcpu answers */
	int fail;			/* a negative errno: what can fail does, with this */

	struct fake_irqfd {
		unsigned gsi;
		int eventfd, resample;
		bool up;		/* level lines only */
	} irqfds[FAKE_IRQFDS];
	unsigned irqfd_count;
	struct fake_route {
		bool enabled;
		uint64_t address;
		uint32_t data;
		unsigned delivered;	/* not yet taken by fake_machine_interrupts */
		unsigned lost;		/* signalled while the route was off */
	} routes[MACHINE_GSI_MAX];
	struct fake_ioeventfd {
		struct machine_doorbell bell;
		int eventfd;
	} ioeventfds[FAKE_IOEVENTFDS];
	unsigned ioeventfd_count;
	struct fake_slot {
		uint64_t gpa, size;
		void *host;
	} slots[FAKE_SLOTS];
	struct fake_request {
		int request;
		unsigned value;
	} requests[FAKE_REQUESTS];	/* the first ones */
	unsigned request_count;

	/* How often each was called, failures included: each is a system call on a real machine. */
	unsigned irqfd_adds, irqfd_dels, route_sets, ioeventfd_adds, ioeventfd_dels, slot_sets;
	unsigned waits;			/* vCPU exits that had to wait for the loop */
	/* What the last exit waits for still; NULL: nothing. A test that lets it come true looks
	 * with fake_vcpu_waits. */
	bool (*until)(void *arg);
	void *until_arg;
	const uint64_t *answer;		/* what the read that waits gives then, or NULL */
	uint64_t answered;		/* what the last read gave that waited with an answer */
	unsigned wakes;
};

void fake_machine_init(struct fake_machine *f);
/* After every device's fini; what they left connected ends with the machine, as in the kernel. */
void fake_machine_fini(struct fake_machine *f);

/* System calls asked of the machine so far. */
unsigned fake_machine_calls(const struct fake_machine *f);

/* Dispatches until nothing is ready; as the loop thread. */
void fake_machine_run_loop(struct fake_machine *f);

/* A guest access to @bus: one exit of a vCPU. When the exit waits for a job, or a read for its
 * answer, the loop runs before it ends; otherwise posted jobs stay posted until
 * fake_machine_run_loop. A read whose wait has ended by then gives the answer; one that still
 * waits, what the device said at first. */
uint64_t fake_vcpu_read(struct fake_machine *f, struct bus *bus, uint64_t addr, unsigned size);
void fake_vcpu_write(struct fake_machine *f, struct bus *bus, uint64_t addr, unsigned size,
		     uint64_t value);
/* A guest write that a matching ioeventfd takes, as in the kernel; else it is fake_vcpu_write. */
void fake_vcpu_doorbell(struct fake_machine *f, uint64_t addr, unsigned size, uint64_t value);
/* Whether the last exit has not ended: what it waits for is not so. Once it is, a read's answer is
 * in @f->answered. */
bool fake_vcpu_waits(struct fake_machine *f);

/* Takes the interrupts the guest got on @gsi since it was asked last: signals of an edge line or
 * MSI, rises of a level line. */
unsigned fake_machine_interrupts(struct fake_machine *f, unsigned gsi);
/* The guest's EOI on level line @gsi: it goes down, and the device hears of it (run the loop). */
void fake_machine_eoi(struct fake_machine *f, unsigned gsi);
/* The level of level line @gsi as the guest sees it. */
bool fake_machine_line(struct fake_machine *f, unsigned gsi);

/* The ioeventfd of exactly this doorbell, or NULL. */
const struct fake_ioeventfd *fake_machine_ioeventfd(const struct fake_machine *f,
						    const struct machine_doorbell *d);
/* Whether @eventfd raises @gsi. */
bool fake_machine_has_irqfd(const struct fake_machine *f, unsigned gsi, int eventfd);
/* How often the guest made request @request. */
unsigned fake_machine_requests(const struct fake_machine *f, int request);

#endif
