/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#include "tests/unit/virtio_card.h"

/* Identity */

static void the_function_is_a_modern_virtio_device(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	assert_int_equal(guest_config_read(g, PCI_VENDOR_ID, 2), 0x1af4);
	assert_int_equal(guest_config_read(g, PCI_DEVICE_ID, 2), 0x1040 + CARD_ID);
	assert_int_equal(guest_config_read(g, PCI_REVISION_ID, 1), 1);
	assert_int_equal(guest_config_read(g, PCI_CLASS_REVISION, 4) >> 8, CARD_CLASS);
	assert_true(guest_config_read(g, PCI_SUBSYSTEM_ID, 2) >= 0x40);
}

static void every_capability_points_inside_the_bar(void **state)
{
	static const struct {
		uint8_t type;
		unsigned cap_len, size;
	} want[] = {
		{ VIRTIO_PCI_CAP_COMMON_CFG, 16, 0x38 },
		{ VIRTIO_PCI_CAP_NOTIFY_CFG, 20, 4 * CARD_QUEUES },
		{ VIRTIO_PCI_CAP_ISR_CFG, 16, 1 },
		{ VIRTIO_PCI_CAP_DEVICE_CFG, 16, CARD_CONFIG },
		{ VIRTIO_PCI_CAP_PCI_CFG, 20, 0 },
	};
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		unsigned cap = guest_virtio_cap(g, want[i].type);
		uint64_t off = guest_config_read(g, cap + VIRTIO_PCI_CAP_OFFSET, 4);
		uint64_t len = guest_config_read(g, cap + VIRTIO_PCI_CAP_LENGTH, 4);

		assert_int_not_equal(cap, 0);
		assert_int_equal(guest_config_read(g, cap + VIRTIO_PCI_CAP_LEN, 1),
				 want[i].cap_len);
		assert_int_equal(guest_config_read(g, cap + VIRTIO_PCI_CAP_BAR, 1), 0);
		assert_int_equal(len, want[i].size);
		assert_true(range_ok(off, len, VIRTIO_PCI_BAR_SIZE));
	}
	assert_int_not_equal(guest_cap(g, PCI_CAP_ID_MSIX), 0);
}

static void a_device_without_config_space_has_no_capability_for_it(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest g = { &f->fake, 0 };
	static struct virtio_dev dev;
	static struct virtio_pci pci;

	assert_int_equal(virtio_init(&dev, "dev1", 4, 1, 4, 0, &f->fake.machine, &f->e), 0);
	assert_int_equal(virtio_pci_init(&pci, &dev, &f->bus, CARD_CLASS, &f->e), 0);
	g.slot = pci.pci.slot;

	assert_int_equal(guest_virtio_cap(&g, VIRTIO_PCI_CAP_DEVICE_CFG), 0);
	assert_int_not_equal(guest_virtio_cap(&g, VIRTIO_PCI_CAP_COMMON_CFG), 0);
	dev.transport->fini(&dev);
	virtio_fini(&dev);
}

static void msix_has_a_vector_for_each_queue_and_one_for_config(void **state)
{
	struct virtio_card *f = *state;
	unsigned cap = guest_cap(&f->guest, PCI_CAP_ID_MSIX);

	assert_int_equal(guest_config_read(&f->guest, cap + PCI_MSIX_FLAGS, 2) &
			 PCI_MSIX_FLAGS_QSIZE, CARD_QUEUES);
}

/* Common configuration */

static void a_driver_negotiates_64_feature_bits(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	assert_int_equal(guest_offered(g), CARD_OFFERED);
	assert_true(guest_negotiate(g, CARD_V1 | BIT64(63)));
	assert_int_equal(guest_acked(g), CARD_V1 | BIT64(63));
	assert_int_equal(f->dev.acked, CARD_V1 | BIT64(63));
}

static void feature_words_beyond_the_second_read_0_and_are_not_written(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;
	static const uint32_t select[] = { 2, 3, 0x80000000, 0xffffffff };

	guest_ack(g, CARD_V1);
	for (size_t i = 0; i < ARRAY_SIZE(select); i++) {
		guest_write(g, VIRTIO_PCI_COMMON_DFSELECT, 4, select[i]);
		guest_write(g, VIRTIO_PCI_COMMON_GFSELECT, 4, select[i]);
		assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_DF, 4), 0);
		guest_write(g, VIRTIO_PCI_COMMON_GF, 4, 0xffffffff);
		assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_GF, 4), 0);
	}
	assert_int_equal(f->dev.acked, CARD_V1);
}

static void a_driver_reads_back_the_queue_it_set_up(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_NUMQ, 2), CARD_QUEUES);
	assert_true(guest_negotiate(g, CARD_V1));
	guest_queue(g, 1, 16, 2);

	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_DESCLO, 8), guest_desc(1));
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_AVAILLO, 8), guest_avail(1));
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_USEDLO, 8), guest_used(1));
	guest_write(g, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_SIZE, 2), CARD_QUEUE_SIZE);
}

/* Every register of the selected queue but its vector. */
static void overwrite_queue(struct virtio_guest *g)
{
	guest_write(g, VIRTIO_PCI_COMMON_Q_SIZE, 2, 32768);
	guest_write(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	for (unsigned off = VIRTIO_PCI_COMMON_Q_DESCLO; off <= VIRTIO_PCI_COMMON_Q_USEDHI; off += 4)
		guest_write(g, off, 4, 0xffffffff);
}

static void assert_queue_unchanged(struct virtio_guest *g, unsigned index)
{
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_DESCLO, 8), guest_desc(index));
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_AVAILLO, 8), guest_avail(index));
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_USEDLO, 8), guest_used(index));
}

static void queue_registers_written_after_queue_enable_are_ignored(void **state)
{
	struct virtio_card *f = *state;

	assert_true(guest_negotiate(&f->guest, CARD_V1));
	guest_queue(&f->guest, 1, 16, VIRTIO_NO_VECTOR);
	overwrite_queue(&f->guest);

	assert_queue_unchanged(&f->guest, 1);
}

static void queue_registers_written_after_driver_ok_are_ignored(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	virtio_card_go_live(f, true);
	guest_write(g, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	overwrite_queue(g);
	guest_write(g, VIRTIO_PCI_COMMON_Q_MSIX, 2, 3);
	assert_queue_unchanged(g, 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_MSIX, 2), 1);

	/* A queue that was not enabled in time stays out. */
	guest_write(g, VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	overwrite_queue(g);
	guest_write(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_SIZE, 2), CARD_QUEUE_SIZE);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
}

static void registers_of_a_queue_that_does_not_exist_read_0_and_are_not_written(void **state)
{
	static const uint16_t select[] = { CARD_QUEUES, VIRTIO_QUEUES_MAX, 0x8000, 0xffff };
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	for (size_t i = 0; i < ARRAY_SIZE(select); i++) {
		guest_write(g, VIRTIO_PCI_COMMON_Q_SELECT, 2, select[i]);
		guest_write(g, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
		guest_write(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
		overwrite_queue(g);
		for (unsigned r = VIRTIO_PCI_COMMON_Q_SIZE; r < VIRTIO_PCI_COMMON_SIZE; r += 2)
			assert_int_equal(guest_read(g, r, 2), 0);
		assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_SELECT, 2), select[i]);
	}
}

static void a_vector_outside_the_table_reads_back_as_none(void **state)
{
	static const uint16_t vector[] = { CARD_QUEUES + 1, 0x7ff, 0x8000, 0xffff };
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	for (size_t i = 0; i < ARRAY_SIZE(vector); i++) {
		guest_write(g, VIRTIO_PCI_COMMON_MSIX, 2, vector[i]);
		guest_write(g, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector[i]);
		assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_NO_VECTOR);
		assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_NO_VECTOR);
	}
	guest_write(g, VIRTIO_PCI_COMMON_MSIX, 2, CARD_QUEUES);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_MSIX, 2), CARD_QUEUES);
}

static void vectors_can_be_chosen_after_the_queue_is_enabled(void **state)
{
	struct virtio_card *f = *state;

	assert_true(guest_negotiate(&f->guest, CARD_V1));
	guest_queue(&f->guest, 0, 16, VIRTIO_NO_VECTOR);
	guest_write(&f->guest, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);

	assert_int_equal(guest_read(&f->guest, VIRTIO_PCI_COMMON_Q_MSIX, 2), 1);
}

static void a_narrow_write_changes_its_bytes_only(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	guest_write(g, VIRTIO_PCI_COMMON_Q_DESCLO, 8, UINT64_C(0x1122334455667788));
	guest_write(g, VIRTIO_PCI_COMMON_Q_DESCLO + 1, 1, 0xaa);
	guest_write(g, VIRTIO_PCI_COMMON_Q_DESCLO + 5, 2, 0xbbcc);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_DESCLO, 8),
			 UINT64_C(0x11bbcc445566aa88));

	/* One write over two registers writes both. */
	guest_write(g, VIRTIO_PCI_COMMON_Q_DESCLO + 4, 8, UINT64_C(0xddddddddeeeeeeee));
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_DESCHI, 4), 0xeeeeeeee);
	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_Q_AVAILLO, 8), 0xdddddddd);
}

static void a_wide_read_is_its_bytes(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;
	static const unsigned sizes[] = { 2, 4, 8 };

	assert_true(guest_negotiate(g, CARD_V1));
	guest_queue(g, 1, 16, 2);
	for (uint64_t off = 0; off < VIRTIO_PCI_COMMON_SIZE + 8; off++) {
		for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
			uint64_t want = 0;

			for (unsigned i = 0; i < sizes[s]; i++)
				want |= guest_read(g, off + i, 1) << (8 * i);
			assert_int_equal(guest_read(g, off, sizes[s]), want);
		}
	}
}

static void every_width_at_every_offset_of_the_bar_is_safe(void **state)
{
	static const uint64_t value[] = { UINT64_MAX, 0, UINT64_C(0x0101010101010101) };
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	for (size_t v = 0; v < ARRAY_SIZE(value); v++) {
		for (uint64_t off = 0; off < VIRTIO_PCI_BAR_SIZE; off++) {
			for (unsigned size = 1; size <= 8; size *= 2) {
				guest_read(g, off, size);
				guest_write(g, off, size, value[v]);
			}
		}
	}
	fake_machine_run_loop(&f->fake);
	guest_set_status(g, 0);
	virtio_card_go_live(f, true);
	assert_int_equal(guest_status(g) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static void every_width_at_every_offset_of_config_space_is_safe(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	for (unsigned reg = PCI_CAPABILITY_LIST + 1; reg < 0x120; reg++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			guest_config_read(g, reg, size);
			guest_config_write(g, reg, size, UINT64_MAX);
			guest_config_write(g, reg, size, 0);
		}
	}
	fake_machine_run_loop(&f->fake);
	assert_int_equal(guest_offered(g), CARD_OFFERED);
}

static void device_config_is_read_and_written_through_its_part(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;

	assert_int_equal(guest_read(g, VIRTIO_PCI_DEVICE_CONFIG, 4), 0xa3a2a1a0);
	assert_int_equal(guest_read(g, VIRTIO_PCI_DEVICE_CONFIG + CARD_CONFIG - 1, 8), 0xac);
	assert_true(guest_negotiate(g, CARD_V1));
	guest_write(g, VIRTIO_PCI_DEVICE_CONFIG + 4, 2, 0x1234);
	assert_int_equal(guest_read(g, VIRTIO_PCI_DEVICE_CONFIG + 4, 2), 0x1234);
	assert_int_equal(f->config_writes, 1);
}

static void changed_config_shows_a_new_generation(void **state)
{
	struct virtio_card *f = *state;
	uint64_t before = guest_read(&f->guest, VIRTIO_PCI_COMMON_CFGGENERATION, 1);

	virtio_config_changed(&f->dev);

	assert_int_not_equal(guest_read(&f->guest, VIRTIO_PCI_COMMON_CFGGENERATION, 1), before);
}

/* The PCI_CFG window */

static unsigned window(struct virtio_card *f, unsigned bar, uint64_t off, unsigned len)
{
	unsigned cap = guest_virtio_cap(&f->guest, VIRTIO_PCI_CAP_PCI_CFG);

	guest_config_write(&f->guest, cap + VIRTIO_PCI_CAP_BAR, 1, bar);
	guest_config_write(&f->guest, cap + VIRTIO_PCI_CAP_OFFSET, 4, off);
	guest_config_write(&f->guest, cap + VIRTIO_PCI_CAP_LENGTH, 4, len);
	return cap + (unsigned)sizeof(struct virtio_pci_cap);
}

static void a_doorbell_through_the_window_reaches_the_kick_every_time(void **state)
{
	struct virtio_card *f = *state;
	unsigned data;

	virtio_card_go_live(f, true);
	data = window(f, 0, VIRTIO_PCI_NOTIFY + VIRTIO_PCI_NOTIFY_STRIDE, 2);
	for (unsigned i = 0; i < 3; i++)
		guest_config_write(&f->guest, data, 2, 1);

	assert_int_equal(virtio_card_kicks(f, 1), 3);
	assert_int_equal(virtio_card_kicks(f, 0), 0);
}

static void the_window_reads_and_writes_registers_with_memory_decoding_off(void **state)
{
	struct virtio_card *f = *state;
	struct virtio_guest *g = &f->guest;
	unsigned data;

	guest_decode(g, false);
	data = window(f, 0, VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(guest_config_read(g, data, 2), CARD_QUEUES);
	data = window(f, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	guest_config_write(g, data, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(guest_config_read(g, data, 1), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(f->dev.status, VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

static void a_window_that_is_none_does_nothing(void **state)
{
	static const struct {
		unsigned bar;
		uint64_t off;
		unsigned len;
	} bad[] = {
		{ 1, VIRTIO_PCI_COMMON_STATUS, 1 },
		{ 255, VIRTIO_PCI_COMMON_STATUS, 1 },
		{ 0, VIRTIO_PCI_COMMON_STATUS, 0 },
		{ 0, VIRTIO_PCI_COMMON_STATUS, 3 },
		{ 0, VIRTIO_PCI_COMMON_STATUS, 8 },
		{ 0, VIRTIO_PCI_COMMON_STATUS, 0xffffffff },
		{ 0, VIRTIO_PCI_COMMON_STATUS - 1, 2 },
		{ 0, VIRTIO_PCI_BAR_SIZE, 1 },
		{ 0, VIRTIO_PCI_BAR_SIZE - 2, 4 },
		{ 0, 0xfffffffc, 4 },
	};
	struct virtio_card *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		unsigned data = window(f, bad[i].bar, bad[i].off, bad[i].len);

		guest_config_write(&f->guest, data, 4, 0x01010101);
		guest_config_read(&f->guest, data, 4);
		assert_int_equal(f->dev.status, 0);
	}
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, virtio_card_setup, virtio_card_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(the_function_is_a_modern_virtio_device),
		CASE(every_capability_points_inside_the_bar),
		CASE(a_device_without_config_space_has_no_capability_for_it),
		CASE(msix_has_a_vector_for_each_queue_and_one_for_config),
		CASE(a_driver_negotiates_64_feature_bits),
		CASE(feature_words_beyond_the_second_read_0_and_are_not_written),
		CASE(a_driver_reads_back_the_queue_it_set_up),
		CASE(queue_registers_written_after_queue_enable_are_ignored),
		CASE(queue_registers_written_after_driver_ok_are_ignored),
		CASE(registers_of_a_queue_that_does_not_exist_read_0_and_are_not_written),
		CASE(a_vector_outside_the_table_reads_back_as_none),
		CASE(vectors_can_be_chosen_after_the_queue_is_enabled),
		CASE(a_narrow_write_changes_its_bytes_only),
		CASE(a_wide_read_is_its_bytes),
		CASE(every_width_at_every_offset_of_the_bar_is_safe),
		CASE(every_width_at_every_offset_of_config_space_is_safe),
		CASE(device_config_is_read_and_written_through_its_part),
		CASE(changed_config_shows_a_new_generation),
		CASE(a_doorbell_through_the_window_reaches_the_kick_every_time),
		CASE(the_window_reads_and_writes_registers_with_memory_decoding_off),
		CASE(a_window_that_is_none_does_nothing),
	};

	return cmocka_run_group_tests_name("virtio_pci", tests, NULL, NULL);
}
