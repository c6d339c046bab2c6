/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/virtio_card.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <linux/virtio_pci.h>

#include "base/fd.h"

static void backend_start(struct virtio_dev *d)
{
	((struct virtio_card *)d->backend_arg)->starts++;
}

static void backend_stop(struct virtio_dev *d)
{
	struct virtio_card *c = d->backend_arg;

	if (!c->slow)
		virtio_reset_done(d);
}

static void backend_config_write(struct virtio_dev *d, unsigned off, unsigned len)
{
	(void)off;
	(void)len;
	((struct virtio_card *)d->backend_arg)->config_writes++;
}

static const struct virtio_backend_ops backend = { backend_start, backend_stop,
						    backend_config_write };

int virtio_card_setup(void **state)
{
	struct virtio_card *c = calloc(1, sizeof(*c));

	fake_machine_init(&c->fake);
	guest_ram_init(&c->fake);
	assert_int_equal(pci_bus_init(&c->bus, &c->fake.machine, true, &c->e), 0);
	assert_int_equal(virtio_init(&c->dev, "dev0", CARD_ID, CARD_QUEUES, CARD_QUEUE_SIZE,
				     CARD_CONFIG, &c->fake.machine, &c->e), 0);
	c->dev.backend = &backend;
	c->dev.backend_arg = c;
	c->dev.offered = CARD_OFFERED;
	c->dev.config_window = (struct virtio_config_window){ 0, CARD_CONFIG, 0 };
	for (unsigned i = 0; i < CARD_CONFIG; i++)
		c->dev.config[i] = (uint8_t)(0xa0 + i);
	assert_int_equal(virtio_pci_init(&c->pci, &c->dev, &c->bus, CARD_CLASS, &c->e), 0);
	c->guest = (struct virtio_guest){ &c->fake, c->pci.pci.slot };
	guest_decode(&c->guest, true);
	*state = c;
	return 0;
}

int virtio_card_teardown(void **state)
{
	struct virtio_card *c = *state;

	c->dev.transport->fini(&c->dev);
	c->dev.transport->fini(&c->dev);
	virtio_fini(&c->dev);
	pci_bus_fini(&c->bus);
	guest_ram_fini(&c->fake);
	fake_machine_fini(&c->fake);
	free(c);
	return 0;
}

void virtio_card_connect(struct virtio_card *c)
{
	assert_int_equal(c->dev.transport->connect(&c->dev, &c->e), 0);
}

void virtio_card_disconnect(struct virtio_card *c)
{
	c->dev.transport->disconnect(&c->dev);
}

void virtio_card_go_live(struct virtio_card *c, bool msix)
{
	struct virtio_guest *g = &c->guest;

	if (msix)
		guest_msix_on(g, CARD_QUEUES + 1);
	assert_true(guest_negotiate(g, CARD_V1));
	guest_write(g, VIRTIO_PCI_COMMON_MSIX, 2, msix ? 0 : VIRTIO_NO_VECTOR);
	for (unsigned i = 0; i < 2; i++)
		guest_queue(g, i, 16, msix ? (uint16_t)(i + 1) : VIRTIO_NO_VECTOR);
	guest_driver_ok(g);
	virtio_card_connect(c);
}

unsigned virtio_card_interrupts(struct virtio_card *c, unsigned vector)
{
	int gsi;

	fake_machine_run_loop(&c->fake);
	gsi = c->pci.msix.vectors[vector].gsi;
	return gsi < 0 ? 0 : fake_machine_interrupts(&c->fake, (unsigned)gsi);
}

unsigned virtio_card_gsi(const struct virtio_card *c)
{
	return pci_intx_gsi[c->guest.slot % PCI_INTX_LINES];
}

void virtio_card_call(struct virtio_card *c, unsigned queue)
{
	fd_signal(c->dev.queues[queue].call);
	fake_machine_run_loop(&c->fake);
}

unsigned virtio_card_kicks(struct virtio_card *c, unsigned queue)
{
	return (unsigned)fd_drain(c->dev.queues[queue].kick);
}
