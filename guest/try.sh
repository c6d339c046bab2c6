#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# try.sh [--shell]: from a fresh Debian bookworm to a Linux guest whose RAM is shared memory and
# whose disk another process serves over vhost-user; proves that the guest read and wrote that disk.
# Meanwhile a program of the host and one of the guest talk through a shared memory object.
#
# Two parts: the first prepares (packages, build, kernel, driver, disk image), on this machine. The
# second boots; where this machine's KVM is not a real one, it runs in the lab (tests/lab/lab), which
# has the same files.
set -eu
guest=$(cd "$(dirname "$0")" && pwd)
. "$guest/common.sh"
top=${guest%/*}

written=8M
limit=300 # seconds that a guest without a user gets

usage()
{
	echo "usage: try.sh [--shell]" >&2
	exit 2
}

step()
{
	printf '\n== %s\n' "$*"
}

# ---- The second part: boot PROGRAM EXAMPLES IMAGE INIT DRIVER MODE ----

clean_up()
{
	for pid in $vmm $daemon $asker; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	rm -rf "$work" "/dev/shm/$object"
}

start_daemon()
{
	socket=addr.type=unix,addr.path=blk.sock
	set -- qemu-storage-daemon \
		--blockdev driver=file,node-name=file,filename=disk.img \
		--blockdev driver=raw,node-name=disk,file=file \
		--export "type=vhost-user-blk,id=blk,node-name=disk,writable=on,$socket"
	step "a disk daemon"
	echo "$ $*"
	# its options are obeyed in order: when its monitor greets, the socket listens
	mkfifo greeting
	"$@" --chardev stdio,id=monitor --monitor chardev=monitor </dev/null >greeting &
	daemon=$!
	read -r _ <greeting || die "the disk daemon did not start"
}

# The driver and the program that answers are put on the disk before the guest has it
install_answerer()
{
	for file in "$driver/vmshm.ko" "$examples/ring-guest"; do
		echo "write $file ${file##*/}"
		echo "set_inode_field ${file##*/} mode 0100755"
	done >files
	debugfs -w -f files disk.img >files.log 2>&1
	if ! debugfs -R "stat ring-guest" disk.img 2>/dev/null | grep -q Inode; then
		cat files.log
		die "the disk has no room for the driver"
	fi
}

# It waits for the machine, and then for the program in the guest, which is the last there
start_asker()
{
	step "a program that asks"
	printf '%s\n' 'who?' 'how long?' 'how much?' >questions
	set -- --events=vmshm.sock --timeout=${limit}000 "/dev/shm/$object"
	echo "$ ring-host $* <questions"
	"$examples/ring-host" "$@" <questions >answers &
	asker=$!
}

# The guest is gone, so all answers are there that will be
check_answers()
{
	step "what they said through shared memory"
	paste -d '\n' questions answers | sed '1~2s/^/host:  /; 2~2s/^/guest: /'
	[ "$(wc -l <answers)" = 3 ] && grep -q '^process [0-9]* of Linux 6' answers ||
		die "the guest did not answer what it was asked"
	wait "$asker" || die "ring-host ended with $?"
	asker=
}

# A guest that Ctrl-A x ended has not unmounted its disk: what it synced is in the journal, perhaps
# only there. This does what its next mount would.
replay_journal()
{
	dumpe2fs -h disk.img 2>/dev/null | grep -q needs_recovery || return 0
	end="ended by Ctrl-A x"
	echo "the guest did not power off: its disk's journal is replayed"
	# 1: it corrected something
	e2fsck -fp disk.img || [ $? = 1 ] || die "the guest left a damaged file system"
}

# What the guest must have written, computed here; what is in the file, read past the guest
check_outside()
{
	step "from outside"
	[ "$mode" != shell ] || replay_journal
	want=$("$init" stream=$written | sha256sum)
	have=$(debugfs -R "cat /data/written" disk.img 2>/dev/null | sha256sum)
	echo "sha256 of /data/written in disk.img:           ${have%% *}"
	echo "sha256 of what the guest was told to write:    ${want%% *}"
	[ "$have" = "$want" ] || die "the disk does not hold what the guest wrote"
	e2fsck -fn disk.img >fsck.log 2>&1 || {
		cat fsck.log
		die "the guest left a damaged file system"
	}
	echo "e2fsck: clean"
}

run_guest()
{
	step "the guest"
	printf '$ minivmm'
	for word; do
		case $word in
		*' '*) printf " '%s'" "$word" ;;
		*) printf ' %s' "$word" ;;
		esac
	done
	echo
	# always in the background and waited for: a shell obeys its traps only between commands
	status=0
	if [ "$mode" = shell ]; then
		echo "(leave the shell with exit: the guest then powers off; Ctrl-A x ends minivmm)"
		exec 3<&0
		"$program" "$@" <&3 &
		vmm=$!
		wait "$vmm" || status=$?
		vmm=
		return "$status"
	fi
	mkfifo output
	tee console <output &
	tee=$!
	timeout -k 10 "$limit" "$program" "$@" </dev/null >output 2>&1 &
	vmm=$!
	wait "$vmm" || status=$?
	vmm=
	wait "$tee"
	[ "$status" != 124 ] || die "the guest did not end within $limit seconds"
	grep -aq '^minivmm-init: ok' console || die "the guest's init did not reach its end"
	return "$status"
}

boot()
{
	program=$1
	examples=$2
	image=$3
	init=$4
	driver=$5
	mode=$6
	PATH=$PATH:/usr/sbin:/sbin
	vmm=
	daemon=
	asker=
	work=$(mktemp -d)
	object=try-${work##*.}
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' HUP TERM
	cd "$work"

	cp --sparse=always "$image" disk.img
	if debugfs -R "stat /data/written" disk.img 2>/dev/null | grep -q Inode; then
		die "the image was written before"
	fi
	install_answerer
	start_daemon
	start_asker
	verbs="verify cpus mem write=$written drop-caches check-written=$written"
	talk="exec=/bin/insmod,/vmshm.ko exec=/ring-guest,/$object"
	case $mode in
	shell) verbs="verify write=$written $talk shell poweroff" ;;
	*) verbs="$verbs $talk poweroff" ;;
	esac
	status=0
	run_guest --mem-backend=shm --vhost-user blk.sock \
		--vmshm "allow=/$object,vectors=2,events=vmshm.sock" --boot-report boot-report \
		--on-reset=exit --append "-- $verbs" || status=$?
	[ "$status" = 0 ] || die "minivmm ended with $status"
	end="powered off"
	check_outside
	check_answers
	step "the boot report"
	cat boot-report
	step "done: booted, read, wrote, talked, $end"
}

if [ "${1:-}" = --boot ] && [ $# = 7 ]; then
	shift
	boot "$@"
	exit 0
fi

# ---- The first part ----

mode=proof
case $#:${1:-} in
0:) ;;
1:--shell) mode=shell ;;
*) usage ;;
esac

step "packages"
need build guest disk
echo "all there"

step "build"
cd "$top"
[ -f build/build.ninja ] || meson setup build
ninja -C build vmm/minivmm guest/examples/ring-host guest/examples/ring-guest

step "a kernel, a driver, a disk image"
sh "$guest/kernel.sh" --link "$top/build/guest" tiny
# for tiny-modules: the same kernel, and what modules are built against
driver=$(sh "$top/tests/vmshm/build.sh" tiny-modules)
echo "$driver"
image=$(sh "$guest/image.sh")
echo "$image"
set -- --boot "$top/build/vmm/minivmm" "$top/build/guest/examples" "$image" "$(init_build)" \
	"$driver" "$mode"

step "KVM"
if reason=$(sh "$top/tests/lab/kvm-probe"); then
	echo "real"
	exec sh "$guest/try.sh" "$@"
fi
echo "$reason; so the rest happens in the lab, an emulated machine with a real kvm_amd."
need lab
exec "$top/tests/lab/lab" -- sh "$guest/try.sh" "$@"
