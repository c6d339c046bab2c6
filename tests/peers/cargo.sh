# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
# What is built here from the crates' registry: by a cargo that is new enough, once. To be sourced
# after guest/common.sh.

is_new_enough()
{
	is_there=$("$1" --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
	[ -n "$is_there" ] && printf '%s\n%s\n' "$2" "$is_there" | sort -V -C
}

look_for_cargo()
{
	for cargo in "$(command -v cargo)" /usr/bin/cargo; do
		! is_new_enough "$cargo" "$1" || return 0
	done
	return 1
}

# find_cargo VERSION: $cargo is one of that version or newer, the user's own before Debian's
find_cargo()
{
	look_for_cargo "$1" || { need rust && look_for_cargo "$1"; } || die "no cargo that is new enough"
}

# run_cargo COMMAND ARG..: with the rustc beside it, and without the cache's lock; into $tmp/target
run_cargo()
{
	command=$1
	shift
	PATH=$(dirname "$cargo"):$PATH nice -n 5 "$cargo" "$command" --quiet --locked \
		--target-dir "$tmp/target" "$@" 9>&- >&2
}

# find_peer NAME.KEY: $out is that of the cache; when it is missing, build publishes it, with $tmp to
# work in
find_peer()
{
	mkdir -p "$cache/peer"
	out=$cache/peer/$1
	if [ ! -d "$out" ]; then
		cache_lock peer
		[ -d "$out" ] || build_peer
		exec 9>&-
	fi
	touch "$out"
	prune "$cache/peer"
}

build_peer()
{
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	build
}
