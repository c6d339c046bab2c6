/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The host's end of VMShm events, for programs on the host: connects to the socket of --vmshm
 * events=SOCKET, waits for what the guest rings, rings the guest, hears what object it has open.
 * Header only; needs vmshm_events.h beside it and a C library.
 *
 *     struct vmshm_host h;
 *     struct vmshm_msg m;
 *     int fd;
 *
 *     vmshm_host_connect(&h, "/run/vm.sock", -1);
 *     vmshm_host_news(&h, -1, &m, &fd);	   m.kind is VMSHM_MSG_OPEN: map m.mapped bytes
 *						   of fd, from m.offset on
 *     vmshm_host_wait(&h, 0, -1);		   until the guest rings its doorbell 0
 *     vmshm_host_ring(&h, 0);			   the guest's interrupt vector 1
 *     vmshm_host_close(&h);
 *
 * Functions give 0 or more, or a negative errno. Times are in milliseconds, -1 is for ever. For a
 * loop of one's own: h.wait[n] and h.sock are to be polled for POLLIN. One thread at a time, but
 * vmshm_host_ring and the wait for different events are legal in any.
 */
#ifndef GUEST_VMSHM_HOST_H
#define GUEST_VMSHM_HOST_H

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmshm_events.h"

struct vmshm_host {
	int sock;			/* -1: not connected */
	unsigned events;		/* each way */
	int wait[VMSHM_EVENTS_MAX];	/* owned eventfds: readable when the guest rang, */
	int ring[VMSHM_EVENTS_MAX];	/* and to write to */
};

static inline void vmshm_host_close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* Works twice, and after vmshm_host_connect failed. */
static inline void vmshm_host_close(struct vmshm_host *h)
{
	vmshm_host_close_all(&h->sock, 1);
	vmshm_host_close_all(h->wait, h->events);
	vmshm_host_close_all(h->ring, h->events);
	h->events = 0;
}

/* Waits until @fd can be read: 1; or until the other end of socket @other (-1: none) is gone:
 * -ECONNRESET. 0 when the time is over. */
static inline int vmshm_host_poll(int fd, int other, int timeout_ms)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = other } };
	int r;

	do {
		r = poll(p, 2, timeout_ms);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (r == 0)
		return 0;
	return p[0].revents ? 1 : -ECONNRESET;
}

/* The fds that came with a message, to @ret, which has room for all that @h can hold. */
static inline size_t vmshm_host_take_fds(struct msghdr *m, int *ret)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	size_t n;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(ret, CMSG_DATA(c), n * sizeof(int));
	return n;
}

/* One message with its fds, waited for. 0; -ETIMEDOUT; -ECONNRESET: the end; -EPROTO: nonsense. */
static inline int vmshm_host_receive(struct vmshm_host *h, int timeout_ms, struct vmshm_msg *ret,
				     int *ret_fds, size_t *ret_nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(2 * VMSHM_EVENTS_MAX * sizeof(int))];
	} control;
	struct {
		struct vmshm_msg msg;
		char more;		/* there is none, or the message is too long */
	} buf;
	struct iovec iov = { .iov_base = &buf, .iov_len = sizeof(buf) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			    .msg_controllen = sizeof(control) };
	int r = vmshm_host_poll(h->sock, -1, timeout_ms);
	ssize_t n;

	if (r <= 0)
		return r ? r : -ETIMEDOUT;
	do {
		n = recvmsg(h->sock, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ECONNRESET;
	*ret_nfds = vmshm_host_take_fds(&m, ret_fds);
	if ((m.msg_flags & MSG_CTRUNC) || vmshm_msg_fault(&buf.msg, (size_t)n, *ret_nfds)) {
		vmshm_host_close_all(ret_fds, *ret_nfds);
		return -EPROTO;
	}
	*ret = buf.msg;
	return 0;
}

/* The first half of vmshm_host_connect: connects, and does not wait for the eventfds.
 * -ECONNREFUSED, -ENOENT: nobody listens (yet). */
static inline int vmshm_host_call(struct vmshm_host *h, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int r = 0;

	*h = (struct vmshm_host){ .sock = -1 };
	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path) + 1);
	h->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (h->sock < 0 || connect(h->sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		r = -errno;
	if (r)
		vmshm_host_close(h);
	return r;
}

/* The second half: waits for the eventfds. -EBUSY: another program is connected. */
static inline int vmshm_host_answer(struct vmshm_host *h, int timeout_ms)
{
	int fds[2 * VMSHM_EVENTS_MAX];
	struct vmshm_msg m;
	size_t nfds;
	int r = vmshm_host_receive(h, timeout_ms, &m, fds, &nfds);

	if (!r && m.kind != VMSHM_MSG_EVENTS) {
		vmshm_host_close_all(fds, nfds);
		r = -EPROTO;
	}
	if (r) {
		vmshm_host_close(h);
		return r == -ECONNRESET ? -EBUSY : r;
	}
	h->events = m.events;
	memcpy(h->wait, fds, h->events * sizeof(int));
	memcpy(h->ring, fds + h->events, h->events * sizeof(int));
	return 0;
}

/*
 * Connects to the socket @path and waits for the eventfds. Errors of both halves; nothing is to be
 * closed then.
 */
static inline int vmshm_host_connect(struct vmshm_host *h, const char *path, int timeout_ms)
{
	int r = vmshm_host_call(h, path);

	return r ? r : vmshm_host_answer(h, timeout_ms);
}

/*
 * What the guest has open: waits for the next message about it, the first comes at once. *@ret_fd
 * is the object, the caller's, or -1 with VMSHM_MSG_CLOSED. -ETIMEDOUT; -ECONNRESET: the VM ended.
 */
static inline int vmshm_host_news(struct vmshm_host *h, int timeout_ms, struct vmshm_msg *ret,
				  int *ret_fd)
{
	int fds[2 * VMSHM_EVENTS_MAX];
	size_t nfds;
	int r = vmshm_host_receive(h, timeout_ms, ret, fds, &nfds);

	if (r)
		return r;
	if (ret->kind == VMSHM_MSG_EVENTS) {
		vmshm_host_close_all(fds, nfds);
		return -EPROTO;
	}
	*ret_fd = nfds ? fds[0] : -1;
	return 0;
}

/* Waits for the guest's event @n. How often it was rung since it was asked for last; 0 when the
 * time is over; -ECONNRESET: the VM ended. */
static inline int vmshm_host_wait(struct vmshm_host *h, unsigned n, int timeout_ms)
{
	uint64_t count;
	int r;

	if (n >= h->events)
		return -EINVAL;
	for (;;) {
		r = vmshm_host_poll(h->wait[n], h->sock, timeout_ms);
		if (r <= 0)
			return r;
		if (read(h->wait[n], &count, sizeof(count)) == (ssize_t)sizeof(count))
			return count < INT_MAX ? (int)count : INT_MAX;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

/* Interrupts the guest: its event @n, vector n + 1. */
static inline int vmshm_host_ring(struct vmshm_host *h, unsigned n)
{
	const uint64_t one = 1;

	if (n >= h->events)
		return -EINVAL;
	/* A full counter is rung already. */
	if (write(h->ring[n], &one, sizeof(one)) < 0 && errno != EAGAIN)
		return -errno;
	return 0;
}

#endif
