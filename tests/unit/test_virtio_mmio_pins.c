/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over MMIO: queues and devices of one interrupt pin have one irqfd, or KVM loses edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/fd.h"
#include "devices/virtio_mmio.h"
#include "tests/unit/fake_machine.h"

enum { DEVICES = 2 * VIRTIO_MMIO_GSI_COUNT + 2, QUEUES = 4 };

struct cards {
	struct fake_machine fake;
	struct virtio_dev virtio[DEVICES];
	struct virtio_mmio mmio[DEVICES];
};

static int set_up(void **state)
{
	struct cards *c = calloc(1, sizeof(*c));
	struct err e;

	assert_non_null(c);
	fake_machine_init(&c->fake);
	for (unsigned n = 0; n < DEVICES; n++) {
		struct virtio_dev *d = &c->virtio[n];

		assert_int_equal(virtio_init(d, "card", 2, QUEUES, 8, 0, &c->fake.machine, &e), 0);
		assert_int_equal(virtio_mmio_init(&c->mmio[n], d, &e), 0);
		for (unsigned i = 0; i < QUEUES; i++)
			d->queues[i].enabled = true;
		assert_int_equal(d->transport->connect(d, &e), 0);
	}
	*state = c;
	return 0;
}

static int tear_down(void **state)
{
	struct cards *c = *state;

	for (unsigned n = 0; n < DEVICES; n++) {
		c->virtio[n].transport->fini(&c->virtio[n]);
		virtio_fini(&c->virtio[n]);
	}
	assert_null(c->fake.machine.mmio_last);
	fake_machine_fini(&c->fake);
	free(c);
	return 0;
}

static void a_pin_has_one_irqfd(void **state)
{
	struct cards *c = *state;

	assert_int_equal(c->fake.irqfd_adds, VIRTIO_MMIO_GSI_COUNT);
	for (unsigned n = 0; n < VIRTIO_MMIO_GSI_COUNT; n++)
		assert_true(fake_machine_has_irqfd(&c->fake, virtio_mmio_gsi(n), c->mmio[n].call));
}

static void a_call_of_any_queue_raises_its_devices_pin(void **state)
{
	struct cards *c = *state;

	for (unsigned n = 0; n < DEVICES; n++) {
		for (unsigned i = 0; i < QUEUES; i++) {
			fd_signal(c->virtio[n].queues[i].call);
			for (unsigned gsi = 0; gsi < MACHINE_GSI_MAX; gsi++)
				assert_int_equal(fake_machine_interrupts(&c->fake, gsi),
						 gsi == virtio_mmio_gsi(n));
		}
	}
}

static void a_device_that_stops_takes_no_pin_away(void **state)
{
	struct cards *c = *state;
	struct virtio_dev *first = &c->virtio[0], *next = &c->virtio[VIRTIO_MMIO_GSI_COUNT];

	first->transport->disconnect(first);
	assert_int_equal(c->fake.irqfd_dels, 0);
	fd_signal(next->queues[1].call);
	assert_int_equal(fake_machine_interrupts(&c->fake, virtio_mmio_gsi(0)), 1);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_pin_has_one_irqfd),
		CASE(a_call_of_any_queue_raises_its_devices_pin),
		CASE(a_device_that_stops_takes_no_pin_away),
	};

	return cmocka_run_group_tests_name("virtio_mmio_pins", tests, NULL, NULL);
}
