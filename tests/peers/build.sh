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
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	# rustc beside its cargo
	PATH=$(dirname "$cargo"):$PATH nice -n 5 "$cargo" build --quiet --locked --release \
		--manifest-path "$manifest/Cargo.toml" --target-dir "$tmp/target" 9>&- >&2
	mkdir "$tmp/out"
	cp "$tmp/target/release/peer" "$tmp/out/peer"
	publish "$tmp/out" "$out"
}

[ $# -eq 1 ] || usage
release=$1
manifest=$peers/vhost-$release
[ -f "$manifest/Cargo.toml" ] || usage

mkdir -p "$cache/peer"
out=$cache/peer/$release.$(peer_key)
if [ ! -d "$out" ]; then
	cache_lock peer
	[ -d "$out" ] || build
	exec 9>&-
fi
touch "$out"
prune "$cache/peer"
echo "$out/peer"
