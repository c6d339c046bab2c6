/* SPDX-License-Identifier: Apache-2.0 */
/* A network interface of several pairs of queues, and who serves its control queue: the process is
 * a scripted daemon, and its questions are the test's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "tests/unit/vhost_user_rig.h"
#include "vhost/control.h"
#include "vhost/ring.h"

#define CONFIG(field) (VIRTIO_PCI_DEVICE_CONFIG + offsetof(struct virtio_net_config, field))
#define MQ BIT64(VIRTIO_NET_F_MQ)
#define CTRL BIT64(VIRTIO_NET_F_CTRL_VQ)
#define ANNOUNCE BIT64(VIRTIO_NET_F_GUEST_ANNOUNCE)

enum { PAIRS = 2, QUEUES = 2 * PAIRS + 1, CONTROL_QUEUE = 2 * PAIRS };

struct fixture {
	struct vhost_user_rig *rig;
	struct scripted_daemon process;
	int asks;			/* its end of the socket of questions */
	uint64_t acks;			/* features that the driver is to ack, if offered */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	vhost_user_rig_setup((void **)&f->rig);
	f->rig->daemon.features |= MQ;
	f->rig->daemon.queues = 2 * PAIRS;
	f->asks = -1;
	f->acks = UINT64_MAX;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct err illegal = f->process.illegal;
	int r;

	scripted_daemon_fini(&f->process);
	fd_close(&f->asks);
	r = vhost_user_rig_teardown((void **)&f->rig);
	free(f);
	assert_string_equal(illegal.msg, "");
	return r;
}

static void realize(struct fixture *f)
{
	struct vhost_user_rig *r = f->rig;

	if (vhost_user_device_realize(&r->dev, &r->e))
		fail_msg("%s", r->e.msg);
	r->guest = (struct virtio_guest){ &r->fake, r->dev.pci.pci.slot };
	guest_decode(&r->guest, true);
}

/* The process is there; it is to be changed before the loop runs. */
static void start_process(struct fixture *f)
{
	struct vhost_user_rig *r = f->rig;
	int pair[2], sock;

	sock = scripted_daemon_init(&f->process, &r->fake.loop);
	f->process.protocol &= ~BIT64(VU_PF_CONFIG);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	f->asks = pair[1];
	assert_int_equal(vhost_user_control_connect(&r->dev, &sock, &pair[0], &r->e), 0);
	assert_true(sock == -1 && pair[0] == -1);
	assert_false(vhost_user_control_is_settled(&r->dev));
}

static struct fixture *plugged(void **state)
{
	struct fixture *f = *state;

	vhost_user_rig_connect(f->rig, "net,socket=/run/net,queues=2", 1);
	start_process(f);
	vhost_user_rig_settle(f->rig);
	assert_true(vhost_user_control_is_settled(&f->rig->dev));
	realize(f);
	return f;
}

/* The driver sets up the first @queues queues and goes. */
static void run(struct fixture *f, unsigned queues)
{
	struct virtio_guest *g = &f->rig->guest;

	guest_msix_on(g, queues + 1);
	assert_true(guest_negotiate(g, guest_offered(g) & f->acks));
	guest_write(g, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	for (unsigned i = 0; i < queues; i++)
		guest_queue(g, i, 4, (uint16_t)(i + 1));
	guest_driver_ok(g);
	vhost_user_rig_settle(f->rig);
	assert_int_equal(f->rig->dev.run, VHOST_USER_RUNNING);
}

static struct fixture *running(void **state)
{
	struct fixture *f = plugged(state);

	run(f, QUEUES);
	return f;
}

static void ask(struct fixture *f, uint32_t request, uint32_t value)
{
	const struct control_question q = { request, value };

	assert_int_equal(send(f->asks, &q, sizeof(q), 0), sizeof(q));
	vhost_user_rig_settle(f->rig);
}

/* 1, 0, or -1: not answered. */
static int answer(struct fixture *f)
{
	struct control_answer a;

	return recv(f->asks, &a, sizeof(a), 0) == sizeof(a) ? (int)a.done : -1;
}

static void assert_enabled(struct fixture *f, unsigned rings)
{
	for (unsigned i = 0; i < 2 * PAIRS; i++) {
		assert_true(f->rig->daemon.rings[i].started);
		assert_int_equal(f->rig->daemon.rings[i].enabled, i < rings);
	}
}

static uint16_t net_status(struct fixture *f)
{
	return (uint16_t)guest_read(&f->rig->guest, CONFIG(status), 2);
}

static void with_several_pairs_there_is_a_control_queue(void **state)
{
	struct fixture *f = plugged(state);
	struct virtio_guest *g = &f->rig->guest;

	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	assert_int_equal(guest_read(g, CONFIG(max_virtqueue_pairs), 2), PAIRS);
	assert_int_equal(guest_offered(g) & (MQ | CTRL | ANNOUNCE), MQ | CTRL | ANNOUNCE);
	assert_false(guest_offered(g) & (BIT64(VIRTIO_NET_F_CTRL_RX) |
					 BIT64(VIRTIO_NET_F_CTRL_MAC_ADDR)));
}

static void without_a_process_there_is_none(void **state)
{
	struct fixture *f = *state;
	struct virtio_guest *g = &f->rig->guest;

	vhost_user_rig_connect(f->rig, "net,socket=/run/net,queue-pairs=2", 1);
	realize(f);

	assert_int_equal(guest_read(g, VIRTIO_PCI_COMMON_NUMQ, 2), 2 * PAIRS);
	assert_false(guest_offered(g) & (MQ | CTRL | ANNOUNCE));
}

static void the_process_gets_that_queue_and_the_daemon_the_others(void **state)
{
	struct fixture *f = running(state);
	struct scripted_daemon *d = &f->rig->daemon;

	assert_true(f->process.rings[0].started && f->process.rings[0].enabled);
	assert_int_equal(f->process.rings[0].addr.desc & 0xffffff, guest_desc(CONTROL_QUEUE));
	assert_int_equal(f->process.n_regions, d->n_regions);
	for (unsigned i = 0; i < d->n_seen; i++) {
		uint32_t request = d->seen[i].header.request;

		if (request >= VU_SET_VRING_NUM && request <= VU_SET_VRING_ERR)
			assert_int_not_equal(d->seen[i].u64 & 0xff, CONTROL_QUEUE);
	}
	assert_int_equal(d->acked & (MQ | CTRL), MQ);
	/* A driver begins with one pair (VIRTIO 1.3, 5.1.6.5.5). */
	assert_enabled(f, 2);
	guest_doorbell(&f->rig->guest, CONTROL_QUEUE);
	assert_true(fd_drain(f->process.rings[0].kick) > 0);
}

static void pairs_are_used_when_the_daemon_has_enabled_them(void **state)
{
	struct fixture *f = running(state);

	f->rig->daemon.fault = FAULT_SILENT;
	f->rig->daemon.fault_on = VU_SET_VRING_ENABLE;
	ask(f, CONTROL_PAIRS, 2);
	assert_enabled(f, 4);
	assert_int_equal(answer(f), -1);
	scripted_daemon_give(&f->rig->daemon);
	vhost_user_rig_settle(f->rig);
	assert_int_equal(answer(f), 1);

	ask(f, CONTROL_PAIRS, 1);
	assert_int_equal(answer(f), 1);
	assert_enabled(f, 2);
}

static void what_may_not_be_asked_for_is_refused(void **state)
{
	struct fixture *f = running(state);
	const uint8_t junk[64] = { CONTROL_PAIRS, 0, 0, 0, 1 };

	ask(f, CONTROL_PAIRS, 0);
	assert_int_equal(answer(f), 0);
	ask(f, CONTROL_PAIRS, PAIRS + 1);
	assert_int_equal(answer(f), 0);
	ask(f, 0, 1);
	assert_int_equal(answer(f), 0);
	ask(f, UINT32_MAX, 1);
	assert_int_equal(answer(f), 0);
	assert_int_equal(send(f->asks, junk, 5, 0), 5);
	vhost_user_rig_settle(f->rig);
	assert_int_equal(answer(f), 0);
	assert_enabled(f, 2);
	/* It asks again while it waits for an answer. */
	f->rig->daemon.fault = FAULT_SILENT;
	f->rig->daemon.fault_on = VU_SET_VRING_ENABLE;
	ask(f, CONTROL_PAIRS, 2);
	ask(f, CONTROL_PAIRS, 1);
	assert_int_equal(answer(f), 0);
	scripted_daemon_give(&f->rig->daemon);
	vhost_user_rig_settle(f->rig);
	assert_int_equal(answer(f), 1);
	assert_enabled(f, 4);
	assert_false(vhost_user_rig_needs_reset(f->rig));
}

static void questions_without_number_or_ear_hold_up_nobody(void **state)
{
	struct fixture *f = running(state);
	const struct control_question q = { CONTROL_PAIRS, 0 };
	unsigned refused;

	for (unsigned i = 0; i < 2000; i++)
		if (send(f->asks, &q, sizeof(q), 0) < 0)
			vhost_user_rig_settle(f->rig);
	vhost_user_rig_settle(f->rig);
	for (refused = 0; answer(f) == 0; refused++)
		;
	assert_true(refused > 0);
	ask(f, CONTROL_PAIRS, 2);
	assert_int_equal(answer(f), 1);
}

static void a_question_before_the_driver_runs_is_refused(void **state)
{
	struct fixture *f = plugged(state);

	ask(f, CONTROL_PAIRS, 2);
	assert_int_equal(answer(f), 0);
	run(f, QUEUES);
	assert_enabled(f, 2);
}

static void a_driver_of_one_pair_has_its_control_queue_after_that(void **state)
{
	struct fixture *f = plugged(state);

	f->acks = ~MQ;
	run(f, 3);

	assert_int_equal(f->process.rings[0].addr.desc & 0xffffff, guest_desc(2));
	assert_true(f->rig->daemon.rings[1].enabled);
	assert_false(f->rig->daemon.rings[2].started);
	ask(f, CONTROL_PAIRS, 2);
	assert_int_equal(answer(f), 0);
}

static void a_driver_may_leave_it_alone(void **state)
{
	struct fixture *f = plugged(state);

	f->acks = ~(MQ | CTRL | ANNOUNCE);
	run(f, 2);
	assert_false(f->process.rings[0].started);
	guest_set_status(&f->rig->guest, 0);
	vhost_user_rig_settle(f->rig);
	assert_int_equal(guest_status(&f->rig->guest), 0);
}

static void a_reset_takes_it_back_and_begins_with_one_pair(void **state)
{
	struct fixture *f = running(state);
	struct virtio_guest *g = &f->rig->guest;

	ask(f, CONTROL_PAIRS, 2);
	assert_int_equal(answer(f), 1);
	f->process.fault = FAULT_SILENT;
	f->process.fault_on = VU_GET_VRING_BASE;
	guest_set_status(g, 0);
	vhost_user_rig_settle(f->rig);
	assert_int_equal(scripted_daemon_count(&f->rig->daemon, VU_GET_VRING_BASE), 4);
	assert_int_not_equal(guest_status(g), 0);
	scripted_daemon_give(&f->process);
	vhost_user_rig_settle(f->rig);
	assert_int_equal(guest_status(g), 0);

	run(f, QUEUES);
	assert_enabled(f, 2);
	assert_true(f->process.rings[0].started);
	ask(f, CONTROL_PAIRS, 2);
	assert_int_equal(answer(f), 1);
}

static void a_reset_answers_what_was_asked(void **state)
{
	struct fixture *f = running(state);

	f->rig->daemon.fault = FAULT_SILENT;
	f->rig->daemon.fault_on = VU_SET_VRING_ENABLE;
	ask(f, CONTROL_PAIRS, 2);
	guest_set_status(&f->rig->guest, 0);
	vhost_user_rig_settle(f->rig);
	scripted_daemon_give(&f->rig->daemon);
	vhost_user_rig_settle(f->rig);

	assert_int_equal(answer(f), 0);
	assert_int_equal(answer(f), -1);
	assert_int_equal(guest_status(&f->rig->guest), 0);
}

static void a_reset_of_the_machine_takes_it_back(void **state)
{
	struct fixture *f = running(state);

	vhost_user_rig_reset(f->rig);
	vhost_user_rig_settle(f->rig);

	assert_int_equal(f->rig->resets_done, 1);
	assert_false(f->process.rings[0].started);
}

static void when_the_process_ends_the_device_needs_a_reset_and_has_one_pair_then(void **state)
{
	struct fixture *f = running(state);
	struct virtio_guest *g = &f->rig->guest;

	scripted_daemon_fini(&f->process);
	fd_close(&f->asks);
	vhost_user_rig_settle(f->rig);
	assert_true(vhost_user_rig_needs_reset(f->rig));

	guest_set_status(g, 0);
	vhost_user_rig_settle(f->rig);
	assert_int_equal(guest_status(g), 0);
	assert_false(guest_offered(g) & (MQ | CTRL | ANNOUNCE));
	run(f, 2);
	assert_true(f->rig->daemon.rings[0].enabled && f->rig->daemon.rings[1].enabled);
	assert_false(f->rig->daemon.rings[2].started);
	assert_false(vhost_user_rig_needs_reset(f->rig));
}

static void a_process_that_hangs_holds_up_the_reset_until_its_end(void **state)
{
	struct fixture *f = running(state);
	struct loop_timer *t = &f->rig->dev.control.frontend.deadline;

	f->process.fault = FAULT_SILENT;
	f->process.fault_on = VU_GET_VRING_BASE;
	guest_set_status(&f->rig->guest, 0);
	vhost_user_rig_settle(f->rig);
	loop_timer_cancel(&f->rig->fake.loop, t);
	t->expired(t->arg);
	/* It reads the end of the stream, and may still write. */
	vhost_user_rig_settle(f->rig);
	scripted_daemon_fini(&f->process);
	vhost_user_rig_settle(f->rig);

	assert_int_equal(guest_status(&f->rig->guest), 0);
}

static void a_process_that_is_lost_before_it_is_ready_ends_the_start(void **state)
{
	struct fixture *f = *state;

	vhost_user_rig_connect(f->rig, "net,socket=/run/net,queues=2", 1);
	start_process(f);
	f->process.fault = FAULT_CLOSE;
	f->process.fault_at = 1;
	vhost_user_rig_settle(f->rig);

	assert_true(vhost_user_control_is_settled(&f->rig->dev));
	assert_int_equal(vhost_user_device_realize(&f->rig->dev, &f->rig->e), -ENOTCONN);
	assert_non_null(strstr(f->rig->e.msg, "net0: control queue"));
}

static void rings_are_of_a_kind_that_the_process_has(void **state)
{
	struct fixture *f = *state;

	f->rig->daemon.features |= BIT64(RING_F_EVENT_IDX) | BIT64(VIRTIO_F_RING_PACKED) |
				   BIT64(VIRTIO_NET_F_MRG_RXBUF);
	plugged(state);

	assert_false(guest_offered(&f->rig->guest) & (BIT64(RING_F_EVENT_IDX) |
						      BIT64(VIRTIO_F_RING_PACKED)));
	assert_true(guest_offered(&f->rig->guest) & BIT64(VIRTIO_NET_F_MRG_RXBUF));
}

static void a_daemon_of_too_few_queues_is_refused(void **state)
{
	struct fixture *f = *state;

	f->rig->daemon.queues = 2;
	vhost_user_rig_connect(f->rig, "net,socket=/run/net,queues=2", 1);

	assert_int_equal(vhost_user_device_realize(&f->rig->dev, &f->rig->e), -EINVAL);
	assert_non_null(strstr(f->rig->e.msg, "it needs 4 queues, but the daemon at /run/net serves 2"));
}

/* The daemon ends while @pairs are used, and another one takes its place. */
static void reconnect(struct fixture *f)
{
	vhost_user_rig_lose(f->rig);
	vhost_user_rig_new_daemon(f->rig);
	f->rig->daemon.queues = 2 * PAIRS;
	vhost_user_rig_answer(f->rig);
	assert_int_equal(f->rig->dev.run, VHOST_USER_RUNNING);
}

static void the_next_daemon_has_as_many_pairs_and_the_guest_announces_itself(void **state)
{
	struct fixture *f = running(state);

	vhost_user_rig_reconnects(f->rig);
	ask(f, CONTROL_PAIRS, 2);
	assert_int_equal(answer(f), 1);
	assert_int_equal(net_status(f), VIRTIO_NET_S_LINK_UP);
	vhost_user_rig_interrupts(f->rig, 0);
	reconnect(f);

	assert_enabled(f, 4);
	assert_int_equal(net_status(f), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(vhost_user_rig_interrupts(f->rig, 0), 1);
	assert_int_equal(scripted_daemon_count(&f->rig->daemon, VU_SEND_RARP), 0);
	ask(f, CONTROL_ANNOUNCED, 0);
	assert_int_equal(answer(f), 1);
	assert_int_equal(net_status(f), VIRTIO_NET_S_LINK_UP);
}

static void pairs_that_are_chosen_without_a_daemon_are_the_next_ones(void **state)
{
	struct fixture *f = running(state);

	vhost_user_rig_reconnects(f->rig);
	scripted_daemon_fini(&f->rig->daemon);
	vhost_user_rig_settle(f->rig);
	ask(f, CONTROL_PAIRS, 2);
	assert_int_equal(answer(f), 1);
	vhost_user_rig_pause_over(f->rig);
	vhost_user_rig_new_daemon(f->rig);
	f->rig->daemon.queues = 2 * PAIRS;
	vhost_user_rig_answer(f->rig);

	assert_enabled(f, 4);
}

static void a_daemon_that_ends_while_it_is_told_leaves_it_to_the_next(void **state)
{
	struct fixture *f = running(state);

	vhost_user_rig_reconnects(f->rig);
	f->rig->daemon.fault = FAULT_SILENT;
	f->rig->daemon.fault_on = VU_SET_VRING_ENABLE;
	ask(f, CONTROL_PAIRS, 2);
	assert_int_equal(answer(f), -1);
	reconnect(f);

	assert_int_equal(answer(f), 1);
	assert_enabled(f, 4);
}

static void where_the_guest_cannot_the_daemon_announces_it(void **state)
{
	struct fixture *f = *state;

	f->rig->daemon.protocol |= BIT64(VU_PF_RARP);
	plugged(state);
	f->acks = ~ANNOUNCE;
	run(f, QUEUES);
	vhost_user_rig_reconnects(f->rig);
	assert_int_equal(scripted_daemon_count(&f->rig->daemon, VU_SEND_RARP), 0);
	reconnect(f);

	assert_int_equal(scripted_daemon_count(&f->rig->daemon, VU_SEND_RARP), 1);
	assert_int_equal(scripted_daemon_last(&f->rig->daemon, VU_SEND_RARP)->u64,
			 guest_read(&f->rig->guest, CONFIG(mac), 4) |
			 guest_read(&f->rig->guest, CONFIG(mac) + 4, 2) << 32);
	assert_int_equal(net_status(f), VIRTIO_NET_S_LINK_UP);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(with_several_pairs_there_is_a_control_queue),
		TEST(without_a_process_there_is_none),
		TEST(the_process_gets_that_queue_and_the_daemon_the_others),
		TEST(pairs_are_used_when_the_daemon_has_enabled_them),
		TEST(what_may_not_be_asked_for_is_refused),
		TEST(questions_without_number_or_ear_hold_up_nobody),
		TEST(a_question_before_the_driver_runs_is_refused),
		TEST(a_driver_of_one_pair_has_its_control_queue_after_that),
		TEST(a_driver_may_leave_it_alone),
		TEST(a_reset_takes_it_back_and_begins_with_one_pair),
		TEST(a_reset_answers_what_was_asked),
		TEST(a_reset_of_the_machine_takes_it_back),
		TEST(when_the_process_ends_the_device_needs_a_reset_and_has_one_pair_then),
		TEST(a_process_that_hangs_holds_up_the_reset_until_its_end),
		TEST(a_process_that_is_lost_before_it_is_ready_ends_the_start),
		TEST(rings_are_of_a_kind_that_the_process_has),
		TEST(a_daemon_of_too_few_queues_is_refused),
		TEST(the_next_daemon_has_as_many_pairs_and_the_guest_announces_itself),
		TEST(pairs_that_are_chosen_without_a_daemon_are_the_next_ones),
		TEST(a_daemon_that_ends_while_it_is_told_leaves_it_to_the_next),
		TEST(where_the_guest_cannot_the_daemon_announces_it),
	};

	return cmocka_run_group_tests_name("vhost_user_control", tests, NULL, NULL);
}
