#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--list] [--tag TAG]... [PATTERN...]: sets up and runs every test, or those named.
#
# One line a test, suite/name; the last line is "N passed, N failed" (", N skipped"). A PATTERN is
# how the name or a part of it after a / or . begins, or a shell pattern for the whole of it; several
# are alternatives. Tags narrow further. What developers run before they push and what CI runs is this, without arguments.
set -eu

cd "$(dirname "$0")/.."
. guest/deps.sh

need build guest erofs disk test lab
exec python3 -B tests/runner "$@"
