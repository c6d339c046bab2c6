# SPDX-License-Identifier: Apache-2.0
"""A network of the test's own: a network namespace, taps in it, and programs that talk to a guest."""
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import pathlib
import re
import socket
import struct
import subprocess
import threading
import time

import daemons
import harness
from harness import Skip

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454ca
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
LIMIT = 60          # seconds for what a guest does, on an idle machine and a real KVM


def limit():
    """LIMIT where the test runs, for what does not go by the harness."""
    return LIMIT * harness.SLOW


def enter():
    """From here on this process, and what it starts, is in a network of its own, where nothing is but loopback."""
    if not pathlib.Path("/dev/net/tun").exists():
        daemons.load_module("tun")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        code = ctypes.get_errno()
        if code == errno.EPERM:
            raise Skip("no network namespace without being root", machine=True)
        raise OSError(code, "unshare")
    ip("link", "set", "lo", "up")


def ip(*words):
    subprocess.run(["busybox", "ip", *words], check=True)


def open_tap(name):
    """A tap that is there as long as the fd is open."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return fd


def set_up(name, address):
    ip("address", "add", f"{address}/24", "dev", name)
    ip("link", "set", name, "up")


def configure(shell, address):
    """The guest's interface, and what its programs need."""
    shell.does(f"ip link set lo up; ip address add {address} dev eth0; ip link set eth0 up; mkfifo {OPEN}; exec 9<>{OPEN}")


def digest(data):
    return hashlib.sha256(data).hexdigest()


def receive(end):
    """All until its end."""
    end.settimeout(limit())
    got = bytearray()
    while piece := end.recv(1 << 16):
        got += piece
    return bytes(got)


def talk(end, data):
    """Sends data and its end while it collects what comes, until that has ended."""
    sender = threading.Thread(target=lambda: (end.sendall(data), end.shutdown(socket.SHUT_WR)))
    sender.start()
    got = receive(end)
    sender.join()
    return got


def give(end, data):
    end.settimeout(limit())
    end.sendall(data)
    return b""


OPEN = "/tmp/open"      # of the guest, see configure: nothing comes from there, and no end


def conversations(file, theirs, ours, at_once):
    """Of each: what the guest's program sends, what the host's does, what that is to get, and what the guest's is."""
    if at_once:
        return [(file, lambda end: talk(end, ours), theirs, ours)]
    return [(file, receive, theirs, b""), (OPEN, lambda end: give(end, ours), b"", ours)]


def tcp_from_guest(shell, here, there, talks):
    """The guest calls `there`, which is where a program of the host listens `here`."""
    with socket.create_server(here) as server:
        server.settimeout(limit())
        for file, act, sent, got in talks:
            shell.types(f"nc {there} {here[1]} <{file} >/tmp/got; sha256sum /tmp/got")
            with server.accept()[0] as end:
                assert act(end) == sent
            assert digest(got) in shell.done()


def tcp_to_guest(shell, address, talks):
    """A program of the host calls one of the guest, which is at that address."""
    port = address[1]
    for file, act, sent, got in talks:
        start = len(shell.process.out)
        shell.types(f"nc -l -p {port} <{file} >/tmp/got & until netstat -lt -n | grep -q :{port}; do usleep 1000; done; "
                    "echo lis''tening; wait; sha256sum /tmp/got")
        shell.process.expect("listening\r\n", LIMIT, start)
        with socket.create_connection(address, limit()) as end:
            assert act(end) == sent
        assert digest(got) in shell.done()


def udp_to_guest(shell, address, size):
    """Datagrams of some sizes that come back; each is sent until it does, as packets may be lost."""
    start = len(shell.process.out)
    shell.types(f"(udp-echo {address[1]} 1000000 & echo $! >/tmp/echo)")
    shell.process.expect("listening\r\n", LIMIT, start)
    shell.done()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.connect(address)
        end.settimeout(1)
        deadline = time.monotonic() + limit()
        for length in (1, 100, 1000, size):
            data, got = os.urandom(length), None
            while got != data:
                assert time.monotonic() < deadline, f"no datagram of {length} bytes comes back"
                with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                    end.send(data)
                    got = end.recv(1 << 16)
    shell.does("kill $(cat /tmp/echo)")


class Names(threading.Thread):
    """Answers DNS: each name has one address of version 4."""

    ADDRESS = "192.0.2.7"

    def __init__(self, host):
        super().__init__(daemon=True)
        self.end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.end.bind((host, 53))
        self.asked = []
        self.start()

    def run(self):
        while True:
            query, sender = self.end.recvfrom(2048)
            # RFC 1035: 12 bytes of header, labels, a zero, type and class; a pointer to the name at 12
            name_end = query.index(0, 12) + 1
            kind = struct.unpack_from(">H", query, name_end)[0]
            found = kind == 1
            self.asked.append(re.sub(rb"[\x00-\x1f]", b".", query[13:name_end - 1]).decode())
            answer = struct.pack(">HHHIH4s", 0xc00c, 1, 1, 60, 4, socket.inet_aton(self.ADDRESS)) if found else b""
            header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, found, 0, 0)
            self.end.sendto(header + query[12:name_end + 4] + answer, sender)


def udp_from_guest(shell, server, names):
    """By asking for a name."""
    shell.does(f"until nslookup -type=a host.example.org {server} | grep -q '{names.ADDRESS}'; do :; done", LIMIT)
    assert "host.example.org" in names.asked
