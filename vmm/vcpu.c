/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vcpu.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "minivmm_config.h"

enum { KICK_SIGNAL = SIGUSR1, STACK_SIZE = 128 * 1024 };

const char *const vcpu_exit_names[] = {
	[EXIT_PIO] = "pio",	      [EXIT_MMIO] = "mmio",   [EXIT_SIGNAL] = "signal",
	[EXIT_SHUTDOWN] = "shutdown", [EXIT_FAULT] = "fault", [EXIT_ERROR] = "error",
	[EXIT_OTHER] = "other",
};
static_assert(sizeof(vcpu_exit_names) / sizeof(vcpu_exit_names[0]) == EXIT_KINDS,
	      "every exit has a name");

/* The vCPU this thread is; NULL in the loop. For the kick handler and machine_ops. */
static __thread struct vcpu *self;

/* A kick that arrives just before KVM_RUN must not be lost: KVM looks at this byte on entry. */
static void on_kick(int sig)
{
	(void)sig;
	if (self)
		self->run->immediate_exit = 1;
}

static void fence_passes(void *arg)
{
	struct vcpu *c = arg;

	c->fence_passed = true;
	pthread_cond_broadcast(&c->all->wake);
}

static int create(struct vcpus *v, struct vcpu *c, struct err *e)
{
	c->fd = ioctl(v->kvm->vm, KVM_CREATE_VCPU, c->index);
	if (c->fd < 0)
		return err_sys(e, "KVM cannot create vCPU %u", c->index);
	c->run = mmap(NULL, (size_t)v->kvm->vcpu_mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      c->fd, 0);
	if (c->run == MAP_FAILED) {
		c->run = NULL;
		return err_sys(e, "vCPU %u cannot be mapped", c->index);
	}
	return 0;
}

int vcpus_init(struct vcpus *v, struct kvm *k, struct machine *m, unsigned count,
	       void (*on_parked)(void *arg), void *arg, struct err *e)
{
	int r = 0;

	*v = (struct vcpus){ .machine = m,
			     .kvm = k,
			     .wake = PTHREAD_COND_INITIALIZER,
			     .all_parked = { .run = on_parked, .arg = arg } };
	v->vcpu = calloc(count, sizeof(*v->vcpu));
	if (!v->vcpu)
		return err_set(e, -ENOMEM, "vCPUs: out of memory");
	for (v->count = 0; v->count < count && r == 0; v->count++) {
		struct vcpu *c = &v->vcpu[v->count];

		*c = (struct vcpu){ .index = v->count,
				    .fd = -1,
				    .all = v,
				    .fence = { .run = fence_passes, .arg = c } };
		r = create(v, c, e);
	}
	if (r)
		vcpus_fini(v);
	return r;
}

void vcpus_fini(struct vcpus *v)
{
	for (unsigned i = 0; i < v->count; i++) {
		assert(!v->vcpu[i].started);
		if (v->vcpu[i].run)
			munmap(v->vcpu[i].run, (size_t)v->kvm->vcpu_mmap_size);
		fd_close(&v->vcpu[i].fd);
	}
	free(v->vcpu);
	v->vcpu = NULL;
	v->count = 0;
}

/* Replays the 0xcf8 writes that KVM collected, oldest first, before anything that came after them.
 */
static void drain_coalesced(struct vcpu *c)
{
	struct kvm_coalesced_mmio_ring *ring;
	unsigned room;

	if (!c->all->kvm->coalesced_offset)
		return;
	ring = (void *)((char *)c->run + c->all->kvm->coalesced_offset);
	room = (unsigned)((4096 - sizeof(*ring)) / sizeof(ring->coalesced_mmio[0]));
	while (ring->first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
		struct kvm_coalesced_mmio *m = &ring->coalesced_mmio[ring->first % room];
		uint64_t value = 0;

		if (m->len <= sizeof(m->data)) {
			memcpy(&value, m->data, m->len);
			bus_write(m->pio ? &c->all->machine->pio : &c->all->machine->mmio,
				  m->phys_addr, m->len, value);
		}
		__atomic_store_n(&ring->first, (ring->first + 1) % room, __ATOMIC_RELEASE);
	}
}

static void port_io(struct vcpu *c)
{
	struct kvm_run *run = c->run;
	struct bus *b = &c->all->machine->pio;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

#if PLANT_FORBIDDEN_CALL
	/* For the sandbox's test: a guest that reaches a call the filter must stop. */
	if (run->io.port == 0x81 && run->io.direction == KVM_EXIT_IO_OUT)
		(void)getppid();
#endif
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, run->io.size);
			bus_write(b, run->io.port, run->io.size, value);
		} else {
			value = bus_read(b, run->io.port, run->io.size);
			memcpy(data, &value, run->io.size);
		}
	}
}

static void mmio(struct vcpu *c)
{
	struct kvm_run *run = c->run;
	struct bus *b = &c->all->machine->mmio;
	uint64_t value = 0;

	if (guest_windows_access(c->all->machine, &c->access, run->mmio.phys_addr, run->mmio.data,
				 run->mmio.len, run->mmio.is_write))
		return;
	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, run->mmio.len);
		bus_write(b, run->mmio.phys_addr, run->mmio.len, value);
	} else {
		value = bus_read(b, run->mmio.phys_addr, run->mmio.len);
		memcpy(run->mmio.data, &value, run->mmio.len);
	}
}

/* Under the lock. This vCPU runs no further; the loop is told. */
static void stop(struct vcpu *c, enum vcpu_exit kind, int error, uint64_t detail)
{
	c->stop = (struct vcpu_stop){ .stopped = true,
				      .kind = kind,
				      .error = error,
				      .reason = c->run->exit_reason,
				      .detail = detail };
	loop_post(c->all->machine->loop, &c->all->all_parked);
}

/* Under the lock. Returns what kind of exit it was. */
static enum vcpu_exit handle(struct vcpu *c, int error)
{
	struct kvm_run *run = c->run;
	enum vcpu_exit kind = EXIT_OTHER;

	drain_coalesced(c);
	if (error == EINTR || error == EAGAIN) {
		kind = EXIT_SIGNAL;
		run->immediate_exit = 0;
	} else if (error == EFAULT) {
		kind = EXIT_FAULT;
		stop(c, kind, error, 0);
	} else if (error) {
		kind = EXIT_ERROR;
		stop(c, kind, error, 0);
	} else if (run->exit_reason == KVM_EXIT_IO) {
		kind = EXIT_PIO;
		port_io(c);
	} else if (run->exit_reason == KVM_EXIT_MMIO) {
		kind = EXIT_MMIO;
		mmio(c);
	} else if (run->exit_reason == KVM_EXIT_SHUTDOWN) {
		kind = EXIT_SHUTDOWN;
		stop(c, kind, 0, 0);
	} else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
		kind = EXIT_ERROR;
		stop(c, kind, 0, run->fail_entry.hardware_entry_failure_reason);
	} else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
		kind = EXIT_ERROR;
		stop(c, kind, 0, run->internal.suberror);
	} else if (run->exit_reason != KVM_EXIT_HLT &&
		   run->exit_reason != KVM_EXIT_IRQ_WINDOW_OPEN) {
		stop(c, EXIT_ERROR, 0, 0);
	}
	c->exits[kind]++;
	return kind;
}

/* Under the lock. */
static void wait_for_fence(struct vcpu *c)
{
	while (c->fence_wanted && !c->fence_passed)
		pthread_cond_wait(&c->all->wake, &c->all->machine->lock);
	c->fence_wanted = false;
}

/* What the MMIO read of this exit gives is known only now. */
static void take_answer(struct vcpu *c)
{
	if (c->answer)
		memcpy(c->run->mmio.data, c->answer, c->run->mmio.len);
	c->answer = NULL;
}

/* Under the lock. Ends with the wait or at a pause: the loop may be told by it to go on. */
static void wait_until(struct vcpu *c)
{
	bool paused = false;

	while (c->until && !paused && !c->until(c->until_arg)) {
		paused = c->all->pause;
		if (!paused)
			pthread_cond_wait(&c->all->wake, &c->all->machine->lock);
	}
	take_answer(c);
	if (!paused)
		c->until = NULL;
}

/*
 * Under the lock. Only between instructions: after a port read KVM finishes the instruction on the
 * next entry, so a paused vCPU first enters with immediate_exit set and comes back by EXIT_SIGNAL.
 */
static void park(struct vcpu *c)
{
	struct vcpus *v = c->all;

	if (++v->parked == v->count)
		loop_post(v->machine->loop, &v->all_parked);
	while (v->pause || c->stop.stopped)
		pthread_cond_wait(&v->wake, &v->machine->lock);
	v->parked--;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *c = arg;
	struct vcpus *v = c->all;
	struct err e = { "" };

	self = c;
	pthread_mutex_lock(&v->machine->lock);
	if (seccomp_filter_install(v->filter, &e)) {
		log_error("vCPU %u: %s", c->index, e.msg);
		_exit(1);
	}
	while (v->pause)
		pthread_cond_wait(&v->wake, &v->machine->lock);
	if (!v->first_run)
		v->first_run = clock_ns();
	pthread_mutex_unlock(&v->machine->lock);
	for (;;) {
		int error = ioctl(c->fd, KVM_RUN, 0) ? errno : 0;

		enum vcpu_exit kind;

		pthread_mutex_lock(&v->machine->lock);
		kind = handle(c, error);
		wait_for_fence(c);
		wait_until(c);
		/* A wait that a pause interrupted goes on after it. */
		while (c->stop.stopped || (v->pause && kind == EXIT_SIGNAL)) {
			park(c);
			wait_until(c);
		}
		pthread_mutex_unlock(&v->machine->lock);
	}
	return NULL;
}

int vcpus_start(struct vcpus *v, struct seccomp_filter *filter, struct err *e)
{
	struct sigaction sa = { .sa_handler = on_kick };
	pthread_attr_t attr;
	int r = 0;

	sigaction(KICK_SIGNAL, &sa, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	v->filter = filter;
	v->pause = true;
	for (unsigned i = 0; i < v->count && r == 0; i++) {
		r = pthread_create(&v->vcpu[i].thread, &attr, vcpu_thread, &v->vcpu[i]);
		v->vcpu[i].started = r == 0;
	}
	pthread_attr_destroy(&attr);
	return r ? err_set(e, -r, "a vCPU's thread cannot be started: %s", strerror(r)) : 0;
}

void vcpus_pause(struct vcpus *v)
{
	v->pause = true;
	for (unsigned i = 0; i < v->count; i++)
		pthread_kill(v->vcpu[i].thread, KICK_SIGNAL);
	pthread_cond_broadcast(&v->wake);
	/* All may be parked already, for having stopped. */
	if (v->parked == v->count)
		loop_post(v->machine->loop, &v->all_parked);
}

void vcpus_resume(struct vcpus *v)
{
	v->pause = false;
	for (unsigned i = 0; i < v->count; i++)
		v->vcpu[i].stop.stopped = false;
	pthread_cond_broadcast(&v->wake);
}

bool vcpus_in_vcpu(const struct vcpus *v)
{
	return self && self->all == v;
}

void vcpus_wait_for_job(struct vcpus *v, struct loop_job *job)
{
	assert(self && self->all == v);
	self->fence_wanted = true;
	self->fence_passed = false;
	loop_post(v->machine->loop, job);
	/* Jobs run in the order they were posted: this one passes when those before it have run,
	 * of which there may be more than one in an exit. */
	loop_cancel(v->machine->loop, &self->fence);
	loop_post(v->machine->loop, &self->fence);
}

void vcpus_wait_until(struct vcpus *v, bool (*done)(void *arg), void *arg,
		      const uint64_t *answer)
{
	assert(self && self->all == v && !self->until);
	assert(!answer || (self->run->exit_reason == KVM_EXIT_MMIO && !self->run->mmio.is_write));
	self->answer = answer;
	self->until = done;
	self->until_arg = arg;
}

void vcpus_wake(struct vcpus *v)
{
	pthread_cond_broadcast(&v->wake);
}
