/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "memory/shm.h"
#include "memory/shm_named.h"
#include "tests/unit/process.h"
#include "tests/unit/ram.h"

int ram_try(struct guest_mem *m, const char *option, uint64_t size, struct err *e)
{
	struct mem_options o = MEM_OPTIONS_DEFAULT;
	autoclose int named = -1;
	int r;

	*e = (struct err){ "" };
	r = mem_options_parse(&o, option, e);
	if (r)
		fail_msg("%s: %s", option, e->msg);
	if (o.name && shm_named_create(&named, e))
		fail_msg("%s: %s", option, e->msg);
	r = guest_mem_init(m, &o, named, size, e);
	if (r && o.name)
		shm_named_unlink(named, o.name);
	mem_options_fini(&o);
	return r;
}

struct guest_mem ram_new(const char *option, uint64_t size)
{
	struct guest_mem m;
	struct err e;

	if (ram_try(&m, option, size, &e))
		fail_msg("%s: %s", option, e.msg);
	return m;
}

void ram_assert_refused(const char *option, uint64_t size, int code, const char *sentence)
{
	struct guest_mem m;
	struct err e;
	int r = ram_try(&m, option, size, &e);

	if (r != code || !strstr(e.msg, sentence))
		fail_msg("%s: %d \"%s\" is not %d \"%s\"", option, r, e.msg, code, sentence);
	assert_int_equal(m.count, 0);
}

const char *ram_option(const char *format, ...)
{
	static char text[512];
	va_list ap;
	int len;

	va_start(ap, format);
	len = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	assert_in_range(len, 0, sizeof(text) - 1);
	return text;
}

struct stat ram_status(const struct guest_mem *m, unsigned region)
{
	struct stat st;

	assert_int_equal(fstat(m->regions[region].fd, &st), 0);
	return st;
}

unsigned ram_shm_names(void)
{
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "%s%d-", &SHM_OBJECT_PREFIX[1], (int)getpid());
	return process_count_names("/dev/shm", prefix);
}

struct ram_file ram_file_new(uint64_t size)
{
	const char *dir = getenv("TMPDIR");
	struct ram_file f;
	int fd, len;

	len = snprintf(f.path, sizeof(f.path), "%s/minivmm-ram-XXXXXX", dir ? dir : "/tmp");
	assert_in_range(len, 1, sizeof(f.path) - 1);
	fd = mkstemp(f.path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	return f;
}

void ram_file_fini(const struct ram_file *f)
{
	unlink(f->path);
}

void ram_limit_set(int resource, uint64_t value)
{
	struct rlimit limit;

	assert_int_equal(getrlimit((__rlimit_resource_t)resource, &limit), 0);
	limit.rlim_cur = value;
	assert_int_equal(setrlimit((__rlimit_resource_t)resource, &limit), 0);
}

void ram_limit_reset(int resource)
{
	struct rlimit limit;

	assert_int_equal(getrlimit((__rlimit_resource_t)resource, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit((__rlimit_resource_t)resource, &limit), 0);
}
