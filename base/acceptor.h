/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes connections at a listening socket for as long as somebody is wanted. Where one cannot be
 * taken for want of descriptors, or the socket not be watched for want of memory, that is tried
 * again a moment later: the socket stays ready meanwhile, and a loop that went on asking would do
 * nothing else.
 *
 * In the loop.
 */
#ifndef BASE_ACCEPTOR_H
#define BASE_ACCEPTOR_H

#include <stdbool.h>

#include "base/log.h"
#include "base/loop.h"

struct acceptor {
	struct loop *loop;		/* borrowed */
	const char *name;		/* borrowed: for the log */
	int sock;			/* owned, listening, not blocking; -1: none */
	bool wanted;
	struct loop_watch watch;
	struct loop_timer again;
	struct misuse failed;
	/* Somebody came: *@sock, not blocking, which is taken. */
	void (*came)(void *arg, int *sock);
	void *arg;
};

/* Set-up. Takes the listening *@sock; nobody is wanted yet. */
void acceptor_init(struct acceptor *a, struct loop *loop, const char *name, int *sock,
		   void (*came)(void *arg, int *sock), void *arg);
/* Works on a zeroed struct, twice. */
void acceptor_fini(struct acceptor *a);
/* Whether the next one is wanted, until it is said otherwise. Nothing on a zeroed struct. */
void acceptor_want(struct acceptor *a, bool wanted);

#endif
