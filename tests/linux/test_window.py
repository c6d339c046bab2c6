# SPDX-License-Identifier: Apache-2.0
"""Shared memory regions beneath a guest of a few instructions, and daemons that take away what it is at."""
import array
import contextlib
import os
import socket
import struct
import time

import hostile_daemon as hostile
import tiny_guest
from harness import test

PAGE, TIMES = 4096, 100
MAP, UNMAP, RW = 9, 10, 1
ANSWER = 1 | hostile.NEED_REPLY
WINDOW = 1 << 37        # where the first window of devices by MMIO is
LARGE_PAGE = 0x83       # present, writable; in a table of the third level: 1 GiB

# Maps the window where it is, says so and reads its first byte for ever, with interrupts off
READ = (b"\x0f\x20\xd8"                                         # mov rax, cr3
        + b"\x48\x25\x00\xf0\xff\xff\x48\x8b\x00"              # and rax, -4096; mov rax, [rax]
        + b"\x48\x25\x00\xf0\xff\xff"                          # and rax, -4096: the table of the third level
        + b"\x48\xb9" + struct.pack("<Q", WINDOW | LARGE_PAGE)    # mov rcx, entry
        + b"\x48\x89\x88" + struct.pack("<I", 8 * (WINDOW >> 30))    # mov [rax + 8 * n], rcx
        + b"\x48\xbb" + struct.pack("<Q", WINDOW)                # mov rbx, window
        + tiny_guest.HELLO
        + b"\x8a\x0b\xeb\xfc")                                   # again: mov cl, [rbx]; jmp again


def request(kind, at=0, flags=1):
    return hostile.message(kind, struct.pack("<B7xQQQQ", 0, 0, at, PAGE, RW if kind == MAP else 0), flags)


def answer(daemon):
    got = b""
    with contextlib.suppress(ConnectionError):
        got = daemon.back.recv(20, socket.MSG_WAITALL)
    assert len(got) == 20, "minivmm ended"
    return struct.unpack("<Q", got[12:])[0]


@test(tags=["shmem", "hostile"], timeout=120)
def taken_away_while_it_is_cut_short(t):
    """Truncated, and unmapped before a CPU's fault is looked into: what it ran into is not there any more, and the guest
    runs on. What comes before the unmap keeps the loop busy, more each time, while the CPU runs into it."""
    daemon = hostile.Daemon(t.dir / "d.sock", region=2 << 20)
    t.processes.append(daemon)
    vmm = t.start("minivmm", tiny_guest.command(t, READ, "--vhost-user",
                                                f"generic,virtio-id=60,num_vqs=1,transport=mmio,socket={daemon.path}"))
    vmm.expect("U")
    for n in range(TIMES):
        fd = os.memfd_create("object")
        os.ftruncate(fd, PAGE)
        daemon.back.sendmsg([request(MAP, flags=ANSWER)],
                            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        assert answer(daemon) == 0
        time.sleep(0.005)       # the guest is at it
        os.ftruncate(fd, 0)
        with contextlib.suppress(ConnectionError):
            daemon.back.sendall(2 * n * request(UNMAP, at=PAGE) + request(UNMAP, flags=ANSWER))
        assert answer(daemon) == 0
        os.close(fd)
    assert vmm.stop() == 143
    assert vmm.text.count("an object was cut short") <= 1
