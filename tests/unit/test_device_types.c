/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <linux/virtio_blk.h>

#include "base/range.h"
#include "devices/device_types.h"
#include "vhost/proto.h"

static void every_word_names_one_type(void **state)
{
	(void)state;
	for (const struct vu_device_type *t = vu_device_types; t->name; t++) {
		assert_ptr_equal(vu_device_type_named(t->name), t);
		for (unsigned i = 0; i < VU_TYPE_ALIASES && t->aliases[i]; i++)
			assert_ptr_equal(vu_device_type_named(t->aliases[i]), t);
	}
	assert_null(vu_device_type_named("blk.sock"));
	assert_null(vu_device_type_named(""));
}

static void every_virtio_id_is_of_one_type(void **state)
{
	(void)state;
	for (const struct vu_device_type *t = vu_device_types; t->name; t++) {
		if (t != vu_generic_type)
			assert_ptr_equal(vu_device_type_of_id(t->virtio_id), t);
	}
	assert_null(vu_device_type_of_id(0));
	assert_null(vu_device_type_of_id(63));
}

static void every_row_keeps_within_the_limits(void **state)
{
	(void)state;
	for (const struct vu_device_type *t = vu_device_types; t->name; t++) {
		assert_true(t->queues_fixed + t->queues_default != 0);
		assert_true(t->queues_fixed <= VIRTIO_QUEUES_MAX);
		assert_true(is_pow2(t->queue_size) && t->queue_size <= VU_QUEUE_SIZE_MAX);
		assert_true(t->config_size <= VIRTIO_CONFIG_MAX);
		assert_int_equal(t->config_size > 0, t->config == VU_CONFIG_DAEMON ||
				 t->config == VU_CONFIG_REGION);
		assert_true(range_ok(t->config_queues_off, t->config_queues_size, t->config_size));
		assert_true(t->pci_class < 0x1000000);
		assert_int_equal(t->withheld != 0, t->withheld_why != NULL);
		assert_non_null(t->about);
		if (t->config == VU_CONFIG_DAEMON)
			assert_true(t->required & BIT64(VU_PF_CONFIG));
		if (t->config == VU_CONFIG_REGION)
			assert_true(t->required & BIT64(VU_PF_SHMEM));
	}
}

static void blk_has_qemus_defaults(void **state)
{
	const struct vu_device_type *t = vu_device_type_named("vhost-user-blk-pci");

	(void)state;
	assert_string_equal(t->name, "blk");
	assert_int_equal(t->virtio_id, 2);
	assert_int_equal(t->queues_default, VU_QUEUES_PER_VCPU);
	assert_int_equal(t->queue_size, 128);
	assert_int_equal(t->config_size, 57);
	assert_int_equal(t->config_window.off, 32);
	assert_int_equal(t->config_queues_off, 34);
}

static void a_transport_feature_has_a_reason_or_is_passed(void **state)
{
	uint64_t seen = 0;

	(void)state;
	for (const struct virtio_feature *f = virtio_transport_features; f->name; f++) {
		assert_true(f->bit >= 24 && f->bit < 50);
		assert_false(seen & BIT64(f->bit));
		seen |= BIT64(f->bit);
		assert_int_equal(f->passed, f->why_not == NULL);
	}
}

static void a_driver_is_offered_what_the_vmm_can(void **state)
{
	static const unsigned passed[] = { 0, 5, 23, 28, 29, 32, 34, 35, 36, 50, 63 };
	static const unsigned withheld[] = { 24, 26, 27, 30, 33, 37, 38, 39, 40, 41 };
	uint64_t all = vu_features_offer(vu_generic_type, UINT64_MAX);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(passed); i++)
		assert_true(all & BIT64(passed[i]));
	for (size_t i = 0; i < ARRAY_SIZE(withheld); i++)
		assert_false(all & BIT64(withheld[i]));
}

static void transport_features_that_nobody_knows_yet_are_withheld(void **state)
{
	static const unsigned bits[] = { 25, 31, 42, 43, 49 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		assert_int_equal(vu_features_offer(vu_generic_type, BIT64(bits[i])), 0);
}

static void a_driver_is_offered_nothing_the_daemon_does_not(void **state)
{
	(void)state;
	assert_int_equal(vu_features_offer(vu_generic_type, 0), 0);
	assert_int_equal(vu_features_offer(vu_generic_type, BIT64(32) | 1), BIT64(32) | 1);
}

static void a_disk_is_not_offered_features_whose_config_is_not_fetched(void **state)
{
	const struct vu_device_type *t = vu_device_type_named("blk");

	(void)state;
	assert_int_equal(vu_features_offer(t, BIT64(VIRTIO_BLK_F_SECURE_ERASE)), 0);
	assert_int_equal(vu_features_offer(t, BIT64(VIRTIO_BLK_F_WRITE_ZEROES)),
			 BIT64(VIRTIO_BLK_F_WRITE_ZEROES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_word_names_one_type),
		cmocka_unit_test(every_virtio_id_is_of_one_type),
		cmocka_unit_test(every_row_keeps_within_the_limits),
		cmocka_unit_test(blk_has_qemus_defaults),
		cmocka_unit_test(a_transport_feature_has_a_reason_or_is_passed),
		cmocka_unit_test(a_driver_is_offered_what_the_vmm_can),
		cmocka_unit_test(transport_features_that_nobody_knows_yet_are_withheld),
		cmocka_unit_test(a_driver_is_offered_nothing_the_daemon_does_not),
		cmocka_unit_test(a_disk_is_not_offered_features_whose_config_is_not_fetched),
	};

	return cmocka_run_group_tests_name("device_types", tests, NULL, NULL);
}
