# SPDX-License-Identifier: Apache-2.0
"""VMShm in whole machines: restarts with an object open, two devices, two machines, beside a disk, how it is cached."""
import contextlib
import fcntl
import os
import re
import socket
import struct
import threading

from guest import UP, check_disk, make_disk
from harness import test, wait_for_socket
from vmshm_guest import PAGE, TAGS, WINDOW, Machine, allow, needs

HOLD = ("tests/vmshm/vmshm-hold",)
DISK = "image:128M"


def count_in(path):
    """What vmshm-hold counted."""
    with open(path, "rb") as file:
        return struct.unpack("=Q", file.read(8))[0]


# ---- Restarts ----

# By what is in the object each boot knows whether it is the first
RESTART = """
read=$(/vmshm-hold --read /dev/vmshm0 /rw)
echo "$read"
if [ "${read##* }" = 0 ]; then
    echo "restarting now"
    /vmshm-hold /dev/vmshm0 /rw %s
    exit 1
fi
/vmshm-hold /dev/vmshm0 /rw true
"""
RESTARTS = {
    "reboot": {"how": "reboot -f"},
    # the machine's reset line: no driver is asked
    "reset": {"how": "sh -c 'printf \"\\376\" | dd of=/dev/port bs=1 seek=100'"},
    "kexec-6.12": {"how": "/vmshm-kexec", "kernel": "6.12"},
}


class News:
    """A program of the host that hears what the guest has open, and looks at the object each time."""
    CLOSED = 3

    def __init__(self, machine, events):
        self.heard, self.machine = [], machine      # of each message: kind, count, boots until then
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.connect(str(events))
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        """Until the machine is gone, which ends the connection."""
        while True:
            message, fds, _, _ = socket.recv_fds(self.connection, 4096, 16)
            for fd in fds:
                os.close(fd)
            if not message:
                return
            self.heard.append((struct.unpack_from("=III", message)[2], count_in(self.machine.path("rw")),
                               self.machine.process.text.count(UP)))

    def close(self):
        self.thread.join()
        self.connection.close()


@test(tags=TAGS, needs=needs, timeout=200, cases=RESTARTS)
def restart_with_an_object_open(t, how, kernel="tiny"):
    """It is closed by then, while a program has it open, mapped and stored to; what the host has is as it was, and
    the next boot opens it again."""
    path = t.dir / "events.sock"
    with Machine(t, RESTART % how, kernel=kernel, devices=[f"{allow('rw')},vectors=2,events={path}"],
                 programs=[*HOLD, "tests/vmshm/vmshm-kexec"], options=["--on-reset=reboot"],
                 kexec="kexec" in how) as machine:
        machine.make("rw", WINDOW)
        # it listens first and gives the socket its path then
        wait_for_socket(path, machine.start(), ready_now=os.path.exists)
        news = News(machine, path)
        try:
            said = machine.wait(150)
        finally:
            machine.process.stop()
            news.close()
        assert said.count(UP) == 2
        first, second = (int(count) for count in re.findall(r"vmshm-hold: /rw: (\d+)", said))
        closed = [(count, boots) for kind, count, boots in news.heard if kind == News.CLOSED and count]
        assert first == 0 and second > 0, "the guest stored nothing before"
        assert closed[0] == (second, 1), f"it was not closed before the second boot, or written after: {closed}"
        assert count_in(machine.path("rw")) > second, "the second boot could not store"


# ---- Two devices ----

TWO = """
hold() { /vmshm-hold "$@" || echo "it ended with $?"; }
echo "case both"
hold /dev/vmshm0 /first /vmshm-hold /dev/vmshm1 /second /vmshm-hold --read /dev/vmshm0 /first
echo "case 0 has not 1's"
hold --read /dev/vmshm0 /second
echo "case 1 has not 0's"
hold --read /dev/vmshm1 /first
echo "case locked, 0 asks"
hold --read /dev/vmshm0 /locked
echo "case locked, 1 does not ask"
hold --read /dev/vmshm1 /locked
echo "case done"
"""


@test(tags=TAGS, needs=needs, timeout=150)
def two_devices(t):
    """Each with a policy and an object of its own, at once; one asks for objects that nobody else has."""
    with Machine(t, TWO, devices=[f"{allow('first', 'locked')},exclusive=on", allow("second", "locked")],
                 programs=HOLD) as machine:
        for name in ("first", "second", "locked"):
            machine.make(name, PAGE)
        with open(machine.path("locked"), "rb") as ours:
            fcntl.flock(ours, fcntl.LOCK_EX)
            said = machine.run().replace("\r", "")
        cases = dict(re.findall(r"^case (.*)\n((?:(?!case ).*\n)*)", said, re.M))
        # both are stored to when the third opens what the first has: it is the node that is one program's
        assert cases["both"] == "vmshm-hold: /first: Device or resource busy\nit ended with 1\n"
        assert all(count_in(machine.path(name)) for name in ("first", "second")), "the host sees nothing in one of them"
        assert "/second: No such file" in cases["0 has not 1's"]
        assert "/first: No such file" in cases["1 has not 0's"]
        assert "/locked: Device or resource busy" in cases["locked, 0 asks"]
        assert cases["locked, 1 does not ask"] == "vmshm-hold: /locked: 0\n"


# ---- Two machines ----

EXCHANGE = """
mkfifo stream
sha256sum <stream >sent &
/init stream=%(size)s,%(seed)d | tee stream | /ring-guest --timeout=60000 %(make)s --copy /data | sha256sum >got
wait
echo "sent $(cut -c 1-64 sent)"
echo "got $(cut -c 1-64 got)"
awk '$NF ~ /vmshm/ { rung += $2 } END { print "rung " rung }' /proc/interrupts
"""


@test(tags=TAGS, needs=needs, timeout=600, cases={"16M": {"size": "8M"}, "1G": {"size": "512M"}})
def two_machines_exchange(t, size):
    """Half of it each way, through one object; each rings the other by the kernel alone, and sleeps till it is."""
    with contextlib.ExitStack() as stack:
        machines = []
        for number, make in enumerate(("--make", "")):
            events, peer = t.dir / f"events{number}.sock", t.dir / f"events{1 - number}.sock"
            machines.append(stack.enter_context(Machine(
                t, EXCHANGE % {"size": size, "seed": number + 1, "make": make}, name=f"minivmm-{number}",
                devices=[f"{allow('data')},vectors=2,events={events},events-peer={peer}"],
                programs=["guest/examples/ring-guest"])))
        machines[0].make("data", WINDOW)
        for machine in machines:
            machine.start()
        said = [machine.wait(500).replace("\r", "") for machine in machines]
        sums = [dict(re.findall(r"^(sent|got) ([0-9a-f]{64})$", text, re.M)) for text in said]
        assert sums[0]["sent"] != sums[1]["sent"]
        assert [one["got"] for one in sums] == [one["sent"] for one in reversed(sums)], "what came is not what was sent"
        assert all(int(re.search(r"^rung (\d+)$", text, re.M)[1]) > 0 for text in said), "one was never rung"


# ---- Beside a disk ----

BESIDE = """
mkdir disk
mount -t ext4 /dev/vda disk
/vmshm-hold /dev/vmshm0 /rw chroot disk /sbin/init verify write=8M sync check-written=8M
umount disk
"""


@test(tags=[*TAGS, "blk"], needs=lambda case: [*needs(case), DISK, "init:"], timeout=150)
def disk_beside_an_open_window(t):
    """A daemon has the guest's RAM and not the window; it serves the disk while that is open and stored to."""
    disk = make_disk(t)
    with Machine(t, BESIDE, devices=[allow("rw")], programs=HOLD,
                 options=["--vhost-user", t.storage_daemon(disk)]) as machine:
        machine.make("rw", WINDOW)
        said = machine.run()
        assert "minivmm-init: check-written: " in said
        assert count_in(machine.path("rw")) > 0
        check_disk(t, disk, "8M")


# ---- How it is cached ----

CACHED = """
mount -t debugfs debugfs /sys/kernel/debug
for bar in 1 4; do
    line=$(sed -n $((bar + 1))p /sys/bus/pci/devices/$DEVICE/resource)
    echo "bar $bar begins at ${line%% *}"
done
cached='cat /sys/kernel/debug/x86/pat_memtype_list'
/vmshm-hold /dev/vmshm0 /rw $cached
/vmshm-hold --large /dev/vmshm0 /rw $cached
"""


@test(tags=TAGS, needs=needs, timeout=150, cases={name: {"kernel": name} for name in ("6.1", "6.12")})
def linux_caches_the_windows(t, kernel):
    """While a program has them mapped: write-back, as it does with RAM. These kernels know how to do otherwise."""
    with Machine(t, CACHED, kernel=kernel, devices=[f"{allow('rw')},window=8M"], programs=HOLD) as machine:
        machine.make("rw", 2 * WINDOW)
        said = machine.run(130).replace("\r", "")
        for bar in (1, 4):
            begin = int(re.search(rf"^bar {bar} begins at (0x[0-9a-f]+)$", said, re.M)[1], 16)
            types = re.findall(rf"^PAT: \[mem 0x0*{begin:x}-0x[0-9a-f]+\] (\S+)$", said, re.M)
            assert set(types) == {"write-back"}, f"BAR {bar} at {begin:#x}: {types}"
