/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-backend's network interface: a driver on one side, a socket of packets on the other. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/range.h"
#include "net_rig.h"
#include "vhost/inflight.h"

#define MERGEABLE BIT64(VIRTIO_NET_F_MRG_RXBUF)

enum { SMALL = 100, PAGE = 4096, LARGE = 60000 };

/* A packet of @size bytes, all of which are @fill, from the host. */
static void send_packet(struct net_rig *f, uint8_t fill, size_t size)
{
	static uint8_t packet[NET_PACKET_MAX];

	memset(packet, 0, NET_HEADER);
	memset(packet + NET_HEADER, fill, size);
	assert_int_equal(send(f->host, packet, NET_HEADER + size, MSG_DONTWAIT), NET_HEADER + size);
}

/* The guest puts one into its queue. */
static void add_packet(struct net_rig *f, uint8_t fill, uint32_t size)
{
	struct driver_buf bufs[] = { { NET_TX_AT, NET_HEADER, false },
				     { NET_TX_AT + PAGE, size, false } };

	memset(f->driver.ram + NET_TX_AT, 0, NET_HEADER);
	memset(f->driver.ram + NET_TX_AT + PAGE, fill, size);
	driver_add(&f->driver, NET_TX, bufs, 2, 0);
	driver_kick(&f->driver, NET_TX);
}

static void assert_host_gets(struct net_rig *f, uint8_t fill, size_t size)
{
	static uint8_t got[NET_PACKET_MAX];

	driver_settle(&f->driver);
	assert_int_equal(recv(f->host, got, sizeof(got), MSG_DONTWAIT), NET_HEADER + size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(got[NET_HEADER + i], fill);
}

static void packets_come_behind_their_headers(void **state)
{
	struct net_rig *f = net_rig_start(state, 0);

	for (uint8_t i = 0; i < 3; i++)
		net_rig_give(f, PAGE);
	send_packet(f, 1, SMALL);
	send_packet(f, 2, SMALL + 1);
	net_rig_assert_arrives(f, 1, PAGE, 1, SMALL);
	net_rig_assert_arrives(f, 1, PAGE, 2, SMALL + 1);
	net_rig_assert_silent(f);
	send_packet(f, 3, SMALL);
	net_rig_assert_arrives(f, 1, PAGE, 3, SMALL);
}

static void packets_of_the_guest_go_out(void **state)
{
	struct net_rig *f = net_rig_start(state, 0);
	uint16_t head;

	add_packet(f, 1, SMALL);
	assert_host_gets(f, 1, SMALL);
	assert_int_equal(driver_wait_used(&f->driver, NET_TX, &head), 0);
}

static void what_has_no_buffer_stays_with_the_host(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);

	for (uint8_t i = 1; i < 4; i++)
		send_packet(f, i, SMALL);
	net_rig_assert_silent(f);
	/* It does not look again and again either. */
	assert_false(f->net->pairs[0].rx_waits);
	for (uint8_t i = 1; i < 4; i++) {
		net_rig_give(f, PAGE);
		net_rig_assert_arrives(f, 1, PAGE, i, SMALL);
	}
	assert_int_equal(f->net->dropped_rx.count, 0);
}

static void a_large_packet_lies_in_several_buffers(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);
	unsigned buffers = (LARGE + NET_HEADER + PAGE - 1) / PAGE;

	for (unsigned i = 0; i < 2 * buffers + 1; i++)
		net_rig_give(f, PAGE);
	send_packet(f, 1, LARGE);	/* unexpected, and so in part copied */
	net_rig_assert_arrives(f, buffers, PAGE, 1, LARGE);
	send_packet(f, 2, LARGE);	/* expected */
	net_rig_assert_arrives(f, buffers, PAGE, 2, LARGE);
	send_packet(f, 3, SMALL);
	net_rig_assert_arrives(f, 1, PAGE, 3, SMALL);
	assert_int_equal(f->net->dropped_rx.count, 0);
}

/* Many in a row, of which a batch ends within one. */
static void a_stream_of_large_packets_loses_none(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);
	const size_t size = 3 * PAGE;

	for (uint8_t round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 8; i++)
			net_rig_give(f, PAGE);
		send_packet(f, round, size);
		send_packet(f, round, size);
		net_rig_assert_arrives(f, 4, PAGE, round, size);
		net_rig_assert_arrives(f, 4, PAGE, round, size);
		f->given = f->taken = 0;
	}
	assert_int_equal(f->net->dropped_rx.count, 0);
}

static void what_never_fits_is_dropped_and_the_next_arrives(void **state)
{
	struct net_rig *f = net_rig_start(state, 0);

	net_rig_give(f, PAGE);
	send_packet(f, 1, PAGE);
	send_packet(f, 2, PAGE - NET_HEADER);
	net_rig_assert_arrives(f, 1, PAGE, 2, PAGE - NET_HEADER);
	assert_int_equal(f->net->dropped_rx.count, 1);
}

/* Whoever is at the other end of a socket may send more than an interface can. */
static void what_is_no_packet_is_dropped_and_not_kept(void **state)
{
	static uint8_t huge[3 * (NET_PACKET_MAX / 2)];
	struct net_rig *f = net_rig_start(state, MERGEABLE);

	net_rig_give(f, PAGE);
	memset(huge, 1, sizeof(huge));
	assert_int_equal(send(f->host, huge, sizeof(huge), MSG_DONTWAIT), sizeof(huge));
	driver_settle(&f->driver);
	assert_int_equal(f->net->pairs[0].kept_len, 0);
	assert_int_equal(f->net->dropped_rx.count, 1);
	send_packet(f, 2, SMALL);
	net_rig_assert_arrives(f, 1, PAGE, 2, SMALL);
}

static void a_packet_is_kept_until_it_has_its_buffers(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);

	net_rig_give(f, PAGE);
	send_packet(f, 1, 2 * PAGE);
	send_packet(f, 2, SMALL);
	net_rig_assert_silent(f);
	net_rig_give(f, PAGE);
	net_rig_assert_silent(f);
	net_rig_give(f, PAGE);
	net_rig_give(f, PAGE);
	net_rig_assert_arrives(f, 3, PAGE, 1, 2 * PAGE);
	net_rig_assert_arrives(f, 1, PAGE, 2, SMALL);
	assert_int_equal(f->net->dropped_rx.count, 0);
}

static void but_not_for_ever(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);

	net_rig_give(f, PAGE);
	send_packet(f, 1, 2 * PAGE);
	send_packet(f, 2, SMALL);
	net_rig_assert_arrives(f, 1, PAGE, 2, SMALL);
	assert_int_equal(f->net->dropped_rx.count, 1);
}

static void a_queue_that_stops_has_nothing_in_flight(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);

	for (unsigned i = 0; i < 4; i++)
		net_rig_give(f, PAGE);
	send_packet(f, 1, SMALL);
	net_rig_assert_arrives(f, 1, PAGE, 1, SMALL);
	assert_int_equal(driver_stop_queue(&f->driver, NET_RX), 1);
	/* What comes meanwhile waits, and does not keep the loop busy. */
	send_packet(f, 2, SMALL);
	net_rig_assert_silent(f);
	assert_false(f->net->pairs[0].rx_waits);
	driver_resume_queue(&f->driver, NET_RX, 1);
	net_rig_assert_arrives(f, 1, PAGE, 2, SMALL);
}

static void buffers_that_were_not_needed_are_not_recorded(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);
	struct vu_inflight d = { .num_queues = 2, .queue_size = NET_ENTRIES };
	const struct inflight_part *part;
	int fd;

	driver_stop_queue(&f->driver, NET_RX);
	driver_stop_queue(&f->driver, NET_TX);
	fd = driver_get_inflight(&f->driver, &d);
	assert_true(fd >= 0);
	assert_int_equal(driver_set_inflight(&f->driver, &d, fd), 0);
	driver_start_queue(&f->driver, NET_RX, NET_ENTRIES);
	for (unsigned i = 0; i < 8; i++)
		net_rig_give(f, PAGE / 4);
	send_packet(f, 1, PAGE);
	net_rig_assert_arrives(f, 5, PAGE / 4, 1, PAGE);
	part = f->backend.queues[NET_RX].inflight.part;
	assert_non_null(part);
	for (unsigned i = 0; i < NET_ENTRIES; i++)
		assert_int_equal(part->desc[i].inflight, 0);
	assert_int_equal(part->used_idx, 5);
	fd_close(&fd);
}

static void a_full_host_holds_the_guest_up(void **state)
{
	struct net_rig *f = net_rig_start(state, 0);
	unsigned sent = 0, done = 0;
	uint16_t head;
	uint32_t len;

	do {
		add_packet(f, 7, LARGE / 2);
		sent++;
		driver_settle(&f->driver);
		while (driver_used(&f->driver, NET_TX, &head, &len))
			done++;
	} while (done == sent && sent < 4096);
	assert_true(done < sent);
	for (unsigned i = 0; i < sent; i++)
		assert_host_gets(f, 7, LARGE / 2);
	assert_int_equal(driver_wait_used(&f->driver, NET_TX, &head), 0);
	assert_int_equal(f->net->dropped_tx.count, 0);
}

static void wrong_packets_of_the_guest_are_dropped(void **state)
{
	struct net_rig *f = net_rig_start(state, 0);
	const struct driver_buf wrong[] = {
		{ NET_TX_AT, 1, false }, { NET_TX_AT, NET_HEADER, false },
		{ UINT64_C(1) << 40, 64, false }, { NET_TX_AT, 64, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(driver_request(&f->driver, NET_TX, &wrong[i], 1), 0);
	assert_int_equal(f->net->dropped_tx.count, ARRAY_SIZE(wrong));
	add_packet(f, 1, SMALL);
	assert_host_gets(f, 1, SMALL);
}

static void a_buffer_outside_memory_breaks_the_queue_alone(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);
	const struct driver_buf outside = { UINT64_C(1) << 40, PAGE, true };

	net_rig_give(f, 16);
	driver_add(&f->driver, NET_RX, &outside, 1, 0);
	driver_kick(&f->driver, NET_RX);
	send_packet(f, 1, SMALL);
	net_rig_assert_silent(f);
	assert_int_not_equal(fd_drain(f->driver.queues[NET_RX].err), 0);
	add_packet(f, 1, SMALL);
	assert_host_gets(f, 1, SMALL);
}

static void a_buffer_without_bytes_for_the_guest_breaks_the_queue(void **state)
{
	struct net_rig *f = net_rig_start(state, 0);
	const struct driver_buf readable = { NET_RX_AT, PAGE, false };

	driver_add(&f->driver, NET_RX, &readable, 1, 0);
	driver_kick(&f->driver, NET_RX);
	send_packet(f, 1, SMALL);
	net_rig_assert_silent(f);
	assert_int_not_equal(fd_drain(f->driver.queues[NET_RX].err), 0);
}

static void when_the_other_end_is_gone_the_guest_goes_on(void **state)
{
	struct net_rig *f = net_rig_start(state, 0);
	uint16_t head;

	net_rig_give(f, PAGE);
	fd_close(&f->host);
	net_rig_assert_silent(f);
	assert_true(f->net->pairs[0].lost);
	add_packet(f, 1, SMALL);
	assert_int_equal(driver_wait_used(&f->driver, NET_TX, &head), 0);
	assert_int_equal(f->net->dropped_tx.count, 1);
}

static void a_new_driver_gets_nothing_of_the_one_before(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);

	net_rig_give(f, SMALL);
	send_packet(f, 1, PAGE);
	net_rig_assert_silent(f);
	assert_int_not_equal(f->net->pairs[0].kept_len, 0);
	driver_stop_queue(&f->driver, NET_RX);
	driver_stop_queue(&f->driver, NET_TX);
	send_packet(f, 2, SMALL);
	assert_int_equal(driver_ask_u64(&f->driver, VU_SET_FEATURES, f->driver.features), 0);
	driver_start_queue(&f->driver, NET_RX, NET_ENTRIES);
	f->taken = f->given;
	net_rig_give(f, PAGE);
	net_rig_assert_silent(f);
	send_packet(f, 3, SMALL);
	net_rig_assert_arrives(f, 1, PAGE, 3, SMALL);
}

/* The loop is told of both at once, and of the packet after there is no queue for it any more. */
static void a_packet_that_comes_with_a_new_driver_is_not_served(void **state)
{
	struct net_rig *f = net_rig_start(state, MERGEABLE);

	net_rig_give(f, PAGE);
	driver_settle(&f->driver);
	assert_true(f->net->pairs[0].rx_waits);
	driver_stop_queue(&f->driver, NET_RX);
	driver_stop_queue(&f->driver, NET_TX);
	assert_true(driver_send(&f->driver, VU_SET_FEATURES, VU_FLAG_VERSION, &f->driver.features,
				sizeof(f->driver.features), NULL, 0));
	send_packet(f, 1, SMALL);
	net_rig_assert_silent(f);
	assert_null(f->net->pairs[0].rx);
}

static void a_socket_has_no_offloads_and_tells_its_mtu(void **state)
{
	struct net_rig *f = *state;
	struct virtio_net_config c;
	uint8_t config[VU_CONFIG_MAX] = { 0 };

	f->options.mtu = 9000;
	net_rig_start(state, UINT64_MAX);
	assert_int_equal(f->driver.features & (BIT64(VIRTIO_NET_F_MTU + 1) - 1),
			 BIT64(VIRTIO_NET_F_MTU));
	f->backend.dev.ops->config_read(f->net, config);
	memcpy(&c, config, sizeof(c));
	assert_int_equal(le16toh(c.mtu), 9000);
	assert_int_equal(le16toh(c.max_virtqueue_pairs), 1);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, net_rig_setup, net_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(packets_come_behind_their_headers),
		CASE(packets_of_the_guest_go_out),
		CASE(what_has_no_buffer_stays_with_the_host),
		CASE(a_large_packet_lies_in_several_buffers),
		CASE(a_stream_of_large_packets_loses_none),
		CASE(what_never_fits_is_dropped_and_the_next_arrives),
		CASE(what_is_no_packet_is_dropped_and_not_kept),
		CASE(a_packet_is_kept_until_it_has_its_buffers),
		CASE(but_not_for_ever),
		CASE(a_queue_that_stops_has_nothing_in_flight),
		CASE(buffers_that_were_not_needed_are_not_recorded),
		CASE(a_full_host_holds_the_guest_up),
		CASE(wrong_packets_of_the_guest_are_dropped),
		CASE(a_buffer_outside_memory_breaks_the_queue_alone),
		CASE(a_buffer_without_bytes_for_the_guest_breaks_the_queue),
		CASE(when_the_other_end_is_gone_the_guest_goes_on),
		CASE(a_new_driver_gets_nothing_of_the_one_before),
		CASE(a_packet_that_comes_with_a_new_driver_is_not_served),
		CASE(a_socket_has_no_offloads_and_tells_its_mtu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
