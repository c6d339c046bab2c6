/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/guest_window.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"

static int set_slot(const struct guest_window *w, uint64_t gpa, uint64_t size)
{
	const struct machine *m = w->machine;

	return m->ops->slot_set(m->ctx, w->window.slot, gpa, size, w->window.host);
}

/* A slot that is in use cannot be given another place by one call that is sure to work. */
static void move(struct guest_window *w)
{
	int r;

	if (w->window.gpa != GUEST_WINDOW_NOWHERE)
		set_slot(w, w->window.gpa, 0);
	w->window.gpa = GUEST_WINDOW_NOWHERE;
	if (w->wanted == GUEST_WINDOW_NOWHERE)
		return;
	r = set_slot(w, w->wanted, w->window.size);
	if (!r)
		w->window.gpa = w->wanted;
	else if (misuse_first(&w->refused))
		log_warn("device %s: its window cannot be at %#" PRIx64 ": %s: it is nowhere",
			 w->params.name, w->wanted, strerror(-r));
}

/* Loop. */
static void move_run(void *arg)
{
	struct guest_window *w = arg;

	if (w->window.gpa == w->wanted)
		return;
	move(w);
	if (w->moved)
		w->moved(w->moved_arg);
}

static int repair(struct guest_window *w, struct err *e)
{
	int r = window_repair(&w->window, e);

	if (r < 0)
		return err_prefix(e, r, "device %s: ", w->params.name);
	if (r == 0)
		return 0;
	if (misuse_first(&w->repaired))
		log_warn("device %s: an object was cut short under its mapping; the guest reads "
			 "zeros there until the device is reset", w->params.name);
	if (w->params.cut_short)
		w->params.cut_short(w->params.arg);
	return r;
}

static void repair_run(void *arg)
{
	struct guest_window *w = arg;
	struct err e;

	if (repair(w, &e) < 0 && misuse_first(&w->repaired))
		log_warn("%s", e.msg);
}

static bool lacks_room(struct guest_window *w, enum window_room limit)
{
	if (window_room(&w->window) < limit)
		return false;
	if (misuse_first(&w->full))
		log_warn("device %s: the file system of what is mapped has no room: a vCPU that needs "
			 "more of it waits until there is; free space there", w->params.name);
	return true;
}

static void look(void *arg)
{
	struct guest_window *w = arg;

	repair_run(w);
	/* What waits inside KVM_RUN nobody sees. */
	lacks_room(w, WINDOW_LACKS);
	if (w->window.count)
		guest_window_mapped(w);
}

int guest_window_init(struct guest_window *w, struct machine *m,
		      const struct guest_window_params *p, struct err *e)
{
	int slot = machine_alloc_slot(m), r;

	*w = (struct guest_window){ .params = *p, .wanted = GUEST_WINDOW_NOWHERE };
	if (slot < 0)
		return err_set(e, slot, "device %s: the machine has no memory slot left", p->name);
	r = window_init(&w->window, p->size, p->idle_max, &m->areas, e);
	if (r)
		return err_prefix(e, r, "device %s: ", p->name);
	w->window.slot = (unsigned)slot;
	w->window.gpa = GUEST_WINDOW_NOWHERE;
	w->machine = m;
	w->move = (struct loop_job){ .run = move_run, .arg = w };
	w->shrunk = (struct loop_job){ .run = repair_run, .arg = w };
	w->look = (struct loop_timer){ .expired = look, .arg = w };
	w->next = m->windows;
	m->windows = w;
	return 0;
}

void guest_window_fini(struct guest_window *w)
{
	struct guest_window **p;

	if (!w->machine)
		return;
	for (p = &w->machine->windows; *p != w; p = &(*p)->next)
		;
	*p = w->next;
	loop_cancel(w->machine->loop, &w->move);
	loop_cancel(w->machine->loop, &w->shrunk);
	loop_timer_cancel(w->machine->loop, &w->look);
	w->wanted = GUEST_WINDOW_NOWHERE;
	move_run(w);
	window_fini(&w->window);
	w->machine = NULL;
}

void guest_window_move(struct guest_window *w, uint64_t gpa)
{
	w->wanted = gpa;
	if (w->window.gpa != gpa)
		machine_run_in_loop(w->machine, &w->move);
}

void guest_window_mapped(struct guest_window *w)
{
	if (!w->look.at)
		loop_timer_set(w->machine->loop, &w->look,
			       clock_ns() + MS_TO_NS(GUEST_WINDOW_LOOK_MS));
}

int guest_windows_repair(struct machine *m, struct err *e)
{
	int sum = 0;

	for (struct guest_window *w = m->windows; w; w = w->next) {
		int r = repair(w, e);

		if (r < 0)
			return r;
		sum += r;
	}
	return sum;
}

bool guest_windows_lack_room(struct machine *m)
{
	bool found = false;

	for (struct guest_window *w = m->windows; w; w = w->next)
		found |= lacks_room(w, WINDOW_FULL);
	return found;
}

bool guest_windows_hold(struct machine *m, uint64_t gpa)
{
	for (struct guest_window *w = m->windows; w; w = w->next) {
		if (w->window.gpa == GUEST_WINDOW_NOWHERE || gpa < w->window.gpa ||
		    gpa - w->window.gpa >= w->window.size)
			continue;
		machine_run_in_loop(m, &w->shrunk);
		return true;
	}
	return false;
}

uint64_t guest_windows_changes(const struct machine *m)
{
	uint64_t sum = 0;

	for (const struct guest_window *w = m->windows; w; w = w->next)
		sum += w->window.changes;
	return sum;
}
