/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "devices/vmshm_bars.h"
#include "devices/vmshm_name.h"
#include "guest/vmshm/vmshm_regs.h"

enum { SUBSYSTEM_VENDOR = 0x1af4, SUBSYSTEM = 0x1100 };

static struct vmshm *device_of(struct pci_dev *pci)
{
	return (struct vmshm *)((char *)pci - offsetof(struct vmshm, pci));
}

/* --- what is open --- */

static void news(void *arg, struct vmshm_news *ret)
{
	struct vmshm *d = arg;

	vmshm_binding_news(&d->binding, ret);
	ret->msg.generation = d->generation;
}

/* What the guest has open is another than before. */
static void changed(struct vmshm *d)
{
	struct vmshm_news n;

	d->generation++;
	news(d, &n);
	vmshm_events_tell(&d->events, &n);
}

static void cut_short(void *arg)
{
	struct vmshm *d = arg;

	if (!vmshm_binding_cut_short(&d->binding))
		return;
	changed(d);
	vmshm_events_state_changed(&d->events);
}

static void peer_changed(void *arg)
{
	const struct vmshm *d = arg;

	log_debug("device %s: its events have %s", d->options->id,
		  vmshm_events_has_peer(&d->events) ? "somebody who takes them" : "nobody any more");
}

static void close_run(void *arg)
{
	struct vmshm *d = arg;

	if (!d->close_wanted)
		return;
	d->close_wanted = false;
	vmshm_binding_close(&d->binding);
	changed(d);
}

/* --- OPEN and CLOSE --- */

static bool is_under_way(const struct vmshm *d)
{
	return d->opening == VMSHM_WANTED || d->opening == VMSHM_ASKED;
}

/* Ends the OPEN under way. */
static void finish(struct vmshm *d, uint32_t status)
{
	d->error = status;
	d->result = status;
	d->opening = VMSHM_DONE;
	machine_wake(d->machine);
}

/* For machine_wait_until: the vCPU has taken the result, so another OPEN may begin. */
static bool is_answered(void *arg)
{
	struct vmshm *d = arg;

	if (d->opening == VMSHM_DONE)
		d->opening = VMSHM_IDLE;
	return d->opening == VMSHM_IDLE;
}

static void opener_gone(struct vmshm *d, const char *why)
{
	if (!d->gone)
		log_error("device %s: %s: nothing can be opened any more", d->options->id, why);
	d->gone = true;
	d->in_flight = false;
	if (is_under_way(d))
		finish(d, VMSHM_EIO);
}

/* Asks, unless an answer is to come that nobody waits for any more: a guest that opens and closes
 * again and again must not fill the way to the opener. */
static void ask_run(void *arg)
{
	struct vmshm *d = arg;
	struct vmshm_question q = { .device = d->options->number, .serial = d->serial + 1,
				    .ro = d->wish.flags & VMSHM_OPEN_RO };
	struct err e;

	if (d->opening != VMSHM_WANTED || d->in_flight)
		return;
	memcpy(q.name, d->wish.name, sizeof(q.name));
	d->serial = q.serial;
	d->opening = VMSHM_ASKED;
	d->in_flight = true;
	if (d->opener->ask(d->opener_ctx, &q, d->binding.fd, &e))
		opener_gone(d, e.msg);
}

void vmshm_answered(struct vmshm *d, const struct vmshm_answer *a, int *fd)
{
	if (d->in_flight && a->serial == d->serial) {
		d->in_flight = false;
		/* The CLOSE before this OPEN may not have run yet. */
		close_run(d);
		if (d->opening == VMSHM_ASKED) {
			uint32_t status = a->status;
			bool was_open = d->binding.open;

			if (status == VMSHM_OK)
				status = vmshm_binding_open(&d->binding, &d->wish, fd, a->rw,
							    a->sealed);
			if (status == VMSHM_OK || d->binding.open != was_open)
				changed(d);
			finish(d, status);
		}
		ask_run(d);
	}
	fd_close(fd);
}

void vmshm_opener_gone(struct vmshm *d)
{
	opener_gone(d, "who opens objects for it is gone");
}

/* What an OPEN is refused for before anybody is asked. */
static uint32_t begin(struct vmshm *d, const struct vmshm_wish *w)
{
	const uint32_t known = VMSHM_OPEN_RO | VMSHM_OPEN_LARGE | VMSHM_OPEN_WHOLE;

	if (d->opening != VMSHM_IDLE)
		return VMSHM_EBUSY;
	if ((w->flags & ~known) || ((w->flags & VMSHM_OPEN_LARGE) && !d->options->window))
		return VMSHM_ENOTSUP;
	d->wish = *w;
	if (vmshm_name_parse(d->name, d->options->name_size, d->wish.name))
		return VMSHM_EBADNAME;
	return d->gone ? VMSHM_EIO : VMSHM_OK;
}

uint32_t vmshm_read_open(struct vmshm *d)
{
	const struct vmshm_wish w = d->next;
	uint32_t status = begin(d, &w);

	d->next = (struct vmshm_wish){ .flags = 0 };
	if (status) {
		d->error = status;
		return status;
	}
	d->opening = VMSHM_WANTED;
	d->result = VMSHM_EBUSY;
	/* The exit has one wait: nobody needs to know that the opener was asked. */
	loop_post(d->machine->loop, &d->ask);
	machine_wait_until(d->machine, is_answered, d, &d->result);
	return VMSHM_EBUSY;
}

uint32_t vmshm_read_close(struct vmshm *d)
{
	if (is_under_way(d))
		finish(d, VMSHM_EBUSY);
	if (d->binding.open) {
		d->close_wanted = true;
		machine_run_in_loop(d->machine, &d->close);
	}
	return 0;
}

/* --- PCI --- */

static void regs_mapped(struct pci_dev *pci, unsigned bar, uint64_t addr)
{
	(void)bar;
	vmshm_events_move(&device_of(pci)->events, addr);
}

static void window_mapped(struct pci_dev *pci, unsigned bar, uint64_t addr)
{
	struct guest_window *w = pci->bars[bar].dev;

	guest_window_move(w, addr == PCI_UNMAPPED ? GUEST_WINDOW_NOWHERE : addr);
}

static void config_written(struct pci_dev *pci, unsigned off, unsigned len)
{
	vmshm_events_config_written(&device_of(pci)->events, off, len);
}

static void declare(struct vmshm *d)
{
	const struct vmshm_options *o = d->options;

	pci_dev_init(&d->pci, o->id, o->pci_vendor, o->pci_device, VMSHM_PCI_CLASS,
		     VMSHM_PCI_REVISION);
	pci_dev_set(&d->pci, PCI_SUBSYSTEM_VENDOR_ID, 2, SUBSYSTEM_VENDOR);
	pci_dev_set(&d->pci, PCI_SUBSYSTEM_ID, 2, SUBSYSTEM);
	d->pci.no_intx = true;
	d->pci.config_written = config_written;
	pci_dev_bar(&d->pci, VMSHM_BAR_REGS, (struct pci_bar){
		.size = VMSHM_REGS_SIZE, .ops = &vmshm_regs_ops, .dev = d, .mapped = regs_mapped });
	pci_dev_bar(&d->pci, VMSHM_BAR_WINDOW, (struct pci_bar){
		.size = VMSHM_WINDOW_SIZE, .dev = &d->binding.window, .mapped = window_mapped });
	pci_dev_bar(&d->pci, VMSHM_BAR_NAME, (struct pci_bar){
		.size = o->name_size, .ops = &vmshm_name_ops, .dev = d });
	if (o->window)
		pci_dev_bar(&d->pci, VMSHM_BAR_LARGE, (struct pci_bar){
			.size = o->window, .is_64 = true, .prefetch = true,
			.dev = &d->binding.large, .mapped = window_mapped });
}

int vmshm_init(struct vmshm *d, const struct vmshm_options *o, struct machine *m,
	       struct pci_bus *bus, const struct vmshm_opener *opener, void *opener_ctx,
	       struct err *e)
{
	const struct vmshm_events_owner owner = { .news = news, .changed = peer_changed, .arg = d };
	int r;

	*d = (struct vmshm){ .options = o, .machine = m, .opener = opener,
			     .opener_ctx = opener_ctx };
	d->ask = (struct loop_job){ .run = ask_run, .arg = d };
	d->close = (struct loop_job){ .run = close_run, .arg = d };
	d->name = calloc(1, o->name_size);
	r = d->name ? 0 : err_set(e, -ENOMEM, "device %s: out of memory", o->id);
	if (r == 0)
		r = vmshm_binding_init(&d->binding, o, m, cut_short, d, e);
	if (r == 0) {
		declare(d);
		r = vmshm_events_init(&d->events, m, &d->pci, o, &owner, e);
	}
	if (r == 0)
		r = pci_dev_add(bus, &d->pci, e);
	if (r)
		vmshm_fini(d);
	return r;
}

void vmshm_fini(struct vmshm *d)
{
	if (!d->machine)
		return;
	pci_dev_del(&d->pci);
	vmshm_events_fini(&d->events);
	loop_cancel(d->machine->loop, &d->ask);
	loop_cancel(d->machine->loop, &d->close);
	vmshm_binding_fini(&d->binding);
	free(d->name);
	d->name = NULL;
	d->machine = NULL;
}

void vmshm_reset(struct vmshm *d)
{
	bool was_open = d->binding.open;

	d->close_wanted = false;
	vmshm_binding_reset(&d->binding);
	if (was_open)
		changed(d);
	d->next = d->wish = (struct vmshm_wish){ .flags = 0 };
	d->error = 0;
	memset(d->name, 0, d->options->name_size);
	/* An answer that is still to come is for nobody. */
	d->opening = VMSHM_IDLE;
	machine_wake(d->machine);
	vmshm_events_reset(&d->events);
	pci_dev_reset(&d->pci);
}
