/* SPDX-License-Identifier: Apache-2.0 */
#include "base/unix_addr.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int unix_addr(struct sockaddr_un *ret, const char *path, struct err *e)
{
	size_t len = strlen(path);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!len || len >= sizeof(ret->sun_path))
		return err_set(e, -ENAMETOOLONG, "socket \"%s\": a socket's path has 1 to %zu characters;"
			       " use a shorter or a relative one", path, sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, len);
	return 0;
}
