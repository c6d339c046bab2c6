/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Has the supervisor connect to daemons while the guest runs: the dialer of every device's link
 * (devices/vhost_user_link.h). Never waits. Loop, but for dialer_init.
 */
#ifndef VMM_DIALER_H
#define VMM_DIALER_H

#include "base/loop.h"
#include "devices/vhost_user_link.h"
#include "vmm/options.h"
#include "vmm/supervisor.h"

struct dialer {
	struct supervisor *supervisor;
	struct loop *loop;
	struct loop_watch watch;	/* of supervisor->main.sock, from the first question on */
	struct vhost_user_link *asking[OPTIONS_LIST_MAX];	/* by number; who waits */
};

extern const struct vhost_user_dialer dialer_ops;	/* ctx: struct dialer */

/* Set-up. @s and @loop are borrowed. Nothing is to be undone before the loop ends. */
void dialer_init(struct dialer *d, struct supervisor *s, struct loop *loop);

#endif
