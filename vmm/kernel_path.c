/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kernel_path.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/range.h"
#include "minivmm_config.h"

int kernel_path_default(char *buf, size_t len, struct err *e)
{
	/* Relative to the program: build tree, installation; then the data directory it was built
	 * for. */
	static const char *const places[] = {
		"/../guest/vmlinux",
		"/../share/minivmm/vmlinux",
		MINIVMM_DATADIR "/vmlinux",
	};
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	exe[n < 0 ? 0 : n] = '\0';
	slash = strrchr(exe, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		bool absolute = i == ARRAY_SIZE(places) - 1;

		if (snprintf(buf, len, "%s%s", absolute ? "" : exe, places[i]) < (int)len &&
		    access(buf, R_OK) == 0)
			return 0;
	}
	return err_set(e, -ENOENT,
		       "no kernel: give one with --kernel FILE, or build the default one with "
		       "guest/kernel.sh (looked for %s)",
		       MINIVMM_DATADIR "/vmlinux");
}
