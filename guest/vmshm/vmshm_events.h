/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * VMShm events: what a program on the host reads from the socket that --vmshm events=SOCKET names
 * (Unix, SOCK_SEQPACKET). It waits for the guest's events on eventfds and gives its own by writing
 * to others. vmshm(4) has the words to it, vmshm_host.h functions that do it.
 *
 * The first message is VMSHM_MSG_EVENTS; after it, at once and whenever that changes, one that says
 * what object the guest has open. Who reads slowly may miss some that are out of date by then,
 * never the last one. What the program sends is never read.
 *
 * One program at a time: who comes while another is connected gets the end of the connection and
 * no message. Else the end of the connection is the end of the VM. The eventfds outlive it and are
 * the same for the next program: what the guest rang while nobody was there, he finds.
 */
#ifndef GUEST_VMSHM_EVENTS_H
#define GUEST_VMSHM_EVENTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VMSHM_EVENTS_MAX	7	/* each way: both ways' eventfds come with one message */
#define VMSHM_MSG_MAGIC		0x45534d56u	/* "VMSE" */
#define VMSHM_MSG_VERSION	1u

enum vmshm_msg_kind {
	/* With `events` eventfds that the guest rings (DOORBELL n: the n-th), then `events` that
	 * interrupt the guest (the n-th: vector n + 1). */
	VMSHM_MSG_EVENTS = 1,
	/* With one fd, of the object, readable and, unless VMSHM_MSG_RO, writable. */
	VMSHM_MSG_OPEN = 2,
	/* None is open (any more). */
	VMSHM_MSG_CLOSED = 3,
};

#define VMSHM_MSG_RO		(1u << 0)	/* flags: the guest's writes do not reach it */
#define VMSHM_MSG_TRUNCATED	(1u << 1)	/* it shrank since the guest opened it */

/* One message. Integers are the host's. What a kind does not say is 0. */
struct vmshm_msg {
	uint32_t magic, version;
	uint32_t kind;		/* enum vmshm_msg_kind */
	uint32_t events;	/* EVENTS: how many each way */
	uint32_t flags;		/* OPEN */
	uint32_t generation;	/* as in the guest's STATUS */
	uint64_t size;		/* OPEN: bytes of the object when it was opened, */
	uint64_t offset;	/* where in it the guest's window begins, */
	uint64_t mapped;	/* and how many bytes of the window are the object's */
	char name[256];		/* OPEN: as the guest gave it, without the slash; NUL at the end */
};

/* What is wrong with a message of @len bytes that came with @nfds fds, or NULL. */
static inline const char *vmshm_msg_fault(const struct vmshm_msg *m, size_t len, size_t nfds)
{
	if (len != sizeof(*m))
		return "a message has the wrong size";
	if (m->magic != VMSHM_MSG_MAGIC)
		return "a message has the wrong magic number";
	if (m->version != VMSHM_MSG_VERSION)
		return "a message is of a version that is not known";
	switch (m->kind) {
	case VMSHM_MSG_EVENTS:
		if (m->events > VMSHM_EVENTS_MAX)
			return "it has too many events";
		return nfds == 2 * m->events ? NULL : "not two descriptors came for each event";
	case VMSHM_MSG_OPEN:
		if (!memchr(m->name, '\0', sizeof(m->name)))
			return "an object's name has no end";
		return nfds == 1 ? NULL : "not one descriptor came with an object";
	case VMSHM_MSG_CLOSED:
		return nfds == 0 ? NULL : "descriptors came with a message that has none";
	}
	return "a message is of a kind that is not known";
}

#endif
