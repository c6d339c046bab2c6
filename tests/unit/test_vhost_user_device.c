/* SPDX-License-Identifier: Apache-2.0 */
/* Set-up of a vhost-user device: its socket, what the daemon offers, what the guest sees. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_pci.h>

#include "base/fd.h"
#include "devices/unix_connect.h"
#include "devices/vhost_user_socket.h"
#include "tests/unit/vhost_user_rig.h"

static void refused(struct vhost_user_rig *r, const char *part)
{
	assert_true(r->dev.ready);
	assert_true(vhost_user_device_realize(&r->dev, &r->e) < 0);
	if (!strstr(r->e.msg, part))
		fail_msg("\"%s\" does not say \"%s\"", r->e.msg, part);
}

static void failed(struct vhost_user_rig *r, const char *part)
{
	assert_true(r->dev.failed);
	if (!strstr(r->dev.why.msg, part))
		fail_msg("\"%s\" does not say \"%s\"", r->dev.why.msg, part);
}

/* What the guest sees */

static void a_disk_is_on_the_bus_with_what_the_daemon_offers(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_BLK_F_FLUSH) | BIT64(VIRTIO_BLK_F_MQ);
	vhost_user_rig_plug(r, "/run/blk");

	assert_int_equal(guest_config_read(&r->guest, PCI_DEVICE_ID, 2), 0x1042);
	assert_int_equal(guest_config_read(&r->guest, PCI_CLASS_REVISION, 4) >> 8, 0x010000);
	assert_int_equal(guest_offered(&r->guest), RIG_V1 | BIT64(VIRTIO_BLK_F_FLUSH) |
			 BIT64(VIRTIO_BLK_F_MQ));
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 1);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_Q_SIZE, 2), 128);
}

static void features_of_the_protocol_are_not_the_guests(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features = UINT64_MAX;
	vhost_user_rig_plug(r, "/run/blk");

	assert_int_equal(guest_offered(&r->guest) & (BIT64(VU_F_PROTOCOL_FEATURES) |
			 BIT64(VU_F_LOG_ALL) | BIT64(VIRTIO_F_ACCESS_PLATFORM)), 0);
}

static void the_config_space_is_the_daemons_but_for_the_number_of_queues(void **state)
{
	const unsigned off = offsetof(struct virtio_blk_config, num_queues);
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_BLK_F_MQ);
	for (unsigned i = 0; i < sizeof(r->daemon.config); i++)
		r->daemon.config[i] = (uint8_t)i;
	vhost_user_rig_plug(r, "/run/blk,queues=3");

	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + off, 2), 3);
	for (unsigned i = 0; i < 57; i++) {
		if (i != off && i != off + 1)
			assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + i, 1), i);
	}
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + 57, 1), 0);
}

static void a_random_source_needs_neither_config_nor_mq(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol = BIT64(VU_PF_REPLY_ACK);
	vhost_user_rig_plug(r, "rng,socket=/run/rng");

	assert_int_equal(guest_config_read(&r->guest, PCI_DEVICE_ID, 2), 0x1044);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 1);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_Q_SIZE, 2), 4);
	assert_int_equal(guest_virtio_cap(&r->guest, VIRTIO_PCI_CAP_DEVICE_CFG), 0);
	assert_int_equal(scripted_daemon_count(&r->daemon, VU_GET_CONFIG), 0);
}

static void a_daemon_without_protocol_features_serves_a_random_source(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features = RIG_V1;
	vhost_user_rig_plug(r, "rng,socket=/run/rng");
	vhost_user_rig_run(r, 1);

	assert_true(r->daemon.rings[0].started);
}

static void a_generic_device_is_what_the_options_say(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.config[7] = 0x77;
	vhost_user_rig_plug(r, "23,socket=/run/fs,queues=2,queue-size=512,config-size=8");

	assert_int_equal(guest_config_read(&r->guest, PCI_DEVICE_ID, 2), 0x1040 + 23);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_NUMQ, 2), 2);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_COMMON_Q_SIZE, 2), 512);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + 7, 1), 0x77);
	assert_int_equal(guest_read(&r->guest, VIRTIO_PCI_DEVICE_CONFIG + 8, 1), 0);
}

static void a_device_is_called_by_its_type_and_number_or_its_id(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_connect(r, "rng,socket=/run/rng", 1);
	assert_string_equal(r->dev.id, "rng0");
	r->options.number = 2;
	vhost_user_device_fini(&r->dev);
	vhost_user_device_init(&r->dev, &r->options, &r->fake.machine, &r->bus);
	assert_string_equal(r->dev.id, "rng2");
	vhost_user_options_free(&r->options);
	vhost_user_options_parse(&r->options, "rng,socket=/run/rng,id=dice", &r->e);
	vhost_user_device_init(&r->dev, &r->options, &r->fake.machine, &r->bus);
	assert_string_equal(r->dev.id, "dice");
}

/* How many queues */

static unsigned blk_queues(struct vhost_user_rig *r, const char *text, unsigned vcpus)
{
	vhost_user_rig_connect(r, text, vcpus);
	if (vhost_user_device_realize(&r->dev, &r->e))
		fail_msg("%s", r->e.msg);
	return r->dev.virtio.n_queues;
}

static void a_disk_has_a_queue_for_each_vcpu(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_BLK_F_MQ);
	assert_int_equal(blk_queues(r, "/run/blk", 4), 4);
}

static void a_disk_has_no_more_queues_than_the_daemon_serves(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_BLK_F_MQ);
	r->daemon.queues = 2;
	assert_int_equal(blk_queues(r, "/run/blk", 4), 2);
}

static void a_disk_has_at_most_64_queues(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_BLK_F_MQ);
	r->daemon.queues = 1000;
	assert_int_equal(blk_queues(r, "/run/blk", 200), 64);
}

static void a_disk_whose_daemon_lacks_mq_has_one_queue(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_BLK_F_MQ);
	r->daemon.protocol &= ~BIT64(VU_PF_MQ);
	assert_int_equal(blk_queues(r, "/run/blk", 4), 1);
}

static void a_disk_whose_daemon_does_not_tell_the_driver_of_queues_has_one(void **state)
{
	assert_int_equal(blk_queues(*state, "/run/blk", 4), 1);
}

static void more_queues_than_the_daemon_serves_are_refused(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features |= BIT64(VIRTIO_BLK_F_MQ);
	r->daemon.queues = 2;
	vhost_user_rig_connect(r, "/run/blk,queues=4", 1);

	refused(r, "device blk0: it needs 4 queues, but the daemon at /run/blk serves 2: give queues=");
}

static void a_daemon_with_no_queue_fails(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.queues = 0;
	vhost_user_rig_connect(r, "rng,socket=/run/rng", 1);

	failed(r, "queue");
}

/* What is refused */

static void a_legacy_daemon_is_refused(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.features &= ~RIG_V1;
	vhost_user_rig_connect(r, "/run/blk", 1);

	refused(r, "device blk0: the daemon at /run/blk does not offer VIRTIO_F_VERSION_1");
}

static void a_disk_daemon_without_config_fails(void **state)
{
	struct vhost_user_rig *r = *state;

	r->daemon.protocol &= ~BIT64(VU_PF_CONFIG);
	vhost_user_rig_connect(r, "/run/blk", 1);

	failed(r, "CONFIG");
	failed(r, "/run/blk");
}

static void a_daemon_that_ends_at_any_message_of_the_handshake_fails_with_a_sentence(void **state)
{
	struct vhost_user_rig *r;
	unsigned at = 0;

	(void)state;
	for (bool ready = false; !ready; at++) {
		void *again = NULL;

		vhost_user_rig_setup(&again);
		r = again;
		r->daemon.fault = FAULT_CLOSE;
		r->daemon.fault_at = at + 1;
		vhost_user_rig_connect(r, "blk,fd=7", 1);
		ready = r->dev.ready;
		if (!ready)
			failed(r, "blk0 (socket fd 7)");
		vhost_user_rig_teardown(&again);
	}
	assert_true(at > 5);
}

static void a_daemon_lost_between_ready_and_realize_is_not_put_on_the_bus(void **state)
{
	struct vhost_user_rig *r = *state;

	vhost_user_rig_connect(r, "/run/blk", 1);
	scripted_daemon_fini(&r->daemon);
	vhost_user_rig_settle(r);

	refused(r, "/run/blk");
	assert_false(r->dev.realized);
}

/* The socket */

struct place {
	char dir[32], path[64];
	int fd;			/* bound to the path */
	struct err e;
};

static void bind_socket(struct place *p, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", p->path);
	p->fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static int place_setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->dir, "/tmp/minivmm-test-XXXXXX");
	p->fd = -1;
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->path, sizeof(p->path), "%s/sock", p->dir);
	*state = p;
	return 0;
}

static int place_teardown(void **state)
{
	struct place *p = *state;

	fd_close(&p->fd);
	unlink(p->path);
	rmdir(p->dir);
	free(p);
	return 0;
}

static void says(const struct place *p, const char *part)
{
	assert_non_null(strstr(p->e.msg, p->path));
	if (!strstr(p->e.msg, part))
		fail_msg("\"%s\" does not say \"%s\"", p->e.msg, part);
}

static void a_listening_daemon_is_reached(void **state)
{
	struct place *p = *state;
	autoclose int sock = -1;

	bind_socket(p, SOCK_STREAM);
	listen(p->fd, 1);
	sock = unix_connect(p->path, SOCK_STREAM, &p->e);
	assert_true(sock >= 0);
}

static void a_socket_that_does_not_exist_says_start_the_daemon(void **state)
{
	struct place *p = *state;

	assert_int_equal(unix_connect(p->path, SOCK_STREAM, &p->e), -ENOENT);
	says(p, "start the daemon first");
}

static void a_socket_where_nobody_listens_says_so(void **state)
{
	struct place *p = *state;

	bind_socket(p, SOCK_STREAM);
	assert_int_equal(unix_connect(p->path, SOCK_STREAM, &p->e), -ECONNREFUSED);
	says(p, "nobody listens");
}

static void a_file_that_is_no_socket_says_so(void **state)
{
	struct place *p = *state;
	FILE *f = fopen(p->path, "w");

	fclose(f);
	assert_int_equal(unix_connect(p->path, SOCK_STREAM, &p->e), -ECONNREFUSED);
	says(p, "not a socket");
}

static void a_datagram_socket_is_no_daemons(void **state)
{
	struct place *p = *state;

	bind_socket(p, SOCK_DGRAM);
	assert_int_equal(unix_connect(p->path, SOCK_STREAM, &p->e), -EPROTOTYPE);
	says(p, "stream");
}

static void a_path_too_long_for_a_socket_says_how_long_it_may_be(void **state)
{
	char path[200] = "";
	struct err e;

	(void)state;
	memset(path, 'x', 108);
	assert_int_equal(unix_connect(path, SOCK_STREAM, &e), -ENAMETOOLONG);
	assert_non_null(strstr(e.msg, "107"));
	assert_int_equal(unix_connect("", SOCK_STREAM, &e), -ENAMETOOLONG);
}

#define CASE(name) \
	cmocka_unit_test_setup_teardown(name, vhost_user_rig_setup, vhost_user_rig_teardown)
#define PLACE(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)

static void an_inherited_fd_is_a_connected_stream_socket(void **state)
{
	struct err e = { "" };
	int stream[2], datagram[2], lone;

	(void)state;
	lone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagram), 0);

	assert_int_equal(vhost_user_check_inherited(stream[0], &e), 0);
	assert_int_equal(vhost_user_check_inherited(datagram[0], &e), -EPROTOTYPE);
	assert_int_equal(vhost_user_check_inherited(lone, &e), -ENOTCONN);
	assert_non_null(strstr(e.msg, "socket=PATH"));
	close(stream[0]);
	assert_int_equal(vhost_user_check_inherited(stream[0], &e), -EBADF);
	close(stream[1]);
	close(datagram[0]);
	close(datagram[1]);
	close(lone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_disk_is_on_the_bus_with_what_the_daemon_offers),
		CASE(features_of_the_protocol_are_not_the_guests),
		CASE(the_config_space_is_the_daemons_but_for_the_number_of_queues),
		CASE(a_random_source_needs_neither_config_nor_mq),
		CASE(a_daemon_without_protocol_features_serves_a_random_source),
		CASE(a_generic_device_is_what_the_options_say),
		CASE(a_device_is_called_by_its_type_and_number_or_its_id),
		CASE(a_disk_has_a_queue_for_each_vcpu),
		CASE(a_disk_has_no_more_queues_than_the_daemon_serves),
		CASE(a_disk_has_at_most_64_queues),
		CASE(a_disk_whose_daemon_lacks_mq_has_one_queue),
		CASE(a_disk_whose_daemon_does_not_tell_the_driver_of_queues_has_one),
		CASE(more_queues_than_the_daemon_serves_are_refused),
		CASE(a_daemon_with_no_queue_fails),
		CASE(a_legacy_daemon_is_refused),
		CASE(a_disk_daemon_without_config_fails),
		CASE(a_daemon_that_ends_at_any_message_of_the_handshake_fails_with_a_sentence),
		CASE(a_daemon_lost_between_ready_and_realize_is_not_put_on_the_bus),
		PLACE(a_listening_daemon_is_reached),
		PLACE(a_socket_that_does_not_exist_says_start_the_daemon),
		PLACE(a_socket_where_nobody_listens_says_so),
		PLACE(a_file_that_is_no_socket_says_so),
		PLACE(a_datagram_socket_is_no_daemons),
		cmocka_unit_test(a_path_too_long_for_a_socket_says_how_long_it_may_be),
		cmocka_unit_test(an_inherited_fd_is_a_connected_stream_socket),
	};

	return cmocka_run_group_tests_name("vhost_user_device", tests, NULL, NULL);
}
