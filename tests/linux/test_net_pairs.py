# SPDX-License-Identifier: Apache-2.0
"""A network interface of several pairs of queues: Linux uses one or all of them, by its control queue."""
import fcntl
import hashlib
import os
import re
import socket
import struct

import guest
import netns
from harness import test, wait_for_socket
from session import TRANSPORTS, Session

KERNEL = "tiny-acpi"
TAP, HERE, THERE, PAIRS = "vm0", "10.9.0.1", "10.9.0.2", 2
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
MIB = 1 << 20
ETH_P_ARP = 0x0806
FILE = "/data/deep/er/five-mib"     # of the guest's root


def open_taps():
    """The queues of one tap, which is there as long as the test is, whatever becomes of its daemons."""
    fds = []
    for _ in range(PAIRS):
        fds.append(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
        flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE
        fcntl.ioctl(fds[-1], netns.TUNSETIFF, struct.pack("16sH22x", TAP.encode(), flags))
    return fds


def start_daemon(t, taps, path):
    path.unlink(missing_ok=True)
    process = t.start("minivmm-backend net", [t.backend, "net", f"--queue-pairs={PAIRS}", f"--socket-path={path}",
                                              *(f"--tap-fd={tap}" for tap in taps)], pass_fds=taps)
    # it listens before the socket has its name
    wait_for_socket(path, process, ready_now=lambda made: made.exists())
    return process


def exchange(shell, port):
    """Some MiB each way, one after the other, and they are what was sent."""
    theirs, ours = bytearray(), os.urandom(2 * MIB)
    with socket.create_server((HERE, port)) as server:
        server.settimeout(netns.limit())
        shell.types(f"nc {HERE} {port} <{FILE} | sha256sum")
        end = server.accept()[0]
    end.settimeout(netns.limit())
    while piece := end.recv(1 << 16):
        theirs += piece
    end.sendall(ours)
    end.close()
    assert hashlib.sha256(ours).hexdigest() in shell.done()
    assert theirs == guest.file_of(shell.vm.disk, FILE)


def queues(shell):
    """Those the guest's kernel has for packets to come by."""
    return re.findall(r"rx-(\d)", shell.does("ls /sys/class/net/eth0/queues"))


def announced(watch):
    """The guest's interface says where its address is, without having been asked (RFC 5227, 3)."""
    watch.settimeout(netns.limit())
    while True:
        sender, target = struct.unpack("28x4s6x4s", watch.recv(2048)[:42])
        if sender == target == socket.inet_aton(THERE):
            return


@test(tags=["boot", "daemons", "net"], needs=guest.needs_of(KERNEL), timeout=250, cases=TRANSPORTS)
def one_and_all(t, transport):
    """Packets come and go with both pairs, one, and both again; and after another daemon took over, which the guest
    announces itself for."""
    netns.enter()
    taps = open_taps()
    path = t.dir / "net.sock"
    daemon = start_daemon(t, taps, path)
    netns.set_up(TAP, HERE)
    t.boots += 1
    shell = Session(t, f"net,socket={path},queues={PAIRS},transport={transport}", kernel=KERNEL, verbs="shell poweroff",
                    transport=transport, cpus=2)
    assert queues(shell) == ["0", "1"]
    shell.does(f"ip link set lo up; ip address add {THERE}/24 dev eth0; ip link set eth0 up")
    shell.does(f"until [ $(cat /sys/class/net/eth0/statistics/rx_packets) -gt 0 ]; do ping -c 1 -W 5 {HERE}; done")
    exchange(shell, 5000)
    for number, pairs in enumerate((1, 2)):
        assert f"eth0 uses {pairs} of 2" in shell.does(f"/sbin/init pairs=eth0,{pairs}")
        exchange(shell, 5001 + number)
    shell.does("/sbin/init pairs=eth0,3 | grep -q FAIL")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP)) as watch:
        watch.bind((TAP, ETH_P_ARP))
        daemon.kill()
        daemon = start_daemon(t, taps, path)
        announced(watch)
    exchange(shell, 5003)
    shell.does("! dmesg | grep -q 'Failed to ack'")
    shell.ends()
    assert daemon.stop() == 0
