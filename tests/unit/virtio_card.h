/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device on PCI for tests, with a guest's driver in front and nothing behind: the test
 * plays the backend. Its config bytes are 0xa0, 0xa1, ...
 */
#ifndef TESTS_VIRTIO_CARD_H
#define TESTS_VIRTIO_CARD_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_config.h>

#include "base/range.h"
#include "devices/virtio_pci.h"
#include "tests/unit/virtio_guest.h"

enum {
	CARD_QUEUES = 3, CARD_QUEUE_SIZE = 64, CARD_CONFIG = 13, CARD_CLASS = 0x010000,
	CARD_ID = 2,
};
#define CARD_V1		BIT64(VIRTIO_F_VERSION_1)
#define CARD_OFFERED	(CARD_V1 | BIT64(VIRTIO_F_IN_ORDER) | BIT64(5) | BIT64(63))

struct virtio_card {
	struct fake_machine fake;
	struct pci_bus bus;
	struct virtio_dev dev;
	struct virtio_pci pci;
	struct virtio_guest guest;
	struct err e;
	bool slow;			/* a stop is completed by the test, not at once */
	unsigned starts, config_writes;
};

/* cmocka's set-up and tear-down: *state is a struct virtio_card whose BAR decodes. */
int virtio_card_setup(void **state);
int virtio_card_teardown(void **state);

/* What a backend does in the loop after DRIVER_OK, and at a stop's end. */
void virtio_card_connect(struct virtio_card *c);
void virtio_card_disconnect(struct virtio_card *c);
/* A driver that uses queues 0 and 1; with MSI-X they have vectors 1 and 2, config has 0. */
void virtio_card_go_live(struct virtio_card *c, bool msix);

/* Takes the interrupts of MSI-X vector @vector. */
unsigned virtio_card_interrupts(struct virtio_card *c, unsigned vector);
/* The GSI of its INTx pin. */
unsigned virtio_card_gsi(const struct virtio_card *c);
/* A daemon used buffers of queue @queue; the loop has run. */
void virtio_card_call(struct virtio_card *c, unsigned queue);
/* Takes the kicks of queue @queue. */
unsigned virtio_card_kicks(struct virtio_card *c, unsigned queue);

#endif
