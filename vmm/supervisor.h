/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor: a process forked before any filter, that keeps the rights the VMM gives up.
 *
 * It connects to sockets (only those named on the command line, by number, so that a subverted VMM
 * cannot choose a path), opens objects for VMShm devices (only those their rules allow), and passes
 * the fds; it removes the named shm object and the names of sockets that this machine listens on,
 * however the VMM ends; and when that dies without a goodbye, SIGKILL included, it sets the
 * terminal back. It runs under a filter of its own, ends when the VMM does, and dies with nobody
 * left to serve.
 *
 * The supervisor may be killed too, and under its filter the VMM cannot take over: the right to
 * unlink is the right to unlink any path. So a machine with a named object has a second one, the
 * spare, which serves nobody, waits until VMM and supervisor are both gone, and then does the same:
 * one after the other, because of two that look at a name at once, one could find it to be theirs
 * and remove it when the other has done so and a new machine has taken it. Both were forked with
 * the object before it has a name (memory/shm_named.h), so the name goes as long as one of the two
 * is alive at the VMM's end. When all three are killed, nobody can remove it.
 */
#ifndef VMM_SUPERVISOR_H
#define VMM_SUPERVISOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/listener.h"
#include "base/seccomp.h"
#include "devices/vmshm_open.h"
#include "devices/vmshm_options.h"

struct supervisor_process {
	int sock;		/* to the process; -1 when there is none */
	pid_t pid;
};

struct supervisor {
	struct supervisor_process main, spare;	/* main holds spare.sock, too */
	int shm;		/* the object that is to be named, owned and empty; or -1 */
	const char *shm_name;	/* borrowed */
};

#define SUPERVISOR_NONE { .main = { -1, -1 }, .spare = { -1, -1 }, .shm = -1 }

struct supervisor_socket {
	const char *path;		/* NULL: there is none of this number */
	int type;			/* SOCK_STREAM, SOCK_SEQPACKET */
};

enum { SUPERVISOR_VMSHMS_MAX = 32 };

/* What it may do; copied with the process. */
struct supervisor_rights {
	const struct supervisor_socket *sockets;	/* it may connect to, n_sockets of them */
	unsigned n_sockets;
	const struct vmshm_options *vmshms;	/* it may open objects for, n_vmshms of them */
	unsigned n_vmshms;
	struct listener *listeners;	/* whose names it removes, n_listeners of them */
	unsigned n_listeners;
	const char *shm_name;		/* "/x", the one it may remove; NULL: none, and no spare */
};

/*
 * Forks it. With rights->shm_name, which must live as long as @s, s->shm becomes the object that
 * alone may get this name (shm_named_link): once it has, the name is removed when the VMM ends.
 * Before there is a thread. 0 or -errno with @e and nothing left behind.
 */
int supervisor_start(struct supervisor *s, const struct supervisor_rights *rights,
		     enum seccomp_mode mode, struct err *e);
/*
 * Asks for a connection to sockets[index] and waits for it. The fd, which the caller owns, or
 * -errno with @e. While nothing that was asked by supervisor_ask is unanswered.
 */
int supervisor_connect(struct supervisor *s, unsigned index, struct err *e);

/* Of supervisor_ask or supervisor_ask_object. */
struct supervisor_answer {
	bool is_object;
	unsigned index;			/* as asked for; object: the device */
	int error;			/* not object: 0 or -errno; the sentence: */
	struct err why;
	struct vmshm_answer object;
	int fd, pidfd;			/* the caller's: the connection, and vu_peer_pidfd of it; or
					 * the object */
};

/*
 * Loop. Asks for a connection to sockets[index], to be made at once or not at all: a daemon that
 * does not accept must hold up neither the others' connections nor the end. Each question has one
 * answer, in order: supervisor_receive when main.sock can be read. A question of each index may be
 * open without this call ever waiting. 0; or -EPIPE with @e: the process is gone, for good.
 */
int supervisor_ask(struct supervisor *s, unsigned index, struct err *e);
/* The same for an object; @held as vmshm_object_open has it, borrowed. One question a device. */
int supervisor_ask_object(struct supervisor *s, const struct vmshm_question *q, int held,
			  struct err *e);
int supervisor_receive(struct supervisor *s, struct supervisor_answer *ret, struct err *e);
/*
 * Goodbye: the terminal is as it was. Removes the name, waits for the processes to end, and says on
 * the log when the name is left because both were killed. Works twice.
 */
void supervisor_end(struct supervisor *s);

#endif
