/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (VIRTIO 1.3, 5.1): a guest's packets through taps, one for each pair of queues.
 *
 * Theory of operation. The kernel's header before a packet of a tap is the device's, so packets
 * go between tap and guest memory by one readv or writev, and nobody looks at them. How long one is
 * is known only when it has been read: buffers are taken for what the last one needed, and behind
 * them lies one of ours. A packet that runs into that gets further buffers, and its rest is copied;
 * buffers that were not needed are unpopped: none is in flight when handle_queue returns.
 *
 * A packet for which the guest has no room at all stays in the tap, which is not looked at before
 * buffers come, and when its queue is full the host's stack drops what follows. One for which there
 * are too few buffers is kept a while, then dropped and counted; one that can never fit (without
 * mergeable buffers there is one for each packet) is dropped at once. Of a packet that a guest
 * sends the tap judges header and length: what it does not take is dropped and counted as well.
 *
 * Taps of several queues have only those attached that the guest uses: the kernel spreads flows
 * over them. A Unix socket of packets may stand in for a tap; it has no offloads.
 *
 * All in the loop's thread.
 */
#ifndef VHOST_BACKENDS_NET_H
#define VHOST_BACKENDS_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "vhost/backend.h"
#include "vhost/backends/options.h"

enum {
	NET_HEADER = 12,			/* before each packet (5.1.6) */
	NET_HEADER_LEGACY = 10,			/* without VERSION_1 and mergeable buffers */
	NET_PACKET_MAX = NET_HEADER + 14 + 4 + 65535,	/* a frame with a VLAN's tag */
	NET_USUAL_MIN = 2048,			/* bytes: a packet that is none of several in one */
	NET_KEEP_MS = 1, NET_KEEP_TRIES = 100,	/* a kept packet is tried each, so often */
};

struct net;

/* A pair of queues and its tap. */
struct net_pair {
	struct net *net;
	int fd;				/* owned: of the tap, or a socket */
	bool is_tap, is_multi;		/* is_multi: of several queues, attached one by one */
	bool attached;			/* is_multi: packets of the host come here */
	bool lost;			/* the tap was removed, or the socket's other end closed */
	struct loop_watch watch;
	struct backend_queue *rx, *tx;	/* NULL until first served; the library's */
	bool rx_waits, tx_waits;	/* for a packet of the tap; for room in it */
	bool woken;			/* rx, since it was last served */
	size_t usual;			/* bytes to have buffers for */
	uint8_t kept[NET_PACKET_MAX];	/* header and packet that wait for buffers */
	size_t kept_len;		/* 0: none */
	unsigned tries;			/* left for it */
	struct loop_timer retry;
};

/* Buffers of the guest for packets: chains that were popped, and their pieces. Those in front of
 * `first` and `at` have been pushed. Empty between two runs of handle_queue. */
struct net_window {
	struct {
		uint16_t head;
		unsigned pieces;
		size_t len;
	} chains[BACKEND_BATCH];
	unsigned first, n;		/* chains */
	unsigned at, pieces;		/* of iov */
	size_t bytes;			/* that they have room for */
	struct iovec iov[RING_SEGMENTS_MAX];	/* one of them for the spill */
};

struct net {
	struct loop *loop;
	uint64_t mtu;			/* 0: none is told */
	unsigned n_pairs;
	bool mergeable;			/* a packet may lie in several buffers */
	size_t header;			/* bytes of it */
	struct net_window window;
	uint8_t spill[NET_PACKET_MAX];	/* what a packet is longer than the window */
	struct ring_chain chain;
	struct misuse dropped_rx, dropped_tx;
	struct net_pair pairs[];
};

/* ---- net_tap.c ---- */

/* Opens the taps that @o names, all of @n's pairs. 0 or -errno with @e. */
int net_tap_open(struct net *n, const struct options *o, struct err *e);
/* What the driver that acked @features can take as it comes: TSO, packets without a checksum. */
void net_tap_set_features(struct net *n, uint64_t features);
/* Whether packets of the host come to this pair, too. 0 or -errno with @e. */
int net_tap_attach(struct net_pair *p, bool on, struct err *e);
/* Drops what the tap holds for the guest. */
void net_tap_drain(struct net_pair *p);

/* ---- net_pair.c ---- */

/* With the fd there. 0 or -errno with @e. */
int net_pair_init(struct net_pair *p, struct err *e);
void net_pair_fini(struct net_pair *p);
/* Another driver, or none: forgets what is kept, and the queues. */
void net_pair_reset(struct net_pair *p);
/* What is waited for has changed. */
void net_pair_update(struct net_pair *p);
/* There is nothing behind the fd any more. */
void net_pair_lose(struct net_pair *p);
/* handle_queue of the guest's packets. */
bool net_pair_send(struct net_pair *p, struct backend_queue *q);
/* Counts a packet that was dropped. */
void net_pair_drop(struct misuse *m, const char *why);

/* ---- net_receive.c ---- */

/* handle_queue of packets for the guest. */
bool net_receive(struct net_pair *p, struct backend_queue *q);

#endif
