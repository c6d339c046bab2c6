#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# vhost-user-gpu of QEMU as Debian has it. Its package is for windows on a desktop and needs hundreds
# of others; the program needs few libraries. It and they are unpacked into a root of their own in the
# cache, never installed. Prints a script that runs it by that root's loader.
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
guest=$peers/../../guest
. "$guest/common.sh"
. "$peers/cargo.sh"
. "$peers/apt.sh"

package=qemu-system-gui
program=/usr/lib/qemu/vhost-user-gpu
libraries="libepoxy0 libgbm1 libglib2.0-0 libnuma1 libpixman-1-0 libvirglrenderer1"

write_script()
{
	cat <<END
#!/bin/sh
root=\$(dirname "\$0")/root
exec "\$root/lib64/ld-linux-x86-64.so.2" --library-path "\$root/lib/x86_64-linux-gnu" "\$root$program" "\$@"
END
}

# The program's package by itself
fetch()
{
	# shellcheck disable=SC2086 # a list of words
	apt_fetch $libraries && (cd "$tmp/cache/archives" && apt-get -q download "$package" >&2)
}

build()
{
	say "fetching $package $version and libraries"
	# shellcheck disable=SC2119 # no release, which is its arguments
	apt_alone
	fetch || { apt_update && fetch; }
	apt_unpack "$tmp/out/root"
	rm -rf "$tmp/out/root/usr/share"
	write_script >"$tmp/out/vhost-user-gpu"
	chmod +x "$tmp/out/vhost-user-gpu"
	publish "$tmp/out" "$out"
}

if [ $# -ne 0 ]; then
	echo "usage: gpu.sh" >&2
	exit 2
fi
apt_lists
version=$(package_version "$package")
find_peer "vhost-user-gpu.$({ echo "$version"; cat "$peers/gpu.sh" "$peers/apt.sh"; } | key)"
echo "$out/vhost-user-gpu"
