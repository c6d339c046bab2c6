/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/fd.h"

enum { CONNECT_SECONDS = 10 };

static const char *not_a_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISSOCK(st.st_mode) ? "it is not a socket" : NULL;
}

/* What an errno of connect means for the user. */
static const char *connect_hint(const char *path, int error)
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
		return "it is not a stream socket, so not a vhost-user daemon's";
	}
	return strerror(error);
}

/* @type: SOCK_NONBLOCK or 0. */
static int connect_to(const char *path, int type, struct err *e)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = CONNECT_SECONDS };
	size_t len = strlen(path);
	autoclose int fd = -1;

	if (!len || len >= sizeof(addr.sun_path))
		return err_set(e, -ENAMETOOLONG, "socket \"%s\": a socket's path has 1 to %zu characters;"
			       " use a shorter or a relative one", path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | type, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)))
		return err_sys(e, "socket %s", path);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		int error = errno;

		return err_set(e, -error, "socket %s: %s", path, connect_hint(path, error));
	}
	return fd_take(&fd);
}

int vhost_user_connect(const char *path, struct err *e)
{
	return connect_to(path, 0, e);
}

int vhost_user_connect_now(const char *path, struct err *e)
{
	return connect_to(path, SOCK_NONBLOCK, e);
}

int vhost_user_check_inherited(int fd, struct err *e)
{
	struct sockaddr_un peer;
	socklen_t peer_len = sizeof(peer), type_len = sizeof(int), domain_len = sizeof(int);
	int type = 0, domain = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len))
		return err_set(e, -EBADF, "fd=%d is not an open socket: start minivmm with one that is"
			       " connected to the daemon, or give socket=PATH", fd);
	if (type != SOCK_STREAM || domain != AF_UNIX)
		return err_set(e, -EPROTOTYPE, "fd=%d is not a Unix stream socket, so not a vhost-user"
			       " daemon's", fd);
	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len))
		return err_set(e, -ENOTCONN, "fd=%d is not connected: start minivmm with a socket that is"
			       " connected to the daemon, or give socket=PATH", fd);
	return 0;
}
