/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of vhost/proto.c against the specification's numbers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "base/range.h"
#include "vhost/proto.h"

/* The ids as the specification prints them, apart from the enum's own counting. */
static void ids_are_those_of_the_specification(void **state)
{
	static const struct {
		uint32_t id;
		const char *name;
	} known[] = {
		{ 1, "GET_FEATURES" }, { 5, "SET_MEM_TABLE" }, { 9, "SET_VRING_ADDR" },
		{ 11, "GET_VRING_BASE" }, { 14, "SET_VRING_ERR" }, { 15, "GET_PROTOCOL_FEATURES" },
		{ 18, "SET_VRING_ENABLE" }, { 21, "SET_BACKEND_REQ_FD" }, { 24, "GET_CONFIG" },
		{ 31, "GET_INFLIGHT_FD" }, { 34, "RESET_DEVICE" }, { 36, "GET_MAX_MEM_SLOTS" },
		{ 38, "REM_MEM_REG" }, { 40, "GET_STATUS" }, { 44, "GET_SHMEM_CONFIG" },
		{ 45, "GET_VRING_BASE_SKIP_DRAIN" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		assert_string_equal(vu_request_name(known[i].id), known[i].name);
	assert_string_equal(vu_backend_request_name(2), "BACKEND_CONFIG_CHANGE_MSG");
	assert_string_equal(vu_backend_request_name(9), "BACKEND_SHMEM_MAP");
	assert_string_equal(vu_backend_request_name(10), "BACKEND_SHMEM_UNMAP");
}

static void ids_outside_the_tables_have_no_name(void **state)
{
	static const uint32_t strange[] = { 0, 46, 1000, 0x80000000, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(strange); i++) {
		assert_string_equal(vu_request_name(strange[i]), "unknown request");
		assert_string_equal(vu_backend_request_name(strange[i]), "unknown request");
	}
	assert_string_equal(vu_backend_request_name(11), "unknown request");
}

static void check_table(const struct vu_msg_type *types, unsigned n)
{
	const size_t most_fds = ARRAY_SIZE(((struct vu_msg *)0)->fds);

	assert_null(types[0].name);
	for (unsigned i = 1; i < n; i++) {
		const struct vu_msg_type *t = &types[i];

		assert_non_null(t->name);
		assert_true(t->size_min <= t->size_max && t->size_max <= VU_PAYLOAD_MAX);
		assert_true(t->reply_min <= t->reply_max && t->reply_max <= VU_PAYLOAD_MAX);
		assert_true(t->fds_min <= t->fds_max && t->fds_max <= most_fds);
		assert_true(t->feature >= -1 && t->feature < VU_PF_END);
		/* Whatever has no answer of its own can be acknowledged: one u64, no fds. */
		if (!t->replies) {
			assert_int_equal(t->reply_min, 8);
			assert_int_equal(t->reply_max, 8);
			assert_int_equal(t->reply_fds_max, 0);
		}
		for (unsigned j = 1; j < i; j++)
			assert_string_not_equal(t->name, types[j].name);
	}
}

static void every_id_has_a_row_that_fits_a_message(void **state)
{
	(void)state;
	check_table(vu_msg_types, VU_REQUEST_END);
	check_table(vu_backend_msg_types, VU_BACKEND_REQUEST_END);
}

static void ring_addresses_carry_used_before_avail(void **state)
{
	(void)state;
	assert_int_equal(offsetof(struct vu_vring_addr, desc), 8);
	assert_int_equal(offsetof(struct vu_vring_addr, used), 16);
	assert_int_equal(offsetof(struct vu_vring_addr, avail), 24);
}

static void shared_memory_messages_are_laid_out_as_the_specification_says(void **state)
{
	const struct vu_msg_type *map = &vu_backend_msg_types[VU_BACKEND_SHMEM_MAP];
	const struct vu_msg_type *unmap = &vu_backend_msg_types[VU_BACKEND_SHMEM_UNMAP];

	(void)state;
	assert_int_equal(offsetof(struct vu_shmem_config, sizes), 8);
	assert_int_equal(sizeof(struct vu_shmem_config), 2056);
	assert_int_equal(offsetof(struct vu_mmap, fd_offset), 8);
	assert_int_equal(offsetof(struct vu_mmap, shm_offset), 16);
	assert_int_equal(offsetof(struct vu_mmap, len), 24);
	assert_int_equal(offsetof(struct vu_mmap, flags), 32);
	assert_int_equal(sizeof(struct vu_mmap), 40);
	assert_true(map->fds_min == 1 && map->fds_max == 1 && unmap->fds_max == 0);
	assert_int_equal(vu_msg_types[VU_GET_SHMEM_CONFIG].reply_min, 2056);
	assert_int_equal(vu_msg_types[VU_GET_SHMEM_CONFIG].reply_max, 2056);
}

static void every_feature_is_implemented_or_says_why_not(void **state)
{
	(void)state;
	for (unsigned i = 0; i < VU_PF_END; i++) {
		const struct vu_feature *v = &vu_features[i];

		assert_non_null(v->name);
		assert_true(v->frontend == !v->why_not);
		assert_true(v->needs >> VU_PF_END == 0);
		assert_false(v->needs & BIT64(i));
	}
}

/* Of everything a daemon can offer, exactly this; bits nobody has defined yet among it. */
static void the_front_end_acks_what_it_implements_and_nothing_else(void **state)
{
	(void)state;
	assert_int_equal(vu_features_ack(UINT64_MAX),
			 BIT64(0) | BIT64(2) | BIT64(3) | BIT64(4) | BIT64(5) | BIT64(9) |
			 BIT64(10) | BIT64(12) | BIT64(13) | BIT64(15) | BIT64(16) | BIT64(21) |
			 BIT64(22));
	assert_int_equal(vu_features_ack(0), 0);
}

static void a_feature_is_not_acked_without_those_it_needs(void **state)
{
	(void)state;
	assert_int_equal(vu_features_ack(BIT64(VU_PF_BACKEND_SEND_FD)), 0);
	assert_int_equal(vu_features_ack(BIT64(VU_PF_BACKEND_SEND_FD) | BIT64(VU_PF_BACKEND_REQ)),
			 BIT64(VU_PF_BACKEND_SEND_FD) | BIT64(VU_PF_BACKEND_REQ));
	assert_int_equal(vu_features_ack(BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_REQ)),
			 BIT64(VU_PF_BACKEND_REQ));
	assert_int_equal(vu_features_ack(BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_SEND_FD)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_those_of_the_specification),
		cmocka_unit_test(ids_outside_the_tables_have_no_name),
		cmocka_unit_test(every_id_has_a_row_that_fits_a_message),
		cmocka_unit_test(ring_addresses_carry_used_before_avail),
		cmocka_unit_test(shared_memory_messages_are_laid_out_as_the_specification_says),
		cmocka_unit_test(every_feature_is_implemented_or_says_why_not),
		cmocka_unit_test(the_front_end_acks_what_it_implements_and_nothing_else),
		cmocka_unit_test(a_feature_is_not_acked_without_those_it_needs),
	};

	return cmocka_run_group_tests_name("proto", tests, NULL, NULL);
}
