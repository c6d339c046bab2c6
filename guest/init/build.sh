#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiles init: `build.sh OUT`. No C library, no build system: it is needed where neither is.
set -eu
[ $# = 1 ] || { echo "usage: build.sh OUT" >&2; exit 2; }
src=$(cd "$(dirname "$0")" && pwd)
# the compiler may not turn the loops of memset or strlen into calls of themselves
exec "${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion \
	-ffreestanding -fno-tree-loop-distribute-patterns -fno-stack-protector -fno-pie \
	-fno-asynchronous-unwind-tables -nostdlib -static -no-pie \
	-Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,noexecstack -s -o "$1" "$src"/*.c
