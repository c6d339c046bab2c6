/* SPDX-License-Identifier: Apache-2.0 */
/* Daemons that end, hang, and come back where sharing, resets and new connections meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/pci_regs.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "tests/unit/process.h"
#include "tests/unit/resting.h"
#include "tests/unit/share_rig.h"

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	(void)ctx;
	(void)l;
	(void)e;
	return 0;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	(void)ctx;
	(void)l;
}

static const struct vhost_user_dialer dialer = { .ask = ask, .forget = forget };

/* Another daemon, as the first one was, is at the end of the next connection. */
static void come_back(struct share_card *c)
{
	struct scripted_daemon first = c->daemon;
	struct loop_timer *t = &c->dev.link.pause;
	int pidfd = -1;

	scripted_daemon_fini(&c->daemon);
	share_settle(c);
	c->sock = scripted_daemon_init(&c->daemon, &c->fake->loop);
	c->daemon.protocol = first.protocol;
	c->daemon.shmem = first.shmem;
	c->daemon.slots = first.slots;
	if (c->dev.link.state == VHOST_USER_LINK_PAUSING) {
		loop_timer_cancel(&c->fake->loop, t);
		t->expired(t->arg);
	}
	vhost_user_link_answer(&c->dev.link, &c->sock, &pidfd, 0, "");
	share_settle(c);
}

static void reset_done(void *arg)
{
	((struct share_card *)arg)->resets++;
}

/* Says what no daemon may say, and stays. */
static void break_the_rules(struct share_card *c)
{
	static const uint8_t rubbish[12] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	scripted_daemon_send(&c->daemon, rubbish, sizeof(rubbish));
	share_settle(c);
	assert_true(c->dev.lost);
}

/* Its rings were given back, so nobody has to wait for its end. */
static void who_is_lost_while_others_let_go_is_followed_by_the_next(void **state)
{
	struct share_rig *m = share_pair(state);
	struct vhost_user_link *l = &m->a.dev.link;

	vhost_user_link_use(l, &dialer, NULL, 0);
	share_map(m, &m->a, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	guest_set_status(&m->a.guest, 0);
	share_settle(&m->a);
	assert_true(m->a.dev.emptying);
	break_the_rules(&m->a);
	assert_true(is_resting(l));
	come_back(&m->a);
	assert_int_equal(l->state, VHOST_USER_LINK_UP);

	/* What the next one maps waits for the end of what was. */
	share_send_map(m, &m->a, 0, true);
	share_settle(&m->a);
	assert_int_equal(share_answer(&m->a, MAP), -1);
	assert_int_not_equal(guest_status(&m->a.guest), 0);
	share_give_answers(&m->b);
	assert_int_equal(guest_status(&m->a.guest), 0);
	assert_int_equal(share_answer(&m->a, MAP), 0);
	assert_true(share_has(&m->b, &m->a, 0));
	share_run(&m->a);
}

/* A reboot before the driver came asks nothing of the daemon, so it need not have been told. */
static void an_answer_that_comes_after_a_reset_gives_nothing(void **state)
{
	struct share_rig *m = *state;
	int small = 4096;
	uint64_t n = 0;
	uint32_t home;

	share_plug(m, &m->a, GIVER);
	share_plug(m, &m->b, TAKER);
	home = (uint32_t)share_home(&m->a);
	share_run(&m->b);
	setsockopt(m->a.dev.frontend.back.sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	while (!vu_channel_pending(&m->a.dev.frontend.back)) {
		share_send_map(m, &m->a, n++, true);
		share_settle(&m->a);
	}
	vhost_user_device_reset(&m->a.dev, reset_done, &m->a);
	share_settle(&m->a);
	assert_int_equal(m->a.resets, 1);
	for (uint64_t i = 0; i < n; i++) {
		assert_int_equal(share_answer(&m->a, MAP), 0);
		share_settle(&m->a);
	}

	guest_config_write(&m->a.guest, PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR, 4, home);
	guest_decode(&m->a.guest, true);
	share_settle(&m->a);
	share_map(m, &m->a, n - 1);
	assert_true(share_has(&m->b, &m->a, n - 1));
	assert_int_equal(share_unmap(&m->a, n - 1), 0);
	assert_false(share_has(&m->b, &m->a, n - 1));
	assert_null(m->fake.machine.shared.first);
}

static void expire(struct share_card *c, struct loop_timer *t)
{
	if (!t->at)
		return;
	loop_timer_cancel(&c->fake->loop, t);
	t->expired(t->arg);
}

/* Each answer in time, as seldom as may be. */
static void who_lets_go_one_by_one_is_lost_in_the_end(void **state)
{
	struct share_rig *m = share_pair(state);
	struct loop_timer *t = &m->b.dev.frontend.let_go;

	for (uint64_t i = 0; i < 30; i++)
		share_map(m, &m->a, i);
	assert_int_equal(t->at, 0);
	share_fall_silent_at(&m->b, VU_REM_MEM_REG);
	guest_set_status(&m->a.guest, 0);
	share_settle(&m->a);
	scripted_daemon_give(&m->b.daemon);
	m->b.daemon.silent = true;
	share_settle(&m->b);
	assert_true(m->a.dev.emptying);

	/* Not yet. */
	expire(&m->a, t);
	assert_false(m->b.dev.lost);
	assert_true(t->at > clock_ns());
	for (struct mem_shared_region *r = m->fake.machine.shared.first; r; r = r->next)
		r->withdrawn_at -= 2 * MS_TO_NS(VU_DEADLINE_MS);
	expire(&m->a, t);
	share_settle(&m->a);
	assert_true(m->b.dev.lost);
	assert_int_equal(guest_status(&m->a.guest), 0);
}

/*
 * Anything, in any order: two that share and one that takes, their daemons map, unmap, fall silent,
 * break the rules, end and come back, while the guest starts, resets and moves the devices. However
 * that went, daemons that behave make everything as it was.
 */
enum { SEQUENCES = 100, STEPS = 120, PAGES_USED = 6 };

static uint32_t homes[2];

static uint32_t random_below(uint32_t n)
{
	static uint64_t seed = 88172645463325252;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16) % n;
}

/* As far as the socket takes it. */
static void send_request(struct share_rig *m, struct share_card *c, uint32_t request)
{
	struct __attribute__((packed)) {
		struct vu_header header;
		struct vu_mmap map;
	} r = { { request, NEED_REPLY, sizeof(r.map) },
		{ .shm_offset = random_below(PAGES_USED) * PAGE, .len = PAGE,
		  .flags = request == MAP && random_below(4) ? VU_SHMEM_RW : 0 } };

	if (c->daemon.back.sock >= 0)
		fd_send(c->daemon.back.sock, &r, sizeof(r), &m->file, request == MAP);
}

static void read_answers(struct share_card *c)
{
	char scrap[4096];

	while (c->daemon.back.sock >= 0 &&
	       recv(c->daemon.back.sock, scrap, sizeof(scrap), MSG_DONTWAIT) > 0)
		;
}

/* Whoever ended is followed, at any time. */
static void be_replaced(struct share_card *c)
{
	scripted_daemon_fini(&c->daemon);
	share_settle(c);
	assert_true(c->dev.lost);
	assert_true(is_resting(&c->dev.link));
	come_back(c);
	assert_false(c->dev.lost);
}

static void be_found(struct share_rig *m, struct share_card *c)
{
	unsigned bar = PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR;
	uint32_t shift = random_below(2) * (uint32_t)MIB(1);

	if (c != &m->c)
		guest_config_write(&c->guest, bar, 4, homes[c == &m->b] + shift);
	guest_decode(&c->guest, true);
}

static void be_started(struct share_rig *m, struct share_card *c)
{
	be_found(m, c);
	if (guest_status(&c->guest) || !guest_negotiate(&c->guest, BIT64(VIRTIO_F_VERSION_1)))
		return;
	guest_queue(&c->guest, 0, 4, 0);
	m->fake.until = NULL;	/* another vCPU's */
	guest_driver_ok(&c->guest);
}

static void step(struct share_rig *m, struct share_card *c)
{
	static const uint32_t silent_at[] = { VU_REM_MEM_REG, VU_ADD_MEM_REG, VU_GET_VRING_BASE,
					      VU_SET_VRING_ENABLE, VU_GET_FEATURES };

	switch (random_below(16)) {
	case 0: case 1: case 2: case 3:
		send_request(m, c, MAP);
		break;
	case 4: case 5:
		send_request(m, c, UNMAP);
		break;
	case 6:
		share_fall_silent_at(c, silent_at[random_below(ARRAY_SIZE(silent_at))]);
		break;
	case 7: case 8:
		if (c->daemon.channel.sock >= 0)
			scripted_daemon_give(&c->daemon);
		break;
	case 9:
		if (!c->dev.lost)
			break_the_rules(c);
		break;
	case 10:
		be_replaced(c);
		break;
	case 11:
		guest_set_status(&c->guest, 0);
		break;
	case 12: case 13:
		be_started(m, c);
		break;
	case 14:
		if (!c->dev.reset_done)
			vhost_user_device_reset(&c->dev, reset_done, c);
		break;
	case 15:
		expire(c, random_below(2) ? &c->dev.frontend.deadline :
					    &c->dev.frontend.back_deadline);
		break;
	}
	if (random_below(2))
		share_settle(c);
	if (random_below(3))
		read_answers(c);
	c->daemon.n_seen = 0;
	assert_string_equal(c->daemon.illegal.msg, "");
}

/* Daemons that behave, and a guest that resets all devices and starts them again. */
static void come_to_rest(struct share_rig *m, struct share_card *const cards[3])
{
	for (unsigned i = 0; i < 3; i++) {
		read_answers(cards[i]);
		be_replaced(cards[i]);
	}
	for (unsigned i = 0; i < 3; i++) {
		be_found(m, cards[i]);
		guest_set_status(&cards[i]->guest, 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		share_settle(cards[i]);
		assert_int_equal(guest_status(&cards[i]->guest), 0);
		assert_int_equal(cards[i]->dev.run, VHOST_USER_IDLE);
		assert_false(cards[i]->dev.emptying || cards[i]->dev.reset_done);
		assert_false(cards[i]->dev.share.clearing);
		if (!cards[i]->dev.reset_done)
			vhost_user_device_reset(&cards[i]->dev, reset_done, cards[i]);
		share_settle(cards[i]);
		assert_int_equal(cards[i]->dev.share.count, 0);
		assert_int_equal(cards[i]->dev.shmem.window.window.count, 0);
	}
	assert_null(m->fake.machine.shared.first);
}

static void whatever_they_do_it_can_all_begin_anew(void **state)
{
	unsigned fds = 0;

	for (unsigned i = 0; i < SEQUENCES; i++) {
		struct share_rig *m;

		share_teardown(state);
		share_setup(state);
		m = *state;
		struct share_card *const cards[] = { &m->a, &m->b, &m->c };

		share_plug(m, &m->a, GIVER);
		share_plug(m, &m->b, GIVER);
		share_plug(m, &m->c, TAKER);
		homes[0] = (uint32_t)share_home(&m->a);
		homes[1] = (uint32_t)share_home(&m->b);
		for (unsigned k = 0; k < 3; k++) {
			vhost_user_link_use(&cards[k]->dev.link, &dialer, NULL, k);
			share_run(cards[k]);
		}
		for (unsigned k = 0; k < STEPS; k++)
			step(m, cards[random_below(3)]);
		come_to_rest(m, cards);
		for (unsigned k = 0; k < 3; k++) {
			be_found(m, cards[k]);
			m->fake.until = NULL;
			share_run(cards[k]);
		}
		share_map(m, &m->a, 0);
		assert_true(share_has(&m->c, &m->a, 0));
		assert_int_equal(share_unmap(&m->a, 0), 0);
		assert_int_equal(m->c.daemon.n_regions, 1);
		fds = fds ? fds : process_fds();
		assert_int_equal(process_fds(), fds);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, share_setup, share_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_is_lost_while_others_let_go_is_followed_by_the_next),
		TEST(an_answer_that_comes_after_a_reset_gives_nothing),
		TEST(who_lets_go_one_by_one_is_lost_in_the_end),
		TEST(whatever_they_do_it_can_all_begin_anew),
	};

	return cmocka_run_group_tests_name("shmem_hostile", tests, NULL, NULL);
}
