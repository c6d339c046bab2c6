#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the daemons of others, as the crates' registry has them and with the versions that they were
# released with. What of the table below is not in the cache is built in one go, as most of it is the
# same libraries, so that only the first time needs Rust and the registry. Prints a program's path.
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
guest=$peers/../../guest
. "$guest/common.sh"
. "$peers/cargo.sh"

# Raise it when the recipe below changes what comes out
recipe=1
rust=1.85

# The table of crates, each of which has a program of its name: release, options of cargo
crates()
{
	cat <<'END'
vhost-device-console 0.1.0
vhost-device-i2c 0.1.0
vhost-device-input 0.1.0
vhost-device-rng 0.1.0
vhost-device-scmi 0.4.0
vhost-device-scsi 0.1.0
vhost-device-sound 0.3.0 --no-default-features
vhost-device-vsock 0.3.0
virtiofsd 1.14.0
END
}

usage()
{
	{
		echo "usage: crate.sh NAME"
		echo "Builds it if need be, and what else is missing, and prints its path. Names:"
		crates | sed 's/^/  /'
	} >&2
	exit 2
}

# key_of NAME RELEASE OPTION..: the name of its directory in the cache
key_of()
{
	echo "$1-$2.$(echo "$recipe $*" | key)"
}

build_crate()
{
	crate=$1
	release=$2
	crate_out=$cache/peer/$(key_of "$@")
	[ ! -d "$crate_out" ] || return 0
	shift 2
	say "building $crate $release"
	# built quickly, but for the one whose speed is looked at (tests/bench/vmshm)
	quick=1
	[ "$crate" != vhost-device-vsock ] || quick=3
	CARGO_PROFILE_RELEASE_OPT_LEVEL=$quick run_cargo install --version "=$release" --root "$tmp/$crate" --no-track "$@" "$crate"
	publish "$tmp/$crate" "$crate_out"
}

build()
{
	need crates
	find_cargo "$rust"
	say "building what is missing of other people's daemons (some minutes)"
	crates | while read -r line; do
		# shellcheck disable=SC2086 # a list of words
		build_crate $line </dev/null
	done
}

[ $# -eq 1 ] || usage
wanted=$(crates | grep "^$1 ") || usage
# shellcheck disable=SC2086 # a list of words
find_peer "$(key_of $wanted)"
echo "$out/bin/$1"
