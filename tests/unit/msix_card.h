/* SPDX-License-Identifier: Apache-2.0 */
/* A PCI device on a fake machine whose only BAR holds MSI-X, for the tests of MSI-X. */
#ifndef TESTS_MSIX_CARD_H
#define TESTS_MSIX_CARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/msix.h"
#include "tests/unit/fake_machine.h"

enum { BAR_SIZE = 0x1000, TABLE = 0x400, PBA = 0x800, VECTORS = 5 };

struct fixture {
	struct fake_machine fake;
	struct pci_bus bus;
	struct pci_dev dev;		/* what is not MSI-X's in the BAR reads 0x77 */
	struct msix msix;
	int queue[3];			/* call eventfds, as daemons signal them */
	struct err e;
};

int msix_card_setup(void **state);
int msix_card_teardown(void **state);

/* The guest. */
void config_write(struct fixture *f, unsigned reg, unsigned size, uint64_t value);
void set_control(struct fixture *f, unsigned flags);
uint64_t mmio_read(struct fixture *f, uint64_t off, unsigned size);
void mmio_write(struct fixture *f, uint64_t off, unsigned size, uint64_t value);
/* BAR offset of a field of a table entry. */
uint64_t entry(unsigned vector, unsigned field);
void set_message(struct fixture *f, unsigned vector, uint64_t address, uint32_t data);
void set_mask(struct fixture *f, unsigned vector, bool masked);
/* What Linux does before it sets DRIVER_OK: vector v gets 0xfee00000 + 0x1000 * v, 0x40 + v. */
void guest_sets_up(struct fixture *f);
/* The vector's bit in the PBA. */
bool pending(struct fixture *f, unsigned vector);
/* Interrupts the guest got from the vector since it was asked last. */
unsigned interrupts(struct fixture *f, unsigned vector);

/* Joins f->queue[@queue] to the vector; must succeed. */
void connect_queue(struct fixture *f, unsigned vector, unsigned queue);

#endif
