/* SPDX-License-Identifier: Apache-2.0 */
/* What minivmm-display gives up before it meets a daemon. */
#ifndef VHOST_DISPLAY_CONFINEMENT_H
#define VHOST_DISPLAY_CONFINEMENT_H

#include "base/err.h"
#include "base/seccomp.h"

/*
 * The last act of set-up, in the program's only thread. Of paths there remain: files made, replaced
 * and removed in @pictures, and names removed in @socket; both are fds of directories. 0 or -errno
 * with @e.
 */
int confinement_enter(int pictures, int socket, enum seccomp_mode mode, struct err *e);

#endif
