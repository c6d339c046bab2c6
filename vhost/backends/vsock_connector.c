/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/vsock_connector.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/range.h"
#include "vhost/backends/sandbox.h"

/* Nothing it does waits but for a file system that does not answer. */
enum { DEADLINE_S = 5, PORT_DIGITS = 11 };

static const struct seccomp_rule rules[] = {
	{ SYS_read, SECCOMP_ANY, 0 },
	{ SYS_write, SECCOMP_ANY, 0 },
	{ SYS_sendmsg, SECCOMP_ANY, 0 },
	{ SYS_socket, 0, AF_UNIX },
	{ SYS_connect, SECCOMP_ANY, 0 },
	{ SYS_close, SECCOMP_ANY, 0 },
};

/* The only descriptor that it keeps. */
static unsigned next_kept(const void *arg, unsigned from)
{
	unsigned channel = *(const unsigned *)arg;

	return from <= channel ? channel : UINT_MAX;
}

static int connect_port(const char *name, uint32_t port)
{
	autoclose int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	if (sock < 0)
		return -errno;
	snprintf(to.sun_path, sizeof(to.sun_path), "%s_%" PRIu32, name, port);
	if (connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return fd_take(&sock);
}

static void serve(int channel, const char *name)
{
	uint32_t port;

	while (read(channel, &port, sizeof(port)) == sizeof(port)) {
		autoclose int sock = connect_port(name, port);
		int32_t error = sock < 0 ? sock : 0;

		if (fd_send(channel, &error, sizeof(error), &sock, sock >= 0) != sizeof(error))
			return;
	}
}

static void __attribute__((noreturn)) run(int channel, const struct listener *at,
					  enum seccomp_mode mode)
{
	const int32_t ready = 0;
	struct err e = { "" };
	char name[sizeof(at->name)];

	memcpy(name, at->name, sizeof(name));
	/* A path beneath it is short, whatever that of the directory is. */
	if (fchdir(at->dir) < 0) {
		log_error("--uds-path: its directory: %s", strerror(errno));
		_exit(1);
	}
	fd_close_others(next_kept, &channel);
	if (sandbox_enter_helper("vsock connector", rules, ARRAY_SIZE(rules), mode, &e)) {
		log_error("%s", e.msg);
		_exit(1);
	}
	if (fd_write_all(channel, &ready, sizeof(ready)))
		_exit(1);
	serve(channel, name);
	_exit(0);
}

/* An answer; *ret_fd may be -1. */
static int take_answer(struct vsock_connector *c, int *ret_fd)
{
	int fds[FD_PASS_MAX];
	size_t nfds = 0;
	int32_t error;
	ssize_t n = fd_recv(c->channel, &error, sizeof(error), fds, &nfds);

	*ret_fd = nfds ? fds[0] : -1;
	for (size_t i = 1; i < nfds; i++)
		fd_close(&fds[i]);
	if (n == -EPROTO)	/* this process may have no more descriptors */
		return -EMFILE;
	return n == sizeof(error) ? error : -EPIPE;
}

int vsock_connector_start(struct vsock_connector *c, const struct listener *at,
			  enum seccomp_mode mode, struct err *e)
{
	const struct timeval deadline = { .tv_sec = DEADLINE_S };
	int pair[2], none;
	pid_t pid;

	c->channel = -1;
	if (strlen(at->name) + PORT_DIGITS >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(e, -ENAMETOOLONG, "--uds-path: \"%s\" with \"_\" and a port is too long for a socket",
			       at->name);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "vsock: socketpair");
	pid = fork();
	if (pid == 0)
		run(pair[1], at, mode);
	close(pair[1]);
	c->channel = pair[0];
	if (pid < 0)
		return err_sys(e, "vsock: fork");
	if (setsockopt(c->channel, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)) < 0)
		return err_sys(e, "vsock: a deadline");
	if (take_answer(c, &none))
		return err_set(e, -EIO, "vsock: the process that connects to sockets of the host did not start");
	return 0;
}

void vsock_connector_stop(struct vsock_connector *c)
{
	fd_close(&c->channel);
}

int vsock_connector_connect(struct vsock_connector *c, uint32_t port)
{
	int fd = -1, r = -EPIPE;

	if (c->channel < 0)
		return -EPIPE;
	if (fd_send(c->channel, &port, sizeof(port), NULL, 0) == sizeof(port))
		r = take_answer(c, &fd);
	if (r == -EPIPE) {
		log_error("vsock: the process that connects to sockets of the host has ended or hangs; guests reach none any more");
		vsock_connector_stop(c);
	}
	if (r == 0 && fd < 0)
		return -EMFILE;
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}
