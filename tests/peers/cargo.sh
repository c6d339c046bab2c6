# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
# A cargo for what is built here from the crates' registry. To be sourced after guest/common.sh.

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
