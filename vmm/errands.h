/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the loop has the supervisor do while the guest runs, since it may not do it itself: connect
 * to sockets, for the links of devices (devices/vhost_user_link.h), and open objects, for VMShm
 * devices (devices/vmshm_open.h). Questions and answers go over one socket, in order; each asker
 * has one question open at a time, which is what the socket has room for: nothing here waits.
 *
 * Sockets have numbers: that of --vhost-user N is N, that of events-peer= of --vmshm N is
 * ERRANDS_EVENTS_PEER + N, that of display= of --vhost-user N is ERRANDS_DISPLAY + N. A link's
 * number (vhost_user_link_use) is that of its socket, and it need not belong to a vhost-user
 * device.
 *
 * Loop, but for errands_init.
 */
#ifndef VMM_ERRANDS_H
#define VMM_ERRANDS_H

#include "base/log.h"
#include "base/loop.h"
#include "devices/vhost_user_link.h"
#include "devices/vmshm_open.h"
#include "vmm/options.h"
#include "vmm/supervisor.h"

enum {
	ERRANDS_EVENTS_PEER = OPTIONS_LIST_MAX, ERRANDS_DISPLAY = 2 * OPTIONS_LIST_MAX,
	ERRANDS_SOCKETS = 3 * OPTIONS_LIST_MAX
};

/* Whose the answers about objects are: the VMShm devices. */
struct errands_vmshm_ops {
	/* To device @a->device. *@fd is taken. As vmshm_answered (devices/vmshm.h). */
	void (*answered)(void *arg, const struct vmshm_answer *a, int *fd);
	/* To all of them, once: no answer comes any more. As vmshm_opener_gone. */
	void (*gone)(void *arg);
};

struct errands {
	struct supervisor *supervisor;
	struct loop *loop;
	struct loop_watch watch;	/* of supervisor->main.sock, from the first question on */
	bool ended;			/* the supervisor is gone */
	struct vhost_user_link *asking[ERRANDS_SOCKETS];	/* by number; who waits */
	const struct errands_vmshm_ops *ops;	/* NULL: there is no VMShm device */
	void *arg;
	bool opening[OPTIONS_LIST_MAX];		/* by VMShm device: a question is open */
};

extern const struct vhost_user_dialer errands_dialer;	/* ctx: struct errands */
extern const struct vmshm_opener errands_opener;	/* ctx: struct errands */

/* Set-up. @s and @loop are borrowed. Nothing is to be undone before the loop ends. */
void errands_init(struct errands *d, struct supervisor *s, struct loop *loop);
/* Set-up, before a VMShm device asks. @ops and @arg are borrowed. */
void errands_serve_vmshm(struct errands *d, const struct errands_vmshm_ops *ops, void *arg);

#endif
