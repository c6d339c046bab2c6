/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting a device to its daemon again after the connection was lost: without limit, with pauses
 * from 100 ms to 5 seconds that double. Also for the first time, where nobody has to be there yet:
 * a VMShm device and another VM (vmshm_peer.h).
 *
 *     up --lost--> pausing --pause over--> asking --a socket--> trying --fits--> up
 *                    ^                       |                    |
 *                    +------- failed --------+--------------------+
 *
 * The link knows when, and says what happened; it makes no connection and judges none. Sockets come
 * from a dialer, since the loop may not make them; the owner negotiates with who is there (trying)
 * and says whether he fits. An owner tells of a loss only when the daemon before is known to touch
 * guest memory no more. A daemon that comes and goes at once costs ever longer pauses, too: only
 * a connection that lasted longer than the first pause before it makes them short again. A reason
 * to fail is told once, until another comes; that nobody listens is not told, as the loss was.
 *
 * Under the device lock, in the loop.
 */
#ifndef DEVICES_VHOST_USER_LINK_H
#define DEVICES_VHOST_USER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

struct vhost_user_link;

/* Who makes connections: the supervisor's client (vmm/errands.h), or who starts daemons
 * (vmm/spawner.h), which alone has the last two. */
struct vhost_user_dialer {
	/* Begins to make a connection to the daemon of device @l->number and returns;
	 * vhost_user_link_answer follows, not from inside. 0; or -errno with @e when there will
	 * never be one again. */
	int (*ask)(void *ctx, struct vhost_user_link *l, struct err *e);
	/* The answer that is due is not wanted any more. */
	void (*forget)(void *ctx, struct vhost_user_link *l);
	/* A device has lost its connection, and its daemon is to end; @dead: it touches guest
	 * memory no more. */
	void (*lost)(void *ctx, struct vhost_user_link *l, bool dead);
	/* The first connection came to nothing because of @why, and there will be no other. True:
	 * vhost_user_link_end follows, not from inside. */
	bool (*first_failed)(void *ctx, struct vhost_user_link *l, const char *why);
};

struct vhost_user_link_ops {
	/* Negotiates over *@sock, which it takes. *@pidfd as vu_frontend_params has it.
	 * vhost_user_link_up or _failed follows, now or later. */
	void (*try)(void *arg, int *sock, int *pidfd);
	/* There will be no connection any more: logged already, and state is off. */
	void (*hopeless)(void *arg);
	/* The same of one that never was, with the sentence, not logged. NULL: hopeless is
	 * called. */
	void (*never)(void *arg, const char *why);
};

enum vhost_user_link_state {
	VHOST_USER_LINK_OFF,		/* what is lost stays lost */
	VHOST_USER_LINK_UP,
	VHOST_USER_LINK_PAUSING,
	VHOST_USER_LINK_ASKING,
	VHOST_USER_LINK_TRYING,
};

struct vhost_user_link {
	enum vhost_user_link_state state;
	struct loop *loop;
	const char *name;		/* the device's */
	unsigned number;		/* of the device on the command line */
	const struct vhost_user_dialer *dialer;
	void *dialer_ctx;
	const struct vhost_user_link_ops *ops;
	void *arg;
	struct loop_timer pause;
	unsigned pause_ms;		/* the last one; 0: none yet */
	unsigned first_ms;		/* that which followed the last loss */
	bool tells_absence;		/* that nobody listens is told, too: set by the owner
					 * or the dialer */
	bool first;			/* there was no connection before */
	uint64_t since;			/* clock_ns() of the loss, or while up of its begin */
	struct err told;		/* the last reason to fail since the loss */
};

/* Set-up. Off. @loop, @name, @ops and @arg are borrowed until vhost_user_link_fini. */
void vhost_user_link_init(struct vhost_user_link *l, struct loop *loop, const char *name,
			  const struct vhost_user_link_ops *ops, void *arg);
/* Set-up, while there is a connection: from now on @dialer, borrowed, makes the next one. */
void vhost_user_link_use(struct vhost_user_link *l, const struct vhost_user_dialer *dialer,
			 void *ctx, unsigned number);
/* Set-up, instead: there is no connection, and the first is asked for when the loop runs. */
void vhost_user_link_begin(struct vhost_user_link *l, const struct vhost_user_dialer *dialer,
			   void *ctx, unsigned number);
/* Works on a zeroed struct, twice. */
void vhost_user_link_fini(struct vhost_user_link *l);

/* Whether there may be a connection some day. */
bool vhost_user_link_is_on(const struct vhost_user_link *l);
/* Whether the owner is negotiating. */
bool vhost_user_link_is_trying(const struct vhost_user_link *l);

/* The connection that was up, also of a link that was taken down since, is gone: a daemon that was
 * started for it is to end. Whether there is one; @dead as vhost_user_dialer has it. */
bool vhost_user_link_dismiss(struct vhost_user_link *l, bool dead);
/* The connection that was up is gone. Off: nothing. */
void vhost_user_link_lost(struct vhost_user_link *l);
/* The daemon that was tried does not fit, or was lost meanwhile: one sentence. */
void vhost_user_link_failed(struct vhost_user_link *l, const char *why);
/* He fits. @more is the end of the line about it, or "". */
void vhost_user_link_up(struct vhost_user_link *l, const char *more);

/* The dialer's answer: a connection, which is taken, with the peer's pidfd or -1; or @error and
 * its sentence @why: none this time. */
void vhost_user_link_answer(struct vhost_user_link *l, int *sock, int *pidfd, int error,
			    const char *why);
/* The dialer's: no answer comes, now and ever. */
void vhost_user_link_end(struct vhost_user_link *l, const char *why);

#endif
