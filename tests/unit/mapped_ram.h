/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory in a back end's map: two adjacent regions (a buffer may cross them), then a hole. */
#ifndef TESTS_UNIT_MAPPED_RAM_H
#define TESTS_UNIT_MAPPED_RAM_H

#include "vhost/guest_map.h"

/* Bytes of a region, and of both. */
enum { HALF = 4 << 20, RAM = 2 * HALF };

struct mapped_ram {
	int fd;
	uint8_t *guest;		/* the guest's view, from address 0 */
	struct guest_map map;
};

void mapped_ram_init(struct mapped_ram *m);
void mapped_ram_fini(struct mapped_ram *m);

#endif
