/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's network interface on a real tap, in a network namespace of the test's own. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "net_rig.h"
#include "vhost/backends/device.h"

enum { PAGE = 4096, KIND = ETH_P_802_EX1, FRAME = 60 };

static const char name[] = "tap-under-test";

/* A socket for the frames of this test's kind on the tap, which is brought up. */
static void bring_up(struct net_rig *f)
{
	struct ifreq r = { .ifr_flags = 0 };
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htobe16(KIND) };

	f->host = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htobe16(KIND));
	assert_true(f->host >= 0);
	strcpy(r.ifr_name, name);
	r.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(f->host, SIOCSIFFLAGS, &r), 0);
	at.sll_ifindex = (int)if_nametoindex(name);
	assert_int_equal(bind(f->host, (struct sockaddr *)&at, sizeof(at)), 0);
}

static struct net_rig *on_tap(void **state, uint64_t queue_pairs)
{
	struct net_rig *f = *state;

	f->options.tap = name;
	f->options.queue_pairs = queue_pairs;
	net_rig_serve(f, UINT64_MAX);
	bring_up(f);
	return f;
}

static void fill_frame(uint8_t frame[FRAME], uint8_t fill)
{
	const struct ethhdr h = { .h_dest = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
				  .h_source = { 2 }, .h_proto = htobe16(KIND) };

	memset(frame, fill, FRAME);
	memcpy(frame, &h, sizeof(h));
}

/* The next of the guest's packets that is of this test's kind: the host's stack sends some, too. */
static const uint8_t *receive(struct net_rig *f)
{
	for (;;) {
		const struct virtio_net_hdr_v1 *h =
			(const void *)(f->driver.ram + NET_RX_AT + f->taken);
		const uint8_t *frame = (const uint8_t *)(h + 1);
		uint16_t head;

		assert_true(driver_wait_used(&f->driver, NET_RX, &head) > NET_HEADER);
		assert_int_equal(le16toh(h->num_buffers), 1);
		f->taken += PAGE;
		if (frame[12] == KIND >> 8 && frame[13] == (KIND & 0xff))
			return frame;
		net_rig_give(f, PAGE);
	}
}

static void frames_pass_both_ways(void **state)
{
	struct net_rig *f = on_tap(state, 1);
	const struct driver_buf buf = { NET_TX_AT, NET_HEADER + FRAME, false };
	uint8_t want[FRAME], got[2 * FRAME];

	assert_true(f->driver.features & BIT64(VIRTIO_NET_F_HOST_TSO4));
	net_rig_give(f, PAGE);
	fill_frame(want, 'h');
	assert_int_equal(send(f->host, want, FRAME, 0), FRAME);
	assert_memory_equal(receive(f), want, FRAME);

	fill_frame(f->driver.ram + NET_TX_AT + NET_HEADER, 'g');
	fill_frame(want, 'g');
	memset(f->driver.ram + NET_TX_AT, 0, NET_HEADER);
	assert_int_equal(driver_request(&f->driver, NET_TX, &buf, 1), 0);
	/* Its own it hears as well. */
	do {
		assert_int_equal(recv(f->host, got, sizeof(got), 0), FRAME);
	} while (got[FRAME - 1] != 'g');
	assert_memory_equal(got, want, FRAME);
	assert_int_equal(f->net->dropped_tx.count, 0);
}

static void a_header_that_lies_is_dropped(void **state)
{
	struct net_rig *f = on_tap(state, 1);
	const struct driver_buf buf = { NET_TX_AT, NET_HEADER + FRAME, false };
	const struct virtio_net_hdr_v1 wrong[] = {
		{ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = htole16(0xfff0) },
		{ .gso_type = 0x7f, .gso_size = htole16(1), .hdr_len = htole16(14) },
		{ .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 },
		{ .hdr_len = htole16(0xffff) },
	};

	fill_frame(f->driver.ram + NET_TX_AT + NET_HEADER, 'w');
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		memcpy(f->driver.ram + NET_TX_AT, &wrong[i], NET_HEADER);
		assert_int_equal(driver_request(&f->driver, NET_TX, &buf, 1), 0);
		assert_int_equal(f->net->dropped_tx.count, i + 1);
	}
}

/* Whether the host's stack leaves TCP to be cut to whoever reads the tap. */
static bool has_tso(struct net_rig *f)
{
	struct ethtool_value v = { .cmd = ETHTOOL_GTSO };
	struct ifreq r = { .ifr_data = (void *)&v };

	strcpy(r.ifr_name, name);
	assert_int_equal(ioctl(f->host, SIOCETHTOOL, &r), 0);
	return v.data;
}

static void offloads_end_with_the_driver_that_chose_them(void **state)
{
	struct net_rig *f = on_tap(state, 1);
	/* Of no use without TSO (5.1.3.1), which the kernel refuses. */
	uint64_t odd = f->driver.features &
		       ~(BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_TSO6));

	assert_true(has_tso(f));
	assert_true(odd & BIT64(VIRTIO_NET_F_GUEST_ECN));
	driver_stop_queue(&f->driver, NET_RX);
	driver_stop_queue(&f->driver, NET_TX);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, odd), 0);
	assert_false(has_tso(f));
}

static bool is_attached(const struct net_rig *f, unsigned pair)
{
	struct ifreq r = { .ifr_flags = 0 };

	assert_int_equal(ioctl(f->net->pairs[pair].fd, TUNGETIFF, &r), 0);
	return !(r.ifr_flags & IFF_DETACH_QUEUE);
}

static void only_the_pairs_that_the_guest_uses_are_attached(void **state)
{
	struct net_rig *f = on_tap(state, 3);

	assert_true(f->driver.features & BIT64(VIRTIO_NET_F_MQ));
	assert_int_equal(driver_get(&f->driver, VU_GET_QUEUE_NUM), 6);
	assert_true(is_attached(f, 0));
	assert_false(is_attached(f, 1));
	driver_start_queue(&f->driver, 2, NET_ENTRIES);
	assert_true(is_attached(f, 1));
	assert_false(is_attached(f, 2));
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 2, 0), 0);
	assert_false(is_attached(f, 1));
	/* Twice is no fault, and who leaves leaves none behind. */
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 2, 1), 0);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 2, 1), 0);
	assert_true(is_attached(f, 1));
	shutdown(f->driver.sock, SHUT_RDWR);
	driver_settle(&f->driver);
	assert_false(is_attached(f, 1));
}

static void a_tap_that_was_inherited_must_be_right(void **state)
{
	struct net_rig *f = *state;
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	autoclose int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct backend_device dev;
	struct loop loop;
	struct err e = { "" };

	strcpy(r.ifr_name, name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &r), 0);
	assert_int_equal(loop_init(&loop, NULL, &e), 0);
	f->options.tap_fds[0] = fd;
	f->options.n_tap_fds = 1;
	assert_int_not_equal(net_device.open(&f->options, &loop, &dev, &e), 0);
	assert_non_null(strstr(e.msg, "IFF_VNET_HDR"));
	loop_fini(&loop);
}

static void remove_tap(void)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg link;
	} m = { { .nlmsg_len = sizeof(m), .nlmsg_type = RTM_DELLINK, .nlmsg_flags = NLM_F_REQUEST },
		{ .ifi_index = (int)if_nametoindex(name) } };
	autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	assert_int_equal(send(fd, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(if_nametoindex(name), 0);
}

static void a_tap_that_is_removed_ends_nothing_else(void **state)
{
	struct net_rig *f = on_tap(state, 1);
	const struct driver_buf buf = { NET_TX_AT, NET_HEADER + FRAME, false };

	net_rig_give(f, PAGE);
	driver_settle(&f->driver);
	remove_tap();
	/* The host's stack may have used the first up: then nobody looks before there is one. */
	net_rig_give(f, PAGE);
	while (!f->net->pairs[0].lost)
		loop_once(&f->loop, -1);
	assert_int_equal(driver_request(&f->driver, NET_TX, &buf, 1), 0);
	assert_int_equal(f->net->dropped_tx.count, 1);
}

static void a_tap_that_is_removed_refuses_no_pair(void **state)
{
	struct net_rig *f = on_tap(state, 2);

	remove_tap();
	driver_start_queue(&f->driver, 2, NET_ENTRIES);
	assert_true(f->net->pairs[1].lost);
	assert_int_equal(driver_ask_state(&f->driver, VU_SET_VRING_ENABLE, 2, 0), 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, net_rig_setup, net_rig_teardown)

/* Whether there are taps here. */
static bool has_taps(void)
{
	autoclose int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	return fd >= 0 && !unshare(CLONE_NEWNET) && !ioctl(fd, TUNSETIFF, &r);
}

static int skip_all(void)
{
	fprintf(stderr, "SKIPPED: no tap in a network namespace of its own: %s\n", strerror(errno));
	if (!getenv("CMOCKA_MESSAGE_OUTPUT"))
		return 77;
	/* TAP's way to say 77. */
	puts("1..0 # SKIP no tap in a network namespace of its own");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(frames_pass_both_ways),
		CASE(a_header_that_lies_is_dropped),
		CASE(offloads_end_with_the_driver_that_chose_them),
		CASE(only_the_pairs_that_the_guest_uses_are_attached),
		CASE(a_tap_that_was_inherited_must_be_right),
		CASE(a_tap_that_is_removed_ends_nothing_else),
		CASE(a_tap_that_is_removed_refuses_no_pair),
	};

	if (!getenv("MINIVMM_TEST_LIST") && !has_taps())
		return skip_all();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
