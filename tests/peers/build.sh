#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the daemon of this folder on a release of the Rust crate vhost, as its Cargo.lock has it. The
# result is in the cache, by a key over all that is here, so that only the first time needs Rust and
# the crates' registry.
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
guest=$peers/../../guest
. "$guest/common.sh"
. "$peers/cargo.sh"

usage()
{
	{
		echo "usage: build.sh RELEASE"
		echo "Builds it if need be and prints its path. Releases:" "$peers"/vhost-* |
			sed "s|$peers/vhost-||g"
	} >&2
	exit 2
}

# Raise it when the recipe below changes what comes out
recipe=1

peer_key()
{
	{
		echo "$recipe"
		cat "$peers/pmem.rs" "$manifest/Cargo.toml" "$manifest/Cargo.lock"
	} | key
}

build()
{
	find_cargo "$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$manifest/Cargo.toml")"
	say "building the daemon on vhost $release (a minute)"
	run_cargo build --release --manifest-path "$manifest/Cargo.toml"
	mkdir "$tmp/out"
	cp "$tmp/target/release/peer" "$tmp/out/peer"
	publish "$tmp/out" "$out"
}

[ $# -eq 1 ] || usage
release=$1
manifest=$peers/vhost-$release
[ -f "$manifest/Cargo.toml" ] || usage

find_peer "$release.$(peer_key)"
echo "$out/peer"
