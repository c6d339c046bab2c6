#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes an initrd, the same bytes each time. Not compressed unless asked for: unpacking a gzip costs
# a guest more than anything else that a small initrd does.
set -eu
guest=$(cd "$(dirname "$0")" && pwd)
. "$guest/common.sh"

usage()
{
	cat >&2 <<'END'
usage: initrd.sh [--init-only | --busybox] [--gzip] [OUT]
  --init-only  our init and nothing else (the default)
  --busybox    BusyBox and our init: a shell when init has no arguments
  --gzip       compressed
Without OUT the initrd is in the cache. Prints its path.
END
	exit 2
}

make_initrd()
{
	mkdir "$tmp/root" "$tmp/out"
	cp "$init" "$tmp/root/init"
	if [ "$kind" = busybox ]; then
		busybox_into "$tmp/root"
		mkdir -p "$tmp/root/root" "$tmp/root/tmp" "$tmp/root/etc"
	fi
	cpio_of "$tmp/root" >"$tmp/out/initrd.cpio"
	[ -z "$gzip" ] || gzip -n -9 "$tmp/out/initrd.cpio"
	publish "$tmp/out" "$out"
}

kind=init
gzip=
while [ $# -gt 0 ]; do
	case $1 in
	--init-only) kind=init ;;
	--busybox) kind=busybox ;;
	--gzip) gzip=.gz ;;
	-*) usage ;;
	*) break ;;
	esac
	shift
done
[ $# -le 1 ] || usage

command -v cpio >/dev/null || need guest
mkdir -p "$cache/initrd"
tmp=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

init=$(init_build)
busybox=$(busybox)
out=$cache/initrd/$kind$gzip.$(cat "$guest/initrd.sh" "$guest/common.sh" "$init" "$busybox" | key)
[ -d "$out" ] || make_initrd
touch "$out"
prune "$cache/initrd"
if [ $# = 1 ]; then
	cp "$out/initrd.cpio$gzip" "$1"
	echo "$1"
else
	echo "$out/initrd.cpio$gzip"
fi
