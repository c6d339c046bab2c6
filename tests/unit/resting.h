/* SPDX-License-Identifier: Apache-2.0 */
/* Links that lost their daemon. The pause before the next is asked for is of real time: on a slow
 * machine it may be over when a test looks. */
#ifndef UNIT_RESTING_H
#define UNIT_RESTING_H

#include "devices/vhost_user_link.h"

static inline bool is_resting(const struct vhost_user_link *l)
{
	return l->state == VHOST_USER_LINK_PAUSING || l->state == VHOST_USER_LINK_ASKING;
}

#endif
