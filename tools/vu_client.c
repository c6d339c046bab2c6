/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/vu_client.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/range.h"
#include "base/unix_addr.h"

enum { RETRY_MS = 5 };

/* A non-blocking socket connected to who listens at @path, or -errno with @e. */
static int connect_once(const char *path, struct err *e)
{
	struct sockaddr_un addr;
	autoclose int fd = -1;
	int r = unix_addr(&addr, path, e);

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return err_sys(e, "socket %s", path);
	return fd_take(&fd);
}

int vu_client_connect(struct vu_client *c, const char *path, unsigned timeout_ms, struct err *e)
{
	uint64_t end = clock_ns() + MS_TO_NS(timeout_ms);
	int none = -1, fd;

	*c = (struct vu_client){ .timeout_ms = timeout_ms };
	vu_channel_init(&c->main, &none);
	vu_channel_init(&c->back, &none);
	for (;;) {
		fd = connect_once(path, e);
		if (fd >= 0)
			break;
		if ((fd != -ECONNREFUSED && fd != -ENOENT && fd != -EAGAIN) || clock_ns() > end)
			return fd;
		/* Nothing tells that a socket is listened on. */
		poll(NULL, 0, RETRY_MS);
	}
	e->msg[0] = '\0';
	vu_channel_init(&c->main, &fd);
	return 0;
}

void vu_client_close(struct vu_client *c)
{
	vu_channel_fini(&c->main);
	vu_channel_fini(&c->back);
}

/* One request of the daemon's, when it is there. */
static void obey(struct vu_client *c)
{
	struct vu_msg m, reply;
	struct err e;
	int r = vu_channel_recv(&c->back, &m, &e);

	if (r < 0)
		vu_channel_fini(&c->back);
	if (r <= 0)
		return;
	c->back_requests++;
	vu_msg_close_fds(&m);
	if (!(m.header.flags & VU_FLAG_NEED_REPLY))
		return;
	reply = vu_client_msg_u64(m.header.request, 0);
	reply.header.flags |= VU_FLAG_REPLY;
	vu_channel_send(&c->back, &reply);
}

/* Waits for @fd (-1: none) until @end, obeying the back channel: poll's events of @fd, 0: none. */
static int wait_for(struct vu_client *c, int fd, uint64_t end)
{
	for (;;) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
					 { .fd = c->back.sock, .events = POLLIN } };
		uint64_t now = clock_ns();
		uint64_t left = end > now ? (end - now + MS_TO_NS(1) - 1) / MS_TO_NS(1) : 0;

		if (poll(fds, 2, (int)min_u64(left, INT32_MAX)) < 0 && errno != EINTR)
			return 0;
		/* One at a time: a daemon that never stops to ask does not stop the clock. */
		if (fds[1].revents && c->back.sock >= 0)
			obey(c);
		if (fds[0].revents || clock_ns() >= end)
			return fds[0].revents;
	}
}

bool vu_client_wait(struct vu_client *c, int fd, unsigned ms)
{
	return wait_for(c, fd, clock_ns() + MS_TO_NS(ms)) & POLLIN;
}

int vu_client_send(struct vu_client *c, const struct vu_msg *m, struct err *e)
{
	int r = vu_channel_send(&c->main, m);

	if (r == -EPIPE || r == -ECONNRESET)
		return err_set(e, -ECONNRESET, "%s: the daemon has ended the connection",
			       vu_request_name(m->header.request));
	return r ? err_set(e, r, "%s: %s", vu_request_name(m->header.request), strerror(-r)) : 0;
}

int vu_client_recv(struct vu_client *c, const char *what, struct vu_msg *ret, struct err *e)
{
	uint64_t end = clock_ns() + MS_TO_NS(c->timeout_ms);

	for (;;) {
		int r = vu_channel_recv(&c->main, ret, e);

		if (r > 0)
			return 0;
		if (r < 0)
			return err_prefix(e, r, "%s: ", what);
		if (!wait_for(c, c->main.sock, end))
			return err_set(e, -ETIMEDOUT, "%s is not answered within %u ms", what,
				       c->timeout_ms);
	}
}

/* The result of asking @request, which is remembered when the answer is none. */
static int asked(struct vu_client *c, uint32_t request, int r)
{
	if (r == -EPROTO)
		c->malformed = request;
	return r;
}

int vu_client_ask(struct vu_client *c, struct vu_msg *m, struct err *e)
{
	uint32_t request = m->header.request;
	int r = vu_client_send(c, m, e);

	if (!r)
		r = vu_client_recv(c, vu_request_name(request), m, e);
	if (r)
		return asked(c, request, r);
	r = vu_msg_check_reply(m, request, vu_msg_types, e);
	if (r)
		vu_msg_close_fds(m);
	return asked(c, request, r);
}

int vu_client_get(struct vu_client *c, uint32_t request, uint64_t *ret, struct err *e)
{
	struct vu_msg m = vu_client_msg(request);
	int r = vu_client_ask(c, &m, e);

	if (r)
		return r;
	vu_msg_close_fds(&m);
	*ret = m.payload.u64;
	return 0;
}

/* The answer of REPLY_ACK, which there is of unknown requests as well: they are in no table. */
static int take_ack(struct vu_client *c, uint32_t request, struct vu_msg *ret, struct err *e)
{
	int r = vu_client_recv(c, vu_request_name(request), ret, e);

	if (r)
		return r;
	vu_msg_close_fds(ret);
	if (ret->header.request != request ||
	    ret->header.flags != (VU_FLAG_VERSION | VU_FLAG_REPLY) ||
	    ret->header.size != sizeof(uint64_t))
		return err_set(e, -EPROTO, "%s is acknowledged by request %u, flags 0x%x, %u bytes "
			       "instead of its own id, 0x5 and 8 bytes", vu_request_name(request),
			       ret->header.request, ret->header.flags, ret->header.size);
	return 0;
}

/* 0: obeyed, or (*@ret_known false) nobody can know; -EREMOTEIO: refused; or as vu_client_recv. */
static int settle(struct vu_client *c, struct vu_msg *m, bool *ret_known, struct err *e)
{
	uint32_t request = m->header.request;
	struct vu_msg answer;
	uint64_t features;
	int r;

	*ret_known = c->protocol & BIT64(VU_PF_REPLY_ACK);
	if (*ret_known)
		m->header.flags |= VU_FLAG_NEED_REPLY;
	r = vu_client_send(c, m, e);
	if (r)
		return r;
	if (!*ret_known)
		return vu_client_get(c, VU_GET_FEATURES, &features, e);
	r = asked(c, request, take_ack(c, request, &answer, e));
	if (r || !answer.payload.u64)
		return r;
	return err_set(e, -EREMOTEIO, "%s is refused: the answer is %" PRIu64,
		       vu_request_name(request), answer.payload.u64);
}

int vu_client_tell(struct vu_client *c, struct vu_msg *m, struct err *e)
{
	bool known;

	return settle(c, m, &known, e);
}

int vu_client_try(struct vu_client *c, struct vu_msg *m, struct err *e)
{
	bool known;
	int r = settle(c, m, &known, e);

	if (r == -ECONNRESET)
		return VU_CLIENT_CLOSED;
	if (r == -EREMOTEIO)
		return VU_CLIENT_REFUSED;
	if (r < 0)
		return r;
	return known ? VU_CLIENT_TAKEN : VU_CLIENT_UNKNOWN;
}

struct vu_msg vu_client_msg(uint32_t request)
{
	return (struct vu_msg){ .header = { request, VU_FLAG_VERSION, 0 } };
}

struct vu_msg vu_client_msg_u64(uint32_t request, uint64_t value)
{
	struct vu_msg m = vu_client_msg(request);

	m.payload.u64 = value;
	m.header.size = sizeof(value);
	return m;
}

struct vu_msg vu_client_msg_state(uint32_t request, uint32_t index, uint32_t num)
{
	struct vu_msg m = vu_client_msg(request);

	m.payload.state = (struct vu_vring_state){ index, num };
	m.header.size = sizeof(m.payload.state);
	return m;
}

struct vu_msg vu_client_msg_fd(uint32_t request, uint32_t index, int fd)
{
	struct vu_msg m = vu_client_msg_u64(request, index);

	if (fd < 0) {
		m.payload.u64 |= VU_VRING_NOFD;
	} else {
		m.fds[0] = fd;
		m.nfds = 1;
	}
	return m;
}
