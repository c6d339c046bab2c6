#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a root disk, ext4 or EROFS: our init, BusyBox, and /data with known files and their hashes. No mount,
# no root; the same bytes each time. Everything is laid out here, so that the guest writes nothing
# in the background.
set -eu
guest=$(cd "$(dirname "$0")" && pwd)
. "$guest/common.sh"

usage()
{
	cat >&2 <<'END'
usage: image.sh [OUT [SIZE]]
  OUT   a copy for a guest to write to; without it the image is in the cache, not to be written
  SIZE  as mke2fs takes it, 256M unless given; or "erofs": an EROFS instead, read-only and of just
        the size it needs, in whole 2 MiB
Prints its path.
END
	exit 2
}

# empty, smaller than a block, a block and a byte, some MiB, a hole in the middle
known_files()
{
	: >empty
	echo 'This file was on the disk before the guest was started.' >text
	mkdir -p deep/er
	"$init" stream=4097,2 >deep/block-and-a-byte
	"$init" stream=5M,3 >deep/er/five-mib
	{
		"$init" stream=64K,4
		head -c 1048576 /dev/zero
		"$init" stream=64K,5
	} >hole
	find . -type f | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum >"$tmp/manifest"
	mv "$tmp/manifest" manifest
}

make_root()
{
	for dir in sbin etc root data dev proc sys run tmp mnt; do
		mkdir -p "$1/$dir"
	done
	cp "$init" "$1/sbin/init"
	busybox_into "$1"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
	echo 'root:x:0:' >"$1/etc/group"
	echo minivmm >"$1/etc/hostname"
	(cd "$1/data" && known_files)
	find "$1" -exec touch -h -d @1704067200 {} +
}

make_ext4()
{
	hash_seed=6d696e69-766d-4d00-8000-000000000002
	# of a file that is not there mke2fs would say that it creates it
	: >"$tmp/out/disk.img"
	E2FSPROGS_FAKE_TIME=1704067200 mke2fs -q -t ext4 -F -b 4096 -N 2048 -m 0 -L minivmm \
		-U 6d696e69-766d-4d00-8000-000000000001 -d "$tmp/root" \
		-E "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed=$hash_seed" \
		"$tmp/out/disk.img" "$size"
}

# Neither compressed nor with data beside inodes: a guest can map all of its files
make_erofs()
{
	mkfs.erofs --quiet --all-root -T 1704067200 -U 6d696e69-766d-4d00-8000-000000000001 \
		-E noinline_data "$tmp/out/disk.img" "$tmp/root"
	truncate -s %2M "$tmp/out/disk.img"
}

make_image()
{
	mkdir "$tmp/out"
	make_root "$tmp/root"
	if [ "$size" = erofs ]; then
		make_erofs
	else
		make_ext4
	fi
	publish "$tmp/out" "$out"
}

[ $# -le 2 ] || usage
case ${1:-} in
-*) usage ;;
esac
size=${2:-256M}

PATH=$PATH:/usr/sbin:/sbin
command -v mke2fs >/dev/null || need guest
[ "$size" != erofs ] || command -v mkfs.erofs >/dev/null || need erofs
mkdir -p "$cache/image"
tmp=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

init=$(init_build)
busybox=$(busybox)
out=$cache/image/$size.$(cat "$guest/image.sh" "$guest/common.sh" "$init" "$busybox" | key)
[ -d "$out" ] || make_image
touch "$out"
prune "$cache/image"
if [ $# -ge 1 ]; then
	cp --sparse=always "$out/disk.img" "$1"
	echo "$1"
else
	echo "$out/disk.img"
fi
