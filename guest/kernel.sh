#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds guest kernels from Debian's linux-source-6.12: tinyconfig and the fragments of a variant.
# Each result is a directory in the cache with vmlinux (stripped), bzImage and config, found by a
# key over all that it is made from; that of a variant for modules has build/ as well, which modules
# are built against (KDIR). One source tree serves all variants one after another, so that a further
# one costs a part of the first.
#
# shellcheck disable=SC2086 # $files is a list of words
set -eu
guest=$(cd "$(dirname "$0")" && pwd)
. "$guest/common.sh"

# The table of variants: name, fragments of guest/kernel/ in order, what it is
variants()
{
	cat <<'END'
tiny:base:no ACPI, described by an MPTable; the default of minivmm
tiny-acpi:base acpi:with ACPI, persistent memory and EROFS
tiny-of:base of:with device trees, no ACPI
tiny-devices:base acpi devices:tiny-acpi, and the drivers of all that vhost-user daemons are
tiny-modules:base:tiny, and what its modules are built against
tiny-debug:base debug:finds faults of modules (KASAN, lockdep); what they are built against
END
}

usage()
{
	{
		echo "usage: kernel.sh [--link DIR] VARIANT..."
		echo "Builds what is missing and prints a directory for each variant:"
		variants | awk -F: '{ printf "  %-13s %s\n", $1, $3 }'
		echo "--link DIR makes DIR/vmlinux a link to the first variant's."
	} >&2
	exit 2
}

fragments_of()
{
	variants | awk -F: -v name="$1" '$1 == name { print $2; found = 1 } END { exit !found }' ||
		die "no variant '$1' (kernel.sh without arguments lists them)"
}

source=linux-source-6.12
tree=$cache/kernel/$source
# Raise it when the recipe below changes what comes out
recipe=1

is_for_modules()
{
	case $1 in
	tiny-modules | tiny-debug) return 0 ;;
	*) return 1 ;;
	esac
}

fragment_files()
{
	for f in $(fragments_of "$1"); do
		echo "$guest/kernel/$f.config"
	done
}

kernel_key()
{
	{
		echo "$recipe $version"
		gcc --version | head -n 1
		# its settings, not its prose
		grep -h '^CONFIG_\|^# CONFIG_' $files
	} | key
}

# The tree is Debian's, unpacked once a version
unpack()
{
	[ "$(cat "$tree/.minivmm-source" 2>/dev/null)" = "$version" ] && return 0
	say "unpacking $source $version"
	rm -rf "$tree" "$tree.new"
	mkdir -p "$tree.new"
	tar -C "$tree.new" --strip-components=1 -xf "/usr/src/$source.tar.xz"
	echo "$version" >"$tree.new/.minivmm-source"
	mv -T "$tree.new" "$tree"
}

kmake()
{
	# the same bytes on every machine
	nice -n 5 make -s -C "$tree" -j "$(($(nproc) + 1))" \
		KBUILD_BUILD_TIMESTAMP='2024-01-01 00:00:00 UTC' KBUILD_BUILD_VERSION=1 \
		KBUILD_BUILD_USER=minivmm KBUILD_BUILD_HOST=guest "$@" 9>&- >&2
}

# Configures aside and installs .config last: an interrupted run leaves a tree that builds on
configure()
{
	export KCONFIG_CONFIG="$tree/.config.minivmm"
	kmake tinyconfig 2>/dev/null
	cat $files >>"$KCONFIG_CONFIG"
	# a fragment overrides tinyconfig: that is its purpose, and make would warn of each line
	kmake olddefconfig 2>/dev/null
	cmp -s "$KCONFIG_CONFIG" "$tree/.config" || cp "$KCONFIG_CONFIG" "$tree/.config"
	unset KCONFIG_CONFIG
}

# Kconfig drops what depends on something else that is off, silently
verify_config()
{
	awk '
		function miss(line)
		{
			print "kernel.sh: the configuration lost this line of a fragment: " line
			bad = 1
		}
		FILENAME == ARGV[1] && /^CONFIG_/ { have[$0] = 1; sub(/=.*/, ""); set[$0] = 1 }
		FILENAME == ARGV[1] { next }
		/^CONFIG_/ { name = $0; sub(/=.*/, "", name); want[name] = $0; next }
		/^# CONFIG_[A-Za-z0-9_]* is not set$/ { want[$2] = $0 }
		END {
			for (name in want) {
				if (want[name] ~ /^#/ ? set[name] : !have[want[name]])
					miss(want[name])
			}
			exit bad
		}
	' "$tree/.config" $files >&2
}

# What Debian's linux-headers packages have, made by the script that makes such packages
install_build()
{
	kmake modules
	kmake run-command KBUILD_RUN_COMMAND="+\$(srctree)/scripts/package/install-extmod-build $1"
	cp "$tree/.config" "$1/.config"
}

build()
{
	need build kernel
	version=$(package_version "$source")
	unpack
	say "building $variant (some minutes)"
	configure
	verify_config || exit 1
	kmake vmlinux bzImage
	rm -rf "$out.new"
	mkdir -p "$out.new"
	strip -o "$out.new/vmlinux" "$tree/vmlinux"
	cp "$tree/arch/x86/boot/bzImage" "$out.new/bzImage"
	cp "$tree/.config" "$out.new/config"
	! is_for_modules "$variant" || install_build "$out.new/build"
	publish "$out.new" "$out"
}

link=
while [ $# -gt 0 ]; do
	case $1 in
	--link)
		[ $# -ge 2 ] || usage
		link=$2
		shift 2
		;;
	-*) usage ;;
	*) break ;;
	esac
done
[ $# -gt 0 ] || usage
for variant; do
	fragments_of "$variant" >/dev/null
done

command -v gcc >/dev/null || need build
version=$(package_version "$source") ||
	die "apt knows no $source: is this Debian bookworm with its security archive?"
mkdir -p "$cache/kernel"
for variant; do
	files=$(fragment_files "$variant")
	out=$cache/kernel/$variant.$(kernel_key)
	if [ ! -d "$out" ]; then
		cache_lock kernel
		# the fragments may have been edited while another run had the lock
		out=$cache/kernel/$variant.$(kernel_key)
		[ -d "$out" ] || build
		exec 9>&-
	fi
	touch "$out"
	if [ -n "$link" ]; then
		mkdir -p "$link"
		ln -sfn "$out/vmlinux" "$link/vmlinux"
		link=
	fi
	echo "$out"
done
prune "$cache/kernel"
