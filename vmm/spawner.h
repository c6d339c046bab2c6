/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMM's side of a keeper (keeper.h): who has it start and end the daemon of an exec= device,
 * and a dialer of the device's link (devices/vhost_user_link.h). A connection is a daemon started.
 * When the first comes to nothing, the link ends with a sentence about the command; a later one is
 * tried again as any other.
 *
 * Loop, but for what is marked "set-up".
 */
#ifndef VMM_SPAWNER_H
#define VMM_SPAWNER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"
#include "devices/vhost_user_link.h"
#include "devices/vhost_user_options.h"

struct spawner {
	pid_t pid;			/* of the keeper; 0: there is none */
	int sock;			/* to it; -1 */
	struct loop *loop;
	struct loop_watch watch;	/* while an answer is due; else its fd is -1 */
	struct vhost_user_link *asking;	/* who waits for it; NULL: nobody any more */
	bool explaining;		/* it is about the end of the first daemon, whose ... */
	struct err why;			/* ... connection came to nothing because of this */
};

/* Its ctx is a struct spawner. */
extern const struct vhost_user_dialer spawner_dialer;

/* Set-up, before there is a thread or a filter: forks the keeper of device @o, whose command is
 * copied with the process. 0 or -errno with @e. */
int spawner_start(struct spawner *s, const struct vhost_user_options *o, struct err *e);
/* Set-up. @loop is borrowed until spawners_end. */
void spawner_use(struct spawner *s, struct loop *loop);
/* After vhost_user_link_fini of each. Has the @n keepers end their daemons, and waits until all of
 * them have: some seconds at most. Works on zeroed structs, twice. */
void spawners_end(struct spawner *s, unsigned n);

#endif
