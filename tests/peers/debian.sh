#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A program of a newer Debian, which this one has not, or only in an older version: its package and the
# libraries that it needs are fetched and unpacked into a root of their own in the cache, never
# installed. Prints a script that runs it by that root's loader; beside it is `version`, the package's.
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
guest=$peers/../../guest
. "$guest/common.sh"
. "$peers/cargo.sh"
. "$peers/apt.sh"

# Raise it when the recipe below changes what comes out
recipe=2
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

build()
{
	say "fetching $package of Debian $codename"
	apt_alone "$codename" "$tmp/lists"
	apt-get -q update >&2
	apt_fetch "$package"
	apt_unpack "$tmp/out/root"
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
find_peer "$package-$codename.$(echo "$recipe $package $program" | key)"
echo "$out/run"
