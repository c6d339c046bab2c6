#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints a C table of the system calls' names as the compiler's headers number them.
# Usage: syscall_names.sh CC...
set -eu
echo '#include <sys/syscall.h>' | "$@" -E -dM - |
	sed -n 's/^#define __NR_\([a-z0-9_]*\) .*/[__NR_\1] = "\1",/p' | LC_ALL=C sort
