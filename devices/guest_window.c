/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/guest_window.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"

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
			 "zeros there from now on", w->params.name);
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

	/* Not for a machine that has none. */
	if (!m->windows)
		area_budget_init(&m->areas);
	*w = (struct guest_window){ .params = *p, .wanted = GUEST_WINDOW_NOWHERE };
	if (slot < 0)
		return err_set(e, slot, "device %s: the machine has no memory slot left", p->name);
	r = window_init(&w->window, p->size, p->idle_max, &m->areas, e);
	if (r)
		return err_prefix(e, r, "device %s: ", p->name);
	if (pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		r = err_sys(e, "device %s: a pipe", p->name);
		window_fini(&w->window);
		return r;
	}
	w->window.slot = (unsigned)slot;
	w->window.gpa = GUEST_WINDOW_NOWHERE;
	w->machine = m;
	w->move = (struct loop_job){ .run = move_run, .arg = w };
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
	loop_timer_cancel(w->machine->loop, &w->look);
	w->wanted = GUEST_WINDOW_NOWHERE;
	move_run(w);
	window_fini(&w->window);
	fd_close(&w->pipe[0]);
	fd_close(&w->pipe[1]);
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

/* --- accesses that KVM cannot do --- */

static struct guest_window *find_window(const struct machine *m, uint64_t gpa)
{
	struct guest_window *w = m->windows;

	while (w && (w->window.gpa == GUEST_WINDOW_NOWHERE || gpa < w->window.gpa ||
		     gpa - w->window.gpa >= w->window.size))
		w = w->next;
	return w;
}

/* Whether all of it was there. */
static bool touch(const struct guest_window *w, struct guest_access *a)
{
	uint8_t *at = w->window.host + (a->gpa - w->window.gpa), rest[sizeof(uint64_t)];

	if (write(w->pipe[1], a->is_write ? a->data : at, a->len) == (ssize_t)a->len &&
	    read(w->pipe[0], a->is_write ? at : a->data, a->len) == (ssize_t)a->len)
		return true;
	/* What could not be stored is still in the pipe, or a part of it. */
	while (read(w->pipe[0], rest, sizeof(rest)) > 0)
		;
	return false;
}

static void access_run(void *arg)
{
	struct guest_access *a = arg;
	struct guest_window *w = find_window(a->machine, a->gpa);

	if (!a->pending)
		return;
	if (w)
		repair_run(w);
	if (w && !touch(w, a)) {
		if (lacks_room(w, WINDOW_FULL)) {
			loop_timer_set(a->machine->loop, &a->retry,
				       clock_ns() + MS_TO_NS(GUEST_WINDOW_LOOK_MS));
			return;
		}
		if (misuse_first(&w->lost))
			log_warn("device %s: the host does not give a page of what is mapped: the guest "
				 "reads zeros there, and what it stores is lost", w->params.name);
	}
	a->pending = false;
	machine_wake(a->machine);
}

static bool is_done(void *arg)
{
	return !((struct guest_access *)arg)->pending;
}

bool guest_windows_access(struct machine *m, struct guest_access *a, uint64_t gpa, uint8_t *data,
			  unsigned len, bool is_write)
{
	const struct guest_window *w = find_window(m, gpa);

	if (!w)
		return false;
	if (!is_write)
		memset(data, 0, len);
	/* A pause interrupted it, and KVM has come to the second half of one instruction's access;
	 * or it is not all in the window. */
	if (a->pending || len == 0 || len > sizeof(uint64_t) ||
	    !range_ok(gpa - w->window.gpa, len, w->window.size))
		return true;
	*a = (struct guest_access){
		.machine = m, .gpa = gpa, .data = data, .len = len, .is_write = is_write,
		.pending = true, .job = { .run = access_run, .arg = a },
		.retry = { .expired = access_run, .arg = a },
	};
	machine_run_in_loop(m, &a->job);
	machine_wait_until(m, is_done, a, NULL);
	return true;
}

void guest_access_drop(struct guest_access *a)
{
	if (!a->pending)
		return;
	a->pending = false;
	loop_cancel(a->machine->loop, &a->job);
	loop_timer_cancel(a->machine->loop, &a->retry);
}

uint64_t guest_windows_changes(const struct machine *m)
{
	uint64_t sum = 0;

	for (const struct guest_window *w = m->windows; w; w = w->next)
		sum += w->window.changes;
	return sum;
}
