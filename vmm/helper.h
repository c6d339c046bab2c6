/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that serves the control queue of one device: a fork of this program, which has the
 * back end library anyway, so that there is no second program to find, to start and to trust. It is
 * forked before there is guest RAM, KVM or a daemon's socket, keeps two sockets of the VMM's and
 * standard error, and makes no system call but those of its list. Guest RAM it gets as any daemon
 * does, by vhost-user. The kernel ends it with the VMM, whatever it is doing.
 */
#ifndef VMM_HELPER_H
#define VMM_HELPER_H

#include "base/err.h"
#include "base/seccomp.h"

struct helper {
	/* This end of its sockets, for vhost_user_control_connect; owned, but for what it took. */
	int sock, questions;
	int pidfd;		/* -1: the host cannot tell when it has ended */
};

#define HELPER_NONE { .sock = -1, .questions = -1, .pidfd = -1 }

/* Set-up, before there is a thread. Forks it. 0 or -errno with @e and nothing left behind. */
int helper_start(struct helper *h, enum seccomp_mode mode, struct err *e);
/* Closes what was not handed on, and waits a moment: a process that nobody is connected to ends,
 * and one that does not is the kernel's to end. Works twice. */
void helper_fini(struct helper *h);

#endif
