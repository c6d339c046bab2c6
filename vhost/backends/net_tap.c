/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/backends/net.h"

enum { DRAIN_MAX = 4096 };	/* packets: more than a tap's queue has */

/* The header's fields are little-endian, whatever the host is. */
static int set_header(int fd, size_t bytes)
{
	int size = (int)bytes, little = 1;

	return ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || ioctl(fd, TUNSETVNETLE, &little) < 0 ?
		       -errno : 0;
}

/* One queue of tap @name; *@ret_multi: it may have several. */
static int open_queue(const char *name, bool multi, bool *ret_multi, struct err *e)
{
	autoclose int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int failed;

	if (fd < 0)
		return err_sys(e, "--tap %s: /dev/net/tun", name);
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (multi)
		r.ifr_flags |= IFF_MULTI_QUEUE;
	failed = ioctl(fd, TUNSETIFF, &r);
	/* One that was made for several queues does for one. */
	if (failed && errno == EINVAL && !multi) {
		multi = true;
		r.ifr_flags |= IFF_MULTI_QUEUE;
		failed = ioctl(fd, TUNSETIFF, &r);
	}
	if (failed && errno == EINVAL)
		return err_set(e, -EINVAL, "--tap %s is no tap, or was not made for several queues (multi_queue)", name);
	if (failed)
		return err_sys(e, "--tap %s", name);
	*ret_multi = multi;
	return fd_take(&fd);
}

/* A tap that is right, or a socket of packets. */
static int look_at_fd(struct net_pair *p, int fd, struct err *e)
{
	const short want = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	int type = 0, domain = 0, flags = fcntl(fd, F_GETFL);
	struct ifreq r = { .ifr_flags = 0 };
	socklen_t len = sizeof(int);

	if (flags < 0)
		return err_sys(e, "--tap-fd %d was not inherited", fd);
	if (!ioctl(fd, TUNGETIFF, &r)) {
		if ((r.ifr_flags & want) != want)
			return err_set(e, -EINVAL, "--tap-fd %d: %.16s was not opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR",
				       fd, r.ifr_name);
		p->is_tap = true;
		p->is_multi = r.ifr_flags & IFF_MULTI_QUEUE;
		p->attached = !(r.ifr_flags & IFF_DETACH_QUEUE);
	} else if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
		   getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX ||
		   type != SOCK_SEQPACKET) {
		return err_set(e, -EINVAL, "--tap-fd %d is neither a tap nor a Unix socket of packets (SOCK_SEQPACKET)", fd);
	}
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(e, "--tap-fd %d", fd);
	return 0;
}

static int open_pair(struct net *n, unsigned i, const struct options *o, struct err *e)
{
	struct net_pair *p = &n->pairs[i];
	int r;

	if (!o->n_tap_fds) {
		p->fd = open_queue(o->tap, n->n_pairs > 1, &p->is_multi, e);
		p->is_tap = p->attached = true;
		r = p->fd < 0 ? p->fd : 0;
	} else {
		r = look_at_fd(p, o->tap_fds[i], e);
		p->fd = r ? -1 : o->tap_fds[i];
	}
	if (!r && p->is_tap != n->pairs[0].is_tap)
		return err_set(e, -EINVAL, "--tap-fd: taps and sockets cannot be mixed");
	if (!r && p->is_tap && set_header(p->fd, n->header) < 0)
		return err_sys(e, "net: the tap takes no header of %zu bytes", n->header);
	return r;
}

int net_tap_open(struct net *n, const struct options *o, struct err *e)
{
	for (unsigned i = 0; i < n->n_pairs; i++) {
		int r = open_pair(n, i, o, e);

		if (!r)
			r = net_pair_init(&n->pairs[i], e);
		/* The first is always there: an interface without any would refuse packets. */
		if (!r)
			r = net_tap_attach(&n->pairs[i], i == 0, e);
		if (r)
			return r;
	}
	return 0;
}

void net_tap_set_features(struct net *n, uint64_t features)
{
	static const struct {
		unsigned feature, offload;
	} known[] = {
		{ VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM },
		{ VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },
		{ VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
		{ VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN },
	};
	unsigned long offloads = 0;

	if (!n->pairs[0].is_tap || n->pairs[0].lost)
		return;
	/* The others are nothing without checksums (5.1.3.1), and the kernel says so. */
	if (!(features & BIT64(VIRTIO_NET_F_GUEST_CSUM)))
		features = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (features & BIT64(known[i].feature))
			offloads |= known[i].offload;
	/* Nor is ECN anything without TSO. */
	if (!(offloads & (TUN_F_TSO4 | TUN_F_TSO6)))
		offloads &= ~(unsigned long)TUN_F_TSO_ECN;
	/* Both are the interface's, not a queue's. */
	if (set_header(n->pairs[0].fd, n->header) < 0 ||
	    ioctl(n->pairs[0].fd, TUNSETOFFLOAD, offloads) < 0)
		log_warn("net: the tap does not take offloads 0x%lx: %s", offloads, strerror(errno));
}

int net_tap_attach(struct net_pair *p, bool on, struct err *e)
{
	struct ifreq r = { .ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	/* What it is already is an error to the kernel. */
	if (!p->is_multi || p->lost || p->attached == on)
		return 0;
	if (ioctl(p->fd, TUNSETQUEUE, &r) == 0)
		p->attached = on;
	/* It is neither: the tap was removed, which is no fault of who asks for the queue. */
	else if (errno == EINVAL)
		net_pair_lose(p);
	else
		return err_sys(e, "net: a queue of the tap cannot be %s", on ? "attached" : "detached");
	return 0;
}

void net_tap_drain(struct net_pair *p)
{
	for (unsigned i = 0; i < DRAIN_MAX; i++)
		if (read(p->fd, p->net->spill, sizeof(p->net->spill)) <= 0)
			return;
}
