/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's virtio-pci driver for tests: reaches one device through ECAM and its BAR, as a driver
 * does, on the fake machine. Each call is one or more exits of a vCPU.
 */
#ifndef TESTS_VIRTIO_GUEST_H
#define TESTS_VIRTIO_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/fake_machine.h"

enum { GUEST_RAM = 0x100000, GUEST_MSI_ADDRESS = 0xfee00000, GUEST_MSI_DATA = 0x40 };

struct virtio_guest {
	struct fake_machine *fake;
	unsigned slot;
};

/* Gives the fake machine GUEST_RAM bytes of RAM at 0, on a memfd. */
void guest_ram_init(struct fake_machine *fake);
void guest_ram_fini(struct fake_machine *fake);

uint64_t guest_config_read(struct virtio_guest *g, unsigned reg, unsigned size);
void guest_config_write(struct virtio_guest *g, unsigned reg, unsigned size, uint64_t value);
/* Offset of the virtio capability of @type, or of PCI capability @id; 0 when there is none. */
unsigned guest_virtio_cap(struct virtio_guest *g, uint8_t type);
unsigned guest_cap(struct virtio_guest *g, uint8_t id);
/* COMMAND.MEM. */
void guest_decode(struct virtio_guest *g, bool on);

/* The BAR. */
uint64_t guest_bar(struct virtio_guest *g);
uint64_t guest_read(struct virtio_guest *g, uint64_t off, unsigned size);
void guest_write(struct virtio_guest *g, uint64_t off, unsigned size, uint64_t value);

uint64_t guest_offered(struct virtio_guest *g);
uint64_t guest_acked(struct virtio_guest *g);
void guest_ack(struct virtio_guest *g, uint64_t features);
uint8_t guest_status(struct virtio_guest *g);
void guest_set_status(struct virtio_guest *g, uint8_t status);

/* ACKNOWLEDGE, DRIVER, features, FEATURES_OK; whether the device agreed. */
bool guest_negotiate(struct virtio_guest *g, uint64_t features);
/* Where guest_queue puts the parts of queue @index. */
uint64_t guest_desc(unsigned index);
uint64_t guest_avail(unsigned index);
uint64_t guest_used(unsigned index);
/* Sets size, addresses and vector, then enables. */
void guest_queue(struct virtio_guest *g, unsigned index, uint16_t size, uint16_t vector);
void guest_driver_ok(struct virtio_guest *g);
/* Vector v of the first @vectors goes to GUEST_MSI_DATA + v; unmasked, MSI-X on. */
void guest_msix_on(struct virtio_guest *g, unsigned vectors);
void guest_msix_off(struct virtio_guest *g);
/* Rings the doorbell: by its ioeventfd when there is one, else by an exit. */
void guest_doorbell(struct virtio_guest *g, unsigned queue);

#endif
