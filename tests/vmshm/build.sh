#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the Linux driver of guest/vmshm for a kernel, as strictly as kernels check their own code:
# W=1, sparse, and whatever is said is a fault. For Debian's kernels with Debian's compiler, sparse
# and headers of the same release, unpacked into a root of their own: nothing is installed. Roots and
# results are in the cache, by what they are made from.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
guest=$here/../../guest
. "$guest/common.sh"
. "$here/../peers/apt.sh"

usage()
{
	cat >&2 <<'END2'
usage: build.sh KERNEL
  6.1, 6.12   the cloud kernels that guest/debian.sh boots; 6.12 by DKMS as well
  sid         the newest of Debian
  tiny-modules, tiny-debug
              those of guest/kernel.sh, with this machine's compiler and no sparse
Prints a directory with vmshm.ko, and kernel, the release that it is for; of 6.12 also dkms, what
DKMS said of its own, and udev, a tree with Debian's and what it needs to look after the node.
END2
	exit 2
}

# Raise it when the recipe below changes what comes out
recipe=1
tools="gcc make sparse kmod mawk dash bash coreutils sed grep findutils diffutils xz-utils"
case ${1:-} in
6.12)
	recipe=2
	tools="$tools dkms patch udev"
	;;
esac

meta_of()
{
	case $1 in
	6.1 | sid) echo linux-headers-cloud-amd64 ;;
	6.12) echo linux-headers-6.12-cloud-amd64 ;;
	esac
}

# Lists are good for some days; apt says when a package is not there any more
update_lists()
{
	if [ "$kernel" != sid ]; then
		apt_update
		return
	fi
	say "fetching the package lists of sid"
	apt-get -q update >&2
	touch "$apt/$kernel/updated"
}

newest()
{
	apt-cache show --no-all-versions "$(meta_of "$kernel")" "gcc" "sparse" |
		sed -n 's/^\(Package\|Version\|Depends\): //p'
}

fetch()
{
	# shellcheck disable=SC2086 # a list of words
	apt_fetch "$(meta_of "$kernel")" $tools
}

# Packages are unpacked, not installed: what their scripts would do for a build is done here
make_root()
{
	say "fetching compiler and headers for $kernel"
	fetch || { update_lists && fetch; }
	new=$tmp/root
	rm -rf "$cache/vmshm/root-$kernel".*
	apt_unpack "$new"
	ln -sf mawk "$new/usr/bin/awk"
	mkdir -p "$new/tmp" "$new/dev" "$new/proc" "$new/src"
	# not in all of Debian's packages, which are not asked to check anything
	for scripts in "$new"/usr/lib/linux-kbuild-*/scripts; do
		[ -e "$scripts/checker-valid.sh" ] ||
			install -m 755 "$here/checker-valid.sh" "$scripts/"
	done
	publish "$new" "$root"
}

find_root()
{
	[ "$(id -u)" = 0 ] || die "only root can: it unpacks and enters a root of its own"
	if [ "$kernel" = sid ]; then
		apt=$cache/vmshm/apt
		apt_alone sid "$apt/sid/lists"
		[ -n "$(find "$apt/$kernel/updated" -mtime -7 2>/dev/null)" ] || update_lists
	else
		apt_alone
		apt_lists
	fi
	root=$cache/vmshm/root-$kernel.$({ echo "$recipe $tools"; newest; } | key)
	[ -d "$root" ] || make_root
	touch "$root"
	unset APT_CONFIG
}

# A folder of modules that is not the root's own: where make install may write
make_modules()
{
	mkdir -p "$tmp/modules/$release"
	cp -d "$root/usr/lib/modules/$release/build" "$tmp/modules/$release/"
	for list in order builtin builtin.modinfo; do
		: >"$tmp/modules/$release/modules.$list"
	done
}

# Builds and installs as a user would: what make install left is the result, and what modprobe finds
# for the device
build_in_root()
{
	release=$(ls "$root/usr/lib/modules")
	make_modules
	cp -r "$guest/vmshm" "$tmp/vmshm"
	# shellcheck disable=SC2016 # of the inner shell
	unshare --mount sh -euc '
		mount --rbind /proc "$1/proc"
		mount --rbind /dev "$1/dev"
		mount --rbind "$2" "$1/src"
		mount --rbind "$2/modules" "$1/usr/lib/modules"
		inside="chroot $1 env -i PATH=/usr/sbin:/usr/bin LC_ALL=C"
		$inside make -s -C /src/vmshm KVER="$3" W=1 C=2 CF=-D__CHECK_ENDIAN__
		$inside make -s -C /src/vmshm KVER="$3" install
		$inside modprobe -S "$3" -R pci:v00001AF4d00006661sv00001AF4sd00001100bc00scFFi00 >"$2/found"
		' sh "$root" "$tmp" "$release"
	[ "$(cat "$tmp/found")" = vmshm ] || echo "modprobe finds no driver for the device"
	echo "$release" >"$tmp/out/kernel"
	cp "$tmp/modules/$release/updates/"vmshm.ko* "$tmp/out/"
	! [ -f "$tmp/out/vmshm.ko.xz" ] || unxz "$tmp/out/vmshm.ko.xz"
	if [ "$kernel" = 6.12 ]; then
		build_by_dkms
		take_udev
	fi
}

# As the driver's README.md says, but for the release, which is not of the kernel that runs. In a copy
# of the root, since DKMS writes in many places of it
build_by_dkms()
{
	mkdir "$tmp/copy"
	# shellcheck disable=SC2016 # of the inner shell
	unshare --mount sh -euc '
		mount -t tmpfs vmshm "$2/copy"
		cd "$2/copy"
		mkdir root new work
		mount -t overlay -o "lowerdir=$1,upperdir=new,workdir=work" vmshm root
		mount --rbind /proc root/proc
		mount --rbind /dev root/dev
		cp -r "$4" root/usr/src/vmshm-1.0
		inside="chroot root env -i PATH=/usr/sbin:/usr/bin LC_ALL=C"
		$inside dkms install vmshm/1.0 -k "$3" >log 2>&1 || { cat log; exit 1; }
		$inside dkms status 2>log >"$2/out/dkms"
		$inside modinfo -k "$3" -F filename vmshm >>"$2/out/dkms"
		' sh "$root" "$tmp" "$release" "$guest/vmshm"
}

# With the rule that make install has put there, and what makes the index in which udev looks for
# modules. By chroot: links in the root are absolute
take_udev()
{
	udev=/usr/bin/udevadm
	kmod=/usr/bin/kmod
	rules=/usr/lib/udev/rules.d
	libraries=$(for program in $udev $kmod; do
		chroot "$root" /lib64/ld-linux-x86-64.so.2 --list $program
	done | sed -n 's|^.*[[:space:]]\(/[^ ]*\) (0x[0-9a-f]*)$|\1|p' | sort -u)
	for file in $udev $kmod $libraries $rules/50-udev-default.rules $rules/60-vmshm.rules \
		$rules/80-drivers.rules; do
		mkdir -p "$tmp/out/udev${file%/*}"
		chroot "$root" cat "$file" >"$tmp/out/udev$file"
	done
	chmod 755 "$tmp/out/udev/usr/bin"/* "$tmp/out/udev/lib64"/*
}

build_here()
{
	cp -r "$guest/vmshm" "$tmp/vmshm"
	make -s -C "$tmp/vmshm" KDIR="$kdir" W=1
	cp "$kdir/include/config/kernel.release" "$tmp/out/kernel"
	cp "$tmp/vmshm/vmshm.ko" "$tmp/out/"
}

# What is said is a fault, whatever make thinks of it; but for what Debian's headers lack
without_known()
{
	grep -v -e "^Warning: modules_install: missing 'System.map' file. Skipping depmod.$" \
		-e '^Skipping BTF generation for .* due to unavailability of vmlinux$' || :
}

build()
{
	say "building the driver for $kernel"
	mkdir "$tmp/out"
	# not in a condition, where each failure would be passed over
	set +e
	(set -e; "$1") >"$tmp/said" 2>&1 9>&-
	code=$?
	set -e
	if [ $code != 0 ]; then
		cat "$tmp/said" >&2
		die "the driver does not build for $kernel"
	fi
	if without_known <"$tmp/said" | grep . >&2; then
		die "the driver does not build for $kernel without a word"
	fi
	publish "$tmp/out" "$out"
}

[ $# -eq 1 ] || usage
kernel=$1
case $kernel in
tiny-*)
	# builds, perhaps for long, under a lock of its own
	from=$(sh "$guest/kernel.sh" "$kernel")
	;;
esac
cache_lock vmshm
mkdir -p "$cache/vmshm"
tmp=$(mktemp -d "$cache/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
case $kernel in
6.1 | 6.12 | sid)
	find_root
	from=$root
	how=build_in_root
	;;
tiny-modules | tiny-debug)
	need build kernel
	kdir=$from/build
	how=build_here
	;;
*) usage ;;
esac
out=$cache/vmshm/$kernel.$({ echo "$recipe $from"; cat "$guest"/vmshm/*; } | key)
[ -d "$out" ] || build "$how"
touch "$out"
prune "$cache/vmshm"
echo "$out"
