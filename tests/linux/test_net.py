# SPDX-License-Identifier: Apache-2.0
"""Network interfaces, used by Linux on both transports: a tap of our own daemon, and passt."""
import os

import guest
import netns
from harness import test, wait_for_socket
from session import TRANSPORTS, Session

KERNEL = "tiny-acpi"
TAGS = ["boot", "daemons"]
MIB = 1 << 20
FIVE = "/data/deep/er/five-mib"     # of the guest's root
MAC = "52:54:00:12:34:56"


def start(t, path, transport, pairs=1):
    t.boots += 1
    disk = guest.make_disk(t)
    guest.put(disk, t.program("tests/peers/udp-echo"), "/bin/udp-echo")
    queues = f",queues={pairs}" if pairs > 1 else ""
    shell = Session(t, f"net,socket={path},transport={transport},mac={MAC}{queues}", kernel=KERNEL, verbs="shell poweroff",
                    transport=transport, disk=disk, cpus=pairs)
    # Linux uses a pair a processor
    shell.does(f"[ $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l) = {pairs} ]")
    assert MAC in shell.does("cat /sys/class/net/eth0/address")
    return shell


def our_daemon(t, way, pairs):
    """Opens the tap itself, or inherits it."""
    socket = t.dir / "net.sock"
    if way == "name":
        path = t.own_backend("net", "--tap=vm0", f"--queue-pairs={pairs}", "--mtu=1400", socket=socket)
    else:
        tap = netns.open_tap("vm0")
        process = t.start("minivmm-backend", [t.backend, "net", f"--tap-fd={tap}", "--mtu=1400",
                                              f"--socket-path={socket}"], pass_fds=[tap])
        os.close(tap)
        wait_for_socket(socket, process, ready_now=os.path.exists)
        path = socket
    return path, t.processes[-1]


@test(tags=TAGS, needs=guest.needs_of(KERNEL), timeout=250,
      cases={"pci": {"transport": "pci", "way": "name"}, "mmio": {"transport": "mmio", "way": "fd"},
             "pairs": {"transport": "pci", "way": "name", "pairs": 2}})
def tap(t, transport, way, pairs=1):
    """The guest and the host ping each other, send some MiB by TCP, and datagrams."""
    here, there = "10.9.0.1", "10.9.0.2"
    netns.enter()
    path, daemon = our_daemon(t, way, pairs)
    netns.set_up("vm0", here)
    shell = start(t, path, transport, pairs)
    talks = netns.conversations(FIVE, guest.file_of(shell.vm.disk, FIVE), os.urandom(5 * MIB), at_once=True)
    shell.does("[ $(cat /sys/class/net/eth0/mtu) = 1400 ]")
    netns.configure(shell, f"{there}/24")
    shell.does(f"ping -c 3 -W 20 {here}")
    assert t.run(["busybox", "ping", "-c", "3", "-W", "20", there]).code == 0
    netns.tcp_from_guest(shell, (here, 5000), here, talks)
    netns.tcp_to_guest(shell, (there, 6000), talks)
    netns.udp_from_guest(shell, here, netns.Names(here))
    netns.udp_to_guest(shell, (there, 6001), 20000)
    shell.ends()
    assert daemon.stop() == 0


def passt(t):
    """Without a network of the host it serves loopback alone: what the guest has and what that is to it."""
    path = t.dir / "passt.sock"
    process = t.start("passt", [t.resource("newer:passt"), "--foreground", "--vhost-user", "--socket", path, "--ipv4-only",
                                "--tcp-ports", "6000", "--udp-ports", "6001", "--dns-forward", "169.254.2.3",
                                "--dns-host", "127.0.0.1"])
    wait_for_socket(path, process)
    return path, "169.254.2.1", "169.254.2.2"


@test(tags=TAGS, needs=[*guest.needs_of(KERNEL), "newer:passt"], timeout=250, cases=TRANSPORTS)
def passt_daemon(t, transport):
    """TCP both ways, a name by UDP, a datagram from the host: all of the host's loopback."""
    netns.enter()
    path, there, here = passt(t)
    shell = start(t, path, transport)
    # one direction after the other: this release may end a connection that the guest has half closed too soon
    talks = netns.conversations(FIVE, guest.file_of(shell.vm.disk, FIVE), os.urandom(5 * MIB), at_once=False)
    netns.configure(shell, f"{there}/16")
    shell.does(f"ip route add default via {here}")
    netns.tcp_from_guest(shell, ("127.0.0.1", 5000), here, talks)
    netns.tcp_to_guest(shell, ("127.0.0.1", 6000), talks)
    netns.udp_from_guest(shell, "169.254.2.3", netns.Names("127.0.0.1"))
    netns.udp_to_guest(shell, ("127.0.0.1", 6001), 1400)
    shell.ends()
