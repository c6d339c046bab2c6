/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/device_id.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

int device_id_check(const char *option, const char *id, struct err *e)
{
	size_t len = strlen(id);

	if (len > DEVICE_ID_MAX)
		return err_set(e, -EINVAL, "%s: id: %zu characters are too many; give at most %d",
			       option, len, DEVICE_ID_MAX);
	for (const char *c = id; *c; c++) {
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
			return err_set(e, -EINVAL, "%s: id: %s: only letters, digits, \".\", \"_\""
				       " and \"-\" make a name", option, id);
	}
	return 0;
}
