/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/unix_connect.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/fd.h"
#include "base/unix_addr.h"

enum { CONNECT_SECONDS = 10 };

static const char *not_a_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISSOCK(st.st_mode) ? "it is not a socket" : NULL;
}

/* What an errno of connect means for the user. */
static const char *connect_hint(const char *path, int type, int error)
{
	const char *other = not_a_socket(path);

	if (other)
		return other;
	switch (error) {
	case ENOENT:
		return "there is no such socket: start the daemon first, or correct the path";
	case ECONNREFUSED:
		return "nobody listens there: the daemon has ended or serves another client; start it"
		       " again";
	case EACCES:
	case EPERM:
		return "no permission: the socket or a directory above it belongs to another user";
	case EAGAIN:
		return "the daemon did not accept the connection in time: is it stopped?";
	case EPROTOTYPE:
		return type == SOCK_STREAM ?
			       "it is not a stream socket, so not a vhost-user daemon's" :
			       "it is not a SOCK_SEQPACKET socket, so not a VMShm device's events=";
	}
	return strerror(error);
}

int unix_connect(const char *path, int type, struct err *e)
{
	struct timeval limit = { .tv_sec = CONNECT_SECONDS };
	struct sockaddr_un addr;
	autoclose int fd = -1;
	int r = unix_addr(&addr, path, e);

	if (r)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)))
		return err_sys(e, "socket %s", path);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		int error = errno;

		return err_set(e, -error, "socket %s: %s", path, connect_hint(path, type & ~SOCK_NONBLOCK, error));
	}
	/* The limit was for the connection, not for who will write to it. */
	limit.tv_sec = 0;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)))
		return err_sys(e, "socket %s", path);
	return fd_take(&fd);
}
