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
	loop_timer_cancel(&c->fake->loop, t);
	t->expired(t->arg);
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
	assert_int_equal(l->state, VHOST_USER_LINK_PAUSING);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, share_setup, share_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_is_lost_while_others_let_go_is_followed_by_the_next),
		TEST(an_answer_that_comes_after_a_reset_gives_nothing),
	};

	return cmocka_run_group_tests_name("shmem_hostile", tests, NULL, NULL);
}
