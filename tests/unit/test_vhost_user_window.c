/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon maps into its device's window: the bound it has, what becomes of the device when an
 * object shrinks under its mapping, and that no mapping outlasts the life it was made in. */
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
#include "tests/unit/process.h"
#include "tests/unit/vhost_user_rig.h"

enum { PAGE = 4096, PAGES = 8 };

/* The daemon has one region of @size. */
static struct vhost_user_rig *with_region(void **state, uint64_t size)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol |= BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_SEND_FD);
	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	r->daemon.shmem.nregions = 1;
	r->daemon.shmem.sizes[0] = size;
	return r;
}

/* A device with one region of 16 MiB, whose driver runs. */
static struct vhost_user_rig *running(void **state, const char *text)
{
	struct vhost_user_rig *r = with_region(state, MIB(16));

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
	struct vhost_user_rig *r = with_region(state, GIB(1));

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

/* From plug on, a start, a run and a reset; but no further than message number @silent_at of the
 * connection, which is not answered (0: to the end). The messages it took: until the start, all. */
static void live(struct vhost_user_rig *r, unsigned silent_at, unsigned ret_messages[2])
{
	if (silent_at) {
		r->daemon.fault = FAULT_SILENT;
		r->daemon.fault_at = silent_at;
	}
	vhost_user_rig_plug(r, "pmem,socket=/run/x");
	ret_messages[0] = r->daemon.received;
	vhost_user_rig_driver_ok(r, 1);
	vhost_user_rig_settle(r);
	if (!r->daemon.silent)
		guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	r->fake.until = NULL;
	ret_messages[1] = r->daemon.received;
}

static void the_daemon_goes(struct vhost_user_rig *r)
{
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
}

static void the_driver_resets(struct vhost_user_rig *r)
{
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	scripted_daemon_give(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
}

static void the_machine_resets(struct vhost_user_rig *r)
{
	vhost_user_rig_reset(r);
	vhost_user_rig_settle(r);
	scripted_daemon_give(&r->daemon);
	vhost_user_rig_settle(r);
	assert_int_equal(r->resets_done, 1);
}

/* At each message of a device's life that the daemon leaves unanswered, and maps something. */
static void a_mapping_made_at_any_step_ends_with(void **state,
						 void (*end)(struct vhost_user_rig *r))
{
	unsigned messages[2], ignored[2], before = process_fds();
	void *rig = *state;

	live(with_region(state, MIB(16)), 0, messages);
	assert_in_range(messages[1] - messages[0], 10, 100);
	for (unsigned at = messages[0] + 1; at <= messages[1]; at++) {
		const struct mem_window *w;
		struct vhost_user_rig *r;
		int fd;

		vhost_user_rig_teardown(&rig);
		vhost_user_rig_setup(&rig);
		assert_int_equal(process_fds(), before);
		r = with_region(&rig, MIB(16));
		live(r, at, ignored);
		w = &r->dev.shmem.window.window;
		fd = object();
		assert_int_equal(pwrite(fd, "!", 1, 0), 1);
		assert_true(map(r, fd, true));
		assert_int_equal(w->host[0], '!');
		end(r);
		assert_int_equal(w->count, 0);
		assert_int_equal(w->host[0], 0);
		close(fd);
	}
	*state = rig;
}

static void a_mapping_made_at_any_step_ends_with_the_connection(void **state)
{
	a_mapping_made_at_any_step_ends_with(state, the_daemon_goes);
}

static void a_mapping_made_at_any_step_ends_with_the_drivers_reset(void **state)
{
	a_mapping_made_at_any_step_ends_with(state, the_driver_resets);
}

static void a_mapping_made_at_any_step_ends_with_the_machines_reset(void **state)
{
	a_mapping_made_at_any_step_ends_with(state, the_machine_resets);
}

/* Who resets a device that does not run takes nothing away: its daemon is not told of it. */
static void what_is_mapped_before_a_start_is_the_next_lifes(void **state)
{
	struct vhost_user_rig *r = with_region(state, MIB(16));
	unsigned ignored[2];
	int fd = object();

	live(r, 0, ignored);
	assert_true(map(r, fd, true));
	guest_set_status(&r->guest, 0);
	vhost_user_rig_run(r, 1);
	assert_int_equal(r->dev.shmem.window.window.count, 1);
	reset(r);
	assert_int_equal(r->dev.shmem.window.window.count, 0);
	close(fd);
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
		CASE(a_mapping_made_at_any_step_ends_with_the_connection),
		CASE(a_mapping_made_at_any_step_ends_with_the_drivers_reset),
		CASE(a_mapping_made_at_any_step_ends_with_the_machines_reset),
		CASE(what_is_mapped_before_a_start_is_the_next_lifes),
	};

	return cmocka_run_group_tests_name("vhost_user_window", tests, NULL, NULL);
}
