#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes an initrd, the same bytes each time. Not compressed unless asked for: unpacking a gzip costs a guest more than
# anything else in a small initrd's boot.
set -eu
guest=$(cd "$(dirname "$0")" && pwd)
. "$guest/common.sh"

usage()
{
	cat >&2 <<'END'
usage: initrd.sh [--init-only | --busybox] [--gzip] OUT
  --init-only  our init and nothing else (the default)
  --busybox    BusyBox and our init: a shell when init has no arguments
  --gzip       compressed
END
	exit 2
}

kind=init
gzip=
while [ $# -gt 1 ]; do
	case $1 in
	--init-only) kind=init ;;
	--busybox) kind=busybox ;;
	--gzip) gzip=y ;;
	*) usage ;;
	esac
	shift
done
[ $# = 1 ] || usage
case $1 in
-*) usage ;;
esac

command -v cpio >/dev/null || need guest
mkdir -p "$cache"
tmp=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

mkdir "$tmp/root"
init=$(init_build)
cp "$init" "$tmp/root/init"
if [ "$kind" = busybox ]; then
	busybox_into "$tmp/root"
	mkdir -p "$tmp/root/root" "$tmp/root/tmp" "$tmp/root/etc"
fi
cpio_of "$tmp/root" >"$tmp/initrd"
if [ -n "$gzip" ]; then
	gzip -n -9 "$tmp/initrd"
	mv "$tmp/initrd.gz" "$tmp/initrd"
fi
cp "$tmp/initrd" "$1"
