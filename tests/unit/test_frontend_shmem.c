/* SPDX-License-Identifier: Apache-2.0 */
/* Shared memory regions at the front end: GET_SHMEM_CONFIG, and what SHMEM_MAP and SHMEM_UNMAP may
 * ask for. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/process.h"
#include "tests/unit/shmem.h"

static void regions_are_known_when_the_device_is_ready(void **state)
{
	struct owner *f = shmem_connect(state);

	f->daemon.shmem.nregions = 3;
	f->daemon.shmem.sizes[0] = MIB(2);
	f->daemon.shmem.sizes[255] = GIB(64);
	owner_connected(f);
	assert_true(f->daemon.protocol_acked & BIT64(VU_PF_SHMEM));
	assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_SHMEM_CONFIG), 1);
	for (unsigned i = 0; i < VU_SHMEM_REGIONS; i++)
		assert_true(f->frontend.shmem[i] == f->daemon.shmem.sizes[i]);
	owner_assert_legal(f);
}

static void any_number_of_regions_is_taken(void **state)
{
	for (unsigned n = 0; n <= VU_SHMEM_REGIONS; n += VU_SHMEM_REGIONS) {
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = shmem_connect(state);
		f->daemon.shmem = (struct vu_shmem_config){ .nregions = n };
		for (unsigned i = 0; i < n; i++)
			f->daemon.shmem.sizes[i] = PAGE;
		owner_connected(f);
		assert_true(f->frontend.shmem[0] == (n ? PAGE : 0));
	}
}

static void regions_are_asked_for_only_where_they_can_be_mapped(void **state)
{
	struct vu_frontend_ops no_map = owner_ops, no_unmap = owner_ops;
	const uint64_t pf = BIT64(VU_PF_SHMEM), req = BIT64(VU_PF_BACKEND_REQ),
		       fds = BIT64(VU_PF_BACKEND_SEND_FD), config = BIT64(VU_PF_CONFIG);
	const struct {
		uint64_t protocol;
		const struct vu_frontend_ops *ops;
		bool acked;
	} cases[] = {
		{ SHMEM, &owner_ops, true }, { config | pf | req | fds, &owner_ops, true },
		{ config | pf | req, &owner_ops, false }, { config | pf | fds, &owner_ops, false },
		{ config | pf, &owner_ops, false }, { GOOD, &owner_ops, false },
		{ GOOD | BIT64(21), &owner_ops, false }, { SHMEM, &no_map, false },
		{ SHMEM, &no_unmap, false },
	};

	no_map.shmem_map = NULL;
	no_unmap.shmem_unmap = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = *state;
		f->ops = cases[i].ops;
		shmem_connect(state);
		f->daemon.protocol = cases[i].protocol;
		owner_connected(f);
		assert_int_equal(!!(f->daemon.protocol_acked & pf), cases[i].acked);
		assert_int_equal(scripted_daemon_count(&f->daemon, VU_GET_SHMEM_CONFIG),
				 cases[i].acked);
		assert_true(f->frontend.shmem[REGION] == (cases[i].acked ? PAGES * PAGE : 0));
		owner_assert_legal(f);
		if (f->daemon.back.sock >= 0 && !cases[i].acked)
			assert_int_not_equal(shmem_map(f, 0), 0);
		assert_int_equal(f->maps, 0);
	}
}

/* A daemon of that offer, on which the device depends or not, that has the quirk or not. */
static struct owner *connect_on_bit_21(void **state, uint64_t offer, bool required, bool quirk)
{
	struct owner *f;

	owner_teardown(state);
	owner_setup(state);
	f = *state;
	f->params.required = required ? BIT64(VU_PF_SHMEM) : 0;
	f->params.quirk = quirk ? vu_quirk_named("shmem-bit-21") : NULL;
	shmem_connect(state);
	f->daemon.protocol = offer;
	f->daemon.shmem_bit = offer & BIT64(VU_PF_SHMEM) ? 0 : 21;
	return f;
}

#define WITHOUT (SHMEM & ~BIT64(VU_PF_SHMEM))

static void a_daemon_with_the_quirk_has_its_regions_on_bit_21(void **state)
{
	static const struct {
		uint64_t offer;
		bool quirk;
		uint64_t acked;		/* of bits 21 and 22 */
	} cases[] = {
		{ WITHOUT | BIT64(21), true, BIT64(21) }, { WITHOUT | BIT64(21), false, 0 },
		/* The daemon has been mended. */
		{ WITHOUT | BIT64(21) | BIT64(22), true, BIT64(21) | BIT64(22) },
		{ WITHOUT | BIT64(22), true, BIT64(22) },
		{ WITHOUT, true, 0 },
		/* What SHMEM needs it needs there, too. */
		{ (WITHOUT & ~BIT64(VU_PF_BACKEND_SEND_FD)) | BIT64(21), true, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct owner *f = connect_on_bit_21(state, cases[i].offer, false, cases[i].quirk);

		owner_connected(f);
		assert_true((f->daemon.protocol_acked & (BIT64(21) | BIT64(22))) == cases[i].acked);
		assert_true(!(f->daemon.protocol_acked & ~cases[i].offer));
		assert_true(f->frontend.shmem[REGION] == (cases[i].acked ? PAGES * PAGE : 0));
		assert_int_equal(shmem_map(f, 0), !cases[i].acked);
		assert_int_equal(f->n_mapped, !!cases[i].acked);
		owner_assert_legal(f);
	}
}

static void a_device_that_needs_its_regions_says_that_the_quirk_may_help(void **state)
{
	static const struct {
		uint64_t offer;
		bool quirk, helps;
	} cases[] = {
		{ WITHOUT | BIT64(21), false, true }, { WITHOUT, false, false },
		{ WITHOUT, true, false },
		{ (WITHOUT & ~BIT64(VU_PF_BACKEND_REQ)) | BIT64(21), false, false },
		{ (WITHOUT & ~BIT64(VU_PF_BACKEND_REQ)) | BIT64(21), true, false },
		{ (SHMEM & ~BIT64(VU_PF_BACKEND_REQ)) | BIT64(21), false, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct owner *f = connect_on_bit_21(state, cases[i].offer, true, cases[i].quirk);

		owner_assert_lost(f, "(SHMEM); use another daemon or device type");
		assert_int_equal(!!strstr(f->why, "It offers bit 21, by which"), cases[i].helps);
		assert_int_equal(!!strstr(f->why, "add quirk=shmem-bit-21"), cases[i].helps);
	}
	owner_connected(connect_on_bit_21(state, WITHOUT | BIT64(21), true, true));
}

static void regions_that_cannot_be_are_refused_by_name(void **state)
{
	static const struct {
		uint32_t nregions;
		unsigned at[2];
		uint64_t size[2];
		const char *says;
	} cases[] = {
		{ 0, { 7, 8 }, { 4096, 0 }, "announces 0 shared memory regions and gives 1 sizes" },
		{ 2, { 7, 8 }, { 4096, 0 }, "announces 2 shared memory regions and gives 1 sizes" },
		{ 257, { 7, 8 }, { 4096, 0 }, "announces 257 shared memory regions" },
		{ UINT32_MAX, { 0, 1 }, { 0, 0 }, "announces 4294967295 shared memory regions" },
		{ 1, { 200, 0 }, { 4095, 0 }, "shared memory region 200 has 4095 bytes" },
		{ 1, { 200, 0 }, { UINT64_MAX, 0 }, "region 200 has 18446744073709551615 bytes" },
		{ 2, { 9, 11 }, { BIT64(63), BIT64(63) },
		  "shared memory region 11 of 9223372036854775808 bytes does not fit" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = shmem_connect(state);
		f->daemon.shmem = (struct vu_shmem_config){ .nregions = cases[i].nregions };
		for (int j = 0; j < 2; j++)
			f->daemon.shmem.sizes[cases[i].at[j]] = cases[i].size[j];
		owner_assert_lost(f, cases[i].says);
		assert_int_equal(f->ready, 0);
		for (unsigned j = 0; j < VU_SHMEM_REGIONS; j++)
			assert_true(f->frontend.shmem[j] == 0);
	}
}

static void nothing_is_answered_yet(struct owner *f)
{
	uint64_t answer;

	assert_int_equal(scripted_daemon_back_answer(&f->daemon, VU_BACKEND_SHMEM_MAP, &answer), 0);
}

static void a_mapping_is_made_and_then_answered(void **state)
{
	struct owner *f = shmem_running(state);
	unsigned level = process_fds();
	struct stat st;

	f->in_map = nothing_is_answered_yet;
	assert_int_equal(shmem_map(f, 2), 0);
	assert_int_equal(f->maps, 1);
	assert_true(f->mapped[0].fd_offset == 5 * PAGE && f->mapped[0].len == PAGE);
	assert_true(f->mapped[0].shm_offset == 2 * PAGE);
	assert_int_equal(f->mapped[0].shmid, REGION);
	assert_true(f->mapped[0].rw);
	assert_int_equal(fstat(f->mem.regions[0].fd, &st), 0);
	assert_true(st.st_ino == f->mapped_inode);
	assert_int_equal(process_fds(), level);
	assert_int_equal(f->daemon.n_seen, 0);
}

static void what_has_no_flag_is_mapped_read_only(void **state)
{
	struct owner *f = shmem_running(state);
	struct vu_mmap m = shmem_page(0);

	m.flags = 0;
	scripted_daemon_back_request(&f->daemon, VU_BACKEND_SHMEM_MAP, NEED_REPLY, &m, sizeof(m),
				     &f->mem.regions[0].fd, 1);
	assert_int_equal(shmem_answer(f, VU_BACKEND_SHMEM_MAP), 0);
	assert_false(f->mapped[0].rw);
}

static void the_whole_region_and_the_end_of_a_file_can_be_mapped(void **state)
{
	struct owner *f = shmem_running(state);
	struct vu_mmap m = { .shmid = REGION, .len = PAGES * PAGE,
			     .fd_offset = INT64_MAX - PAGES * PAGE };

	scripted_daemon_back_request(&f->daemon, VU_BACKEND_SHMEM_MAP, NEED_REPLY, &m, sizeof(m),
				     &f->mem.regions[0].fd, 1);
	assert_int_equal(shmem_answer(f, VU_BACKEND_SHMEM_MAP), 0);
}

/* The place is what names it: file offset and flags of an UNMAP mean nothing. */
static void a_mapping_is_unmapped_by_its_place(void **state)
{
	struct owner *f = shmem_running(state);
	struct vu_mmap m = shmem_page(1);

	assert_int_equal(shmem_map(f, 1), 0);
	m.fd_offset = UINT64_MAX;
	scripted_daemon_back_request(&f->daemon, VU_BACKEND_SHMEM_UNMAP, NEED_REPLY, &m, sizeof(m),
				     NULL, 0);
	assert_int_equal(shmem_answer(f, VU_BACKEND_SHMEM_UNMAP), 0);
	assert_int_equal(f->n_mapped, 0);
	assert_int_equal(shmem_unmap(f, 1), 1);
}

static void nothing_is_answered_that_did_not_ask(void **state)
{
	static const struct {
		uint64_t without;
		uint32_t flags;
	} cases[] = { { 0, VU_FLAG_VERSION }, { BIT64(VU_PF_REPLY_ACK), VU_FLAG_VERSION },
		      { BIT64(VU_PF_REPLY_ACK), NEED_REPLY } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct owner *f;

		owner_teardown(state);
		owner_setup(state);
		f = shmem_connect(state);
		f->daemon.protocol &= ~cases[i].without;
		owner_connected(f);
		shmem_send_map(f, 0, cases[i].flags);
		assert_int_equal(shmem_answer(f, VU_BACKEND_SHMEM_MAP), -1);
		assert_int_equal(f->n_mapped, 1);
		/* A refusal is as quiet, and the main channel is free again. */
		f->refuse_map = -EEXIST;
		shmem_send_map(f, 1, cases[i].flags);
		assert_int_equal(shmem_answer(f, VU_BACKEND_SHMEM_MAP), -1);
		assert_int_equal(f->maps, 2);
		assert_int_equal(owner_start(f, &(struct err){ "" }), 0);
		scripted_settle(&f->loop);
		assert_int_equal(f->started, 1);
	}
}

#define AT(offset, length) .m = { .shmid = REGION, .shm_offset = (offset), .len = (length) }

/* What is refused without asking the owner. */
static const struct refused {
	uint32_t request, size;		/* size 0: 40 */
	size_t nfds;
	struct vu_mmap m;
} refused[] = {
	{ MAP, .nfds = 0, AT(0, 4096) },
	{ MAP, .nfds = 2, AT(0, 4096) },
	{ MAP, .nfds = 8, AT(0, 4096) },
	{ UNMAP, .nfds = 1, AT(0, 4096) },
	{ MAP, .nfds = 1, .size = 39, AT(0, 4096) },
	{ MAP, .nfds = 1, .size = 41, AT(0, 4096) },
	{ MAP, .nfds = 1, .size = 8, AT(0, 4096) },
	{ UNMAP, .size = 32, AT(0, 4096) },
	{ UNMAP, .size = 48, AT(0, 4096) },
	{ MAP, .nfds = 1, .m = { .shmid = REGION, .len = 4096, .padding = { 1 } } },
	{ MAP, .nfds = 1, .m = { .shmid = REGION, .len = 4096, .padding = { [6] = 0x80 } } },
	{ UNMAP, .m = { .shmid = REGION, .len = 4096, .padding = { [3] = 1 } } },
	{ MAP, .nfds = 1, .m = { .shmid = REGION, .len = 4096, .flags = 2 } },
	{ MAP, .nfds = 1, .m = { .shmid = REGION, .len = 4096, .flags = 1 | BIT64(63) } },
	{ UNMAP, .m = { .shmid = REGION, .len = 4096, .flags = 4 } },
	{ MAP, .nfds = 1, .m = { .shmid = 0, .len = 4096 } },
	{ MAP, .nfds = 1, .m = { .shmid = REGION + 1, .len = 4096 } },
	{ MAP, .nfds = 1, .m = { .shmid = 255, .len = 4096 } },
	{ UNMAP, .m = { .shmid = 2, .len = 4096 } },
	{ MAP, .nfds = 1, AT(0, 0) },
	{ MAP, .nfds = 1, AT(PAGES * 4096, 0) },
	{ UNMAP, AT(0, 0) },
	{ MAP, .nfds = 1, AT(0, (PAGES + 1) * 4096) },
	{ MAP, .nfds = 1, AT(PAGES * 4096, 4096) },
	{ MAP, .nfds = 1, AT((PAGES - 1) * 4096, 8192) },
	{ MAP, .nfds = 1, AT(4096, UINT64_MAX) },
	{ MAP, .nfds = 1, AT(UINT64_MAX - 4095, 4096) },
	{ MAP, .nfds = 1, AT(UINT64_MAX - 4095, 8192) },
	{ UNMAP, AT(UINT64_MAX - 4095, 8192) },
	{ UNMAP, AT(PAGES * 4096, 4096) },
	{ MAP, .nfds = 1, .m = { .shmid = REGION, .len = 4096, .fd_offset = UINT64_MAX - 4095 } },
	{ MAP, .nfds = 1, .m = { .shmid = REGION, .len = 8192, .fd_offset = UINT64_MAX - 4095 } },
	{ MAP, .nfds = 1, .m = { .shmid = REGION, .len = 4096, .fd_offset = INT64_MAX - 4094 } },
};

static void what_the_message_shows_to_be_wrong_is_refused_unasked(void **state)
{
	struct owner *f = shmem_running(state);
	int fds[8] = { 2, 2, 2, 2, 2, 2, 2, 2 };
	unsigned level = process_fds();

	assert_int_equal(shmem_map(f, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		const struct refused *c = &refused[i];
		uint8_t payload[64] = { 0 };

		memcpy(payload, &c->m, sizeof(c->m));
		scripted_daemon_back_request(&f->daemon, c->request, NEED_REPLY, payload,
					     c->size ? c->size : sizeof(c->m), fds, c->nfds);
		if (shmem_answer(f, c->request) != 1)
			fail_msg("row %zu is not refused", i);
	}
	assert_int_equal(f->maps, 1);
	assert_int_equal(f->unmaps, 0);
	assert_int_equal(f->frontend.back_misuse.count, ARRAY_SIZE(refused));
	assert_int_equal(process_fds(), level);
	assert_int_equal(f->frontend.state, VU_RUNNING);
	assert_int_equal(f->daemon.n_seen, 0);
	assert_int_equal(shmem_map(f, 1), 0);
	assert_int_equal(f->n_mapped, 2);
}

static void what_the_owner_refuses_is_an_outcome(void **state)
{
	static const int codes[] = { -EINVAL, -EEXIST, -EPROTO, -ENOSYS, -ECONNRESET, -ENOSPC };
	struct owner *f = shmem_running(state);

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		f->refuse_map = f->refuse_unmap = codes[i];
		assert_int_equal(shmem_map(f, 0), 1);
		assert_int_equal(shmem_unmap(f, 0), 1);
	}
	assert_int_equal(f->n_mapped, 0);
	assert_int_equal(f->frontend.back_misuse.count, 2 * ARRAY_SIZE(codes));
	assert_int_equal(f->frontend.state, VU_RUNNING);
	f->refuse_map = 0;
	assert_int_equal(shmem_map(f, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, owner_setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(regions_are_known_when_the_device_is_ready),
		TEST(any_number_of_regions_is_taken),
		TEST(regions_are_asked_for_only_where_they_can_be_mapped),
		TEST(a_daemon_with_the_quirk_has_its_regions_on_bit_21),
		TEST(a_device_that_needs_its_regions_says_that_the_quirk_may_help),
		TEST(regions_that_cannot_be_are_refused_by_name),
		TEST(a_mapping_is_made_and_then_answered),
		TEST(what_has_no_flag_is_mapped_read_only),
		TEST(the_whole_region_and_the_end_of_a_file_can_be_mapped),
		TEST(a_mapping_is_unmapped_by_its_place),
		TEST(nothing_is_answered_that_did_not_ask),
		TEST(what_the_message_shows_to_be_wrong_is_refused_unasked),
		TEST(what_the_owner_refuses_is_an_outcome),
	};

	return cmocka_run_group_tests_name("frontend_shmem", tests, NULL, NULL);
}
