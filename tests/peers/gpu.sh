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

package=qemu-system-gui
program=/usr/lib/qemu/vhost-user-gpu
libraries="libepoxy0 libgbm1 libglib2.0-0 libnuma1 libpixman-1-0 libvirglrenderer1"

# apt, as if nothing were installed here
apt_of_nothing()
{
	apt-get -q -y -o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp/apt" \
		-o APT::Sandbox::User=root -o APT::Install-Recommends=false "$@" >&2
}

write_script()
{
	cat <<END
#!/bin/sh
root=\$(dirname "\$0")/root
exec "\$root/lib64/ld-linux-x86-64.so.2" --library-path "\$root/lib/x86_64-linux-gnu" "\$root$program" "\$@"
END
}

fetch()
{
	# shellcheck disable=SC2086 # a list of words
	apt_of_nothing install --download-only $libraries &&
		(cd "$tmp/own" && apt_of_nothing download "$package")
}

build()
{
	say "fetching $package $version and libraries"
	mkdir -p "$tmp/apt/archives/partial" "$tmp/own"
	: >"$tmp/status"
	fetch || { apt_update && fetch; }
	root=$tmp/out/root
	for dir in bin sbin lib lib64; do
		mkdir -p "$root/usr/$dir"
		ln -s "usr/$dir" "$root/$dir"
	done
	for deb in "$tmp"/apt/archives/*.deb "$tmp"/own/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" --keep-directory-symlink -x
	done
	rm -rf "$root/usr/share"
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
find_peer "vhost-user-gpu.$({ echo "$version"; cat "$peers/gpu.sh"; } | key)"
echo "$out/vhost-user-gpu"
