/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest can do again and again is told once: it must not fill the disk that has the log. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "tests/unit/vhost_user_rig.h"

enum { TIMES = 20 };

/* Standard error, diverted. */
struct diversion {
	int file, saved;
};

static struct diversion divert(void)
{
	struct diversion d = { memfd_create("log", MFD_CLOEXEC), dup(STDERR_FILENO) };

	assert_true(d.file >= 0 && d.saved >= 0);
	assert_int_equal(dup2(d.file, STDERR_FILENO), STDERR_FILENO);
	return d;
}

/* Gives standard error back; how many lines went elsewhere. */
static unsigned lines(struct diversion *d)
{
	char text[4096];
	unsigned found = 0;
	ssize_t n;

	assert_int_equal(dup2(d->saved, STDERR_FILENO), STDERR_FILENO);
	n = pread(d->file, text, sizeof(text), 0);
	assert_true(n >= 0 && n < (ssize_t)sizeof(text));
	for (ssize_t i = 0; i < n; i++)
		found += text[i] == '\n';
	fd_close(&d->file);
	fd_close(&d->saved);
	return found;
}

/* A ring where there is no RAM. */
static void start_outside_ram(struct virtio_guest *g)
{
	assert_true(guest_negotiate(g, RIG_V1));
	guest_write(g, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	guest_write(g, VIRTIO_PCI_COMMON_Q_SIZE, 2, 4);
	guest_write(g, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0x100);
	guest_write(g, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	guest_driver_ok(g);
}

static void rings_that_cannot_be_started_are_told_once(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);
	struct diversion d = divert();
	unsigned broken = 0;

	for (unsigned i = 0; i < TIMES; i++) {
		start_outside_ram(&r->guest);
		vhost_user_rig_settle(r);
		broken += vhost_user_rig_needs_reset(r);
		guest_set_status(&r->guest, 0);
		vhost_user_rig_settle(r);
	}
	assert_int_equal(lines(&d), 1);
	assert_int_equal(broken, TIMES);
	vhost_user_rig_run(r, 2);
}

static void interrupts_that_the_host_refuses_are_told_once(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_plugged(state);
	struct diversion d = divert();

	for (unsigned i = 0; i < TIMES; i++) {
		vhost_user_rig_driver_ok(r, 2);
		r->fake.fail = -ENOMEM;
		vhost_user_rig_settle(r);
		r->fake.fail = 0;
		guest_set_status(&r->guest, 0);
		vhost_user_rig_settle(r);
	}
	/* The transport's reason, and what it means for the device. */
	assert_int_equal(lines(&d), 2);
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, vhost_user_rig_setup, vhost_user_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(rings_that_cannot_be_started_are_told_once),
		CASE(interrupts_that_the_host_refuses_are_told_once),
	};

	return cmocka_run_group_tests_name("vhost_user_log", tests, NULL, NULL);
}
