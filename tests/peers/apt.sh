# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# Debian's packages in a root of their own: fetched and unpacked, never installed. To be sourced after
# guest/common.sh, with $tmp to work in.

# apt_alone [CODENAME LISTS]: from now on apt sees none of this machine's packages; and with a
# release of Debian, that one's lists, which are in LISTS, instead of this machine's
apt_alone()
{
	mkdir -p "$tmp/cache/archives/partial"
	: >"$tmp/status"
	cat >"$tmp/apt.conf" <<END
Dir::State::status "$tmp/status";
Dir::Cache "$tmp/cache";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
END
	[ $# -eq 0 ] || apt_release "$@"
	export APT_CONFIG="$tmp/apt.conf"
}

apt_release()
{
	here_is=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Origin: Debian' "Codename: $here_is" | head -n 1)
	[ -n "$mirror" ] || die "apt knows no Debian $here_is: is this Debian?"
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	echo "deb [signed-by=$keys] $mirror $1 main" >"$tmp/sources.list"
	mkdir -p "$2/partial"
	cat >>"$tmp/apt.conf" <<END
Dir::State::lists "$2";
Dir::Etc::sourcelist "$tmp/sources.list";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
END
}

# apt_fetch PACKAGE..: with what they need
apt_fetch()
{
	apt-get -q -y install --download-only "$@" >&2
}

# apt_unpack ROOT: all that was fetched
apt_unpack()
{
	for dir in bin sbin lib lib64; do
		mkdir -p "$1/usr/$dir"
		ln -s "usr/$dir" "$1/$dir"
	done
	for deb in "$tmp"/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -C "$1" --keep-directory-symlink -x
	done
}
