/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_mmio.h>

#include "base/fd.h"
#include "base/range.h"
#include "devices/virtio_mmio.h"
#include "tests/unit/virtio_guest.h"

#define V1	BIT64(VIRTIO_F_VERSION_1)
#define OFFERED (V1 | 1)

enum {
	ID = 2, QUEUES = 3, QUEUE_SIZE = 8, CONFIG = 10,
	ACK = VIRTIO_CONFIG_S_ACKNOWLEDGE, DRIVER = ACK | VIRTIO_CONFIG_S_DRIVER,
	AGREED = DRIVER | VIRTIO_CONFIG_S_FEATURES_OK, OK = AGREED | VIRTIO_CONFIG_S_DRIVER_OK,
};

/* A device by MMIO, a guest that knows its registers, and no daemon. */
struct fixture {
	struct fake_machine fake;
	struct virtio_dev dev;
	struct virtio_mmio mmio;
	struct err e;
	bool slow;			/* a stop is completed by the test, not at once */
	unsigned starts;
};

static void backend_start(struct virtio_dev *d)
{
	((struct fixture *)d->backend_arg)->starts++;
}

static void backend_stop(struct virtio_dev *d)
{
	struct fixture *f = d->backend_arg;

	if (!f->slow)
		virtio_reset_done(d);
}

static const struct virtio_backend_ops backend = { .start = backend_start, .stop = backend_stop };

static void init_device(struct fixture *f, struct virtio_dev *d)
{
	assert_int_equal(virtio_init(d, "dev0", ID, QUEUES, QUEUE_SIZE, CONFIG, &f->fake.machine,
				     &f->e), 0);
	d->backend = &backend;
	d->backend_arg = f;
	d->offered = OFFERED;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_machine_init(&f->fake);
	guest_ram_init(&f->fake);
	init_device(f, &f->dev);
	for (unsigned i = 0; i < CONFIG; i++)
		f->dev.config[i] = (uint8_t)(0xa0 + i);
	f->dev.config_window = (struct virtio_config_window){ 4, 2, 0 };
	assert_int_equal(virtio_mmio_init(&f->mmio, &f->dev, &f->e), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev.transport->fini(&f->dev);
	f->dev.transport->fini(&f->dev);
	virtio_fini(&f->dev);
	guest_ram_fini(&f->fake);
	fake_machine_fini(&f->fake);
	free(f);
	return 0;
}

static uint32_t get(struct fixture *f, unsigned reg)
{
	return (uint32_t)fake_vcpu_read(&f->fake, &f->fake.machine.mmio, VIRTIO_MMIO_BASE + reg, 4);
}

static void set(struct fixture *f, unsigned reg, uint32_t value)
{
	fake_vcpu_write(&f->fake, &f->fake.machine.mmio, VIRTIO_MMIO_BASE + reg, 4, value);
}

static void agree(struct fixture *f)
{
	set(f, VIRTIO_MMIO_STATUS, ACK);
	set(f, VIRTIO_MMIO_STATUS, DRIVER);
	set(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	set(f, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(V1 >> 32));
	set(f, VIRTIO_MMIO_STATUS, AGREED);
}

static void set_up_queue(struct fixture *f, unsigned queue)
{
	set(f, VIRTIO_MMIO_QUEUE_SEL, queue);
	set(f, VIRTIO_MMIO_QUEUE_NUM, 4);
	set(f, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000 + queue * 0x1000);
	set(f, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1400 + queue * 0x1000);
	set(f, VIRTIO_MMIO_QUEUE_USED_LOW, 0x1800 + queue * 0x1000);
	set(f, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* Queues 0 and 1 run; the backend connected them in the loop. */
static void go_live(struct fixture *f)
{
	agree(f);
	set_up_queue(f, 0);
	set_up_queue(f, 1);
	set(f, VIRTIO_MMIO_STATUS, OK);
	assert_int_equal(f->dev.transport->connect(&f->dev, &f->e), 0);
}

static const struct fake_ioeventfd *doorbell(struct fixture *f, unsigned queue)
{
	struct machine_doorbell bell = { .addr = VIRTIO_MMIO_BASE + VIRTIO_MMIO_QUEUE_NOTIFY,
					 .one_value = true,
					 .value = queue };

	return fake_machine_ioeventfd(&f->fake, &bell);
}

static unsigned interrupts(struct fixture *f)
{
	return fake_machine_interrupts(&f->fake, VIRTIO_MMIO_GSI_FIRST);
}

/* Registers */

static void it_says_what_it_is(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(get(f, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(get(f, VIRTIO_MMIO_DEVICE_ID), ID);
	assert_int_equal(get(f, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(get(f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void features_are_told_and_taken_by_halves(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, VIRTIO_MMIO_DEVICE_FEATURES), (uint32_t)OFFERED);
	set(f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	assert_int_equal(get(f, VIRTIO_MMIO_DEVICE_FEATURES), OFFERED >> 32);
	set(f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(get(f, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	agree(f);
	assert_int_equal(get(f, VIRTIO_MMIO_STATUS), AGREED);
	assert_int_equal(f->dev.acked, V1);
}

static void features_that_were_not_offered_are_refused(void **state)
{
	struct fixture *f = *state;

	set(f, VIRTIO_MMIO_STATUS, ACK);
	set(f, VIRTIO_MMIO_DRIVER_FEATURES, 2);
	agree(f);
	assert_int_equal(get(f, VIRTIO_MMIO_STATUS), DRIVER);
}

static void a_queue_that_is_not_there_has_no_size(void **state)
{
	struct fixture *f = *state;

	set(f, VIRTIO_MMIO_QUEUE_SEL, QUEUES - 1);
	assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_NUM_MAX), QUEUE_SIZE);
	set(f, VIRTIO_MMIO_QUEUE_SEL, QUEUES);
	assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	set(f, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_READY), 0);
	set(f, VIRTIO_MMIO_QUEUE_SEL, UINT32_MAX);
	assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
}

static void a_queue_is_latched_and_let_go_until_driver_ok(void **state)
{
	struct fixture *f = *state;

	agree(f);
	set_up_queue(f, 1);
	assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_READY), 1);
	set(f, VIRTIO_MMIO_QUEUE_NUM, 2);
	assert_int_equal(f->dev.queues[1].size, 4);
	/* As Linux does when a later queue cannot be had. */
	set(f, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_READY), 0);
	set(f, VIRTIO_MMIO_QUEUE_NUM, 2);
	assert_int_equal(f->dev.queues[1].size, 2);
	set(f, VIRTIO_MMIO_QUEUE_READY, 1);
	set(f, VIRTIO_MMIO_STATUS, OK);
	set(f, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_READY), 1);
}

static void a_queue_may_lie_above_4_gib(void **state)
{
	struct fixture *f = *state;

	agree(f);
	set(f, VIRTIO_MMIO_QUEUE_DESC_HIGH, 1);
	set(f, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 2);
	set(f, VIRTIO_MMIO_QUEUE_USED_HIGH, 3);
	set_up_queue(f, 0);
	assert_int_equal(f->dev.queues[0].desc, 0x100001000);
	assert_int_equal(f->dev.queues[0].avail, 0x200001400);
	assert_int_equal(f->dev.queues[0].used, 0x300001800);
	assert_true(get(f, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void a_size_beyond_16_bits_is_no_small_one(void **state)
{
	struct fixture *f = *state;

	agree(f);
	set(f, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000);
	set(f, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1400);
	set(f, VIRTIO_MMIO_QUEUE_USED_LOW, 0x1800);
	set(f, VIRTIO_MMIO_QUEUE_NUM, 0x10004);
	set(f, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_READY), 0);
}

static void accesses_of_other_shapes_do_nothing(void **state)
{
	struct fixture *f = *state;
	struct bus *b = &f->fake.machine.mmio;

	for (uint64_t off = 0; off < VIRTIO_MMIO_SIZE - 8; off++)
		for (unsigned size = 1; size <= 8; size *= 2)
			if (off % 4 || size != 4) {
				fake_vcpu_write(&f->fake, b, VIRTIO_MMIO_BASE + off, size, ACK);
				fake_vcpu_read(&f->fake, b, VIRTIO_MMIO_BASE + off, size);
			}
	assert_int_equal(get(f, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(fake_vcpu_read(&f->fake, b, VIRTIO_MMIO_BASE, 2), 0);
	assert_int_equal(f->dev.queues[0].enabled, false);
}

static void config_space_is_of_any_width(void **state)
{
	struct fixture *f = *state;
	struct bus *b = &f->fake.machine.mmio;
	const uint64_t config = VIRTIO_MMIO_BASE + VIRTIO_MMIO_CONFIG;

	assert_int_equal(fake_vcpu_read(&f->fake, b, config + 1, 1), 0xa1);
	assert_int_equal(fake_vcpu_read(&f->fake, b, config + 1, 2), 0xa2a1);
	assert_int_equal(fake_vcpu_read(&f->fake, b, config + CONFIG - 2, 4), 0xa9a8);
	agree(f);
	fake_vcpu_write(&f->fake, b, config + 3, 4, 0x44332211);
	assert_int_equal(f->dev.config[3], 0xa3);
	assert_int_equal(f->dev.config[4], 0x22);
	assert_int_equal(f->dev.config[5], 0x33);
	assert_int_equal(f->dev.config[6], 0xa6);
}

static void a_shared_memory_region_that_is_not_there_has_length_minus_1(void **state)
{
	struct fixture *f = *state;

	set(f, VIRTIO_MMIO_SHM_SEL, 0);
	assert_int_equal(get(f, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
	assert_int_equal(get(f, VIRTIO_MMIO_SHM_LEN_HIGH), UINT32_MAX);
}

/* Doorbells */

static void each_queue_has_a_doorbell_by_value(void **state)
{
	struct fixture *f = *state;
	const uint64_t notify = VIRTIO_MMIO_BASE + VIRTIO_MMIO_QUEUE_NOTIFY;

	go_live(f);
	assert_int_equal(f->fake.ioeventfd_count, 2);
	assert_int_equal(doorbell(f, 0)->eventfd, f->dev.queues[0].kick);
	assert_int_equal(doorbell(f, 1)->eventfd, f->dev.queues[1].kick);
	fake_vcpu_doorbell(&f->fake, notify, 4, 1);
	assert_int_equal(fd_drain(f->dev.queues[1].kick), 1);
	assert_int_equal(fd_drain(f->dev.queues[0].kick), 0);
	/* queue 2 is not enabled, 3 is none */
	fake_vcpu_doorbell(&f->fake, notify, 4, 2);
	fake_vcpu_doorbell(&f->fake, notify, 4, 3);
	assert_int_equal(fd_drain(f->dev.queues[2].kick), 0);
}

static void a_doorbell_without_ioeventfd_works_by_exits(void **state)
{
	struct fixture *f = *state;

	agree(f);
	set_up_queue(f, 0);
	set(f, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	assert_int_equal(fd_drain(f->dev.queues[0].kick), 1);
}

/* Interrupts */

static void a_daemons_call_is_an_interrupt_of_the_pin(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	fd_signal(f->dev.queues[1].call);
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(get(f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	set(f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	fd_signal(f->dev.queues[0].call);
	assert_int_equal(interrupts(f), 1);
}

static void a_config_change_is_told_until_it_is_acknowledged(void **state)
{
	struct fixture *f = *state;
	uint32_t generation = get(f, VIRTIO_MMIO_CONFIG_GENERATION);

	go_live(f);
	virtio_config_changed(&f->dev);
	assert_int_equal(interrupts(f), 1);
	assert_int_not_equal(get(f, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	assert_true(get(f, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	set(f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_true(get(f, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	set(f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_false(get(f, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
}

/* The eventfd is the daemon's, too. */
static void a_config_change_waits_for_no_eventfd(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	struct fixture *f = *state;
	int call = f->dev.queues[0].call;

	go_live(f);
	assert_int_equal(write(call, &full, sizeof(full)), sizeof(full));
	assert_int_equal(fcntl(call, F_SETFL, 0), 0);
	alarm(30);
	virtio_config_changed(&f->dev);
	alarm(0);
	assert_int_equal(fcntl(call, F_SETFL, O_NONBLOCK), 0);
	assert_true(fd_drain(call) == UINT64_MAX);
}

static void a_device_that_could_not_start_interrupts(void **state)
{
	struct fixture *f = *state;

	agree(f);
	set_up_queue(f, 0);
	set(f, VIRTIO_MMIO_STATUS, OK);
	virtio_needs_reset(&f->dev, NULL);
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(get(f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
}

/* Reset */

static void a_reset_of_what_never_ran_is_done_at_once(void **state)
{
	struct fixture *f = *state;

	agree(f);
	set(f, VIRTIO_MMIO_STATUS, 0);
	assert_false(fake_vcpu_waits(&f->fake));
	assert_int_equal(get(f, VIRTIO_MMIO_STATUS), 0);
}

static void the_exit_of_a_reset_ends_when_the_daemon_is_done(void **state)
{
	struct fixture *f = *state;
	unsigned wakes;

	go_live(f);
	f->slow = true;
	set(f, VIRTIO_MMIO_QUEUE_SEL, 1);
	set(f, VIRTIO_MMIO_STATUS, 0);
	assert_true(fake_vcpu_waits(&f->fake));
	f->dev.transport->disconnect(&f->dev);
	assert_true(fake_vcpu_waits(&f->fake));
	wakes = f->fake.wakes;
	virtio_reset_done(&f->dev);
	assert_false(fake_vcpu_waits(&f->fake));
	assert_int_equal(f->fake.wakes, wakes + 1);
	assert_int_equal(get(f, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(f->mmio.queue_sel, 0);
}

static void the_end_of_a_reset_leaves_no_doorbell(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_config_changed(&f->dev);
	interrupts(f);
	f->dev.transport->disconnect(&f->dev);
	f->dev.transport->disconnect(&f->dev);
	set(f, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(f->fake.ioeventfd_count, 0);
	assert_int_equal(get(f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	go_live(f);
	fd_signal(f->dev.queues[0].call);
	assert_int_equal(interrupts(f), 1);
}

static void the_machines_reset_is_a_power_on(void **state)
{
	struct fixture *f = *state;

	set(f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	virtio_reset(&f->dev);
	f->dev.transport->reset(&f->dev);
	assert_int_equal(get(f, VIRTIO_MMIO_DEVICE_FEATURES), (uint32_t)OFFERED);
}

/* Places */

static void devices_have_pages_and_pins_one_after_another(void **state)
{
	struct fixture *f = *state;
	static struct virtio_dev devs[VIRTIO_MMIO_GSI_COUNT];
	static struct virtio_mmio mmios[VIRTIO_MMIO_GSI_COUNT];

	for (unsigned i = 0; i < VIRTIO_MMIO_GSI_COUNT; i++) {
		init_device(f, &devs[i]);
		assert_int_equal(virtio_mmio_init(&mmios[i], &devs[i], &f->e), 0);
		assert_int_equal(mmios[i].range.base, VIRTIO_MMIO_BASE +
				 (i + 1) * VIRTIO_MMIO_SIZE);
	}
	assert_int_equal(mmios[0].gsi, VIRTIO_MMIO_GSI_FIRST + 1);
	assert_int_equal(mmios[VIRTIO_MMIO_GSI_COUNT - 1].gsi, VIRTIO_MMIO_GSI_FIRST);
	for (unsigned i = 0; i < VIRTIO_MMIO_GSI_COUNT; i++) {
		devs[i].transport->fini(&devs[i]);
		virtio_fini(&devs[i]);
	}
}

static void an_init_that_fails_leaves_nothing(void **state)
{
	struct fixture *f = *state;
	static struct virtio_dev dev;
	static struct virtio_mmio mmio;
	unsigned devices = f->fake.machine.mmio_devices;

	init_device(f, &dev);
	f->fake.fail = -EMFILE;
	assert_int_equal(virtio_mmio_init(&mmio, &dev, &f->e), -EMFILE);
	f->fake.fail = 0;
	assert_int_equal(f->fake.machine.mmio_devices, devices);
	dev.transport->fini(&dev);
	virtio_fini(&dev);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(it_says_what_it_is),
		CASE(features_are_told_and_taken_by_halves),
		CASE(features_that_were_not_offered_are_refused),
		CASE(a_queue_that_is_not_there_has_no_size),
		CASE(a_queue_is_latched_and_let_go_until_driver_ok),
		CASE(a_queue_may_lie_above_4_gib),
		CASE(a_size_beyond_16_bits_is_no_small_one),
		CASE(accesses_of_other_shapes_do_nothing),
		CASE(config_space_is_of_any_width),
		CASE(a_shared_memory_region_that_is_not_there_has_length_minus_1),
		CASE(each_queue_has_a_doorbell_by_value),
		CASE(a_doorbell_without_ioeventfd_works_by_exits),
		CASE(a_daemons_call_is_an_interrupt_of_the_pin),
		CASE(a_config_change_is_told_until_it_is_acknowledged),
		CASE(a_config_change_waits_for_no_eventfd),
		CASE(a_device_that_could_not_start_interrupts),
		CASE(a_reset_of_what_never_ran_is_done_at_once),
		CASE(the_exit_of_a_reset_ends_when_the_daemon_is_done),
		CASE(the_end_of_a_reset_leaves_no_doorbell),
		CASE(the_machines_reset_is_a_power_on),
		CASE(devices_have_pages_and_pins_one_after_another),
		CASE(an_init_that_fails_leaves_nothing),
	};

	return cmocka_run_group_tests_name("virtio_mmio", tests, NULL, NULL);
}
