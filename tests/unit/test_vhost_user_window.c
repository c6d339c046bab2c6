/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon maps into its device's window: the bound it has, and what becomes of the device
 * when an object shrinks under its mapping. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "tests/unit/vhost_user_rig.h"

enum { PAGE = 4096, PAGES = 8 };

/* A device with one region of 16 MiB, whose driver runs. */
static struct vhost_user_rig *running(void **state, const char *text)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol |= BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_SEND_FD);
	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	r->daemon.shmem.nregions = 1;
	r->daemon.shmem.sizes[0] = MIB(16);
	vhost_user_rig_plug(r, text);
	vhost_user_rig_run(r, 1);
	return r;
}

/* Whether the daemon may map the object's pages at the region's begin. */
static bool map(struct vhost_user_rig *r, int fd, bool rw)
{
	const struct vu_mmap m = { .len = PAGES * PAGE, .flags = rw ? VU_SHMEM_RW : 0 };
	uint64_t answer = 1;

	scripted_daemon_back_request(&r->daemon, VU_BACKEND_SHMEM_MAP,
				     VU_FLAG_VERSION | VU_FLAG_NEED_REPLY, &m, sizeof(m), &fd, 1);
	vhost_user_rig_settle(r);
	assert_int_equal(scripted_daemon_back_answer(&r->daemon, VU_BACKEND_SHMEM_MAP, &answer),
			 1);
	return answer == 0;
}

static int object(void)
{
	int fd = memfd_create("object", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	return fd;
}

/* The timer is due. */
static void look(struct vhost_user_rig *r)
{
	struct loop_timer *t = &r->dev.shmem.window.look;

	assert_true(t->at > 0);
	loop_timer_cancel(&r->fake.loop, t);
	t->expired(t->arg);
}

static void reset(struct vhost_user_rig *r)
{
	guest_write(&r->guest, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
}

static void a_device_whose_object_shrank_asks_for_a_reset_once(void **state)
{
	struct vhost_user_rig *r = running(state, "pmem,socket=/run/x");
	int fd = object();

	assert_true(map(r, fd, true));
	look(r);
	assert_false(vhost_user_rig_needs_reset(r));
	assert_int_equal(ftruncate(fd, PAGE), 0);
	vhost_user_rig_interrupts(r, 0);
	look(r);
	assert_true(vhost_user_rig_needs_reset(r));
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 1);

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(guest_windows_repair(&r->fake.machine, &r->e), 1);
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 0);
	assert_int_equal(r->dev.shmem.window.repaired.count, 2);
	assert_int_equal(r->dev.run, VHOST_USER_RUNNING);
	close(fd);
}

static void after_its_reset_it_is_as_new(void **state)
{
	struct vhost_user_rig *r = running(state, "pmem,socket=/run/x");
	int fd = object();

	assert_true(map(r, fd, true));
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(guest_windows_repair(&r->fake.machine, &r->e), 1);
	assert_true(vhost_user_rig_needs_reset(r));
	reset(r);
	vhost_user_rig_run(r, 1);
	assert_false(vhost_user_rig_needs_reset(r));

	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	assert_true(map(r, fd, true));
	look(r);
	assert_false(vhost_user_rig_needs_reset(r));
	assert_int_equal(ftruncate(fd, PAGE), 0);
	look(r);
	assert_true(vhost_user_rig_needs_reset(r));
	close(fd);
}

static void a_read_only_mapping_beyond_the_bound_is_refused(void **state)
{
	struct vhost_user_rig *r = running(state, "pmem,socket=/run/x,window-idle-max=2M");
	int fd = object();

	assert_false(map(r, fd, false));
	assert_null(window_find(&r->dev.shmem.window.window, 0));
	assert_true(map(r, fd, true));
	assert_non_null(window_find(&r->dev.shmem.window.window, 0));
	close(fd);
}

static void a_window_that_costs_too_much_is_refused_by_name(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol |= BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_SEND_FD);
	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	r->daemon.shmem.nregions = 1;
	r->daemon.shmem.sizes[0] = GIB(1);
	vhost_user_rig_connect(r, "pmem,socket=/run/x,window-idle-max=4K", 1);
	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), -E2BIG);
	assert_non_null(strstr(r->e.msg, "device pmem0"));
	assert_non_null(strstr(r->e.msg, "window-idle-max="));
}

static void without_an_option_the_bound_is_4_gib(void **state)
{
	struct vhost_user_rig *r = running(state, "pmem,socket=/run/x");

	assert_true(r->dev.shmem.window.window.idle_max == GIB(4));
	assert_int_equal(r->dev.shmem.window.window.idle, MIB(16));
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, vhost_user_rig_setup, vhost_user_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_device_whose_object_shrank_asks_for_a_reset_once),
		CASE(after_its_reset_it_is_as_new),
		CASE(a_read_only_mapping_beyond_the_bound_is_refused),
		CASE(a_window_that_costs_too_much_is_refused_by_name),
		CASE(without_an_option_the_bound_is_4_gib),
	};

	return cmocka_run_group_tests_name("vhost_user_window", tests, NULL, NULL);
}
