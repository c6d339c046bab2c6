/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <linux/virtio_config.h>

#include "base/fd.h"
#include "base/range.h"
#include "devices/virtio.h"
#include "tests/unit/virtio_guest.h"

enum {
	ACK = VIRTIO_CONFIG_S_ACKNOWLEDGE, DRIVER = ACK | VIRTIO_CONFIG_S_DRIVER,
	AGREED = DRIVER | VIRTIO_CONFIG_S_FEATURES_OK, LIVE = AGREED | VIRTIO_CONFIG_S_DRIVER_OK,
	NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET,
	QUEUES = 2, QUEUE_SIZE = 64, CONFIG = 13, OPTIONAL = 7,
};
#define V1 BIT64(VIRTIO_F_VERSION_1)
#define PACKED BIT64(VIRTIO_F_RING_PACKED)

struct fixture {
	struct fake_machine fake;
	struct virtio_dev dev;
	struct err e;
	unsigned starts, stops, config_writes, interrupts, resets;
	unsigned write_off, write_len;
};

static void backend_start(struct virtio_dev *d)
{
	((struct fixture *)d->backend_arg)->starts++;
}

static void backend_stop(struct virtio_dev *d)
{
	((struct fixture *)d->backend_arg)->stops++;
}

static void backend_config_write(struct virtio_dev *d, unsigned off, unsigned len)
{
	struct fixture *f = d->backend_arg;

	f->config_writes++;
	f->write_off = off;
	f->write_len = len;
}

static const struct virtio_backend_ops backend = { backend_start, backend_stop,
						    backend_config_write };

static void transport_config_interrupt(struct virtio_dev *d)
{
	((struct fixture *)d->transport_arg)->interrupts++;
}

static void transport_reset_done(struct virtio_dev *d)
{
	((struct fixture *)d->transport_arg)->resets++;
}

static const struct virtio_transport_ops transport = {
	.config_interrupt = transport_config_interrupt, .reset_done = transport_reset_done
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fake_machine_init(&f->fake);
	guest_ram_init(&f->fake);
	assert_int_equal(virtio_init(&f->dev, "dev0", 2, QUEUES, QUEUE_SIZE, CONFIG,
				     &f->fake.machine, &f->e), 0);
	f->dev.backend = &backend;
	f->dev.transport = &transport;
	f->dev.backend_arg = f->dev.transport_arg = f;
	f->dev.offered = V1 | PACKED | BIT64(OPTIONAL);
	f->dev.config_window = (struct virtio_config_window){ 4, 2, BIT64(OPTIONAL) };
	for (unsigned i = 0; i < CONFIG; i++)
		f->dev.config[i] = (uint8_t)(0xa0 + i);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_fini(&f->dev);
	virtio_fini(&f->dev);
	guest_ram_fini(&f->fake);
	fake_machine_fini(&f->fake);
	free(f);
	return 0;
}

static void set_features(struct fixture *f, uint64_t features)
{
	virtio_set_features_half(&f->dev, 0, (uint32_t)features);
	virtio_set_features_half(&f->dev, 1, (uint32_t)(features >> 32));
}

static void agree(struct fixture *f, uint64_t features)
{
	virtio_set_status(&f->dev, ACK);
	virtio_set_status(&f->dev, DRIVER);
	set_features(f, features);
	virtio_set_status(&f->dev, AGREED);
}

static struct virtio_queue *good_queue(struct fixture *f, unsigned i)
{
	struct virtio_queue *q = &f->dev.queues[i];

	q->size = 16;
	q->desc = guest_desc(i);
	q->avail = guest_avail(i);
	q->used = guest_used(i);
	return q;
}

static void go_live(struct fixture *f)
{
	agree(f, V1 | BIT64(OPTIONAL));
	good_queue(f, 0);
	virtio_queue_enable(&f->dev, 0);
	virtio_set_status(&f->dev, LIVE);
}

static uint8_t status(const struct fixture *f)
{
	return virtio_get_status(&f->dev);
}

static void status_bits_set_in_order_read_back(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(status(f), 0);
	agree(f, V1);
	assert_int_equal(status(f), AGREED);
	virtio_set_status(&f->dev, LIVE);
	assert_int_equal(status(f), LIVE);
}

static void reserved_status_bits_stay_clear(void **state)
{
	struct fixture *f = *state;

	virtio_set_status(&f->dev, ACK | 0x30 | NEEDS_RESET);

	assert_int_equal(status(f), ACK);
}

static void clearing_a_status_bit_is_ignored(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_set_status(&f->dev, DRIVER);
	virtio_set_status(&f->dev, VIRTIO_CONFIG_S_FAILED);

	assert_int_equal(status(f), LIVE);
	assert_int_equal(f->stops, 0);
}

static void features_ok_is_refused_for_a_feature_not_offered(void **state)
{
	struct fixture *f = *state;

	agree(f, V1 | BIT64(40));

	assert_int_equal(status(f), DRIVER);
}

static void features_ok_is_refused_without_version_1(void **state)
{
	struct fixture *f = *state;

	agree(f, BIT64(OPTIONAL));

	assert_int_equal(status(f), DRIVER);
}

static void features_are_unwritable_after_features_ok(void **state)
{
	struct fixture *f = *state;

	agree(f, V1);
	set_features(f, V1 | BIT64(OPTIONAL));

	assert_int_equal(f->dev.acked, V1);
}

static void driver_ok_starts_the_backend_once(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_set_status(&f->dev, LIVE);

	assert_int_equal(f->starts, 1);
}

static void driver_ok_without_features_ok_starts_nothing(void **state)
{
	struct fixture *f = *state;

	virtio_set_status(&f->dev, DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);

	assert_int_equal(status(f), DRIVER);
	assert_int_equal(f->starts, 0);
}

static void all_status_bits_in_one_write_start_the_device(void **state)
{
	struct fixture *f = *state;

	set_features(f, V1);
	virtio_set_status(&f->dev, LIVE);

	assert_int_equal(status(f), LIVE);
	assert_int_equal(f->starts, 1);
}

static void writing_0_before_a_start_resets_at_once(void **state)
{
	struct fixture *f = *state;

	agree(f, V1);
	virtio_set_status(&f->dev, 0);

	assert_int_equal(status(f), 0);
	assert_int_equal(f->dev.acked, 0);
	assert_int_equal(f->stops, 0);
	assert_int_equal(f->resets, 1);
}

static void writing_0_after_a_start_reads_non_zero_until_the_backend_has_stopped(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_set_status(&f->dev, 0);
	assert_int_equal(f->stops, 1);
	assert_int_not_equal(status(f), 0);

	virtio_reset_done(&f->dev);
	assert_int_equal(status(f), 0);
	assert_int_equal(f->resets, 1);
}

static void nothing_the_driver_writes_during_a_reset_counts(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_set_status(&f->dev, 0);
	virtio_set_status(&f->dev, 0);
	virtio_set_status(&f->dev, LIVE);
	set_features(f, 0);
	virtio_config_write(&f->dev, 4, 1, 0);
	virtio_queue_enable(&f->dev, 1);
	virtio_queue_kick(&f->dev, 0);
	virtio_needs_reset(&f->dev, NULL);

	assert_int_equal(f->stops, 1);
	assert_int_equal(f->starts, 1);
	assert_int_equal(f->config_writes, 0);
	assert_int_equal(f->interrupts, 0);
	assert_int_equal(fd_drain(f->dev.queues[0].kick), 0);
	virtio_reset_done(&f->dev);
	assert_int_equal(status(f), 0);
}

static void after_a_reset_everything_is_as_after_power_on(void **state)
{
	struct fixture *f = *state;
	const struct virtio_queue *q = &f->dev.queues[0];

	go_live(f);
	f->dev.queues[0].vector = 1;
	virtio_queue_kick(&f->dev, 0);
	fd_signal(q->call);
	virtio_set_status(&f->dev, 0);
	virtio_reset_done(&f->dev);

	assert_false(q->enabled);
	assert_int_equal(q->size, QUEUE_SIZE);
	assert_int_equal(q->desc | q->avail | q->used, 0);
	assert_int_equal(q->vector, VIRTIO_NO_VECTOR);
	/* A kick or call of the old life is not one of the new. */
	assert_int_equal(fd_drain(q->kick), 0);
	assert_int_equal(fd_drain(q->call), 0);

	go_live(f);
	assert_int_equal(f->starts, 2);
}

static void a_queue_cannot_be_enabled_or_moved_after_driver_ok(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	good_queue(f, 1);

	assert_false(virtio_queue_writable(&f->dev, &f->dev.queues[0]));
	assert_false(virtio_queue_writable(&f->dev, &f->dev.queues[1]));
	assert_false(virtio_vector_writable(&f->dev));
	virtio_queue_enable(&f->dev, 1);
	assert_false(f->dev.queues[1].enabled);
	assert_int_equal(status(f), LIVE);
}

static void an_enabled_queue_is_unwritable_before_driver_ok(void **state)
{
	struct fixture *f = *state;

	agree(f, V1);
	good_queue(f, 0);
	assert_true(virtio_queue_writable(&f->dev, &f->dev.queues[0]));
	virtio_queue_enable(&f->dev, 0);

	assert_true(f->dev.queues[0].enabled);
	assert_false(virtio_queue_writable(&f->dev, &f->dev.queues[0]));
}

static void a_bad_queue_stays_disabled_and_the_device_needs_a_reset(void **state)
{
	static const struct {
		uint16_t size;
		uint64_t desc, avail, used;
	} bad[] = {
		{ 0, 0x1000, 0x2000, 0x3000 },
		{ 3, 0x1000, 0x2000, 0x3000 },
		{ 128, 0x1000, 0x2000, 0x3000 },
		{ 32768, 0x1000, 0x2000, 0x3000 },
		{ 16, 0, 0x2000, 0x3000 },
		{ 16, 0x1008, 0x2000, 0x3000 },
		{ 16, 0x1000, 0x2001, 0x3000 },
		{ 16, 0x1000, 0x2000, 0x3002 },
		{ 16, GUEST_RAM, 0x2000, 0x3000 },
		{ 16, GUEST_RAM - 0xf0, 0x2000, 0x3000 },
		{ 16, 0x1000, GUEST_RAM - 36, 0x3000 },
		{ 16, 0x1000, 0x2000, GUEST_RAM - 132 },
		{ 16, UINT64_MAX & ~15, 0x2000, 0x3000 },
		{ 16, 0x1000, 0x2000, UINT64_MAX & ~3 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct virtio_queue *q = &f->dev.queues[0];

		agree(f, V1);
		q->size = bad[i].size;
		q->desc = bad[i].desc;
		q->avail = bad[i].avail;
		q->used = bad[i].used;
		virtio_queue_enable(&f->dev, 0);
		assert_false(q->enabled);
		assert_int_equal(status(f), AGREED | NEEDS_RESET);
		virtio_set_status(&f->dev, 0);
	}
}

static void a_queue_may_end_where_ram_ends(void **state)
{
	struct fixture *f = *state;
	struct virtio_queue *q = good_queue(f, 0);

	agree(f, V1);
	q->used = GUEST_RAM - (6 + 8 * 16) - 2;
	assert_int_equal(q->used % 4, 0);
	virtio_queue_enable(&f->dev, 0);

	assert_true(q->enabled);
}

static void a_packed_queue_may_have_any_size(void **state)
{
	struct fixture *f = *state;

	agree(f, V1 | PACKED);
	good_queue(f, 0)->size = 3;
	f->dev.queues[0].avail = GUEST_RAM - 4;
	virtio_queue_enable(&f->dev, 0);

	assert_true(f->dev.queues[0].enabled);
}

static void a_queue_that_does_not_exist_is_not_touched(void **state)
{
	static const unsigned index[] = { QUEUES, VIRTIO_QUEUES_MAX, 0xffff, UINT32_MAX };
	struct fixture *f = *state;

	agree(f, V1);
	for (size_t i = 0; i < ARRAY_SIZE(index); i++) {
		assert_null(virtio_queue_at(&f->dev, index[i]));
		virtio_queue_enable(&f->dev, index[i]);
		virtio_queue_kick(&f->dev, index[i]);
	}
	assert_int_equal(status(f), AGREED);
}

static void a_kick_reaches_the_eventfd_of_an_enabled_queue_only(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_queue_kick(&f->dev, 0);
	virtio_queue_kick(&f->dev, 1);

	assert_int_equal(fd_drain(f->dev.queues[0].kick), 1);
	assert_int_equal(fd_drain(f->dev.queues[1].kick), 0);
}

static void needing_a_reset_interrupts_a_live_driver_once(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_needs_reset(&f->dev, NULL);
	virtio_needs_reset(&f->dev, NULL);

	assert_int_equal(status(f), LIVE | NEEDS_RESET);
	assert_int_equal(f->interrupts, 1);
}

static void needing_a_reset_before_driver_ok_does_not_interrupt(void **state)
{
	struct fixture *f = *state;

	agree(f, V1);
	virtio_needs_reset(&f->dev, NULL);

	assert_int_equal(status(f), AGREED | NEEDS_RESET);
	assert_int_equal(f->interrupts, 0);
}

static void a_driver_that_did_not_see_needs_reset_does_not_clear_it(void **state)
{
	struct fixture *f = *state;

	agree(f, V1);
	virtio_needs_reset(&f->dev, NULL);
	virtio_set_status(&f->dev, LIVE);

	assert_int_equal(status(f), LIVE | NEEDS_RESET);
	assert_int_equal(f->starts, 0);
}

static void config_reads_0_behind_its_end_at_every_width(void **state)
{
	static const unsigned sizes[] = { 1, 2, 4, 8 };
	struct fixture *f = *state;

	for (uint64_t off = 0; off < CONFIG + 16; off++) {
		for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
			uint64_t want = 0;

			for (unsigned i = 0; i < sizes[s] && off + i < CONFIG; i++)
				want |= (0xa0 + off + i) << (8 * i);
			assert_int_equal(virtio_config_read(&f->dev, off, sizes[s]), want);
		}
	}
	assert_int_equal(virtio_config_read(&f->dev, UINT64_MAX, 8), 0);
	assert_int_equal(virtio_config_read(&f->dev, UINT32_MAX, 4), 0);
}

static void config_is_written_within_its_window_only(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_config_write(&f->dev, 2, 8, UINT64_C(0x8877665544332211));

	assert_int_equal(f->config_writes, 1);
	assert_int_equal(f->write_off, 4);
	assert_int_equal(f->write_len, 2);
	assert_int_equal(virtio_config_read(&f->dev, 2, 8), UINT64_C(0xa9a8a7a64433a3a2));
}

static void config_writes_outside_of_the_window_are_dropped(void **state)
{
	struct fixture *f = *state;

	go_live(f);
	virtio_config_write(&f->dev, 0, 4, 0);
	virtio_config_write(&f->dev, 6, 2, 0);
	virtio_config_write(&f->dev, CONFIG, 8, 0);
	virtio_config_write(&f->dev, UINT64_MAX, 8, 0);

	assert_int_equal(f->config_writes, 0);
	assert_int_equal(virtio_config_read(&f->dev, 0, 4), 0xa3a2a1a0);
}

static void config_is_unwritable_before_features_ok(void **state)
{
	struct fixture *f = *state;

	virtio_set_status(&f->dev, DRIVER);
	set_features(f, V1 | BIT64(OPTIONAL));
	virtio_config_write(&f->dev, 4, 1, 0);

	assert_int_equal(f->config_writes, 0);
}

static void config_is_unwritable_without_the_feature_it_needs(void **state)
{
	struct fixture *f = *state;

	agree(f, V1);
	virtio_config_write(&f->dev, 4, 1, 0);

	assert_int_equal(f->config_writes, 0);
}

static void changed_config_has_a_new_generation_and_interrupts_a_live_driver(void **state)
{
	struct fixture *f = *state;
	uint32_t before = f->dev.generation;

	virtio_config_changed(&f->dev);
	assert_int_not_equal(f->dev.generation, before);
	assert_int_equal(f->interrupts, 0);

	go_live(f);
	virtio_config_changed(&f->dev);
	assert_int_equal(f->interrupts, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(status_bits_set_in_order_read_back),
		CASE(reserved_status_bits_stay_clear),
		CASE(clearing_a_status_bit_is_ignored),
		CASE(features_ok_is_refused_for_a_feature_not_offered),
		CASE(features_ok_is_refused_without_version_1),
		CASE(features_are_unwritable_after_features_ok),
		CASE(driver_ok_starts_the_backend_once),
		CASE(driver_ok_without_features_ok_starts_nothing),
		CASE(all_status_bits_in_one_write_start_the_device),
		CASE(writing_0_before_a_start_resets_at_once),
		CASE(writing_0_after_a_start_reads_non_zero_until_the_backend_has_stopped),
		CASE(nothing_the_driver_writes_during_a_reset_counts),
		CASE(after_a_reset_everything_is_as_after_power_on),
		CASE(a_queue_cannot_be_enabled_or_moved_after_driver_ok),
		CASE(an_enabled_queue_is_unwritable_before_driver_ok),
		CASE(a_bad_queue_stays_disabled_and_the_device_needs_a_reset),
		CASE(a_queue_may_end_where_ram_ends),
		CASE(a_packed_queue_may_have_any_size),
		CASE(a_queue_that_does_not_exist_is_not_touched),
		CASE(a_kick_reaches_the_eventfd_of_an_enabled_queue_only),
		CASE(needing_a_reset_interrupts_a_live_driver_once),
		CASE(needing_a_reset_before_driver_ok_does_not_interrupt),
		CASE(a_driver_that_did_not_see_needs_reset_does_not_clear_it),
		CASE(config_reads_0_behind_its_end_at_every_width),
		CASE(config_is_written_within_its_window_only),
		CASE(config_writes_outside_of_the_window_are_dropped),
		CASE(config_is_unwritable_before_features_ok),
		CASE(config_is_unwritable_without_the_feature_it_needs),
		CASE(changed_config_has_a_new_generation_and_interrupts_a_live_driver),
	};

	return cmocka_run_group_tests_name("virtio", tests, NULL, NULL);
}
