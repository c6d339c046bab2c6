#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a root disk, ext4: our init, BusyBox, and /data with known files and their hashes. No mount, no root; the
# same bytes each time. Everything is laid out here, so that the guest writes nothing in the background.
set -eu
guest=$(cd "$(dirname "$0")" && pwd)
. "$guest/common.sh"

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ "${1#-}" != "$1" ]; then
	echo "usage: image.sh OUT [SIZE]    SIZE as mke2fs takes it, 256M unless given" >&2
	exit 2
fi
out=$1
size=${2:-256M}

mke2fs=$(PATH=$PATH:/usr/sbin:/sbin command -v mke2fs) || {
	need guest
	mke2fs=$(PATH=$PATH:/usr/sbin:/sbin command -v mke2fs)
}
mkdir -p "$cache"
tmp=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

root=$tmp/root
init=$(init_build)
mkdir -p "$root/sbin" "$root/etc" "$root/root" "$root/data/deep/er"
for dir in dev proc sys run tmp mnt; do
	mkdir "$root/$dir"
done
cp "$init" "$root/sbin/init"
busybox_into "$root"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
echo minivmm >"$root/etc/hostname"

# /data: empty, smaller than a block, a block and a byte, some MiB, a hole in the middle
: >"$root/data/empty"
echo 'This file was on the disk before the guest was started.' >"$root/data/text"
"$init" stream=4097,2 >"$root/data/deep/block-and-a-byte"
"$init" stream=5M,3 >"$root/data/deep/er/five-mib"
{
	"$init" stream=64K,4
	head -c 1048576 /dev/zero
	"$init" stream=64K,5
} >"$root/data/hole"
(
	cd "$root/data"
	find . -type f | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum >"$tmp/manifest"
)
cp "$tmp/manifest" "$root/data/manifest"

find "$root" -exec touch -h -d @1704067200 {} +
truncate -s 0 "$tmp/image" # else mke2fs talks
E2FSPROGS_FAKE_TIME=1704067200 "$mke2fs" -q -t ext4 -F -b 4096 -N 2048 -m 0 -L minivmm \
	-U 6d696e69-766d-4d00-8000-000000000001 -d "$root" \
	-E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed=6d696e69-766d-4d00-8000-000000000002 \
	"$tmp/image" "$size"
cp --sparse=always "$tmp/image" "$out"
