# SPDX-License-Identifier: Apache-2.0
"""Devices whose daemons others wrote, used for real by Linux on both transports."""
import hashlib
import os
import re
import socket

import daemons
import guest
from harness import test, wait_for_socket
from session import TRANSPORTS, Session

KERNEL = "tiny-acpi"
TAGS = ["boot", "daemons"]
MIB = 1 << 20
FIVE = "/data/deep/er/five-mib"     # of the guest's root


def needs(*crates):
    return [*guest.needs_of(KERNEL), *(f"crate:{crate}" for crate in crates)]


def session(t, device, path, transport, **arguments):
    t.boots += 1
    return Session(t, f"{device},socket={path},transport={transport}", kernel=KERNEL, verbs="shell poweroff",
                   transport=transport, **arguments)


def digest(data):
    return hashlib.sha256(data).hexdigest()


@test(tags=[*TAGS, "rng"], needs=needs("vhost-device-rng"), timeout=150, cases=TRANSPORTS)
def rng(t, transport):
    """What the guest gets is what is in the daemon's file."""
    block = os.urandom(1024)
    source = t.dir / "source"
    source.write_bytes(block * 16384)
    daemons.start(t, "vhost-device-rng", "-s", t.dir / "rng.sock", "-f", source, socket=t.dir / "rng.sock0")
    shell = session(t, "rng", t.dir / "rng.sock0", transport)
    got = shell.reads("head -c 4096 /dev/hwrng")
    # how the driver cuts it is its own affair; in pieces of this size it is the file's
    assert len(got) == 4096
    assert all(got[at:at + 16] in block * 2 for at in range(0, 4096, 16)), "this is not of the daemon's file"
    shell.ends()


def listen(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    server.settimeout(60)
    return server


def talk(connection, got, size, answer):
    """Collects size bytes in got, then sends the answer, whose reader hangs up."""
    connection.settimeout(60)
    while len(got) < size:
        piece = connection.recv(65536)
        assert piece, f"the guest hung up after {len(got)} bytes"
        got += piece
    connection.sendall(answer)
    connection.recv(1)
    connection.close()


@test(tags=[*TAGS, "vsock"], needs=needs("vhost-device-vsock"), timeout=200, cases=TRANSPORTS)
def vsock(t, transport):
    """Either side calls the other; each sends some MiB. One after the other: this daemon ends both directions at once."""
    path, calls = t.dir / "vsock.sock", t.dir / "calls"
    daemons.start(t, "vhost-device-vsock", "--guest-cid=3", f"--socket={path}", f"--uds-path={calls}", socket=path)
    disk = guest.make_disk(t)
    guest.put(disk, t.program("tests/peers/vsock-pipe"), "/bin/vsock-pipe")
    shell = session(t, "vsock", path, transport, disk=disk)
    theirs, ours = guest.file_of(disk, FIVE), os.urandom(5 * MIB)

    server, got = listen(f"{calls}_5000"), bytearray()
    shell.types(f"vsock-pipe connect 5000 {len(ours)} <{FIVE} | sha256sum")
    talk(server.accept()[0], got, len(theirs), ours)
    assert digest(ours) in shell.done() and bytes(got) == theirs

    start = len(shell.process.out)
    shell.types(f"vsock-pipe listen 6000 {len(ours)} <{FIVE} | sha256sum")
    shell.process.expect("listening\r\n", 60, start)
    caller, got = socket.socket(socket.AF_UNIX), bytearray()
    caller.settimeout(60)
    caller.connect(str(calls))
    caller.sendall(b"CONNECT 6000\n")
    said = b""
    while not said.endswith(b"\n"):
        said += caller.recv(1)
    assert re.fullmatch(rb"OK \d+\n", said)
    talk(caller, got, len(theirs), ours)
    assert digest(ours) in shell.done() and bytes(got) == theirs
    shell.ends()


def storage_daemon(t, disk, queues):
    path = t.dir / "second.sock"
    process = t.start("qemu-storage-daemon", [
        "qemu-storage-daemon", "--blockdev", f"driver=file,node-name=disk,filename={disk},discard=unmap",
        "--export", f"type=vhost-user-blk,id=export,node-name=disk,writable=on,num-queues={queues},"
                    f"addr.type=unix,addr.path={path}"])
    wait_for_socket(path, process)
    return path


@test(tags=[*TAGS, "blk"], needs=needs(), timeout=200, cases=TRANSPORTS)
def blk(t, transport):
    """Four queues, each written through; what is deleted and discarded is a hole in the file."""
    disk, queues = t.dir / "second.img", 4
    with open(disk, "wb") as file:
        file.truncate(64 * MIB)
    path = storage_daemon(t, disk, queues)
    shell = session(t, f"blk,num-queues={queues}", path, transport, cpus=queues)
    shell.does(f"[ $(ls /sys/block/vdb/mq | wc -l) = {queues} ]")
    shell.does("mke2fs /dev/vdb >/dev/null && mount -t ext4 /dev/vdb /mnt")
    for cpu in range(queues):
        shell.does(f"taskset {1 << cpu:x} cp {FIVE} /mnt/{cpu} && taskset {1 << cpu:x} sync")
    shell.does(f"echo 3 >/proc/sys/vm/drop_caches; for n in 0 1 2 3; do cmp {FIVE} /mnt/$n || exit; done")
    full = disk.stat().st_blocks
    shell.does("rm /mnt/1 /mnt/2 /mnt/3 && sync && fstrim /mnt && umount /mnt")
    assert disk.stat().st_blocks < full - 10 * MIB // 512, "what was discarded is still in the file"
    shell.ends()
    guest.check_clean(t, disk)
    assert guest.file_of(disk, "/0") == guest.file_of(shell.vm.disk, FIVE)
