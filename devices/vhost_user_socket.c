/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vhost_user_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

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
