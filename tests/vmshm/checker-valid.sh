#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the kernel's make asks before it checks (C=2): `checker-valid.sh CHECKER FLAGS...` says 1 when
# it can.
set -eu
echo 'static int one = 1;' >/tmp/one.c
if "$@" /tmp/one.c >/dev/null 2>&1; then echo 1; else echo 0; fi
