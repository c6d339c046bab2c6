/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/vhost_user_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_pci.h>

#include "base/clock.h"
#include "base/fd.h"

int vhost_user_rig_setup(void **state)
{
	struct vhost_user_rig *r = calloc(1, sizeof(*r));

	fake_machine_init(&r->fake);
	guest_ram_init(&r->fake);
	assert_int_equal(pci_bus_init(&r->bus, &r->fake.machine, true, &r->e), 0);
	r->sock = scripted_daemon_init(&r->daemon, &r->fake.loop);
	*state = r;
	return 0;
}

int vhost_user_rig_teardown(void **state)
{
	struct vhost_user_rig *r = *state;
	struct err illegal = r->daemon.illegal;

	vhost_user_device_fini(&r->dev);
	vhost_user_device_fini(&r->dev);
	vhost_user_options_free(&r->options);
	fd_close(&r->sock);
	scripted_daemon_fini(&r->daemon);
	pci_bus_fini(&r->bus);
	guest_ram_fini(&r->fake);
	fake_machine_fini(&r->fake);
	free(r);
	assert_string_equal(illegal.msg, "");
	return 0;
}

/* Pauses are of real time, which a busy machine may take between any two lines of a test: it is the
 * test that ends them. */
static void hold_pause(struct vhost_user_rig *r, struct vhost_user_link *l)
{
	if (l->state == VHOST_USER_LINK_PAUSING)
		loop_timer_set(&r->fake.loop, &l->pause, clock_ns() + MS_TO_NS(3600000));
}

static void hold_pauses(struct vhost_user_rig *r)
{
	hold_pause(r, &r->dev.link);
	hold_pause(r, &r->dev.display.link);
}

void vhost_user_rig_settle(struct vhost_user_rig *r)
{
	hold_pauses(r);
	fake_machine_run_loop(&r->fake);
	hold_pauses(r);
}

void vhost_user_rig_connect(struct vhost_user_rig *r, const char *text, unsigned vcpus)
{
	if (vhost_user_options_parse(&r->options, text, &r->e))
		fail_msg("%s", r->e.msg);
	r->options.vcpus = vcpus;
	vhost_user_device_init(&r->dev, &r->options, &r->fake.machine, &r->bus);
	if (vhost_user_device_connect(&r->dev, &r->sock, &r->e))
		fail_msg("%s", r->e.msg);
	vhost_user_rig_settle(r);
}

void vhost_user_rig_plug(struct vhost_user_rig *r, const char *text)
{
	vhost_user_rig_connect(r, text, 1);
	if (vhost_user_device_realize(&r->dev, &r->e))
		fail_msg("%s", r->e.msg);
	r->guest = (struct virtio_guest){ &r->fake, r->dev.pci.pci.slot };
	guest_decode(&r->guest, true);
}

void vhost_user_rig_driver_ok(struct vhost_user_rig *r, unsigned queues)
{
	struct virtio_guest *g = &r->guest;

	guest_msix_on(g, queues + 1);
	assert_true(guest_negotiate(g, guest_offered(g)));
	guest_write(g, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	for (unsigned i = 0; i < queues; i++)
		guest_queue(g, i, 4, (uint16_t)(i + 1));
	guest_driver_ok(g);
}

void vhost_user_rig_run(struct vhost_user_rig *r, unsigned queues)
{
	vhost_user_rig_driver_ok(r, queues);
	vhost_user_rig_settle(r);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
	/* With shared memory regions the exit waited, and ends now. */
	if (r->fake.until)
		assert_true(r->fake.until(r->fake.until_arg));
	r->fake.until = NULL;
}

struct vhost_user_rig *vhost_user_rig_plugged(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_BLK_F_MQ) | BIT64(VIRTIO_BLK_F_CONFIG_WCE);
	vhost_user_rig_plug(r, "/run/blk,queues=2");
	return r;
}

struct vhost_user_rig *vhost_user_rig_running(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);

	vhost_user_rig_run(r, 2);
	return r;
}

unsigned vhost_user_rig_interrupts(struct vhost_user_rig *r, unsigned vector)
{
	int gsi;

	vhost_user_rig_settle(r);
	gsi = r->dev.pci.msix.vectors[vector].gsi;
	return gsi < 0 ? 0 : fake_machine_interrupts(&r->fake, (unsigned)gsi);
}

bool vhost_user_rig_needs_reset(struct vhost_user_rig *r)
{
	return guest_status(&r->guest) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

void vhost_user_rig_deadline(struct vhost_user_rig *r)
{
	struct loop_timer *t = &r->dev.frontend.deadline;

	assert_true(t->at > 0);
	loop_timer_cancel(&r->fake.loop, t);
	t->expired(t->arg);
	vhost_user_rig_settle(r);
}

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	struct vhost_user_rig *r = ctx;

	assert_ptr_equal(l, &r->dev.link);
	r->asked++;
	return r->refusal ? err_set(e, r->refusal, "there is nobody to ask") : 0;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	(void)l;
	((struct vhost_user_rig *)ctx)->forgotten++;
}

static const struct vhost_user_dialer dialer = { .ask = ask, .forget = forget };

void vhost_user_rig_reconnects(struct vhost_user_rig *r)
{
	vhost_user_link_use(&r->dev.link, &dialer, r, 0);
}

unsigned vhost_user_rig_pause_over(struct vhost_user_rig *r)
{
	struct loop_timer *t = &r->dev.link.pause;
	unsigned asked = r->asked;

	assert_true(t->at > 0);
	loop_timer_cancel(&r->fake.loop, t);
	t->expired(t->arg);
	vhost_user_rig_settle(r);
	assert_int_equal(r->asked, asked + 1);
	return r->dev.link.pause_ms;
}

void vhost_user_rig_new_daemon(struct vhost_user_rig *r)
{
	uint64_t features = r->daemon.features, protocol = r->daemon.protocol;
	struct vu_shmem_config shmem = r->daemon.shmem;

	assert_string_equal(r->daemon.illegal.msg, "");
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	r->sock = scripted_daemon_init(&r->daemon, &r->fake.loop);
	r->daemon.features = features;
	r->daemon.protocol = protocol;
	r->daemon.shmem = shmem;
}

void vhost_user_rig_answer(struct vhost_user_rig *r)
{
	int pidfd = -1;

	if (r->dev.link.state == VHOST_USER_LINK_PAUSING)
		vhost_user_rig_pause_over(r);
	vhost_user_link_answer(&r->dev.link, &r->sock, &pidfd, 0, "");
	assert_int_equal(r->sock, -1);
	vhost_user_rig_settle(r);
}

void vhost_user_rig_lose(struct vhost_user_rig *r)
{
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	if (r->dev.link.state == VHOST_USER_LINK_PAUSING)
		vhost_user_rig_pause_over(r);
}

void vhost_user_rig_come_back(struct vhost_user_rig *r)
{
	vhost_user_rig_new_daemon(r);
	vhost_user_rig_answer(r);
	assert_false(r->dev.lost);
}

static void reset_done(void *arg)
{
	((struct vhost_user_rig *)arg)->resets_done++;
}

void vhost_user_rig_reset(struct vhost_user_rig *r)
{
	vhost_user_device_reset(&r->dev, reset_done, r);
}
