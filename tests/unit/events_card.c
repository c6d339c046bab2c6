/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/pci_regs.h>

#include "base/fd.h"
#include "base/listener.h"
#include "tests/unit/events_card.h"
#include "tests/unit/resting.h"

enum { FIRST_MESSAGE = 0x40 };

static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev, (void)off, (void)size;
	return 0;
}

static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t value)
{
	(void)dev, (void)off, (void)size, (void)value;
}

static const struct bus_ops regs_ops = { regs_read, regs_write };

static void regs_mapped(struct pci_dev *d, unsigned bar, uint64_t addr)
{
	struct events_card *c = d->bars[bar].dev;

	vmshm_events_move(&c->events, addr);
}

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct events_card *c = d->bars[VMSHM_BAR_REGS].dev;

	vmshm_events_config_written(&c->events, off, len);
}

static void news(void *arg, struct vmshm_news *ret)
{
	*ret = ((struct events_card *)arg)->news;
}

static void changed(void *arg)
{
	((struct events_card *)arg)->changes++;
}

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	(void)l, (void)e;
	((struct events_card *)ctx)->asks++;
	return 0;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	(void)ctx, (void)l;
}

static const struct vhost_user_dialer dialer = { .ask = ask, .forget = forget };

struct events_card *events_card_new(unsigned vectors)
{
	struct events_card *c = calloc(1, sizeof(*c));
	const struct vmshm_events_owner owner = { .news = news, .changed = changed, .arg = c };

	fake_machine_init(&c->fake);
	assert_int_equal(pci_bus_init(&c->bus, &c->fake.machine, true, &c->e), 0);
	snprintf(c->id, sizeof(c->id), "vmshm0");
	c->options = (struct vmshm_options){ .id = c->id, .vectors = vectors };
	c->news.fd = -1;
	pci_dev_init(&c->pci, "vmshm0", VMSHM_PCI_VENDOR, VMSHM_PCI_DEVICE, VMSHM_PCI_CLASS,
		     VMSHM_PCI_REVISION);
	pci_dev_bar(&c->pci, VMSHM_BAR_REGS, (struct pci_bar){
		.size = VMSHM_REGS_SIZE, .ops = &regs_ops, .dev = c, .mapped = regs_mapped });
	c->pci.config_written = config_written;
	assert_int_equal(vmshm_events_init(&c->events, &c->fake.machine, &c->pci, &c->options,
					   &owner, &c->e), 0);
	assert_int_equal(pci_dev_add(&c->bus, &c->pci, &c->e), 0);
	return c;
}

void events_card_free(struct events_card *c)
{
	pci_dev_del(&c->pci);
	vmshm_events_fini(&c->events);
	vmshm_events_fini(&c->events);
	pci_bus_fini(&c->bus);
	fake_machine_fini(&c->fake);
	if (c->path[0])
		unlink(c->path);
	if (c->dir[0])
		rmdir(c->dir);
	free(c);
}

void events_card_listen(struct events_card *c)
{
	autoclose int sock = -1;
	struct listener l;

	snprintf(c->dir, sizeof(c->dir), "/tmp/events.XXXXXX");
	assert_non_null(mkdtemp(c->dir));
	snprintf(c->path, sizeof(c->path), "%s/socket", c->dir);
	assert_int_equal(listener_open(&l, SOCK_SEQPACKET, "", c->path, &sock, &c->e), 0);
	fd_close(&l.dir);
	assert_int_equal(vmshm_events_listen(&c->events, &sock, &c->e), 0);
	assert_int_equal(sock, -1);
}

void events_card_config_write(struct events_card *c, unsigned reg, unsigned size, uint64_t value)
{
	fake_vcpu_write(&c->fake, &c->fake.machine.mmio, PCI_ECAM_BASE + (c->pci.slot << 15) + reg,
			size, value);
}

void events_card_msix_control(struct events_card *c, unsigned flags)
{
	events_card_config_write(c, c->events.msix.cap + PCI_MSIX_FLAGS, 2, flags);
}

static void table_write(struct events_card *c, unsigned vector, unsigned field, uint64_t value)
{
	fake_vcpu_write(&c->fake, &c->fake.machine.mmio,
			c->pci.bars[VMSHM_BAR_MSIX].addr + vector * MSIX_ENTRY_SIZE + field, 4,
			value);
}

void events_card_mask(struct events_card *c, unsigned vector, bool masked)
{
	table_write(c, vector, PCI_MSIX_ENTRY_VECTOR_CTRL, masked);
	events_card_run(c);
}

void events_card_enable(struct events_card *c)
{
	events_card_config_write(c, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	if (!c->options.vectors)
		return;
	events_card_msix_control(c, PCI_MSIX_FLAGS_ENABLE);
	for (unsigned v = 0; v < c->options.vectors; v++) {
		table_write(c, v, PCI_MSIX_ENTRY_LOWER_ADDR, 0xfee00000);
		table_write(c, v, PCI_MSIX_ENTRY_DATA, FIRST_MESSAGE + v);
		events_card_mask(c, v, false);
		events_card_interrupts(c, v);
	}
}

bool events_card_ring(struct events_card *c, uint32_t event)
{
	unsigned kernel = 0;

	for (unsigned i = 0; i < c->fake.ioeventfd_count; i++) {
		const struct machine_doorbell *d = &c->fake.ioeventfds[i].bell;

		kernel += d->addr == events_card_regs(c) + VMSHM_DOORBELL && d->value == event;
	}
	fake_vcpu_doorbell(&c->fake, events_card_regs(c) + VMSHM_DOORBELL, 4, event);
	return kernel;
}

unsigned events_card_interrupts(struct events_card *c, unsigned vector)
{
	int gsi = c->events.msix.vectors[vector].gsi;

	return gsi < 0 ? 0 : fake_machine_interrupts(&c->fake, (unsigned)gsi);
}

uint64_t events_card_regs(const struct events_card *c)
{
	return c->pci.bars[VMSHM_BAR_REGS].addr;
}

void events_card_reset(struct events_card *c)
{
	pci_dev_reset(&c->pci);
	vmshm_events_reset(&c->events);
}

void events_card_run(struct events_card *c)
{
	fake_machine_run_loop(&c->fake);
}

bool events_card_connect(struct events_card *c, struct vmshm_host *h)
{
	int r;

	assert_int_equal(vmshm_host_call(h, c->path), 0);
	events_card_run(c);
	r = vmshm_host_answer(h, 0);
	assert_true(r == 0 || r == -EBUSY);
	return r == 0;
}

uint32_t events_card_news(struct events_card *c, struct vmshm_host *h, struct vmshm_msg *ret)
{
	int fd;

	events_card_run(c);
	assert_int_equal(vmshm_host_news(h, 0, ret, &fd), 0);
	assert_int_equal(fd >= 0, ret->kind == VMSHM_MSG_OPEN);
	fd_close(&fd);
	return ret->kind;
}

void events_card_open(struct events_card *c, int fd, const char *name)
{
	unsigned generation = c->news.msg.generation + 1;

	c->news = (struct vmshm_news){ .fd = fd, .msg = { .generation = generation } };
	if (fd >= 0) {
		c->news.msg.size = 3 * 4096;
		c->news.msg.offset = 4096;
		c->news.msg.mapped = 2 * 4096;
		c->news.msg.flags = VMSHM_MSG_RO;
		snprintf(c->news.msg.name, sizeof(c->news.msg.name), "%s", name);
	}
	vmshm_events_tell(&c->events, &c->news);
}

/* Until it asks. */
static struct vhost_user_link *asking(struct events_card *c)
{
	struct vhost_user_link *l = &c->events.peer.link;

	if (l->state == VHOST_USER_LINK_OFF) {
		c->options.events_peer = c->path;
		vmshm_events_dial(&c->events, &dialer, c, 0);
	}
	if (l->state == VHOST_USER_LINK_PAUSING) {
		loop_timer_set(&c->fake.loop, &l->pause, 1);
		loop_once(&c->fake.loop, 0);
	}
	assert_int_equal(l->state, VHOST_USER_LINK_ASKING);
	l->told.msg[0] = '\0';
	return l;
}

void events_card_try_socket(struct events_card *c, int *sock)
{
	int pidfd = -1;

	vhost_user_link_answer(asking(c), sock, &pidfd, 0, "");
	assert_int_equal(*sock, -1);
}

void events_card_try(struct events_card *c, const struct events_card *other)
{
	struct vmshm_host h;

	assert_int_equal(vmshm_host_call(&h, other->path), 0);
	events_card_try_socket(c, &h.sock);
}

void events_card_try_in_vain(struct events_card *c, int error)
{
	vhost_user_link_answer(asking(c), &(int){ -1 }, &(int){ -1 }, error, "for a reason");
}

bool events_card_is_up(const struct events_card *c)
{
	return c->events.peer.link.state == VHOST_USER_LINK_UP;
}

bool events_card_is_resting(const struct events_card *c)
{
	return is_resting(&c->events.peer.link);
}

const char *events_card_why(const struct events_card *c)
{
	return c->events.peer.link.told.msg;
}
