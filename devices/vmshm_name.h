/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What name a guest gave: judged here, before anybody is asked for an object of that name. The
 * libraries of hosts are not relied on for any of it: they differ in what they make of slashes and
 * dots.
 * Any thread.
 */
#ifndef DEVICES_VMSHM_NAME_H
#define DEVICES_VMSHM_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "devices/vmshm_open.h"

/*
 * Takes the name from the @len bytes at @buf, which the guest chose and which do not change during
 * the call; what is behind VMSHM_NAME_SIZE is not looked at. One slash at the beginning is left
 * out. 0, and @ret is zero behind the name; or -EINVAL when there is no NUL, or the name is empty,
 * "." or "..", longer than VMSHM_NAME_MAX, or has a slash or a control character in it.
 */
int vmshm_name_parse(const char *buf, size_t len, char ret[VMSHM_NAME_MAX + 1]);

/*
 * Whether @name, without its slash, begins as those of minivmm's own objects do
 * (SHM_OBJECT_PREFIX), which no guest gets; a glob or prefix that begins so is about nothing else.
 */
bool vmshm_name_is_own(const char *name);

/* @name for a log: bytes that a terminal might take for something else are question marks. */
void vmshm_name_show(const char name[VMSHM_NAME_MAX + 1], char ret[VMSHM_NAME_MAX + 1]);

#endif
