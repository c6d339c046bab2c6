# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC1091,SC2154
# What the scripts of guest/ share: the cache outside the checkout, content keys, atomic results. To
# be sourced by a script that has set `guest` to this folder; brings deps.sh along.

. "$guest/deps.sh"
cache=${MINIVMM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/minivmm}

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

say()
{
	echo "${0##*/}: $*" >&2
}

# key: 16 hex digits of the bytes on stdin
key()
{
	sha256sum | cut -c 1-16
}

# cache_lock NAME: holds the lock of that name until the script ends; its fd is 9
cache_lock()
{
	mkdir -p "$cache"
	exec 9>"$cache/$1.lock"
	flock -n 9 && return 0
	say "waiting for another run that holds $cache/$1.lock"
	flock 9
}

# publish TMP DIR: what was made in TMP appears as DIR at once or not at all; a DIR that another run
# made meanwhile stays
publish()
{
	mv -T "$1" "$2" 2>/dev/null && return 0
	[ -d "$2" ] || die "cannot move $1 to $2"
	rm -rf "$1"
}

# prune DIR: drops results in DIR that nobody asked for in 30 days (a hit touches its directory),
# and what interrupted runs left
prune()
{
	find "$1" -mindepth 1 -maxdepth 1 -name '*.????????????????' -mtime +30 -exec rm -rf {} +
	find "$cache" -mindepth 1 -maxdepth 1 -name 'tmp.??????' -mtime +1 -exec rm -rf {} +
}

# package_version NAME: what is installed, else what apt would install
package_version()
{
	dpkg-query -W -f '${Version}\n' "$1" 2>/dev/null | grep . && return 0
	apt_lists && apt-cache policy "$1" | sed -n 's/^  Candidate: //p' | grep -vxF '(none)'
}

# init_build: init, compiled once for each state of its source; prints its path
init_build()
{
	command -v gcc >/dev/null || need guest
	init_out=$cache/init.$({ gcc --version | head -n 1; cat "$guest"/init/*; } | key)
	if [ ! -d "$init_out" ]; then
		init_tmp=$(mktemp -d "$cache/tmp.XXXXXX")
		sh "$guest/init/build.sh" "$init_tmp/init"
		publish "$init_tmp" "$init_out"
		prune "$cache"
	fi
	touch "$init_out"
	echo "$init_out/init"
}

# busybox: path of Debian's static BusyBox
busybox()
{
	[ -n "$(dpkg-query -L busybox-static 2>/dev/null)" ] || need guest
	dpkg-query -L busybox-static | grep -m 1 '/bin/busybox$'
}

# busybox_into DIR: BusyBox with links of all its applets but init, which is ours
busybox_into()
{
	busybox_path=$(busybox)
	mkdir -p "$1/bin"
	cp "$busybox_path" "$1/bin/busybox"
	"$busybox_path" --list | while read -r applet; do
		case $applet in
		busybox | init) ;;
		*) ln -s busybox "$1/bin/$applet" ;;
		esac
	done
}

# cpio_of DIR: DIR as an initrd on stdout, the same bytes for the same files
cpio_of()
{
	find "$1" -exec touch -h -d @1704067200 {} +
	(cd "$1" && find . -mindepth 1 | LC_ALL=C sort |
		cpio --quiet --reproducible -R 0:0 -H newc -o)
}
