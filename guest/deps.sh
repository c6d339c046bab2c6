# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# The one list of Debian packages that minivmm's scripts use, by purpose, and the one place that
# installs them. To be sourced: `. guest/deps.sh; need build guest`. Says what it installs; does
# nothing when all is there.

# deps_of PURPOSE: its packages, one word each
deps_of()
{
	case $1 in
	build)
		echo gcc libc6-dev meson ninja-build pkg-config libseccomp-dev libfdt-dev \
			libjansson-dev libzstd-dev liblz4-dev liblzma-dev zlib1g-dev liburing-dev libpng-dev \
			libcmocka-dev
		;;
	kernel)
		echo gcc libc6-dev make flex bison bc perl libelf-dev libssl-dev \
			linux-source-6.12 xz-utils lz4 cpio
		;;
	guest)
		echo gcc libc6-dev busybox-static e2fsprogs cpio gzip xz-utils kmod
		;;
	erofs)
		echo erofs-utils
		;;
	disk)
		# has qemu-storage-daemon
		echo qemu-system-common
		;;
	rust)
		# follows Rust's releases, for browsers; bookworm's own is years older
		echo cargo-web gcc libc6-dev
		;;
	crates)
		# what daemons in Rust link
		echo libcap-ng-dev libseccomp-dev
		;;
	test)
		echo qemu-system-x86 qemu-system-common python3 clang libclang-rt-14-dev groff-base
		;;
	lab)
		# its kernel is fetched and unpacked, never installed
		echo qemu-system-x86 python3 busybox-static cpio gzip xz-utils kmod
		;;
	*)
		echo "deps.sh: no purpose '$1' (build, kernel, guest, erofs, disk, rust, crates, test, lab)" >&2
		return 1
		;;
	esac
}

# deps_missing PURPOSE...: the packages of these purposes that are not installed
deps_missing()
{
	deps_wanted=
	for deps_purpose; do
		deps_list=$(deps_of "$deps_purpose") || return 1
		deps_wanted="$deps_wanted $deps_list"
	done
	# shellcheck disable=SC2086 # a list of words
	deps_have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $deps_wanted 2>/dev/null |
		sed -n 's/^installed //p')
	for deps_package in $deps_wanted; do
		echo "$deps_have" | grep -qxF "$deps_package" || echo "$deps_package"
	done | sort -u
}

# apt_lists: package lists are there, or are fetched
apt_lists()
{
	find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null | grep -q . && return 0
	apt_update
}

apt_update()
{
	echo "apt-get update" >&2
	apt-get -q -o DPkg::Lock::Timeout=600 update >&2
}

# need PURPOSE...: installs what these purposes lack
need()
{
	need_missing=$(deps_missing "$@" | tr '\n' ' ') || return 1
	[ -n "$need_missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "these packages are missing and only root can install them: $need_missing" >&2
		return 1
	fi
	echo "installing: $need_missing" >&2
	apt_lists || return 1
	need_install || { apt_update && need_install; }
}

need_install()
{
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 \
		install --no-install-recommends $need_missing >&2 </dev/null
}
