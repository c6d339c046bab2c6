# SPDX-License-Identifier: Apache-2.0
"""Devices of minivmm-backend that are more than a disk, used by Linux on both transports."""
import hashlib
import os
import re
import select
import socket
import threading

import guest
import harness
from harness import test
from session import TRANSPORTS, Session

TAGS = ["boot", "daemons"]
PLAIN, CONSOLES = "tiny-acpi", "debian-6.12"     # the second has a driver for consoles
MIB = 1 << 20
FIVE = "/data/deep/er/five-mib"     # of the guest's root
LIMIT = 40          # seconds, on an idle machine and a real KVM


def needs(kernel):
    return lambda _: guest.needs_of(kernel)


def start(t, device, path, transport, kernel, **arguments):
    t.boots += 1
    return Session(t, f"{device},socket={path},transport={transport}", kernel=kernel, verbs="shell poweroff",
                   transport=transport, **arguments)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def connected(path):
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(LIMIT * harness.SLOW)
    end.connect(str(path))
    return end


def read_line(end):
    """One line, and nothing of what may have come right behind it."""
    got = b""
    while not got.endswith(b"\n"):
        byte = end.recv(1)
        assert byte, f"the connection ended after {got!r}"
        got += byte
    return got


def talk(end, data):
    """Sends data and its end while it collects what comes, until that has ended."""
    sender = threading.Thread(target=lambda: (end.sendall(data), end.shutdown(socket.SHUT_WR)))
    sender.start()
    got = bytearray()
    while piece := end.recv(65536):
        got += piece
    sender.join()
    end.close()
    return bytes(got)


@test(tags=[*TAGS, "vsock"], needs=needs(PLAIN), timeout=200, cases=TRANSPORTS)
def vsock(t, transport):
    """Either side calls the other; each sends some MiB."""
    calls = t.dir / "calls"
    path = t.own_backend("vsock", "--guest-cid=9", f"--uds-path={calls}", socket=t.dir / "vsock.sock")
    daemon = t.processes[-1]
    disk = guest.make_disk(t)
    guest.put(disk, t.program("tests/peers/vsock-pipe"), "/bin/vsock-pipe")
    shell = start(t, "vsock", path, transport, PLAIN, disk=disk)
    theirs, ours = guest.file_of(disk, FIVE), os.urandom(5 * MIB)

    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{calls}_5000")
    server.listen()
    server.settimeout(LIMIT * harness.SLOW)
    shell.types(f"vsock-pipe connect 5000 {5 * MIB} <{FIVE} | sha256sum")
    end = server.accept()[0]
    end.settimeout(LIMIT * harness.SLOW)
    assert talk(end, ours) == theirs
    assert digest(ours) in shell.done()

    begun = len(shell.process.out)
    shell.types(f"vsock-pipe listen 6000 {5 * MIB} <{FIVE} | sha256sum")
    shell.process.expect("listening\r\n", LIMIT, begun)
    end = connected(calls)
    end.sendall(b"CONNECT 6000\n")
    assert re.fullmatch(rb"OK \d+\n", read_line(end))
    assert talk(end, ours) == theirs
    assert digest(ours) in shell.done()

    # where nobody listens, neither gets through
    end = connected(calls)
    end.sendall(b"CONNECT 6000\n")
    assert end.recv(64) == b""
    shell.does("! vsock-pipe connect 5001 0 </dev/null")
    shell.ends()
    assert daemon.stop() == 0 and not calls.exists()


def type_and_read(end, line, wanted):
    """At a terminal's end: types a line, reads until wanted has come."""
    os.write(end.fileno(), line)
    got = b""
    while wanted not in got:
        assert select.select([end], [], [], LIMIT * harness.SLOW)[0], f"no {wanted!r} in {got!r}"
        piece = os.read(end.fileno(), 4096)
        assert piece, f"the end came after {got!r}"
        got += piece
    return got


@test(tags=[*TAGS, "console"], needs=needs(CONSOLES), timeout=200, cases=TRANSPORTS)
def console(t, transport):
    """A shell on the console, which is a socket; a port with a name, some MiB both ways; a port that is a file."""
    login, port, log = t.dir / "login", t.dir / "port", t.dir / "log"
    path = t.own_backend("console", f"--port=socket={login}", f"--port=socket={port},name=org.test.port,console=off",
                         f"--port=file={log},name=org.test.log,console=off", socket=t.dir / "console.sock")
    daemon = t.processes[-1]
    disk = guest.make_disk(t)
    shell = start(t, "console", path, transport, CONSOLES, disk=disk)
    theirs, ours = guest.file_of(disk, FIVE), os.urandom(5 * MIB)

    shell.does("(setsid sh -c 'exec sh -i </dev/hvc0 >/dev/hvc0 2>&1' &)")
    with connected(login) as end:
        type_and_read(end, b"echo $((6 * 7))\n", b"\n42\r\n")
        type_and_read(end, b"exit\n", b"exit")

    names = shell.does("cd /sys/class/virtio-ports; grep . */name; cd")
    device = {name: re.search(rf"(vport\w+)/name:{name}", names)[1] for name in ("org.test.port", "org.test.log")}
    shell.does(f"echo one >/dev/{device['org.test.log']}; echo two >/dev/{device['org.test.log']}")
    end = connected(port)
    shell.types(f"exec 5<>/dev/{device['org.test.port']}; head -c {5 * MIB} <&5 | sha256sum & cat {FIVE} >&5; wait")
    got = bytearray()
    sender = threading.Thread(target=lambda: end.sendall(ours))
    sender.start()
    while len(got) < len(theirs):
        piece = end.recv(65536)
        assert piece, f"the port ended after {len(got)} bytes"
        got += piece
    sender.join()
    assert bytes(got) == theirs
    assert digest(ours) in shell.done()
    # a write to a port does not wait for the daemon; what came later has been taken by now
    assert log.read_text() == "one\ntwo\n"
    shell.ends()
    assert daemon.stop() == 0 and not login.exists() and not port.exists()
