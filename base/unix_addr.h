/* SPDX-License-Identifier: Apache-2.0 */
/* The address of a Unix socket that has a path. */
#ifndef BASE_UNIX_ADDR_H
#define BASE_UNIX_ADDR_H

#include <sys/un.h>

#include "base/err.h"

/* Makes @path, as the user wrote it, an address. 0, or -ENAMETOOLONG with @e when it is empty or
 * has more characters than there is room for. Any thread. */
int unix_addr(struct sockaddr_un *ret, const char *path, struct err *e);

#endif
