/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events of a VMShm device on a fake machine, without the device around them, and the guest
 * that uses them. Include after cmocka.h.
 */
#ifndef TESTS_UNIT_EVENTS_CARD_H
#define TESTS_UNIT_EVENTS_CARD_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vmshm_events.h"
#include "guest/vmshm/vmshm_host.h"
#include "guest/vmshm/vmshm_regs.h"
#include "tests/unit/fake_machine.h"

struct events_card {
	struct fake_machine fake;
	struct pci_bus bus;
	struct pci_dev pci;
	struct vmshm_options options;
	char id[8];
	struct vmshm_events events;
	struct vmshm_news news;		/* what the guest has open */
	unsigned changes;		/* times that somebody came or went */
	char dir[32], path[64];		/* of the socket; empty: none */
	struct err e;

	unsigned asks;			/* questions for a connection to another VM */
};

/* A device with @vectors on its bus; closed. Must succeed. */
struct events_card *events_card_new(unsigned vectors);
void events_card_free(struct events_card *c);
/* Sets it up listening on c->path. */
void events_card_listen(struct events_card *c);

/* The guest: BAR 0 decodes, MSI-X is on, each vector has a message of its own and no mask. */
void events_card_enable(struct events_card *c);
void events_card_config_write(struct events_card *c, unsigned reg, unsigned size, uint64_t value);
void events_card_msix_control(struct events_card *c, unsigned flags);
void events_card_mask(struct events_card *c, unsigned vector, bool masked);
/* The guest writes DOORBELL. Whether the kernel took it: no exit. */
bool events_card_ring(struct events_card *c, uint32_t event);
/* Interrupts the guest got from the vector since it was asked last. */
unsigned events_card_interrupts(struct events_card *c, unsigned vector);
/* Where BAR 0 decodes. */
uint64_t events_card_regs(const struct events_card *c);
/* The machine is reset. */
void events_card_reset(struct events_card *c);

/* The loop runs until nothing is ready. */
void events_card_run(struct events_card *c);

/* A program of the host connects: true, or false when it is sent away. */
bool events_card_connect(struct events_card *c, struct vmshm_host *h);
/* The next news a program gets, at once: its kind. The object's fd is closed. */
uint32_t events_card_news(struct events_card *c, struct vmshm_host *h, struct vmshm_msg *ret);
/* The guest opens @fd, which stays the caller's, or (-1) closes. */
void events_card_open(struct events_card *c, int fd, const char *name);

/* The device asks for a connection to another VM, at once, and gets one to @other, or *@sock, which
 * it takes; and another answer: -errno. */
void events_card_try(struct events_card *c, const struct events_card *other);
void events_card_try_socket(struct events_card *c, int *sock);
void events_card_try_in_vain(struct events_card *c, int error);
/* It has the other's eventfds; or it will ask for a connection again. */
bool events_card_is_up(const struct events_card *c);
bool events_card_is_resting(const struct events_card *c);
/* Why the last try failed, or "". */
const char *events_card_why(const struct events_card *c);

#endif
