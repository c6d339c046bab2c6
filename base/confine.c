/* SPDX-License-Identifier: Apache-2.0 */
#include "base/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

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

static void restrict_paths(const struct confine_dir *dirs, size_t n_dirs)
{
	/* Version 1's rights, all of them. */
	const uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;
	struct landlock_ruleset_attr all = { .handled_access_fs = rights };
	autoclose int set = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	bool failed = set < 0;

	for (size_t i = 0; i < n_dirs && !failed; i++) {
		struct landlock_path_beneath_attr own = {
			.allowed_access = dirs[i].rights, .parent_fd = dirs[i].fd
		};

		failed = syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &own,
				 0) < 0;
	}
	if (failed || syscall(SYS_landlock_restrict_self, set, 0) < 0)
		log_info("this kernel has no Landlock (%s): there is the system call filter alone, which sees no names:"
			 " a call that takes one takes any path of this user's", strerror(errno));
}

int confine_enter(const char *kind, const struct confine_dir *dirs, size_t n_dirs,
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
