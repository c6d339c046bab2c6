/* SPDX-License-Identifier: Apache-2.0 */
#include "verb.h"

#include "sys.h"
#include "text.h"

int verb_fail(const struct call *c, const char *fmt, ...)
{
	char prefix[64];
	va_list ap;

	text_format(prefix, sizeof(prefix), "minivmm-init: FAIL %s: ", c->verb);
	va_start(ap, fmt);
	text_vsay(prefix, fmt, ap);
	va_end(ap);
	return -1;
}

void verb_say(const struct call *c, const char *fmt, ...)
{
	char prefix[64];
	va_list ap;

	text_format(prefix, sizeof(prefix), "minivmm-init: %s: ", c->verb);
	va_start(ap, fmt);
	text_vsay(prefix, fmt, ap);
	va_end(ap);
}

int verb_cat(const struct call *c, const char *path)
{
	char buf[4096];
	int fd = sys_open(path, O_RDONLY);
	long n;

	if (fd < 0)
		return verb_fail(c, "%s: %e", path, fd);
	while ((n = sys_read(fd, buf, sizeof(buf))) > 0)
		sys_write(1, buf, (size_t)n);
	sys_close(fd);
	if (n < 0)
		return verb_fail(c, "reading %s: %e", path, (int)n);
	return 0;
}
