/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VMShm device on a fake machine, whose opener is the test: it has objects by name, and answers
 * when the loop runs, or when it is told to.
 */
#ifndef TESTS_UNIT_VMSHM_RIG_H
#define TESTS_UNIT_VMSHM_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "devices/pci.h"
#include "devices/vmshm.h"
#include "guest/vmshm/vmshm_regs.h"
#include "tests/unit/fake_machine.h"
#include "tests/unit/window_rig.h"

enum { VMSHM_RIG_OBJECTS = 4 };

struct vmshm_rig {
	struct fake_machine fake;
	struct pci_bus bus;
	struct vmshm_options options;
	struct vmshm dev;
	struct vmshm_rig_object {
		const char *name;
		int fd;				/* owned */
		bool rw, sealed;
	} objects[VMSHM_RIG_OBJECTS];

	struct vmshm_question question;		/* the last one */
	unsigned asked;
	int held;				/* what came with it */
	bool late;				/* only vmshm_rig_answer answers */
	int refuses;				/* -errno: what asking gives */
	struct loop_job answer;
};

/* With options that every device has; cmocka's setup and teardown. */
int vmshm_rig_setup(void **state);
int vmshm_rig_teardown(void **state);
/* The device again, after the options were changed. */
void vmshm_rig_again(struct vmshm_rig *r);

/* The opener has an object of @pages pages, page i of which begins with @tag + i. Its fd. */
int vmshm_rig_offer(struct vmshm_rig *r, const char *name, uint32_t tag, uint64_t pages);
/* The opener answers the last question. */
void vmshm_rig_answer(struct vmshm_rig *r);

/* The guest's accesses. */
uint64_t vmshm_rig_config(struct vmshm_rig *r, unsigned reg, unsigned size);
void vmshm_rig_configure(struct vmshm_rig *r, unsigned reg, unsigned size, uint64_t value);
uint64_t vmshm_rig_read(struct vmshm_rig *r, unsigned bar, uint64_t off, unsigned size);
void vmshm_rig_write(struct vmshm_rig *r, unsigned bar, uint64_t off, unsigned size,
		     uint64_t value);
uint32_t vmshm_rig_reg(struct vmshm_rig *r, unsigned off);
void vmshm_rig_set(struct vmshm_rig *r, unsigned off, uint32_t value);
/* Writes the name as drivers do, and reads OPEN. */
uint32_t vmshm_rig_open(struct vmshm_rig *r, const char *name);
/* The first word of a page of the window. */
volatile uint32_t *vmshm_rig_word(struct vmshm_rig *r, uint64_t page);
/* The first word of a page of the object. */
uint32_t vmshm_rig_object_word(int fd, uint64_t page);

#endif
