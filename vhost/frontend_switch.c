/* SPDX-License-Identifier: Apache-2.0 */
/* Rings of a running device that are enabled and disabled ("Ring states", SET_VRING_ENABLE). */
#include "base/range.h"
#include "vhost/frontend_private.h"

static int fill_switch(struct vu_frontend *f, unsigned ring, struct vu_msg *m, struct err *e)
{
	bool is_on = f->on & BIT64(ring);

	(void)e;
	if (is_on != f->rings[ring].idle)
		return 0;
	f->on ^= BIT64(ring);
	f->switched |= BIT64(ring);
	m->header.size = sizeof(m->payload.state);
	m->payload.state = (struct vu_vring_state){ .index = ring, .num = !is_on };
	return f->has_protocol;
}

static const struct vu_step switch_steps[] = {
	{ VU_SET_VRING_ENABLE, .group = 1, .fill = fill_switch },
	{ 0 },
};

/* What was kicked before, the daemon may have taken and forgotten, as at a start. */
static void switched(struct vu_frontend *f)
{
	for (unsigned i = 0; i < f->n_rings; i++)
		if (f->switched & f->on & BIT64(i) && f->rings[i].kick >= 0)
			loop_signal(f->loop, f->rings[i].kick);
	f->switched = 0;
	if (!f->switch_due)
		vu_frontend_notify(f, VU_NOTICE_SWITCHED);
}

static void run(void *arg)
{
	struct vu_frontend *f = arg;

	/* Else it is posted again when the script has ended. */
	if (!f->switch_due || f->step || f->state != VU_RUNNING)
		return;
	f->switch_due = false;
	vu_engine_script(f, switch_steps, f->started, switched);
}

void vu_frontend_switch(struct vu_frontend *f)
{
	if (f->state != VU_STARTING && f->state != VU_RUNNING)
		return;
	f->switch_due = true;
	loop_post(f->loop, &f->switching);
}

void vu_switch_init(struct vu_frontend *f)
{
	f->switching = (struct loop_job){ .run = run, .arg = f };
}

void vu_switch_settle(struct vu_frontend *f)
{
	if (f->switch_due)
		loop_post(f->loop, &f->switching);
}

void vu_switch_cancel(struct vu_frontend *f)
{
	f->switch_due = false;
	f->switched = 0;
	loop_cancel(f->loop, &f->switching);
}
