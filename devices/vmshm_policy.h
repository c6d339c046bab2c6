/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VMShm device's options say about a name that the guest gave. Looks at nothing but its
 * arguments: not even whether there is an object depends on what is refused. Any thread or process.
 */
#ifndef DEVICES_VMSHM_POLICY_H
#define DEVICES_VMSHM_POLICY_H

#include <stdbool.h>

#include "devices/vmshm_open.h"
#include "devices/vmshm_options.h"

enum vmshm_policy {
	VMSHM_POLICY_REFUSED,
	VMSHM_POLICY_MAP,		/* a descriptor that was inherited */
	VMSHM_POLICY_HOST,		/* an object in /dev/shm */
};

struct vmshm_verdict {
	enum vmshm_policy policy;
	const struct vmshm_map *map;	/* MAP: borrowed from the options */
	char host[VMSHM_NAME_MAX + 1];	/* HOST: the object's name, without a slash */
	bool rw;			/* MAP, HOST: it may be written, and is to be */
};

/*
 * @name as vmshm_name_parse gives it; @ro: reading is enough. Maps come first. Else the prefix is
 * put before @name, and the first allow= that matches decides, but for names that are minivmm's own
 * (SHM_OBJECT_PREFIX) or have become none, being too long or "..": those are refused.
 */
struct vmshm_verdict vmshm_policy_judge(const struct vmshm_options *o, const char *name, bool ro);

#endif
