/* SPDX-License-Identifier: Apache-2.0 */
/* A graphics card and its screen: each daemon is given a connection, which must be there first. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_gpu.h>
#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "tests/unit/process.h"
#include "tests/unit/vhost_user_rig.h"

#define CONFIG(field) (VIRTIO_PCI_DEVICE_CONFIG + offsetof(struct virtio_gpu_config, field))

/* The rig, and its screen. */
struct screen_rig {
	struct vhost_user_rig *rig;
	int end;			/* of the last connection: the screen's */
	unsigned asked, forgotten;
	unsigned fds;			/* of this process, before */
};

static int ask(void *ctx, struct vhost_user_link *l, struct err *e)
{
	struct screen_rig *s = ctx;

	(void)e;
	assert_ptr_equal(l, &s->rig->dev.display.link);
	s->asked++;
	return 0;
}

static void forget(void *ctx, struct vhost_user_link *l)
{
	(void)l;
	((struct screen_rig *)ctx)->forgotten++;
}

static const struct vhost_user_dialer dialer = { .ask = ask, .forget = forget };

/* A new connection; what minivmm has of it. */
static int new_connection(struct screen_rig *s)
{
	int pair[2];

	fd_close(&s->end);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	s->end = pair[0];
	return pair[1];
}

static int setup(void **state)
{
	struct screen_rig *s = calloc(1, sizeof(*s));

	s->fds = process_fds();
	s->end = -1;
	vhost_user_rig_setup((void **)&s->rig);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct screen_rig *s = *state;

	vhost_user_rig_teardown((void **)&s->rig);
	fd_close(&s->end);
	assert_int_equal(process_fds(), s->fds);
	free(s);
	return 0;
}

/* A card with a screen, connected; its daemon comes back. */
static struct vhost_user_rig *connected(struct screen_rig *s)
{
	struct vhost_user_rig *r = s->rig;
	int screen = new_connection(s);

	assert_int_equal(vhost_user_options_parse(&r->options, "gpu,socket=/run/gpu,display=/run/screen", &r->e), 0);
	r->options.vcpus = 1;
	vhost_user_device_init(&r->dev, &r->options, &r->fake.machine, &r->bus);
	vhost_user_display_use(&r->dev, &screen, &dialer, s, 7);
	assert_int_equal(vhost_user_device_connect(&r->dev, &r->sock, &r->e), 0);
	vhost_user_rig_settle(r);
	return r;
}

static struct vhost_user_rig *plugged(struct screen_rig *s)
{
	struct vhost_user_rig *r = connected(s);

	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), 0);
	r->guest = (struct virtio_guest){ &r->fake, r->dev.pci.pci.slot };
	guest_decode(&r->guest, true);
	vhost_user_rig_reconnects(r);
	return r;
}

/* Whether nobody has the other end of the screen's connection any more. */
static bool is_let_go(const struct screen_rig *s)
{
	char byte;

	return recv(s->end, &byte, 1, 0) == 0;
}

static bool was_given(const struct vhost_user_rig *r)
{
	const struct scripted_seen *m = scripted_daemon_last(&r->daemon, VU_GPU_SET_SOCKET);

	return scripted_daemon_count(&r->daemon, VU_GPU_SET_SOCKET) == 1 && m->nfds == 1;
}

/* The screen's link has paused, and asks. */
static void screen_pause_over(struct screen_rig *s)
{
	struct vhost_user_rig *r = s->rig;
	struct loop_timer *t = &r->dev.display.link.pause;
	unsigned asked = s->asked;

	assert_true(t->at > 0);
	loop_timer_cancel(&r->fake.loop, t);
	t->expired(t->arg);
	assert_int_equal(s->asked, asked + 1);
}

static void screen_answers(struct screen_rig *s)
{
	int screen = new_connection(s), pidfd = -1;
	autoclose int same = dup(screen);

	vhost_user_link_answer(&s->rig->dev.display.link, &screen, &pidfd, 0, "");
	assert_int_equal(screen, -1);
	vhost_user_rig_settle(s->rig);
	/* A daemon's write is not cut short because the screen is slow. */
	assert_false(fcntl(same, F_GETFL) & O_NONBLOCK);
}

static void a_daemon_is_given_the_connection_once_and_it_is_kept_nowhere_else(void **state)
{
	struct screen_rig *s = *state;
	struct vhost_user_rig *r = plugged(s);

	assert_true(was_given(r));
	/* The daemon of the test closes it at once. */
	assert_true(is_let_go(s));
	vhost_user_rig_run(r, 2);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	vhost_user_rig_run(r, 2);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_GPU_SET_SOCKET), 1);
}

static void a_screen_there_is_one_and_capability_sets_are_the_daemons(void **state)
{
	struct screen_rig *s = *state;
	const struct virtio_gpu_config theirs = { 1, 2, 16, 3 };
	struct vhost_user_rig *r;

	memcpy(s->rig->daemon.config, &theirs, sizeof(theirs));
	r = plugged(s);

	assert_int_equal(guest_read(&r->guest, CONFIG(events_read), 4), 0);
	assert_int_equal(guest_read(&r->guest, CONFIG(num_scanouts), 4), 1);
	assert_int_equal(guest_read(&r->guest, CONFIG(num_capsets), 4), 3);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 2);
	guest_write(&r->guest, CONFIG(events_clear), 4, 1);
	vhost_user_rig_settle(r);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_CONFIG), 0);
}

static void a_daemon_without_config_is_none(void **state)
{
	struct screen_rig *s = *state;
	struct vhost_user_rig *r = s->rig;

	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	connected(s);
	assert_true(r->dev.failed);
	assert_non_null(strstr(r->dev.why.msg, "CONFIG"));
	/* What it was not given is closed. */
	assert_true(is_let_go(s));
}

static void the_next_daemon_waits_for_a_connection_of_its_own(void **state)
{
	struct screen_rig *s = *state;
	struct vhost_user_rig *r = plugged(s);

	vhost_user_rig_run(r, 2);
	vhost_user_rig_lose(r);
	/* What it had is lost: the driver has to reset the device. */
	assert_true(vhost_user_rig_needs_reset(r));
	vhost_user_rig_new_daemon(r);
	vhost_user_rig_answer(r);
	assert_int_equal(r->daemon.n_seen, 0);
	screen_pause_over(s);
	/* Nobody listens there yet. */
	vhost_user_link_answer(&r->dev.display.link, &(int){ -1 }, &(int){ -1 }, -ENOENT, "there is no such socket");
	assert_string_equal(r->dev.display.link.told.msg, "there is no such socket");
	screen_pause_over(s);
	screen_answers(s);

	assert_true(was_given(r));
	assert_true(r->dev.link.state == VHOST_USER_LINK_UP);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	vhost_user_rig_run(r, 2);
}

static void a_daemon_that_ends_while_it_waits_is_followed_by_another(void **state)
{
	struct screen_rig *s = *state;
	struct vhost_user_rig *r = plugged(s);

	vhost_user_rig_lose(r);
	vhost_user_rig_new_daemon(r);
	vhost_user_rig_answer(r);
	scripted_daemon_fini(&r->daemon);
	screen_pause_over(s);
	screen_answers(s);
	assert_true(is_let_go(s));
	assert_true(r->dev.link.state == VHOST_USER_LINK_PAUSING);

	vhost_user_rig_new_daemon(r);
	vhost_user_rig_answer(r);
	screen_pause_over(s);
	screen_answers(s);
	assert_true(was_given(r));
}

static void without_anybody_who_connects_the_daemon_is_let_go(void **state)
{
	struct screen_rig *s = *state;
	struct vhost_user_rig *r = plugged(s);

	vhost_user_rig_lose(r);
	vhost_user_rig_new_daemon(r);
	vhost_user_rig_answer(r);
	screen_pause_over(s);
	vhost_user_link_end(&r->dev.display.link, "the supervisor process is gone");
	vhost_user_rig_settle(r);

	assert_true(r->daemon.closed);
	assert_true(r->dev.link.state == VHOST_USER_LINK_PAUSING);
	/* Nor is the next one served without. */
	vhost_user_rig_new_daemon(r);
	vhost_user_rig_answer(r);
	assert_true(r->daemon.closed);
	assert_int_equal(r->daemon.n_seen, 0);
}

static void a_device_may_end_while_its_daemon_waits(void **state)
{
	struct screen_rig *s = *state;
	struct vhost_user_rig *r = plugged(s);

	vhost_user_rig_lose(r);
	vhost_user_rig_new_daemon(r);
	vhost_user_rig_answer(r);
	screen_pause_over(s);
	vhost_user_device_fini(&r->dev);
	assert_int_equal(s->forgotten, 1);
}

static void only_a_graphics_card_has_a_screen_and_it_must(void **state)
{
	static const struct {
		const char *text, *words;
	} wrong[] = {
		{ "gpu,socket=s", "Add display=PATH" },
		{ "gpu,socket=s,display=", "needs a value" },
		{ "rng,socket=s,display=d", "only gpu has one" },
		{ "gpu,socket=s,display=d,queues=3", "always has 2" },
		{ "gpu,socket=s,display=d,config-size=8", "the type says it already" },
	};
	struct vhost_user_options o;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(vhost_user_options_parse(&o, wrong[i].text, &e), -EINVAL);
		assert_non_null(strstr(e.msg, wrong[i].words));
		vhost_user_options_free(&o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_daemon_is_given_the_connection_once_and_it_is_kept_nowhere_else),
		T(a_screen_there_is_one_and_capability_sets_are_the_daemons),
		T(a_daemon_without_config_is_none),
		T(the_next_daemon_waits_for_a_connection_of_its_own),
		T(a_daemon_that_ends_while_it_waits_is_followed_by_another),
		T(without_anybody_who_connects_the_daemon_is_let_go),
		T(a_device_may_end_while_its_daemon_waits),
		cmocka_unit_test(only_a_graphics_card_has_a_screen_and_it_must),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
