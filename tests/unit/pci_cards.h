/* SPDX-License-Identifier: Apache-2.0 */
/* A fake machine with a PCI bus (ECAM on) and two cards in slots 1 and 2, for the tests of PCI. */
#ifndef TESTS_PCI_CARDS_H
#define TESTS_PCI_CARDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "devices/pci.h"
#include "tests/unit/fake_machine.h"

enum { REG_BAR = 0, WINDOW_BAR = 2, REG_SIZE = 0x1000, WINDOW_SIZE = 0x100000 };

/* A device with a 32-bit register BAR and a 64-bit window BAR. */
struct card {
	struct pci_dev pci;
	unsigned maps;			/* calls of `mapped` for the window */
	uint64_t mapped_at;		/* its last address */
	unsigned reg_reads;
	unsigned written, reading;	/* calls of the config hooks */
	unsigned written_off, written_len;
};

struct fixture {
	struct fake_machine fake;
	struct pci_bus bus;
	struct card a, b;
	struct err e;
};

int pci_cards_setup(void **state);
int pci_cards_teardown(void **state);

void card_init(struct card *c, const char *name);
/* What the register BAR's bytes are: reads give 0x5a and count in the card @dev. */
extern const struct bus_ops card_registers;
/* Whether @c's registers, and no other's, answer at @addr. */
bool registers_answer(struct fixture *f, struct card *c, uint64_t addr);

/* Guest accesses to config space, by ports and by ECAM address. */
uint32_t config_address(unsigned slot, unsigned reg);
uint64_t conf1_read(struct fixture *f, unsigned slot, unsigned reg, unsigned size);
void conf1_write(struct fixture *f, unsigned slot, unsigned reg, unsigned size, uint64_t value);
uint64_t ecam(unsigned slot, unsigned reg);
void set_command(struct fixture *f, struct card *c, unsigned command);

#endif
