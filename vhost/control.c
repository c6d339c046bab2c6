/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/control.h"

#include <endian.h>

#include <linux/virtio_net.h>

#include "base/fd.h"

/* Waits for the answer. Whether it was done. */
static bool ask(const struct control *c, uint32_t request, uint32_t value)
{
	const struct control_question q = { .request = request, .value = value };
	struct control_answer a = { 0 };
	int fds[FD_PASS_MAX];
	size_t nfds = 0;
	ssize_t n;

	if (fd_send(c->sock, &q, sizeof(q), NULL, 0) != sizeof(q))
		return false;
	n = fd_recv(c->sock, &a, sizeof(a), fds, &nfds);
	while (nfds > 0)
		fd_close(&fds[--nfds]);
	return n == sizeof(a) && a.done == 1;
}

/* The header and what follows it were copied: the guest may change them meanwhile. */
static bool obey(const struct control *c)
{
	struct virtio_net_ctrl_hdr h;
	struct virtio_net_ctrl_mq mq;
	bool has_mq = ring_chain_read(&c->chain, sizeof(h), &mq, sizeof(mq)) == sizeof(mq);

	if (ring_chain_read(&c->chain, 0, &h, sizeof(h)) != sizeof(h))
		return false;
	if (h.class == VIRTIO_NET_CTRL_MQ && h.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET && has_mq)
		return ask(c, CONTROL_PAIRS, le16toh(mq.virtqueue_pairs));
	if (h.class == VIRTIO_NET_CTRL_ANNOUNCE && h.cmd == VIRTIO_NET_CTRL_ANNOUNCE_ACK)
		return ask(c, CONTROL_ANNOUNCED, 0);
	return false;
}

static bool handle_queue(void *arg, struct backend_queue *q)
{
	struct control *c = arg;

	while (backend_queue_pop(q, &c->chain)) {
		uint8_t ack;

		if (!c->chain.in_len) {
			backend_queue_break(q, "a command has no room for its answer");
			backend_queue_push(q, c->chain.head, 0);
			break;
		}
		ack = obey(c) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		ring_chain_write(&c->chain, 0, &ack, sizeof(ack));
		backend_queue_push(q, c->chain.head, sizeof(ack));
	}
	return true;
}

static const struct backend_ops ops = { .handle_queue = handle_queue };

void control_init(struct control *c, int sock, struct backend_device *ret)
{
	c->sock = sock;
	*ret = (struct backend_device){ .name = "control queue", .queues = 1, .ops = &ops,
					.arg = c };
}
