/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_events.h"

#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "base/range.h"
#include "guest/vmshm/vmshm_regs.h"

enum { MSIX_BAR_SIZE = 0x1000, MSIX_TABLE = 0, MSIX_PBA = 0x800 };

/* Doorbells */

static struct machine_doorbell doorbell(const struct vmshm_events *v, unsigned event)
{
	return (struct machine_doorbell){ .addr = v->doorbells_at + VMSHM_DOORBELL,
					  .one_value = true, .value = event };
}

static void del_doorbells(struct vmshm_events *v)
{
	const struct machine *m = v->machine;

	for (unsigned i = 0; i < v->count; i++) {
		struct machine_doorbell d = doorbell(v, i);

		if (v->doorbells & 1u << i)
			m->ops->ioeventfd_del(m->ctx, &d, v->kick[i]);
	}
	v->doorbells = 0;
}

static void add_doorbells(struct vmshm_events *v)
{
	const struct machine *m = v->machine;

	for (unsigned i = 0; i < v->count; i++) {
		struct machine_doorbell d = doorbell(v, i);
		int r = m->ops->ioeventfd_add(m->ctx, &d, v->kick[i]);

		if (!r)
			v->doorbells |= 1u << i;
		else if (misuse_first(&v->refused))
			log_warn("device %s: the kernel refuses doorbell %u, which rings nobody now: %s: use"
				 " fewer devices or queues", v->options->id, i, strerror(-r));
	}
}

/* Loop. */
static void sync_doorbells(void *arg)
{
	struct vmshm_events *v = arg;

	if (v->doorbells_at == v->doorbells_wanted)
		return;
	del_doorbells(v);
	v->doorbells_at = v->doorbells_wanted;
	if (v->doorbells_at != PCI_UNMAPPED)
		add_doorbells(v);
}

void vmshm_events_move(struct vmshm_events *v, uint64_t addr)
{
	v->doorbells_wanted = addr;
	if (v->doorbells_at != addr)
		machine_run_in_loop(v->machine, &v->sync);
}

/* Interrupts */

static uint64_t msix_bar_read(void *dev, uint64_t off, unsigned size)
{
	struct vmshm_events *v = dev;
	uint64_t value = 0;

	msix_read(&v->msix, off, size, &value);
	return value;
}

static void msix_bar_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	struct vmshm_events *v = dev;

	msix_write(&v->msix, off, size, value);
}

static const struct bus_ops msix_bar_ops = { msix_bar_read, msix_bar_write };

/* Before any eventfd of others: the VMM signals a vector's first one, and is to signal none of
 * theirs (vmshm_peer.h). */
static int connect_calls(struct vmshm_events *v, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; !r && i < v->count; i++)
		r = msix_connect(&v->msix, i + 1, v->call[i], e);
	return r;
}

static int add_interrupts(struct vmshm_events *v, struct pci_dev *pci, struct err *e)
{
	int r;

	pci_dev_bar(pci, VMSHM_BAR_MSIX, (struct pci_bar){ .size = MSIX_BAR_SIZE,
							   .ops = &msix_bar_ops, .dev = v });
	r = msix_init(&v->msix, pci, v->machine, VMSHM_BAR_MSIX, MSIX_TABLE, MSIX_PBA, v->vectors,
		      e);
	return r ? r : connect_calls(v, e);
}

void vmshm_events_config_written(struct vmshm_events *v, unsigned off, unsigned len)
{
	if (v->vectors)
		msix_config_written(&v->msix, off, len);
}

void vmshm_events_state_changed(struct vmshm_events *v)
{
	if (v->vectors)
		msix_raise(&v->msix, 0);
}

/* Who is connected */

static void news(void *arg, struct vmshm_news *ret)
{
	struct vmshm_events *v = arg;

	v->owner.news(v->owner.arg, ret);
}

static void changed(void *arg)
{
	struct vmshm_events *v = arg;

	v->owner.changed(v->owner.arg);
	vmshm_events_state_changed(v);
}

int vmshm_events_listen(struct vmshm_events *v, int *listener, struct err *e)
{
	return vmshm_listener_listen(&v->listener, listener, e);
}

void vmshm_events_tell(struct vmshm_events *v, const struct vmshm_news *n)
{
	vmshm_listener_tell(&v->listener, n);
}

bool vmshm_events_has_peer(const struct vmshm_events *v)
{
	return vmshm_listener_has_peer(&v->listener);
}

void vmshm_events_dial(struct vmshm_events *v, const struct vhost_user_dialer *dialer, void *ctx,
		       unsigned number)
{
	vmshm_peer_dial(&v->peer, dialer, ctx, number, v->options->events_peer);
}

/* Life */

unsigned vmshm_events_count(const struct vmshm_events *v)
{
	return v->count;
}

unsigned vmshm_events_vectors(const struct vmshm_events *v)
{
	return v->vectors;
}

static int add_eventfds(struct vmshm_events *v, struct err *e)
{
	for (unsigned i = 0; i < v->count; i++) {
		v->kick[i] = fd_eventfd();
		v->call[i] = fd_eventfd();
		if (v->kick[i] < 0 || v->call[i] < 0)
			return err_set(e, -EMFILE, "device %s: there are no descriptors for its events: raise ulimit -n",
				       v->options->id);
	}
	return 0;
}

static int check_options(const struct vmshm_options *o, struct err *e)
{
	if (o->vectors > VMSHM_EVENTS_MAX + 1)
		return err_set(e, -EINVAL, "device %s: vectors= is at most %d", o->id,
			       VMSHM_EVENTS_MAX + 1);
	if (o->events_peer && o->vectors < 2)
		return err_set(e, -EINVAL, "device %s: events-peer= needs an interrupt for each event: add"
			       " vectors=2, or more",
			       o->id);
	return 0;
}

int vmshm_events_init(struct vmshm_events *v, struct machine *m, struct pci_dev *pci,
		      const struct vmshm_options *o, const struct vmshm_events_owner *owner,
		      struct err *e)
{
	unsigned vectors = (unsigned)o->vectors;
	int r = check_options(o, e);

	*v = (struct vmshm_events){ .machine = m, .options = o, .owner = *owner,
				    .doorbells_at = PCI_UNMAPPED,
				    .doorbells_wanted = PCI_UNMAPPED,
				    .sync = { .run = sync_doorbells, .arg = v } };
	memset(v->kick, -1, sizeof(v->kick));
	memset(v->call, -1, sizeof(v->call));
	if (r)
		return r;
	v->vectors = vectors;
	v->count = vectors ? vectors - 1 : 0;
	vmshm_listener_init(&v->listener, &(struct vmshm_listener_params){
		.loop = m->loop, .name = o->id, .count = v->count, .kick = v->kick,
		.call = v->call, .news = news, .changed = changed, .arg = v });
	vmshm_peer_init(&v->peer, m->loop, o->id, &v->msix, v->count);
	r = add_eventfds(v, e);
	if (!r && vectors)
		r = add_interrupts(v, pci, e);
	if (r)
		vmshm_events_fini(v);
	return r;
}

void vmshm_events_fini(struct vmshm_events *v)
{
	if (!v->machine)
		return;
	vmshm_peer_fini(&v->peer);
	vmshm_listener_fini(&v->listener);
	loop_cancel(v->machine->loop, &v->sync);
	del_doorbells(v);
	if (v->msix.dev)
		msix_fini(&v->msix);
	for (unsigned i = 0; i < VMSHM_EVENTS_MAX; i++) {
		fd_close(&v->kick[i]);
		fd_close(&v->call[i]);
	}
	v->machine = NULL;
}

void vmshm_events_reset(struct vmshm_events *v)
{
	struct err e;

	if (!v->vectors)
		return;
	msix_reset(&v->msix);
	/* The kernel has room for what it had a moment ago. */
	if (connect_calls(v, &e) && misuse_first(&v->refused))
		log_warn("%s", e.msg);
	vmshm_peer_rewire(&v->peer);
}
