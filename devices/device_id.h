/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user may call a device (id=): the word by which messages name it.
 */
#ifndef DEVICES_DEVICE_ID_H
#define DEVICES_DEVICE_ID_H

#include "base/err.h"

enum { DEVICE_ID_MAX = 31 };		/* characters */

/* @option ("--vhost-user") is for the message. 0, or -EINVAL with @e that says what makes a name.
 * Any thread. */
int device_id_check(const char *option, const char *id, struct err *e);

#endif
