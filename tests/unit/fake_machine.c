/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_machine.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"

static bool is_msi(unsigned gsi)
{
	return gsi >= MACHINE_GSI_MSI_FIRST;
}

/* Takes what is signalled without a wait, also of an eventfd whose reader would. */
static unsigned take_signals(int eventfd)
{
	struct pollfd p = { .fd = eventfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 ? (unsigned)fd_drain(eventfd) : 0;
}

/* Takes what was signalled on every irqfd, before anything changes where it goes. */
static void deliver(struct fake_machine *f)
{
	for (unsigned i = 0; i < f->irqfd_count; i++) {
		struct fake_irqfd *q = &f->irqfds[i];
		struct fake_route *r = &f->routes[q->gsi];
		unsigned n = take_signals(q->eventfd);

		if (!n)
			continue;
		if (q->resample >= 0) {
			r->delivered += !q->up;
			q->up = true;
		} else if (is_msi(q->gsi) && !r->enabled) {
			r->lost += n;
		} else {
			r->delivered += n;
		}
	}
}

static bool is_eventfd(int fd)
{
	char path[32], link[32] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof(link) - 1) > 0 && !strcmp(link, "anon_inode:[eventfd]");
}

static int fake_irqfd_add(void *ctx, unsigned gsi, int eventfd, int resample)
{
	struct fake_machine *f = ctx;

	assert(!f->in_vcpu);
	assert(gsi < MACHINE_GSI_MAX && eventfd >= 0);
	f->irqfd_adds++;
	if (f->fail)
		return f->fail;
	if (!is_eventfd(eventfd))
		return -EINVAL;
	if (fake_machine_has_irqfd(f, gsi, eventfd))
		return -EBUSY;
	assert(f->irqfd_count < FAKE_IRQFDS);
	f->irqfds[f->irqfd_count++] = (struct fake_irqfd){
		.gsi = gsi, .eventfd = eventfd, .resample = resample
	};
	return 0;
}

static void fake_irqfd_del(void *ctx, unsigned gsi, int eventfd)
{
	struct fake_machine *f = ctx;

	assert(!f->in_vcpu);
	f->irqfd_dels++;
	deliver(f);
	for (unsigned i = 0; i < f->irqfd_count; i++) {
		if (f->irqfds[i].gsi != gsi || f->irqfds[i].eventfd != eventfd)
			continue;
		f->irqfds[i] = f->irqfds[--f->irqfd_count];
		return;
	}
	assert(!"irqfd_del of an irqfd that was never added");
}

static int fake_msi_route(void *ctx, unsigned gsi, bool enabled, uint64_t address, uint32_t data)
{
	struct fake_machine *f = ctx;
	struct fake_route *r;

	assert(!f->in_vcpu);
	assert(is_msi(gsi) && gsi < MACHINE_GSI_MAX);
	f->route_sets++;
	if (f->fail)
		return f->fail;
	deliver(f);
	r = &f->routes[gsi];
	r->enabled = enabled;
	r->address = enabled ? address : 0;
	r->data = enabled ? data : 0;
	return 0;
}

static int fake_ioeventfd_add(void *ctx, const struct machine_doorbell *d, int eventfd)
{
	struct fake_machine *f = ctx;

	assert(!f->in_vcpu);
	assert(eventfd >= 0);
	f->ioeventfd_adds++;
	if (f->fail)
		return f->fail;
	if (fake_machine_ioeventfd(f, d))
		return -EEXIST;
	assert(f->ioeventfd_count < FAKE_IOEVENTFDS);
	f->ioeventfds[f->ioeventfd_count++] = (struct fake_ioeventfd){ .bell = *d,
								       .eventfd = eventfd };
	return 0;
}

static void fake_ioeventfd_del(void *ctx, const struct machine_doorbell *d, int eventfd)
{
	struct fake_machine *f = ctx;
	struct fake_ioeventfd *q;

	assert(!f->in_vcpu);
	f->ioeventfd_dels++;
	q = (struct fake_ioeventfd *)(uintptr_t)fake_machine_ioeventfd(f, d);
	assert(q && q->eventfd == eventfd);
	*q = f->ioeventfds[--f->ioeventfd_count];
}

static int fake_slot_set(void *ctx, unsigned slot, uint64_t gpa, uint64_t size, void *host)
{
	struct fake_machine *f = ctx;

	assert(!f->in_vcpu);
	assert(slot < FAKE_SLOTS);
	f->slot_sets++;
	if (f->fail)
		return f->fail;
	for (unsigned i = 0; i < FAKE_SLOTS; i++) {
		if (i != slot && range_overlaps(gpa, size, f->slots[i].gpa, f->slots[i].size))
			return -EEXIST;
	}
	f->slots[slot] = (struct fake_slot){ .gpa = gpa, .size = size, .host = host };
	return 0;
}

static void fake_request(void *ctx, int request, unsigned value)
{
	struct fake_machine *f = ctx;

	if (f->request_count < FAKE_REQUESTS)
		f->requests[f->request_count] = (struct fake_request){ request, value };
	f->request_count++;
}

static bool fake_in_vcpu(void *ctx)
{
	const struct fake_machine *f = ctx;

	return f->in_vcpu;
}

static void fake_wait_for_job(void *ctx, struct loop_job *job)
{
	struct fake_machine *f = ctx;

	assert(f->in_vcpu);
	f->waits++;
	loop_post(&f->loop, job);
}

static void fake_wait_until(void *ctx, bool (*done)(void *arg), void *arg, const uint64_t *answer)
{
	struct fake_machine *f = ctx;

	assert(f->in_vcpu && !f->until);
	f->until = done;
	f->until_arg = arg;
	f->answer = answer;
}

static void fake_wake(void *ctx)
{
	struct fake_machine *f = ctx;

	f->wakes++;
}

static const struct machine_ops fake_ops = {
	.irqfd_add = fake_irqfd_add,
	.irqfd_del = fake_irqfd_del,
	.msi_route = fake_msi_route,
	.ioeventfd_add = fake_ioeventfd_add,
	.ioeventfd_del = fake_ioeventfd_del,
	.slot_set = fake_slot_set,
	.request = fake_request,
	.in_vcpu = fake_in_vcpu,
	.wait_for_job = fake_wait_for_job,
	.wait_until = fake_wait_until,
	.wake = fake_wake,
};

void fake_machine_init(struct fake_machine *f)
{
	struct err e;
	int r;

	*f = (struct fake_machine){ 0 };
	machine_init(&f->machine, &fake_ops, f, &f->loop, &f->mem);
	r = loop_init(&f->loop, &f->machine.lock, &e);
	assert(r == 0);
	bell_init(&f->loop.bell);
}

void fake_machine_fini(struct fake_machine *f)
{
	loop_fini(&f->loop);
	machine_fini(&f->machine);
}

unsigned fake_machine_calls(const struct fake_machine *f)
{
	return f->irqfd_adds + f->irqfd_dels + f->route_sets + f->ioeventfd_adds +
	       f->ioeventfd_dels + f->slot_sets;
}

void fake_machine_run_loop(struct fake_machine *f)
{
	struct pollfd p = { .fd = f->loop.epoll, .events = POLLIN };
	bool was = f->in_vcpu;

	f->in_vcpu = false;
	while (poll(&p, 1, 0) > 0)
		loop_once(&f->loop, 0);
	f->in_vcpu = was;
}

/* The end of a vCPU's exit: it leaves only after what it waits for. */
static void vcpu_exit_end(struct fake_machine *f, unsigned waits)
{
	f->in_vcpu = false;
	if (f->waits != waits || f->answer)
		fake_machine_run_loop(f);
}

uint64_t fake_vcpu_read(struct fake_machine *f, struct bus *bus, uint64_t addr, unsigned size)
{
	const uint64_t *before = f->answer;
	unsigned waits = f->waits;
	uint64_t value;

	pthread_mutex_lock(&f->machine.lock);
	f->in_vcpu = true;
	value = bus_read(bus, addr, size);
	pthread_mutex_unlock(&f->machine.lock);
	vcpu_exit_end(f, waits);
	return f->answer && f->answer != before && !fake_vcpu_waits(f) ? f->answered : value;
}

void fake_vcpu_write(struct fake_machine *f, struct bus *bus, uint64_t addr, unsigned size,
		     uint64_t value)
{
	unsigned waits = f->waits;

	pthread_mutex_lock(&f->machine.lock);
	f->in_vcpu = true;
	bus_write(bus, addr, size, value);
	pthread_mutex_unlock(&f->machine.lock);
	vcpu_exit_end(f, waits);
}

bool fake_vcpu_waits(struct fake_machine *f)
{
	if (!f->until || !f->until(f->until_arg))
		return f->until;
	f->until = NULL;
	if (f->answer)
		f->answered = *f->answer;
	f->answer = NULL;
	return false;
}

void fake_vcpu_doorbell(struct fake_machine *f, uint64_t addr, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < f->ioeventfd_count; i++) {
		const struct fake_ioeventfd *q = &f->ioeventfds[i];

		const struct machine_doorbell *d = &q->bell;

		if (d->addr == addr && (!d->one_value || (size == 4 && d->value == value))) {
			fd_signal(q->eventfd);
			return;
		}
	}
	fake_vcpu_write(f, &f->machine.mmio, addr, size, value);
}

unsigned fake_machine_interrupts(struct fake_machine *f, unsigned gsi)
{
	unsigned n;

	deliver(f);
	n = f->routes[gsi].delivered;
	f->routes[gsi].delivered = 0;
	return n;
}

void fake_machine_eoi(struct fake_machine *f, unsigned gsi)
{
	deliver(f);
	for (unsigned i = 0; i < f->irqfd_count; i++) {
		struct fake_irqfd *q = &f->irqfds[i];

		if (q->gsi != gsi || q->resample < 0)
			continue;
		q->up = false;
		fd_signal(q->resample);
	}
}

bool fake_machine_line(struct fake_machine *f, unsigned gsi)
{
	deliver(f);
	for (unsigned i = 0; i < f->irqfd_count; i++) {
		if (f->irqfds[i].gsi == gsi && f->irqfds[i].up)
			return true;
	}
	return false;
}

const struct fake_ioeventfd *fake_machine_ioeventfd(const struct fake_machine *f,
						    const struct machine_doorbell *d)
{
	for (unsigned i = 0; i < f->ioeventfd_count; i++) {
		const struct fake_ioeventfd *q = &f->ioeventfds[i];

		if (q->bell.addr == d->addr && q->bell.one_value == d->one_value &&
		    q->bell.value == d->value)
			return q;
	}
	return NULL;
}

bool fake_machine_has_irqfd(const struct fake_machine *f, unsigned gsi, int eventfd)
{
	for (unsigned i = 0; i < f->irqfd_count; i++) {
		if (f->irqfds[i].gsi == gsi && f->irqfds[i].eventfd == eventfd)
			return true;
	}
	return false;
}

unsigned fake_machine_requests(const struct fake_machine *f, int request)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->request_count && i < FAKE_REQUESTS; i++)
		n += f->requests[i].request == request;
	return n;
}
