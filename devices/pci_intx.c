/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pci_intx.h"

#include <linux/pci_regs.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/fd.h"

const unsigned pci_intx_gsi[PCI_INTX_LINES] = { 5, 9, 10, 11 };

struct intx_line *pci_intx_line(const struct pci_dev *d)
{
	return &d->bus->intx[d->slot % PCI_INTX_LINES];
}

/* Only a rising pin signals: while it stays up, each EOI raises it again (intx_resample). */
void pci_intx_update(struct pci_dev *d)
{
	bool drive = d->intx && !(pci_dev_get(d, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);

	if (drive && !d->intx_driven && d->bus)
		fd_signal(pci_intx_line(d)->eventfd);
	d->intx_driven = drive;
}

static void intx_resample(void *arg, uint32_t events)
{
	struct intx_line *line = arg;
	const struct pci_bus *b = line->bus;

	(void)events;
	fd_drain(line->resample);
	for (unsigned slot = (unsigned)(line - b->intx); slot < PCI_SLOTS; slot += PCI_INTX_LINES) {
		if (b->slots[slot] && b->slots[slot]->intx_driven) {
			fd_signal(line->eventfd);
			return;
		}
	}
}

void pci_intx_disconnect(struct intx_line *line)
{
	loop_unwatch(line->bus->machine->loop, &line->watch);
	fd_close(&line->eventfd);
	fd_close(&line->resample);
}

int pci_intx_connect(struct intx_line *line, struct err *e)
{
	struct machine *m = line->bus->machine;
	int r;

	if (line->eventfd >= 0)
		return 0;
	line->eventfd = fd_eventfd();
	line->resample = fd_eventfd();
	if (line->eventfd < 0 || line->resample < 0) {
		r = line->eventfd < 0 ? line->eventfd : line->resample;
		err_set(e, r, "PCI interrupt line %u: no eventfd: %s", line->gsi, strerror(-r));
		goto fail;
	}
	line->watch = (struct loop_watch){ .fd = line->resample, .events = EPOLLIN,
					   .ready = intx_resample, .arg = line };
	r = loop_watch(m->loop, &line->watch, e);
	if (r) {
		line->watch.fd = -1;
		goto fail;
	}
	r = m->ops->irqfd_add(m->ctx, line->gsi, line->eventfd, line->resample);
	if (r) {
		err_set(e, r, "PCI interrupt line %u: the kernel refuses its irqfd: %s", line->gsi,
			strerror(-r));
		goto fail;
	}
	return 0;
fail:
	pci_intx_disconnect(line);
	return r;
}
