/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

bool fd_is_of(int fd, const struct stat *st)
{
	struct stat own;

	return fd >= 0 && fstat(fd, &own) == 0 && own.st_dev == st->st_dev &&
	       own.st_ino == st->st_ino;
}

int fd_fill_standard(void)
{
	int fd;

	/* open gives the lowest number there is. */
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

void fd_close_range(unsigned first, unsigned last)
{
	long limit;

	if (syscall(SYS_close_range, first, last, 0) == 0)
		return;
	/* Linux before 5.9, or a filter around us that knows no later one. */
	limit = sysconf(_SC_OPEN_MAX);
	for (unsigned fd = first; fd < limit && fd <= last; fd++)
		close((int)fd);
}

void fd_close_others(unsigned (*next_kept)(const void *arg, unsigned from), const void *arg)
{
	unsigned from = STDERR_FILENO + 1, kept;

	while ((kept = next_kept(arg, from)) != UINT_MAX) {
		if (kept > from)
			fd_close_range(from, kept - 1);
		from = kept + 1;
	}
	fd_close_range(from, UINT_MAX);
}

int fd_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void fd_signal(int eventfd)
{
	uint64_t one = 1;

	while (write(eventfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

unsigned long long fd_drain(int eventfd)
{
	uint64_t count = 0;

	while (read(eventfd, &count, sizeof(count)) < 0) {
		if (errno != EINTR)
			return 0;
	}
	return count;
}

unsigned long long fd_drain_shared(int eventfd)
{
	uint64_t count = 0;
	struct iovec iov = { &count, sizeof(count) };

	while (preadv2(eventfd, &iov, 1, -1, RWF_NOWAIT) < 0) {
		/* Linux before 5.8. */
		if (errno == EOPNOTSUPP)
			return fd_drain(eventfd);
		if (errno != EINTR)
			return 0;
	}
	return count;
}

/* From *@at on, or without @at where the fd stands. */
static int read_all(int fd, char *p, size_t len, const off_t *at)
{
	off_t offset = at ? *at : 0;

	while (len > 0) {
		ssize_t n = at ? pread(fd, p, len, offset) : read(fd, p, len);

		if (n == 0)
			return -ENODATA;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			offset += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int fd_read_all(int fd, void *buf, size_t len)
{
	return read_all(fd, buf, len, NULL);
}

int fd_pread_all(int fd, void *buf, size_t len, off_t offset)
{
	return read_all(fd, buf, len, &offset);
}

int fd_write_all(int fd, const void *buf, size_t len)
{
	for (const char *p = buf; len > 0;) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

ssize_t fd_send(int sock, const void *buf, size_t len, const int *fds, size_t nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (nfds > FD_PASS_MAX)
		return -EINVAL;
	if (nfds > 0) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	do {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static size_t take_fds(struct msghdr *msg, int *ret_fds)
{
	size_t nfds = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (nfds < FD_PASS_MAX)
				ret_fds[nfds++] = fd;
			else
				close(fd);
		}
	}
	return nfds;
}

ssize_t fd_recv(int sock, void *buf, size_t len, int *ret_fds, size_t *ret_nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FD_PASS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	*ret_nfds = 0;
	do {
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*ret_nfds = take_fds(&msg, ret_fds);
	if (msg.msg_flags & MSG_CTRUNC) {
		while (*ret_nfds > 0)
			fd_close(&ret_fds[--*ret_nfds]);
		return -EPROTO;
	}
	return n;
}
