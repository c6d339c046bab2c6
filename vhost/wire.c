/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/wire.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/range.h"
#include "vhost/tap.h"

enum { MSG_FDS = ARRAY_SIZE(((struct vu_msg *)0)->fds) };
static_assert((int)MSG_FDS <= (int)FD_PASS_MAX, "fd_recv takes in what fd_send sends");

/* A message that waits for room in the socket. */
struct vu_out {
	struct vu_out *next;
	int fds[MSG_FDS];	/* owned duplicates; gone with the first byte */
	size_t nfds;
	size_t len;
	uint8_t bytes[];
};

void vu_channel_init(struct vu_channel *c, int *sock)
{
	*c = (struct vu_channel){ .sock = fd_take(sock) };
	c->out_end = &c->out;
	if (c->sock >= 0)
		fcntl(c->sock, F_SETFL, fcntl(c->sock, F_GETFL) | O_NONBLOCK);
}

static void out_free(struct vu_out *o)
{
	while (o->nfds > 0)
		fd_close(&o->fds[--o->nfds]);
	free(o);
}

void vu_channel_discard(struct vu_channel *c)
{
	while (c->out) {
		struct vu_out *o = c->out;

		c->out = o->next;
		out_free(o);
	}
	c->out_end = &c->out;
	c->out_at = 0;
	c->out_count = 0;
}

void vu_channel_fini(struct vu_channel *c)
{
	if (!c->out_end)
		return;
	if (c->tap)
		vu_tap_detach(c->tap);
	vu_channel_discard(c);
	vu_msg_close_fds(&c->in);
	c->in_at = 0;
	fd_close(&c->sock);
}

/* Copies what is left of a message after @sent bytes; the fds have gone once any byte has. */
static int out_new(const uint8_t *bytes, size_t len, size_t sent, const struct vu_msg *m,
		   struct vu_out **ret)
{
	struct vu_out *o = calloc(1, sizeof(*o) + len - sent);

	if (!o)
		return -ENOMEM;
	o->len = len - sent;
	memcpy(o->bytes, bytes + sent, o->len);
	for (size_t i = 0; sent == 0 && i < m->nfds; i++) {
		o->fds[i] = fcntl(m->fds[i], F_DUPFD_CLOEXEC, 0);
		if (o->fds[i] < 0) {
			int code = -errno;

			out_free(o);
			return code;
		}
		o->nfds++;
	}
	*ret = o;
	return 0;
}

int vu_channel_put(struct vu_channel *c, const struct vu_msg *m, size_t payload, size_t limit)
{
	uint8_t bytes[sizeof(struct vu_header) + VU_PAYLOAD_MAX];
	size_t len = min_u64(sizeof(m->header) + payload, limit);
	struct vu_out *o = NULL;
	ssize_t sent = 0;
	int r;

	assert(payload <= VU_PAYLOAD_MAX && m->nfds <= MSG_FDS);
	if (c->out_count >= VU_CHANNEL_QUEUE)
		return -ENOBUFS;
	memcpy(bytes, &m->header, sizeof(m->header));
	memcpy(bytes + sizeof(m->header), &m->payload, payload);
	if (!len)
		return 0;
	if (!c->out)
		sent = fd_send(c->sock, bytes, len, m->fds, m->nfds);
	if (sent == -EAGAIN)
		sent = 0;
	if (sent < 0)
		return (int)sent;
	if ((size_t)sent == len)
		return 0;
	r = out_new(bytes, len, (size_t)sent, m, &o);
	if (r < 0)
		return r;
	*c->out_end = o;
	c->out_end = &o->next;
	c->out_count++;
	return 0;
}

int vu_channel_send(struct vu_channel *c, const struct vu_msg *m)
{
	if (c->tap)
		return vu_tap_send(c->tap, m);
	return vu_channel_put(c, m, m->header.size, SIZE_MAX);
}

int vu_channel_flush(struct vu_channel *c)
{
	while (c->out) {
		struct vu_out *o = c->out;
		ssize_t n = fd_send(c->sock, o->bytes + c->out_at, o->len - c->out_at, o->fds,
				    o->nfds);

		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		while (o->nfds > 0)
			fd_close(&o->fds[--o->nfds]);
		c->out_at += (size_t)n;
		if (c->out_at < o->len)
			continue;
		c->out = o->next;
		if (!c->out)
			c->out_end = &c->out;
		c->out_at = 0;
		c->out_count--;
		out_free(o);
	}
	return 0;
}

bool vu_channel_pending(const struct vu_channel *c)
{
	return c->out != NULL;
}

/* Takes fds that came with some bytes: legal with a message's first byte only, and at most as
 * many as any message has ("Communication"). All are owned by @c->in or closed afterwards. */
static int take_fds(struct vu_channel *c, int *fds, size_t nfds, struct err *e)
{
	bool first = c->in_at == 0;

	if (nfds == 0 || (first && nfds <= MSG_FDS)) {
		if (nfds > 0)
			memcpy(c->in.fds, fds, nfds * sizeof(fds[0]));
		c->in.nfds += nfds;
		return 0;
	}
	for (size_t i = 0; i < nfds; i++)
		fd_close(&fds[i]);
	if (!first)
		return err_set(e, -EPROTO, "file descriptors in the middle of a message");
	return err_set(e, -EPROTO, "%zu file descriptors with one message, at most %d are legal",
		       nfds, (int)MSG_FDS);
}

/*
 * One read towards @want bytes of the message. Never reads beyond them: the fds of the next
 * message come with its first byte and must not be mixed with this one's. 1, 0 or -errno.
 */
static int recv_some(struct vu_channel *c, size_t want, struct err *e)
{
	uint8_t *at = c->in_at < sizeof(c->in.header) ?
		(uint8_t *)&c->in.header + c->in_at :
		c->in.payload.bytes + (c->in_at - sizeof(c->in.header));
	int fds[FD_PASS_MAX];
	size_t nfds;
	ssize_t n = fd_recv(c->sock, at, want - c->in_at, fds, &nfds);
	int r;

	if (n == -EAGAIN)
		return 0;
	if (n == -EPROTO)
		return err_set(e, -EPROTO,
			       "more file descriptors with one message than are taken");
	/* What a peer that closes with something unread gives us, after its last bytes. */
	if (n == -ECONNRESET)
		n = 0;
	if (n < 0)
		return err_set(e, (int)n, "%s", strerror((int)-n));
	r = take_fds(c, fds, nfds, e);
	if (r < 0)
		return r;
	if (n == 0 && c->in_at == 0)
		return err_set(e, -ECONNRESET, "connection closed");
	if (n == 0)
		return err_set(e, -ECONNRESET, "connection closed in the middle of a message");
	c->in_at += (size_t)n;
	return 1;
}

int vu_channel_take(struct vu_channel *c, struct vu_msg *ret, struct err *e)
{
	size_t want = sizeof(c->in.header);

	for (;;) {
		int r;

		if (c->in_at >= sizeof(c->in.header)) {
			if (c->in.header.size > VU_PAYLOAD_MAX)
				return err_set(e, -EPROTO, "message %u announces %u bytes of "
					       "payload, at most %d are legal",
					       c->in.header.request, c->in.header.size,
					       (int)VU_PAYLOAD_MAX);
			want = sizeof(c->in.header) + c->in.header.size;
			if (c->in_at == want)
				break;
		}
		r = recv_some(c, want, e);
		if (r <= 0)
			return r;
	}
	*ret = c->in;
	c->in_at = 0;
	c->in.nfds = 0;
	return 1;
}

int vu_channel_recv(struct vu_channel *c, struct vu_msg *ret, struct err *e)
{
	return c->tap ? vu_tap_recv(c->tap, ret, e) : vu_channel_take(c, ret, e);
}

int vu_msg_check_request(const struct vu_msg *m, const struct vu_msg_type *types, unsigned n_types,
			 struct err *e)
{
	const struct vu_header *h = &m->header;
	const struct vu_msg_type *t = h->request < n_types ? &types[h->request] : NULL;

	if ((h->flags & ~(uint32_t)VU_FLAG_NEED_REPLY) != VU_FLAG_VERSION)
		return err_set(e, -EPROTO, "request %u has flags 0x%x, 0x1 or 0x9 are legal",
			       h->request, h->flags);
	if (!t || !t->name)
		return err_set(e, -ENOSYS, "unknown request %u", h->request);
	if (h->size < t->size_min || h->size > t->size_max)
		return err_set(e, -EINVAL, "%s has %u bytes of payload, %u to %u are legal",
			       t->name, h->size, t->size_min, t->size_max);
	if (m->nfds < t->fds_min || m->nfds > t->fds_max)
		return err_set(e, -EINVAL, "%s has %zu file descriptors, %u to %u are legal",
			       t->name, m->nfds, t->fds_min, t->fds_max);
	return 0;
}

int vu_msg_check_reply(const struct vu_msg *m, uint32_t id, const struct vu_msg_type *types,
		       struct err *e)
{
	const struct vu_header *h = &m->header;
	const struct vu_msg_type *t = &types[id];

	if (h->flags != (VU_FLAG_VERSION | VU_FLAG_REPLY))
		return err_set(e, -EPROTO, "the answer to %s has flags 0x%x instead of 0x5",
			       t->name, h->flags);
	if (h->request != id)
		return err_set(e, -EPROTO, "the answer to %s carries the id of request %u",
			       t->name, h->request);
	if (h->size < t->reply_min || h->size > t->reply_max)
		return err_set(e, -EPROTO, "the answer to %s has %u bytes of payload, %u to %u are "
			       "legal", t->name, h->size, t->reply_min, t->reply_max);
	if (m->nfds > t->reply_fds_max)
		return err_set(e, -EPROTO, "the answer to %s carries %zu file descriptors, at most "
			       "%u are legal", t->name, m->nfds, t->reply_fds_max);
	return 0;
}

void vu_msg_close_fds(struct vu_msg *m)
{
	while (m->nfds > 0)
		fd_close(&m->fds[--m->nfds]);
}

int vu_msg_take_fd(struct vu_msg *m, size_t i)
{
	return i < m->nfds ? fd_take(&m->fds[i]) : -1;
}
