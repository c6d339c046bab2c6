/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/backends/sandbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
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

static int filter(const char *kind, const struct seccomp_rule *rules, size_t n,
		  enum seccomp_mode mode, struct err *e)
{
	struct seccomp_filter *f;
	int r = seccomp_filter_new(kind, rules, n, mode, &f, e);

	if (!r)
		r = seccomp_filter_install(f, e);
	seccomp_filter_free(f);
	return r;
}

/* Root without capabilities is still the owner of root's files, so that is not all of it. */
static int drop_capabilities(struct err *e)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	/* Fails without CAP_SETPCAP; then there is little to lose. */
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			break;
	if (syscall(SYS_capset, &h, none) < 0)
		return err_sys(e, "sandbox: capabilities cannot be dropped");
	return 0;
}

/*
 * Of all paths only the removal of a socket in the socket's own directory remains. The filter alone
 * cannot say that: it sees the directory's fd, not the name. Old kernels lack Landlock; the
 * filter is there all the same.
 */
static void restrict_paths(const int *dirs, size_t n_dirs)
{
	/* Version 1's rights, all of them. */
	const uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
	struct landlock_ruleset_attr all = { .handled_access_fs = rights };
	autoclose int set = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	bool failed = set < 0;

	for (size_t i = 0; i < n_dirs && !failed; i++) {
		struct landlock_path_beneath_attr own = {
			.allowed_access = LANDLOCK_ACCESS_FS_REMOVE_FILE, .parent_fd = dirs[i]
		};

		failed = syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &own,
				 0) < 0;
	}
	if (failed || syscall(SYS_landlock_restrict_self, set, 0) < 0)
		log_info("this kernel has no Landlock: paths are closed by the system call filter alone (%s)", strerror(errno));
}

static int confine(const char *kind, const int *dirs, size_t n_dirs,
		   const struct seccomp_rule *rules, size_t n_rules, enum seccomp_mode mode,
		   struct err *e)
{
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "sandbox: no_new_privs");
	restrict_paths(dirs, n_dirs);
	r = drop_capabilities(e);
	return r ? r : filter(kind, rules, n_rules, mode, e);
}

int sandbox_enter_helper(const char *kind, const struct seccomp_rule *rules, size_t n_rules,
			 enum seccomp_mode mode, struct err *e)
{
	return confine(kind, NULL, 0, rules, n_rules, mode, e);
}

int sandbox_enter(const struct device_type *type, const int *dirs, size_t n_dirs,
		  enum seccomp_mode mode, struct err *e)
{
	struct seccomp_rule rules[RULES_MAX];
	size_t n = ARRAY_SIZE(common_rules);

	assert(n + type->n_rules + 2 * n_dirs <= RULES_MAX);
	memcpy(rules, common_rules, sizeof(common_rules));
	if (type->n_rules)
		memcpy(rules + n, type->rules, type->n_rules * sizeof(rules[0]));
	n += type->n_rules;
	for (size_t i = 0; i < n_dirs; i++) {
		rules[n++] = (struct seccomp_rule){ SYS_newfstatat, 0, (uint32_t)dirs[i] };
		rules[n++] = (struct seccomp_rule){ SYS_unlinkat, 0, (uint32_t)dirs[i] };
	}
	if (chdir("/") < 0)
		return err_sys(e, "sandbox: chdir");
	return confine(type->name, dirs, n_dirs, rules, n, mode, e);
}
