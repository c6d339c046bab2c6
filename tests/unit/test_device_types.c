/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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

static void every_type_is_called_as_qemu_calls_it(void **state)
{
	static const char *const forms[] = { "vhost-user-%s", "vhost-user-%s-pci", "vhost-user-%s-device" };
	char name[64];

	(void)state;
	for (const struct vu_device_type *t = vu_device_types; t->name; t++) {
		for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
			snprintf(name, sizeof(name), forms[i], t->name);
			assert_ptr_equal(vu_device_type_named(name), t);
		}
	}
	assert_ptr_equal(vu_device_type_named("vhost-user-device"), vu_generic_type);
	assert_null(vu_device_type_named("vhost-user-"));
	assert_null(vu_device_type_named("vhost-user-blk-ccw"));
	assert_null(vu_device_type_named("vhost-user-blkpci"));
}

/* VIRTIO 1.3, 5, and the defaults of QEMU's devices. */
static void the_rows_say_what_the_standard_and_qemu_say(void **state)
{
	static const struct {
		const char *name;
		unsigned id, class, fixed;
		int counted;
		unsigned size, config;
	} rows[] = {
		{ "can", 36, 0x078000, 3, 0, 64, 2 },
		{ "console", 3, 0x078000, 2, VU_QUEUES_OF_DAEMON, 128, 12 },
		{ "fs", 26, 0x018000, 1, 1, 128, 40 },
		{ "gpio", 41, 0x078000, 2, 0, 64, 8 },
		{ "i2c", 34, 0x078000, 1, 0, 4, 0 },
		{ "input", 18, 0x098000, 2, 0, 64, 136 },
		{ "media", 48, 0x048000, 2, 0, 256, 40 },
		{ "net", 1, 0x020000, 0, 1, 256, 12 },
		{ "scmi", 32, 0x078000, 2, 0, 256, 0 },
		{ "scsi", 8, 0x010000, 2, VU_QUEUES_PER_VCPU, 128, 36 },
		{ "sound", 25, 0x040100, 4, 0, 64, 12 },
		{ "spi", 45, 0x078000, 1, 0, 4, 32 },
		{ "vsock", 19, 0x078000, 3, 0, 128, 8 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct vu_device_type *t = vu_device_type_named(rows[i].name);

		assert_non_null(t);
		assert_int_equal(t->virtio_id, rows[i].id);
		assert_int_equal(t->pci_class, rows[i].class);
		assert_int_equal(t->queues_fixed, rows[i].fixed);
		assert_int_equal(t->queues_default, rows[i].counted);
		assert_int_equal(t->queue_size, rows[i].size);
		assert_int_equal(t->config_size, rows[i].config);
	}
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
		assert_true(t->queues_fixed || t->queues_default);
		assert_true(t->queues_fixed <= VIRTIO_QUEUES_MAX);
		assert_true(is_pow2(t->queue_size) && t->queue_size <= VU_QUEUE_SIZE_MAX);
		assert_true(t->config_size <= VIRTIO_CONFIG_MAX);
		assert_int_equal(t->config_size > 0, t->config != VU_CONFIG_NONE &&
				 t->config != VU_CONFIG_OPTION);
		assert_int_equal(t->config == VU_CONFIG_OWN, t->config_own != NULL);
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
		cmocka_unit_test(every_type_is_called_as_qemu_calls_it),
		cmocka_unit_test(the_rows_say_what_the_standard_and_qemu_say),
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
