#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the vsock daemon of the rust-vmm project, as the crates' registry has it and with the versions
# that it was released with. The result is in the cache, so that only the first time needs Rust and
# the registry. Prints the program's path.
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
guest=$peers/../../guest
. "$guest/common.sh"
. "$peers/cargo.sh"

release=0.3.0
rust=1.85

build()
{
	find_cargo "$rust"
	say "building vhost-device-vsock $release (two minutes)"
	run_cargo install --version "=$release" --root "$tmp/root" --no-track vhost-device-vsock
	publish "$tmp/root" "$out"
}

[ $# -eq 0 ] || { echo "usage: vsock.sh" >&2; exit 2; }
find_peer "vsock-$release.$(key <"$peers/vsock.sh")"
echo "$out/bin/vhost-device-vsock"
