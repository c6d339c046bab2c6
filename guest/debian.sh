#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Debian's cloud kernels as guests: fetches the package (nothing is installed), takes the bzImage as
# shipped, and packs an initrd of our init and the modules that lead to a root on virtio-blk. Each
# result is a directory in the cache with bzImage and initrd.cpio.
set -eu
guest=$(cd "$(dirname "$0")" && pwd)
. "$guest/common.sh"

recipe=1
# Loaded in this order, each after what it depends on
modules="virtio_pci virtio_blk virtio_mmio virtio-rng crc32c_generic crc32c_intel ext4"

meta_of()
{
	case $1 in
	6.1) echo linux-image-cloud-amd64 ;;
	6.12) echo linux-image-6.12-cloud-amd64 ;;
	*)
		echo "usage: debian.sh 6.1|6.12..." >&2
		exit 2
		;;
	esac
}

# The package that a meta package of today depends on
package_of()
{
	apt-cache show --no-all-versions "$1" |
		sed -n 's/^Depends: \(linux-image-[^ ]*\) (= \([^)]*\)).*/\1 \2/p'
}

fetch()
{
	deb=$cache/debian/$package.$(echo "$package_version" | key).deb
	if [ -f "$deb" ]; then
		touch "$deb"
		return 0
	fi
	say "fetching $package $package_version"
	mkdir "$tmp/fetch"
	(cd "$tmp/fetch" && apt-get -q -o APT::Sandbox::User=root download \
		"$package=$package_version" >&2)
	mv "$tmp"/fetch/*.deb "$deb"
}

# add_module FILE: its file, unpacked, at the end of the order, unless it is there
add_module()
{
	name=${1##*/}
	name=${name%.xz}
	[ ! -e "$tmp/initrd/modules/$name" ] || return 0
	case $1 in
	*.xz) xz -dc "$1" >"$tmp/initrd/modules/$name" ;;
	*) cp "$1" "$tmp/initrd/modules/$name" ;;
	esac
	echo "$name" >>"$tmp/initrd/modules/order"
}

pack()
{
	mkdir -p "$tmp/tree" "$tmp/initrd/modules" "$tmp/out"
	dpkg-deb --fsys-tarfile "$deb" | tar -C "$tmp/tree" -x
	release=$(ls "$tmp/tree/lib/modules")
	depmod -b "$tmp/tree" "$release"
	for module in $modules; do
		modprobe -d "$tmp/tree" -S "$release" --show-depends "$module" >"$tmp/depends" ||
			die "$package has no module $module"
		while read -r verb file _; do
			[ "$verb" != insmod ] || add_module "$file"
		done <"$tmp/depends"
	done
	cp "$init" "$tmp/initrd/init"
	cp "$tmp/tree/boot/vmlinuz-$release" "$tmp/out/bzImage"
	cpio_of "$tmp/initrd" >"$tmp/out/initrd.cpio"
	publish "$tmp/out" "$out"
}

[ $# -gt 0 ] || meta_of ""
for series; do
	meta_of "$series" >/dev/null
done
need guest
PATH=$PATH:/usr/sbin:/sbin
apt_lists
cache_lock debian
mkdir -p "$cache/debian"
tmp=
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
init=$(init_build)

for series; do
	found=$(package_of "$(meta_of "$series")")
	[ -n "$found" ] || die "apt knows no $(meta_of "$series"): is this Debian bookworm?"
	package=${found% *}
	package_version=${found#* }
	out=$cache/debian/$series.$({ echo "$recipe $found $modules"; cat "$init"; } | key)
	if [ ! -d "$out" ]; then
		tmp=$(mktemp -d "$cache/tmp.XXXXXX")
		fetch
		pack
		rm -rf "$tmp"
	fi
	touch "$out"
	echo "$out"
done
prune "$cache/debian"
find "$cache/debian" -name '*.deb' -mtime +30 -delete
