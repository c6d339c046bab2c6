#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program of a newer Debian, which this one has not or only in an older version: its package and the
# libraries that it needs are fetched and unpacked into a root of their own in the cache, never
# installed. Prints a script that runs it by that root's loader.
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
guest=$peers/../../guest
. "$guest/common.sh"

# Raise it when the recipe below changes what comes out
recipe=1
codename=trixie

# The table of programs: package, path of the program in it
programs()
{
	cat <<'END'
passt /usr/bin/passt
END
}

usage()
{
	{
		echo "usage: debian.sh PACKAGE"
		echo "Fetches it from Debian $codename if need be. Packages and their programs:"
		programs | sed 's/^/  /'
	} >&2
	exit 2
}

# What apt sees: none of this machine's packages, and another release
write_apt_conf()
{
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial"
	: >"$tmp/status"
	here=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Origin: Debian' "Codename: $here" | head -n 1)
	[ -n "$mirror" ] || die "apt knows no Debian $here: is this Debian?"
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	echo "deb [signed-by=$keys] $mirror $codename main" >"$tmp/sources.list"
	cat >"$tmp/apt.conf" <<END
Dir::State::status "$tmp/status";
Dir::State::lists "$tmp/lists";
Dir::Cache "$tmp/cache";
Dir::Etc::sourcelist "$tmp/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
END
	export APT_CONFIG="$tmp/apt.conf"
}

build()
{
	say "fetching $package of Debian $codename"
	write_apt_conf
	apt-get -q update >&2
	apt-get -q -y install --download-only "$package" >&2
	root=$tmp/out/root
	for dir in bin sbin lib lib64; do
		mkdir -p "$root/usr/$dir"
		ln -s "usr/$dir" "$root/$dir"
	done
	for deb in "$tmp"/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" --keep-directory-symlink -x
	done
	write_script >"$tmp/out/run"
	chmod +x "$tmp/out/run"
	apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p' >"$tmp/out/version"
	publish "$tmp/out" "$out"
}

write_script()
{
	cat <<END
#!/bin/sh
root=\$(dirname "\$0")/root
exec "\$root/lib64/ld-linux-x86-64.so.2" --library-path "\$root/lib/x86_64-linux-gnu" \\
	"\$root$program" "\$@"
END
}

[ $# -eq 1 ] || usage
package=$1
program=$(programs | sed -n "s/^$package //p")
[ -n "$program" ] || usage
. "$peers/cargo.sh"
find_peer "$package-$codename.$({ echo "$recipe"; cat "$peers/debian.sh"; } | key)"
echo "$out/run"
