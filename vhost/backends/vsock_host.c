/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/keyval.h"
#include "vhost/backends/vsock.h"

/* Ports of the host's ends of its own connections: those that people choose are smaller. */
enum { PORT_FIRST = 1 << 30, PORT_LAST = INT32_MAX };

/* What a program cannot be taken for want of may be others', so that no end of a connection tells
 * when it is there again. */
enum { ACCEPT_AGAIN_MS = 100 };

static void listener_ready(void *arg, uint32_t events)
{
	struct vsock *v = arg;
	autoclose int sock = accept4(v->listen_sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct vsock_conn *c;

	(void)events;
	if (sock < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR))
		return;
	c = sock < 0 ? NULL : vsock_conn_new(v, &sock, VSOCK_HELLO, 0, 0);
	if (c) {
		vsock_conn_update(c);
	} else {
		v->accept_failed = true;
		loop_timer_set(v->loop, &v->accept_again, clock_ns() + MS_TO_NS(ACCEPT_AGAIN_MS));
	}
	vsock_host_listen(v);
}

static void accept_again(void *arg)
{
	struct vsock *v = arg;

	v->accept_failed = false;
	vsock_host_listen(v);
}

void vsock_host_listen(struct vsock *v)
{
	bool room = v->conns < v->conns_max && v->hellos < VSOCK_HELLOS_MAX && !v->accept_failed;
	struct err e;

	if (!room && v->listen_watch.fd >= 0)
		loop_unwatch(v->loop, &v->listen_watch);
	if (!room || v->listen_watch.fd >= 0 || v->listen_sock < 0)
		return;
	v->listen_watch.fd = v->listen_sock;
	if (!loop_watch(v->loop, &v->listen_watch, &e))
		return;
	v->listen_watch.fd = -1;
	if (misuse_first(&v->unwatched))
		log_error("vsock: nobody of the host can connect now: %s", e.msg);
	v->accept_failed = true;
	loop_timer_set(v->loop, &v->accept_again, clock_ns() + MS_TO_NS(ACCEPT_AGAIN_MS));
}

/* Reads what of the line has come, and nothing behind it: that is for the guest. 1: the line is
 * whole; 0: not yet; -1: never. */
static int read_line(struct vsock_conn *c)
{
	struct iovec iov = { c->line + c->line_len, VSOCK_LINE - c->line_len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(c->sock, &m, MSG_PEEK | MSG_DONTWAIT);
	const char *end;

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	end = memchr(iov.iov_base, '\n', (size_t)n);
	iov.iov_len = end ? (size_t)(end - (char *)iov.iov_base) + 1 : (size_t)n;
	n = recvmsg(c->sock, &m, MSG_DONTWAIT);
	if (n != (ssize_t)iov.iov_len)
		return -1;
	c->line_len += (unsigned)n;
	if (end)
		c->line[c->line_len - 1] = '\0';
	return end ? 1 : c->line_len == VSOCK_LINE ? -1 : 0;
}

static uint32_t free_port(struct vsock *v, uint32_t guest_port)
{
	/* There are fewer connections than ports. */
	do {
		v->next_port = v->next_port >= PORT_LAST || v->next_port < PORT_FIRST ?
				       PORT_FIRST : v->next_port + 1;
	} while (vsock_conn_find(v, v->next_port, guest_port));
	return v->next_port;
}

void vsock_host_hello(struct vsock_conn *c)
{
	static const char word[] = "CONNECT ";
	const size_t len = sizeof(word) - 1;
	struct vsock *v = c->v;
	int r = read_line(c);
	uint64_t port;
	struct err e;

	if (r == 0)
		return;
	if (r > 0 && (strncasecmp(c->line, word, len) ||
		      uint_parse("CONNECT", c->line + len, 0, UINT32_MAX - 1, &port, &e)))
		r = -1;
	if (r < 0) {
		if (misuse_first(&v->mute))
			log_info("vsock: a program of the host connected, but said no \"CONNECT PORT\"; "
				 "this is logged once");
		return vsock_conn_free(c);
	}
	vsock_conn_set_ports(c, free_port(v, (uint32_t)port), (uint32_t)port);
	c->state = VSOCK_CALLING;
	v->hellos--;
	vsock_host_listen(v);
	vsock_conn_update(c);
}

bool vsock_host_accepted(struct vsock_conn *c)
{
	char line[VSOCK_LINE];
	int len = snprintf(line, sizeof(line), "OK %" PRIu32 "\n", c->host_port);
	struct iovec iov = { line, (size_t)len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	c->state = VSOCK_OPEN;
	return sendmsg(c->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == len;
}

struct vsock_conn *vsock_host_connect(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	autoclose int sock = -1;
	struct vsock_conn *c = NULL;

	if (v->conns < v->conns_max) {
		sock = vsock_connector_connect(&v->connector, host_port);
		if (sock >= 0)
			c = vsock_conn_new(v, &sock, VSOCK_OPEN, host_port, guest_port);
	}
	if (!c && misuse_first(&v->refused))
		log_info("vsock: the guest cannot connect to port %" PRIu32 ": %s; this is logged once",
			 host_port,
			 v->conns == v->conns_max ? "there are too many connections" :
			 sock < 0 ? strerror(-sock) : "out of memory");
	return c;
}

int vsock_host_init(struct vsock *v, const char *path, enum seccomp_mode mode, struct err *e)
{
	int r = listener_open(&v->listener, SOCK_STREAM, "--uds-path ", path, &v->listen_sock, e);

	if (!r)
		r = vsock_connector_start(&v->connector, &v->listener, mode, e);
	if (r)
		return r;
	v->accept_again = (struct loop_timer){ .expired = accept_again, .arg = v };
	v->listen_watch = (struct loop_watch){ .fd = v->listen_sock, .events = EPOLLIN,
					       .ready = listener_ready, .arg = v };
	r = loop_watch(v->loop, &v->listen_watch, e);
	if (r)
		v->listen_watch.fd = -1;
	return r;
}

void vsock_host_fini(struct vsock *v)
{
	if (v->listen_watch.fd >= 0)
		loop_unwatch(v->loop, &v->listen_watch);
	loop_timer_cancel(v->loop, &v->accept_again);
	fd_close(&v->listen_sock);
	listener_close(&v->listener);
	vsock_connector_stop(&v->connector);
}
