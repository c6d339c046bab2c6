/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/machine.h"

#include <errno.h>

void machine_init(struct machine *m, const struct machine_ops *ops, void *ctx,
		  struct loop *loop, struct guest_mem *mem)
{
	*m = (struct machine){ .ops = ops, .ctx = ctx, .loop = loop, .mem = mem,
			       .next_gsi = MACHINE_GSI_MSI_FIRST,
			       .next_slot = MACHINE_SLOT_WINDOW_FIRST };
	pthread_mutex_init(&m->lock, NULL);
}

void machine_fini(struct machine *m)
{
	pthread_mutex_destroy(&m->lock);
}

int machine_alloc_gsi(struct machine *m)
{
	return m->next_gsi < MACHINE_GSI_MAX ? (int)m->next_gsi++ : -ENOSPC;
}

int machine_alloc_slot(struct machine *m)
{
	return m->next_slot < MACHINE_SLOT_MAX ? (int)m->next_slot++ : -ENOSPC;
}

void machine_run_in_loop(struct machine *m, struct loop_job *job)
{
	if (m->ops->in_vcpu(m->ctx))
		m->ops->wait_for_job(m->ctx, job);
	else
		job->run(job->arg);
}

void machine_wait_until(struct machine *m, bool (*done)(void *arg), void *arg,
			const uint64_t *answer)
{
	if (m->ops->in_vcpu(m->ctx))
		m->ops->wait_until(m->ctx, done, arg, answer);
}

void machine_wake(struct machine *m)
{
	m->ops->wake(m->ctx);
}
