/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vmshm_name.h"

#include <errno.h>
#include <string.h>

#include "guest/vmshm/vmshm_regs.h"
#include "memory/shm.h"

/* Bytes from 0x80 on are a name's like any others: what they mean is between its users. */
static bool byte_ok(unsigned char c)
{
	return c >= 0x20 && c != 0x7f && c != '/';
}

int vmshm_name_parse(const char *buf, size_t len, char ret[VMSHM_NAME_MAX + 1])
{
	const char *end = memchr(buf, 0, len < VMSHM_NAME_SIZE ? len : VMSHM_NAME_SIZE);
	size_t n;

	if (!end)
		return -EINVAL;
	if (*buf == '/')
		buf++;
	n = (size_t)(end - buf);
	if (n == 0 || n > VMSHM_NAME_MAX || strcmp(buf, ".") == 0 || strcmp(buf, "..") == 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (!byte_ok((unsigned char)buf[i]))
			return -EINVAL;
	}
	memset(ret, 0, VMSHM_NAME_MAX + 1);
	memcpy(ret, buf, n);
	return 0;
}

bool vmshm_name_is_own(const char *name)
{
	return !strncmp(name, &SHM_OBJECT_PREFIX[1], sizeof(SHM_OBJECT_PREFIX) - 2);
}

void vmshm_name_show(const char name[VMSHM_NAME_MAX + 1], char ret[VMSHM_NAME_MAX + 1])
{
	size_t i;

	for (i = 0; i < VMSHM_NAME_MAX && name[i]; i++)
		ret[i] = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
	ret[i] = 0;
}
