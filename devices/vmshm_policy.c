/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_policy.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "devices/vmshm_name.h"

/* Of the rule that decides about @path, "/x"; NULL: none. */
static const struct vmshm_allow *rule_of(const struct vmshm_options *o, const char *path)
{
	for (unsigned i = 0; i < o->n_allow; i++)
		if (fnmatch(o->allow[i].glob, path, FNM_PATHNAME | FNM_PERIOD) == 0)
			return &o->allow[i];
	return NULL;
}

struct vmshm_verdict vmshm_policy_judge(const struct vmshm_options *o, const char *name, bool ro)
{
	struct vmshm_verdict v = { .policy = VMSHM_POLICY_REFUSED };
	const struct vmshm_allow *rule;
	char path[2 * VMSHM_NAME_MAX + 2];

	for (unsigned i = 0; i < o->n_maps; i++) {
		if (strcmp(o->maps[i].name, name))
			continue;
		v.policy = VMSHM_POLICY_MAP;
		v.map = &o->maps[i];
		v.rw = !ro && !v.map->ro;
		return v;
	}
	snprintf(path, sizeof(path), "/%s%s", o->prefix ? o->prefix : "", name);
	if (vmshm_name_parse(path, sizeof(path), v.host) || vmshm_name_is_own(v.host))
		return v;
	rule = rule_of(o, path);
	if (rule) {
		v.policy = VMSHM_POLICY_HOST;
		v.rw = !ro && !rule->ro;
	}
	return v;
}
