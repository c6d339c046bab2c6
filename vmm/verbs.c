/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/verbs.h"

#include <stddef.h>
#include <string.h>

#include "tools/vu_check.h"
#include "tools/vu_trace.h"

const struct verb verbs[] = {
	{ "vu-check", "[--json] [TYPE,]socket=PATH[,key=value...]", vu_check_main,
	  "judges the daemon that listens at PATH by the rules of the specification, without a guest" },
	{ "vu-trace", "FILE", vu_trace_main,
	  "prints what --vu-trace wrote to FILE as a ladder of messages; - is standard input" },
	{ 0 },
};

const struct verb *verbs_find(const char *name)
{
	for (const struct verb *v = verbs; name && v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}
