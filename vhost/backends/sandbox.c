/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/range.h"

#define ANY SECCOMP_ANY, 0

/* What every device does: wait, talk to a front end, map memory (never executable), log. */
static const struct seccomp_rule common_rules[] = {
#ifdef SYS_epoll_wait			/* newer architectures have only the other */
	{ SYS_epoll_wait, ANY },
#endif
	{ SYS_epoll_pwait, ANY },
	{ SYS_epoll_ctl, ANY },
	{ SYS_read, ANY },
	{ SYS_write, ANY },
	{ SYS_accept4, ANY },
	{ SYS_recvmsg, ANY },
	{ SYS_sendmsg, ANY },
	{ SYS_close, ANY },
	{ SYS_fcntl, 1, F_GETFL },
	{ SYS_fcntl, 1, F_SETFL },
	{ SYS_fcntl, 1, F_DUPFD_CLOEXEC },
	{ SYS_memfd_create, ANY },	/* GET_INFLIGHT_FD: the buffer, its size, its seals */
	{ SYS_ftruncate, ANY },
	{ SYS_fcntl, 1, F_ADD_SEALS },
	{ SYS_fstat, ANY },
	{ SYS_newfstatat, 3, AT_EMPTY_PATH },
	{ SYS_mmap, 2, PROT_READ | PROT_WRITE },
	{ SYS_munmap, ANY },
	{ SYS_mremap, ANY },
	{ SYS_madvise, ANY },
	{ SYS_brk, ANY },
	{ SYS_futex, ANY },
	{ SYS_clock_gettime, ANY },	/* hosts whose clock has no vDSO */
};

enum { RULES_MAX = 80 };

int sandbox_enter_helper(const char *kind, const struct seccomp_rule *rules, size_t n_rules,
			 enum seccomp_mode mode, struct err *e)
{
	return confine_enter(kind, NULL, 0, rules, n_rules, mode, e);
}

int sandbox_enter(const struct device_type *type, const int *dirs, size_t n_dirs,
		  enum seccomp_mode mode, struct err *e)
{
	struct confine_dir own[DEVICE_DIRS_MAX + 1];
	struct seccomp_rule rules[RULES_MAX];
	size_t n = ARRAY_SIZE(common_rules);

	assert(n_dirs <= ARRAY_SIZE(own) && n + type->n_rules + 2 * n_dirs <= RULES_MAX);
	memcpy(rules, common_rules, sizeof(common_rules));
	if (type->n_rules)
		memcpy(rules + n, type->rules, type->n_rules * sizeof(rules[0]));
	n += type->n_rules;
	/* Of all paths only the removal of a socket in the socket's own directory remains. The
	 * filter alone cannot say that: it sees the directory's fd, not the name. */
	for (size_t i = 0; i < n_dirs; i++) {
		own[i] = (struct confine_dir){ dirs[i], LANDLOCK_ACCESS_FS_REMOVE_FILE };
		rules[n++] = (struct seccomp_rule){ SYS_newfstatat, 0, (uint32_t)dirs[i] };
		rules[n++] = (struct seccomp_rule){ SYS_unlinkat, 0, (uint32_t)dirs[i] };
	}
	if (chdir("/") < 0)
		return err_sys(e, "sandbox: chdir");
	return confine_enter(type->name, own, n_dirs, rules, n, mode, e);
}
