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
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	# rustc beside its cargo
	PATH=$(dirname "$cargo"):$PATH nice -n 5 "$cargo" install --quiet --locked --version "=$release" \
		--root "$tmp/root" --target-dir "$tmp/target" --no-track vhost-device-vsock 9>&- >&2
	publish "$tmp/root" "$out"
}

[ $# -eq 0 ] || { echo "usage: vsock.sh" >&2; exit 2; }
mkdir -p "$cache/peer"
out=$cache/peer/vsock-$release.$(key <"$peers/vsock.sh")
if [ ! -d "$out" ]; then
	cache_lock peer
	[ -d "$out" ] || build
	exec 9>&-
fi
touch "$out"
prune "$cache/peer"
echo "$out/bin/vhost-device-vsock"
