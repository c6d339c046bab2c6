/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program gives up before it meets foreign data: new privileges, capabilities, paths and
 * every system call that is not on its list. What it keeps: the fds it has, and in directories that
 * it names the rights that it names.
 */
#ifndef BASE_CONFINE_H
#define BASE_CONFINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/seccomp.h"

struct confine_dir {
	int fd;			/* of a directory; borrowed */
	uint64_t rights;	/* mask of LANDLOCK_ACCESS_FS_*, of Landlock's first version */
};

/*
 * The last act of set-up, in the program's only thread. The rights to paths are Landlock's, which
 * old kernels lack: that is a line of the log then, and the filter is there all the same. @kind, as
 * seccomp_filter_new has it. 0 or -errno with @e.
 */
int confine_enter(const char *kind, const struct confine_dir *dirs, size_t n_dirs,
		  const struct seccomp_rule *rules, size_t n_rules, enum seccomp_mode mode,
		  struct err *e);

#endif
