/* SPDX-License-Identifier: Apache-2.0 */
/* The config space of a vhost-user device: cached, changed by the daemon, written by the guest. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "tests/unit/vhost_user_rig.h"

enum { WCE = offsetof(struct virtio_blk_config, wce) };

static void changed_config_reaches_the_guest_with_a_new_generation(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);
	uint64_t before = guest_read(&r->guest, VIRTIO_PCI_COMMON_CFGGENERATION, 1);

	r->daemon.config[0] = 0x42;
	vhost_user_rig_interrupts(r, 0);
	scripted_daemon_back_request(&r->daemon, VU_BACKEND_CONFIG_CHANGE_MSG, VU_FLAG_VERSION,
				     NULL, 0, NULL, 0);

	assert_int_equal(vhost_user_rig_interrupts(r, 0), 1);
	assert_int_not_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_CFGGENERATION, 1), before);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 1), 0x42);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG +
				    offsetof(struct virtio_blk_config, num_queues), 2), 2);
}

static void reading_config_asks_the_daemon_nothing(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	scripted_daemon_order(&r->daemon);
	guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 8);
	vhost_user_rig_settle(r);

	assert_string_equal(scripted_daemon_order(&r->daemon), "");
}

static void a_write_of_the_cache_mode_is_handed_on(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	guest_write(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + WCE, 1, 1);
	vhost_user_rig_settle(r);

	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_CONFIG), 1);
	assert_int_equal(r->daemon.config[WCE], 1);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + WCE, 1), 1);
}

static void a_write_of_other_config_bytes_is_not(void **state)
{
	struct vhost_user_rig *r = vhost_user_rig_running(state);

	guest_write(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 8, UINT64_MAX);
	guest_write(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + WCE + 1, 4, UINT64_MAX);
	vhost_user_rig_settle(r);

	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_CONFIG), 0);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 8), 0);
}

static void config_writes_of_a_generic_device_are_one_message_a_run(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_plug(r, "23,socket=/run/x,num_vqs=1,config-size=16");
	assert_true(guest_negotiate(&r->guest, RIG_V1));
	guest_write(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + 2, 4, 0x44332211);
	guest_write(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + 12, 8, UINT64_MAX);
	vhost_user_rig_settle(r);

	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_CONFIG), 2);
	assert_memory_equal(&r->daemon.config[2], "\x11\x22\x33\x44", 4);
	assert_memory_equal(&r->daemon.config[12], "\xff\xff\xff\xff\0", 5);
}

/* A daemon with one region and, as persistent memory needs none, no config space. */
static struct vhost_user_rig *pmem(void **state, unsigned region)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol |= BIT64(VU_PF_SHMEM) | BIT64(VU_PF_BACKEND_SEND_FD);
	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	r->daemon.shmem.nregions = 1;
	r->daemon.shmem.sizes[region] = MIB(4);
	return r;
}

static uint64_t window_bar(struct vhost_user_rig *r)
{
	return guest_config_read(&r->guest, PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR, 8) &
	       ~UINT64_C(0xf);
}

static void the_config_of_persistent_memory_says_where_it_is(void **state)
{
	struct vhost_user_rig *r = pmem(state, 0);
	uint64_t home;

	vhost_user_rig_plug(r, "pmem,socket=/run/x");
	home = window_bar(r);
	assert_int_not_equal(home, 0);
	assert_true(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 8) == home);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + 8, 8), MIB(4));
	guest_write(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 8, 0);
	assert_true(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 8) == home);

	guest_config_write(&r->guest, PCI_BASE_ADDRESS_0 + 4 * VIRTIO_PCI_SHMEM_BAR, 4,
			   (uint32_t)home + MIB(4));
	assert_true(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG, 8) == home + MIB(4));
}

static void the_config_of_persistent_memory_says_so_by_mmio(void **state)
{
	struct vhost_user_rig *r = pmem(state, 0);
	uint64_t at = VIRTIO_MMIO_BASE + VIRTIO_MMIO_CONFIG;
	struct bus *mmio = &r->fake.machine.mmio;

	vhost_user_rig_connect(r, "pmem,socket=/run/x,transport=mmio", 1);
	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), 0);
	assert_int_equal(fake_vcpu_read(&r->fake, mmio, at, 4) |
			 fake_vcpu_read(&r->fake, mmio, at + 4, 4) << 32, VIRTIO_MMIO_WINDOWS);
	assert_int_equal(fake_vcpu_read(&r->fake, mmio, at + 8, 4), MIB(4));
	assert_int_equal(fake_vcpu_read(&r->fake, mmio, at + 12, 4), 0);
}

static void persistent_memory_needs_region_0(void **state)
{
	struct vhost_user_rig *r = pmem(state, 1);

	vhost_user_rig_connect(r, "pmem,socket=/run/x", 1);
	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), -EINVAL);
	assert_non_null(strstr(r->e.msg, "no shared memory region 0"));
}

static void persistent_memory_needs_regions(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_connect(r, "pmem,socket=/run/x", 1);
	assert_true(r->dev.failed);
	assert_non_null(strstr(r->dev.why.msg, "SHMEM"));
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, vhost_user_rig_setup, vhost_user_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(changed_config_reaches_the_guest_with_a_new_generation),
		CASE(reading_config_asks_the_daemon_nothing),
		CASE(a_write_of_the_cache_mode_is_handed_on),
		CASE(a_write_of_other_config_bytes_is_not),
		CASE(config_writes_of_a_generic_device_are_one_message_a_run),
		CASE(the_config_of_persistent_memory_says_where_it_is),
		CASE(the_config_of_persistent_memory_says_so_by_mmio),
		CASE(persistent_memory_needs_region_0),
		CASE(persistent_memory_needs_regions),
	};

	return cmocka_run_group_tests_name("vhost_user_config", tests, NULL, NULL);
}
