/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/net.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/range.h"
#include "vhost/backends/device.h"

/* What a tap does with packets, in either direction. */
#define OFFLOADS \
	(BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_GUEST_CSUM) | \
	 BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_TSO6) | \
	 BIT64(VIRTIO_NET_F_GUEST_ECN) | BIT64(VIRTIO_NET_F_HOST_TSO4) | \
	 BIT64(VIRTIO_NET_F_HOST_TSO6) | BIT64(VIRTIO_NET_F_HOST_ECN))

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct net *n = arg;
	struct net_pair *p = &n->pairs[q->index / 2];

	return q->index % 2 ? net_pair_send(p, q) : net_receive(p, q);
}

static void say_dropped(struct net *n)
{
	if (n->dropped_rx.count || n->dropped_tx.count)
		log_info("net: dropped %" PRIu64 " packets for the guest and %" PRIu64 " of it",
			 n->dropped_rx.count, n->dropped_tx.count);
	n->dropped_rx = n->dropped_tx = (struct misuse){ 0 };
}

static bool is_running(const struct net *n)
{
	const struct backend_queue *q = n->pairs[0].rx;

	return q && q->started;
}

/* Another driver, or none: what the taps hold was for the one before. */
static void negotiated(void *arg, uint64_t features)
{
	struct net *n = arg;
	struct err e;

	/* The same features once more, while it runs. */
	if (features && is_running(n))
		return;
	n->mergeable = features & BIT64(VIRTIO_NET_F_MRG_RXBUF);
	n->header = n->mergeable || features & BIT64(BACKEND_F_VERSION_1) ? NET_HEADER :
									    NET_HEADER_LEGACY;
	for (unsigned i = 0; i < n->n_pairs; i++) {
		net_pair_reset(&n->pairs[i]);
		if (features)
			net_tap_drain(&n->pairs[i]);
		if (!features && i && net_tap_attach(&n->pairs[i], false, &e))
			log_warn("%s", e.msg);
	}
	net_tap_set_features(n, features);
	if (!features)
		say_dropped(n);
}

/* A queue of the tap has packets of the host while the guest has the queue enabled. */
static int enable(void *arg, struct backend_queue *q, bool on, struct err *e)
{
	struct net *n = arg;

	return q->index && q->index % 2 == 0 ? net_tap_attach(&n->pairs[q->index / 2], on, e) : 0;
}

static void config_read(void *arg, uint8_t config[VU_CONFIG_MAX])
{
	const struct net *n = arg;
	const struct virtio_net_config c = {
		.max_virtqueue_pairs = htole16((uint16_t)n->n_pairs),
		.mtu = htole16((uint16_t)n->mtu),
	};

	memcpy(config, &c, sizeof(c));
}

static const struct backend_ops ops = {
	.handle_queue = handle_queue, .negotiated = negotiated, .enable = enable,
	.config_read = config_read,
};

static void net_close(void *dev)
{
	struct net *n = dev;

	for (unsigned i = 0; i < n->n_pairs; i++)
		net_pair_fini(&n->pairs[i]);
	free(n);
}

static int net_open(const struct options *o, struct loop *loop, struct backend_device *ret,
		    struct err *e)
{
	unsigned said = o->queue_pairs ? (unsigned)o->queue_pairs : 1;
	unsigned pairs = o->n_tap_fds ? o->n_tap_fds : said;
	struct net *n = calloc(1, sizeof(*n) + pairs * sizeof(n->pairs[0]));
	int r;

	if (!n)
		return err_set(e, -ENOMEM, "net: out of memory");
	n->loop = loop;
	n->mtu = o->mtu;
	n->n_pairs = pairs;
	n->header = NET_HEADER;
	for (unsigned i = 0; i < pairs; i++) {
		n->pairs[i].net = n;
		n->pairs[i].fd = n->pairs[i].watch.fd = -1;
	}
	r = net_tap_open(n, o, e);
	if (r) {
		net_close(n);
		return r;
	}
	*ret = (struct backend_device){
		.name = "net",
		.features = BIT64(VIRTIO_NET_F_MRG_RXBUF) | (n->pairs[0].is_tap ? OFFLOADS : 0) |
			    (pairs > 1 ? BIT64(VIRTIO_NET_F_MQ) : 0) |
			    (n->mtu ? BIT64(VIRTIO_NET_F_MTU) : 0),
		.queues = 2 * pairs, .ops = &ops, .arg = n, .refuses_outside = true,
	};
	return 0;
}

static const struct seccomp_rule rules[] = {
	{ SYS_readv, SECCOMP_ANY, 0 },
	{ SYS_writev, SECCOMP_ANY, 0 },
	/* What a driver negotiates is the tap's to do; SETQUEUE: those of several that are used. */
	{ SYS_ioctl, 1, TUNSETVNETHDRSZ },
	{ SYS_ioctl, 1, TUNSETVNETLE },
	{ SYS_ioctl, 1, TUNSETOFFLOAD },
	{ SYS_ioctl, 1, TUNSETQUEUE },
};

const struct device_type net_device = {
	.name = "net",
	.capabilities = "{\n  \"type\": \"net\"\n}\n",
	.open = net_open,
	.close = net_close,
	.rules = rules,
	.n_rules = ARRAY_SIZE(rules),
};
