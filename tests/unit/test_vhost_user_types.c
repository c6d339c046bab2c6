/* SPDX-License-Identifier: Apache-2.0 */
/* What the front end does for one type of device and no other. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_input.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_scsi.h>

#include "base/fd.h"
#include "tests/unit/vhost_user_rig.h"

#define CONFIG(type, field) (VIRTIO_PCI_DEVICE_CONFIG + offsetof(struct type, field))

static uint64_t config(struct vhost_user_rig *r, uint64_t at, unsigned size)
{
	return guest_read(&r->guest, at, size);
}

static void a_file_system_has_its_tag_and_queues_from_here(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	r->daemon.features |= BIT64(0);
	vhost_user_rig_plug(r, "fs,socket=/run/fs,tag=build,num-request-queues=2");

	assert_int_equal(config(r, CONFIG(virtio_fs_config, tag), 4), 0x6c697562);
	assert_int_equal(config(r, CONFIG(virtio_fs_config, tag) + 4, 4), 'd');
	assert_int_equal(config(r, CONFIG(virtio_fs_config, tag) + 32, 4), 0);
	assert_int_equal(config(r, CONFIG(virtio_fs_config, num_request_queues), 4), 2);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 3);
	assert_false(guest_offered(&r->guest) & BIT64(0));
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_GET_CONFIG), 0);
}

static void a_tag_may_fill_its_field(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_plug(r, "fs,socket=/run/fs,tag=123456789012345678901234567890123456");

	assert_int_equal(config(r, CONFIG(virtio_fs_config, tag) + 32, 4), 0x36353433);
	assert_int_equal(config(r, CONFIG(virtio_fs_config, num_request_queues), 4), 1);
}

static void of_a_vsock_no_daemon_gets_the_queue_of_events(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.queues = 2;
	vhost_user_rig_plug(r, "vsock,socket=/run/vsock");
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 3);
	vhost_user_rig_run(r, 3);

	assert_true(r->daemon.rings[0].started && r->daemon.rings[1].started);
	for (unsigned i = 0; i < r->daemon.n_seen; i++) {
		uint32_t request = r->daemon.seen[i].header.request;

		if (request >= VU_SET_VRING_NUM && request <= VU_SET_VRING_ERR)
			assert_int_not_equal(r->daemon.seen[i].u64 & 0xff, 2);
	}
	guest_doorbell(&r->guest, 2);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_GET_VRING_BASE), 2);
}

static void a_sound_cards_queue_of_events_gets_no_kick_but_the_drivers(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.queues = 4;
	vhost_user_rig_plug(r, "snd,socket=/run/snd");
	vhost_user_rig_run(r, 4);

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(fd_drain(r->daemon.rings[i].kick), i != 1);
	guest_doorbell(&r->guest, 1);
	assert_int_equal(fd_drain(r->daemon.rings[1].kick), 1);
}

static void a_vsock_needs_a_daemon_of_two_queues(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.queues = 1;
	vhost_user_rig_connect(r, "vsock,socket=/run/vsock", 1);

	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), -EINVAL);
	assert_non_null(strstr(r->e.msg, "it needs 2 queues, but the daemon at /run/vsock serves 1"));
}

static void a_console_has_as_many_queues_as_its_daemon(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.queues = 6;
	vhost_user_rig_plug(r, "console,socket=/run/c");

	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 6);
}

static void a_console_whose_daemon_does_not_say_has_four(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol &= ~BIT64(VU_PF_MQ);
	vhost_user_rig_plug(r, "console,socket=/run/c");

	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 4);
}

static void a_scsi_adapter_has_its_config_from_here(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	vhost_user_rig_plug(r, "scsi,socket=/run/scsi,queues=3,queue-size=64");

	assert_int_equal(config(r, CONFIG(virtio_scsi_config, num_queues), 4), 3);
	assert_int_equal(config(r, CONFIG(virtio_scsi_config, seg_max), 4), 62);
	assert_int_equal(config(r, CONFIG(virtio_scsi_config, cmd_per_lun), 4), 64);
	assert_int_equal(config(r, CONFIG(virtio_scsi_config, sense_size), 4), 96);
	assert_int_equal(config(r, CONFIG(virtio_scsi_config, cdb_size), 4), 32);
	assert_int_equal(config(r, CONFIG(virtio_scsi_config, max_lun), 4), 16383);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 5);
}

static void what_a_driver_writes_to_a_scsi_adapter_stays_here_until_its_reset(void **state)
{
	struct vhost_user_rig *r = *state;
	uint64_t sense = CONFIG(virtio_scsi_config, sense_size);

	r->daemon.protocol |= BIT64(VU_PF_CONFIG);
	vhost_user_rig_plug(r, "scsi,socket=/run/scsi,queues=1");
	vhost_user_rig_run(r, 3);
	guest_write(&r->guest, sense, 4, 64);
	guest_write(&r->guest, CONFIG(virtio_scsi_config, num_queues), 4, 9);
	vhost_user_rig_settle(r);

	assert_int_equal(config(r, sense, 4), 64);
	assert_int_equal(config(r, CONFIG(virtio_scsi_config, num_queues), 4), 1);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_SET_CONFIG), 0);
	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(config(r, sense, 4), 96);
}

static void what_a_driver_wrote_to_a_scsi_adapter_outlives_its_daemon(void **state)
{
	struct vhost_user_rig *r = *state;
	uint64_t sense = CONFIG(virtio_scsi_config, sense_size);

	vhost_user_rig_plug(r, "scsi,socket=/run/scsi,queues=1");
	vhost_user_rig_reconnects(r);
	vhost_user_rig_run(r, 3);
	guest_write(&r->guest, sense, 4, 64);
	vhost_user_rig_interrupts(r, 0);
	vhost_user_rig_lose(r);
	vhost_user_rig_come_back(r);

	assert_int_equal(config(r, sense, 4), 64);
	assert_int_equal(vhost_user_rig_interrupts(r, 0), 0);
}

static void a_daemon_that_does_not_say_gets_one_queue_of_commands(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol &= ~BIT64(VU_PF_MQ);
	vhost_user_rig_connect(r, "scsi,socket=/run/scsi", 4);
	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), 0);

	assert_int_equal(r->dev.virtio.n_queues, 3);
}

/* Net: the config space is made here as far as the daemon does not serve it. */

enum { NET_OWN = BIT64(VIRTIO_NET_F_MAC) | BIT64(VIRTIO_NET_F_STATUS) };

static uint64_t mac(struct vhost_user_rig *r)
{
	return config(r, CONFIG(virtio_net_config, mac), 4) |
	       config(r, CONFIG(virtio_net_config, mac) + 4, 2) << 32;
}

static void an_interface_has_what_its_daemon_does_not_say(void **state)
{
	struct vhost_user_rig *r = *state;
	uint64_t first;

	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	r->daemon.features |= BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_NET_F_MTU) |
			      BIT64(VIRTIO_NET_F_CTRL_VQ) | BIT64(VIRTIO_NET_F_MQ);
	vhost_user_rig_plug(r, "net,socket=/run/net");
	first = mac(r);

	assert_int_equal(first & 0xff, 0x02);
	assert_int_equal(config(r, CONFIG(virtio_net_config, status), 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(config(r, CONFIG(virtio_net_config, max_virtqueue_pairs), 2), 1);
	assert_int_equal(guest_offered(&r->guest) & 0xffffff,
			 NET_OWN | BIT64(VIRTIO_NET_F_MRG_RXBUF));
	vhost_user_rig_run(r, 2);
	assert_int_equal(r->daemon.acked & 0xffffff, BIT64(VIRTIO_NET_F_MRG_RXBUF));
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_NET_SET_MTU), 0);
}

static void the_address_that_is_made_follows_from_the_socket(void **state)
{
	static const char *const text[] = { "net,socket=/run/a", "net,socket=/run/a", "net,socket=/run/b" };
	struct vhost_user_rig *r;
	uint64_t macs[3];

	for (unsigned i = 0; i < 3; i++) {
		vhost_user_rig_teardown(state);
		vhost_user_rig_setup(state);
		r = *state;
		vhost_user_rig_plug(r, text[i]);
		macs[i] = mac(r);
	}
	assert_true(macs[0] == macs[1]);
	assert_true(macs[0] != macs[2]);
}

static void an_interface_has_what_its_daemon_says(void **state)
{
	struct vhost_user_rig *r = *state;
	const struct virtio_net_config c = {
		.mac = { 0x52, 1, 2, 3, 4, 5 }, .mtu = 1400, .max_virtqueue_pairs = 8,
	};

	memcpy(r->daemon.config, &c, 12);
	r->daemon.features |= NET_OWN | BIT64(VIRTIO_NET_F_MTU);
	vhost_user_rig_plug(r, "net,socket=/run/net");

	assert_true(mac(r) == 0x050403020152);
	assert_int_equal(config(r, CONFIG(virtio_net_config, status), 2), 0);
	assert_int_equal(config(r, CONFIG(virtio_net_config, mtu), 2), 1400);
	assert_int_equal(config(r, CONFIG(virtio_net_config, max_virtqueue_pairs), 2), 1);
	vhost_user_rig_run(r, 2);
	assert_int_equal(r->daemon.acked & NET_OWN, NET_OWN);
}

static void a_reset_without_a_daemon_keeps_what_the_last_one_said(void **state)
{
	struct vhost_user_rig *r = *state;
	const struct virtio_net_config c = { .mac = { 0x52, 1, 2, 3, 4, 5 } };

	memcpy(r->daemon.config, &c, 12);
	r->daemon.features |= NET_OWN;
	vhost_user_rig_plug(r, "net,socket=/run/net");
	vhost_user_rig_reconnects(r);
	vhost_user_rig_run(r, 2);
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);
	vhost_user_rig_pause_over(r);
	vhost_user_rig_new_daemon(r);
	r->daemon.features = BIT64(VU_F_PROTOCOL_FEATURES);
	vhost_user_rig_answer(r);
	assert_true(r->dev.lost);

	guest_set_status(&r->guest, 0);
	vhost_user_rig_settle(r);
	assert_int_equal(guest_status(&r->guest), 0);
	assert_true(mac(r) == 0x050403020152);
}

static void a_daemon_that_cannot_give_its_config_is_as_one_without(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= NET_OWN;
	memset(r->daemon.config, 0x55, 12);
	r->daemon.fault = FAULT_REFUSE;
	r->daemon.fault_on = VU_GET_CONFIG;
	vhost_user_rig_plug(r, "net,socket=/run/net");

	assert_int_equal(scripted_daemon_count(&r->daemon, VU_GET_CONFIG), 1);
	assert_int_equal(mac(r) & 0xff, 0x02);
	assert_int_equal(config(r, CONFIG(virtio_net_config, status), 2), VIRTIO_NET_S_LINK_UP);
}

static void what_is_said_of_an_interface_goes_before_what_its_daemon_says(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol |= BIT64(VU_PF_MTU);
	r->daemon.features |= NET_OWN;
	vhost_user_rig_plug(r, "net,socket=/run/net,mac=02:aB:00:00:00:01,mtu=9000");

	assert_true(mac(r) == 0x01000000ab02);
	assert_int_equal(config(r, CONFIG(virtio_net_config, mtu), 2), 9000);
	assert_true(guest_offered(&r->guest) & BIT64(VIRTIO_NET_F_MTU));
	assert_int_equal(scripted_daemon_last(&r->daemon, VU_NET_SET_MTU)->u64, 9000);
}

static void a_daemon_that_cannot_be_told_the_mtu_is_refused(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol &= ~BIT64(VU_PF_MTU);
	vhost_user_rig_connect(r, "net,socket=/run/net,mtu=9000", 1);

	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), -EINVAL);
	assert_non_null(strstr(r->e.msg, "leave it out"));
}

/* Input: the answer depends on what was written. */

static void what_selects_an_answer_reaches_the_daemon_before_it_is_read(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_plug(r, "input,socket=/run/in");
	assert_true(guest_negotiate(&r->guest, RIG_V1));
	vhost_user_rig_settle(r);
	scripted_daemon_order(&r->daemon);
	r->daemon.config[2] = 7;

	guest_write(&r->guest, CONFIG(virtio_input_config, select), 1, VIRTIO_INPUT_CFG_EV_BITS);
	guest_write(&r->guest, CONFIG(virtio_input_config, subsel), 1, 3);
	assert_int_equal(config(r, CONFIG(virtio_input_config, size), 1), 7);

	assert_string_equal(scripted_daemon_order(&r->daemon), "SET_CONFIG GET_CONFIG");
	assert_int_equal(r->daemon.config[0], VIRTIO_INPUT_CFG_EV_BITS);
	assert_int_equal(r->daemon.config[1], 3);
}

/* Daemons of the time take a write for one that begins at `select`. */
static void a_write_of_either_selector_is_one_of_both(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_plug(r, "input,socket=/run/in");
	assert_true(guest_negotiate(&r->guest, RIG_V1));
	guest_write(&r->guest, CONFIG(virtio_input_config, subsel), 1, 2);
	vhost_user_rig_settle(r);

	assert_int_equal(scripted_daemon_last(&r->daemon, VU_SET_CONFIG)->header.size, 12 + 2);
	assert_int_equal(scripted_daemon_last(&r->daemon, VU_SET_CONFIG)->u64, (uint64_t)2 << 32);
	assert_int_equal(r->daemon.config[1], 2);
}

static void every_read_of_input_config_is_of_now(void **state)
{
	struct vhost_user_rig *r = *state;
	uint64_t generation;

	vhost_user_rig_plug(r, "input,socket=/run/in");
	generation = guest_read(&r->guest, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	for (unsigned i = 1; i < 4; i++) {
		r->daemon.config[8] = (uint8_t)i;
		r->daemon.config[9] = 0x10;
		assert_int_equal(config(r, VIRTIO_PCI_DEVICE_CONFIG + 8, 2), 0x1000 + i);
	}

	/* A driver that compares generations around its reads must come to an end. */
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation);
}

static void input_by_mmio_waits_as_well(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_connect(r, "input,socket=/run/in,transport=mmio", 1);
	assert_int_equal(vhost_user_device_realize(&r->dev, &r->e), 0);
	r->daemon.config[8] = 0x55;

	assert_int_equal(fake_vcpu_read(&r->fake, &r->fake.machine.mmio,
					VIRTIO_MMIO_BASE + VIRTIO_MMIO_CONFIG + 8, 1), 0x55);
}

static void a_read_beside_one_that_waits_gets_what_was_read_before(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.config[8] = 1;
	vhost_user_rig_plug(r, "input,socket=/run/in");
	r->daemon.fault = FAULT_SILENT;
	r->daemon.fault_on = VU_GET_CONFIG;
	r->daemon.config[8] = 2;
	config(r, VIRTIO_PCI_DEVICE_CONFIG + 8, 1);
	assert_true(fake_vcpu_waits(&r->fake));
	assert_int_equal(config(r, VIRTIO_PCI_DEVICE_CONFIG + 8, 1), 1);
	scripted_daemon_give(&r->daemon);
	vhost_user_rig_settle(r);

	assert_false(fake_vcpu_waits(&r->fake));
	assert_int_equal(r->fake.answered, 2);
}

static void a_read_ends_with_the_daemon(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.config[8] = 1;
	vhost_user_rig_plug(r, "input,socket=/run/in");
	r->daemon.fault = FAULT_CLOSE;
	r->daemon.fault_on = VU_GET_CONFIG;
	assert_int_equal(config(r, VIRTIO_PCI_DEVICE_CONFIG + 8, 1), 1);
	assert_false(fake_vcpu_waits(&r->fake));

	/* Nobody is asked any more. */
	assert_int_equal(config(r, VIRTIO_PCI_DEVICE_CONFIG + 8, 1), 1);
	assert_false(fake_vcpu_waits(&r->fake));
}

static struct vhost_user_rig *a_read_that_waits(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_plug(r, "input,socket=/run/in");
	r->daemon.fault = FAULT_SILENT;
	r->daemon.fault_on = VU_GET_CONFIG;
	config(r, VIRTIO_PCI_DEVICE_CONFIG + 8, 1);
	assert_true(fake_vcpu_waits(&r->fake));
	return r;
}

static void a_read_that_a_daemon_never_answers_ends_at_the_deadline(void **state)
{
	struct vhost_user_rig *r = a_read_that_waits(state);

	vhost_user_rig_deadline(r);
	vhost_user_rig_settle(r);

	assert_false(fake_vcpu_waits(&r->fake));
}

static void a_reset_of_the_machine_ends_a_read_that_waits(void **state)
{
	struct vhost_user_rig *r = a_read_that_waits(state);

	vhost_user_rig_reset(r);

	assert_false(fake_vcpu_waits(&r->fake));
}

/* The exit of a port cannot have its value later. */
static void a_read_through_pci_config_space_does_not_wait(void **state)
{
	struct vhost_user_rig *r = *state;
	unsigned cap;

	r->daemon.config[8] = 1;
	vhost_user_rig_plug(r, "input,socket=/run/in");
	cap = guest_virtio_cap(&r->guest, VIRTIO_PCI_CAP_PCI_CFG);
	guest_config_write(&r->guest, cap + offsetof(struct virtio_pci_cap, bar), 1, 0);
	guest_config_write(&r->guest, cap + offsetof(struct virtio_pci_cap, offset), 4,
			   VIRTIO_PCI_DEVICE_CONFIG + 8);
	guest_config_write(&r->guest, cap + offsetof(struct virtio_pci_cap, length), 4, 1);
	r->daemon.config[8] = 2;
	scripted_daemon_order(&r->daemon);

	assert_int_equal(guest_config_read(&r->guest, cap + sizeof(struct virtio_pci_cap), 1), 1);
	vhost_user_rig_settle(r);
	assert_string_equal(scripted_daemon_order(&r->daemon), "");
}

#define TYPE_TEST(f) cmocka_unit_test_setup_teardown(f, vhost_user_rig_setup, \
						     vhost_user_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TYPE_TEST(a_file_system_has_its_tag_and_queues_from_here),
		TYPE_TEST(a_tag_may_fill_its_field),
		TYPE_TEST(of_a_vsock_no_daemon_gets_the_queue_of_events),
		TYPE_TEST(a_sound_cards_queue_of_events_gets_no_kick_but_the_drivers),
		TYPE_TEST(a_vsock_needs_a_daemon_of_two_queues),
		TYPE_TEST(a_console_has_as_many_queues_as_its_daemon),
		TYPE_TEST(a_console_whose_daemon_does_not_say_has_four),
		TYPE_TEST(a_scsi_adapter_has_its_config_from_here),
		TYPE_TEST(what_a_driver_writes_to_a_scsi_adapter_stays_here_until_its_reset),
		TYPE_TEST(what_a_driver_wrote_to_a_scsi_adapter_outlives_its_daemon),
		TYPE_TEST(a_daemon_that_does_not_say_gets_one_queue_of_commands),
		TYPE_TEST(an_interface_has_what_its_daemon_does_not_say),
		TYPE_TEST(the_address_that_is_made_follows_from_the_socket),
		TYPE_TEST(an_interface_has_what_its_daemon_says),
		TYPE_TEST(a_reset_without_a_daemon_keeps_what_the_last_one_said),
		TYPE_TEST(a_daemon_that_cannot_give_its_config_is_as_one_without),
		TYPE_TEST(what_is_said_of_an_interface_goes_before_what_its_daemon_says),
		TYPE_TEST(a_daemon_that_cannot_be_told_the_mtu_is_refused),
		TYPE_TEST(what_selects_an_answer_reaches_the_daemon_before_it_is_read),
		TYPE_TEST(a_write_of_either_selector_is_one_of_both),
		TYPE_TEST(every_read_of_input_config_is_of_now),
		TYPE_TEST(input_by_mmio_waits_as_well),
		TYPE_TEST(a_read_beside_one_that_waits_gets_what_was_read_before),
		TYPE_TEST(a_read_ends_with_the_daemon),
		TYPE_TEST(a_read_that_a_daemon_never_answers_ends_at_the_deadline),
		TYPE_TEST(a_reset_of_the_machine_ends_a_read_that_waits),
		TYPE_TEST(a_read_through_pci_config_space_does_not_wait),
	};

	return cmocka_run_group_tests_name("vhost_user_types", tests, NULL, NULL);
}
