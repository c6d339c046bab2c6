# SPDX-License-Identifier: Apache-2.0
"""A daemon that is killed under a running Linux and started again: rebinding the driver, or a reboot, leads to it."""
import os
import pathlib
import random
import re
import signal
import socket
import stat
import subprocess
import time

import guest
from guest import FAILED, LINE, UP
from harness import test, wait_for_socket
from session import TRANSPORTS, Session

KERNEL = "tiny-acpi"
NEEDS = guest.needs_of(KERNEL)
NEXT = "debian-6.12"    # can load a next kernel
TAGS = ["boot", "reconnect"]
BACK = "is connected again after"


def rebind(session, driver, name):
    session.does(f"cd /sys/bus/virtio/drivers/{driver}; echo {name} >unbind && echo {name} >bind; cd /")


def the_device(session, driver, which):
    """The name of the driver's virtio device number which."""
    got = session.does(f"ls -d /sys/bus/virtio/drivers/{driver}/virtio* | sed s,.*/,device:, | sort -V")
    return [line.partition("device:")[2].strip() for line in got.splitlines() if line.startswith("device:")][which]


@test(tags=[*TAGS, "shmem", "pmem"], needs=NEEDS, timeout=200, cases=TRANSPORTS)
def pmem_is_mounted_again(t, transport):
    """With dax: what was mounted is gone at once, and nothing that was written before it."""
    image = guest.make_disk(t, "image.img")
    socket = guest.pmem_daemon(t, image)
    daemon = t.processes[-1]
    session = Session(t, f"pmem,socket={socket},transport={transport}")
    session.does("mount -t ext4 -o dax /dev/pmem0 /mnt")
    session.does("cp /data/deep/er/five-mib /mnt/copy && sync && mount -o remount,ro /mnt && cmp /mnt/copy /data/deep/er/five-mib")

    daemon.kill()
    session.process.expect("device pmem1 (socket ", 30)
    session.does("! cmp /mnt/copy /data/deep/er/five-mib")
    session.does("cd /data && sha256sum -c manifest >/dev/null && cd /")
    t.own_backend("pmem", f"--file={image}", socket=socket)
    session.process.expect(BACK, 30)
    session.does("! cmp /mnt/copy /data/deep/er/five-mib")

    session.does("umount /mnt")
    rebind(session, "virtio_pmem", the_device(session, "virtio_pmem", 0))
    session.does("mount -t ext4 -o dax /dev/pmem? /mnt && grep dax=always /proc/mounts")
    session.does("cmp /mnt/copy /data/deep/er/five-mib && cp /mnt/copy /mnt/second && sync && umount /mnt")
    session.ends()
    guest.check_clean(t, image)
    t.boots += 1


@test(tags=[*TAGS, "shmem", "pmem"], needs=NEEDS, timeout=200)
def pmem_is_unbound_under_its_mount(t):
    image = guest.make_disk(t, "image.img")
    socket = guest.pmem_daemon(t, image)
    daemon = t.processes[-1]
    session = Session(t, f"pmem,socket={socket}")
    session.does("mount -t ext4 -o dax,ro,noload /dev/pmem0 /mnt && cmp /mnt/data/text /data/text")
    daemon.kill()
    session.process.expect("device pmem1 (socket ", 30)
    t.own_backend("pmem", f"--file={image}", socket=socket)
    session.process.expect(BACK, 30)
    rebind(session, "virtio_pmem", the_device(session, "virtio_pmem", 0))
    session.does("umount -l /mnt; mount -t ext4 -o dax,ro /dev/pmem? /mnt && cmp /mnt/data/text /data/text && umount /mnt")
    session.ends()
    t.boots += 1


@test(tags=[*TAGS, "blk"], needs=NEEDS, timeout=200, cases=TRANSPORTS)
def a_disk_is_bound_again(t, transport):
    """That of qemu-storage-daemon."""
    disk = guest.make_disk(t, "second.img")
    socket = t.storage_daemon(disk, socket=t.dir / "second.sock")
    daemon = t.processes[-1]
    # both by one transport: the kernel may probe the other's first
    session = Session(t, f"blk,socket={socket},transport={transport},on-lost=reset", transport=transport)
    session.does("mount /dev/vdb /mnt && cp /data/deep/er/five-mib /mnt/copy && umount /mnt")
    daemon.kill()
    session.process.expect("device blk1 (socket ", 30)
    t.storage_daemon(disk, socket=socket)
    session.process.expect(BACK, 30)
    rebind(session, "virtio_blk", the_device(session, "virtio_blk", 1))
    session.does("mount /dev/vdb /mnt && cmp /mnt/copy /data/deep/er/five-mib && rm /mnt/copy && umount /mnt")
    session.ends()
    guest.check_clean(t, disk)
    t.boots += 1


class Hammered:
    """A guest that writes and reads a disk with four requests at a time, and the daemon of that disk, which listens;
    or with server=on, connects."""

    def __init__(self, t, transport, server):
        self.t, self.server = t, server
        self.disk = t.dir / "hammered.img"
        self.disk.touch()
        os.truncate(self.disk, 4 << 20)
        self.socket = t.dir / "hammered.sock"
        self.vm = guest.Guest(t, kernel=KERNEL, daemon="own", transport=transport, verbs="hammer=/dev/vdb poweroff")
        self.vm.command += ["--vhost-user", f"blk,socket={self.socket},transport={transport}{',server=on' if server else ''}"]
        if not server:
            self.serve()
        self.process = self.vm.start(stdin=subprocess.PIPE)
        if server:
            # it listens first and gives the socket its path then
            wait_for_socket(self.socket, self.process, ready_now=pathlib.Path.exists)
            assert stat.S_IMODE(self.socket.stat().st_mode) == 0o600
            self.serve()
        self.at = self.process.expect("hammer: type a line", guest.SECONDS)

    def serve(self):
        if not self.server:
            self.t.own_backend("blk", f"--blk-file={self.disk}", socket=self.socket)
            self.daemon = self.t.processes.pop()
            return
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            fd = connection.fileno()
            self.daemon = self.t.start("minivmm-backend blk", [self.t.backend, "blk", f"--fd={fd}", f"--blk-file={self.disk}"],
                                       pass_fds=[fd])
        self.t.processes.pop()

    def loses_its_daemon(self):
        self.daemon.kill()
        self.daemon.close()
        self.serve()

    def ends_well(self):
        self.process.send(b"\n")
        ended = self.vm.wait()
        self.daemon.close()
        assert FAILED not in ended.console and ended.code == 0
        assert re.search(r"hammer: [1-9]\d* writes, all there", ended.user)
        assert not self.server or not self.socket.exists(), "its socket is left"
        self.t.boots += 1


@test(tags=[*TAGS, "blk"], needs=NEEDS, timeout=900, cases={
    "pci": {"transport": "pci", "kills": 10}, "mmio": {"transport": "mmio", "kills": 10},
    "pci.server": {"transport": "pci", "kills": 20, "server": True},
    "pci.1000": {"transport": "pci", "kills": 1000, "server": True}})
def a_disk_goes_on_where_the_daemon_was_killed(t, transport, kills, server=False):
    """No request is lost, done twice or in part, wherever in its work the daemon dies."""
    moments = random.Random(kills)
    hammered = Hammered(t, transport, server)
    for _ in range(kills):
        time.sleep(0.1 + moments.random() / 10)
        hammered.loses_its_daemon()
        hammered.at = hammered.process.expect("; it goes on", 30, hammered.at)
    hammered.ends_well()


def start_again(t, daemon, disk, socket):
    if daemon == "storage":
        t.storage_daemon(disk, socket=socket)
    else:
        t.own_backend(daemon, f"--file={disk}", socket=socket)


@test(tags=[*TAGS, "shmem", "pmem"], needs=NEEDS, timeout=250, cases={
    **{f"{transport}.{daemon}": {"transport": transport, "daemon": daemon}
       for transport in ("pci", "mmio") for daemon in ("pmem", "storage")},
    "pci.pmem.later": {"transport": "pci", "daemon": "pmem", "later": True},
    "pci.storage.later": {"transport": "pci", "daemon": "storage", "later": True}})
def a_reboot_leads_to_the_next_daemon(t, transport, daemon, later=False):
    """Which is there before the reboot; or later: the kernel's probe waits for it."""
    words = "root=/dev/pmem0 rootflags=dax " if daemon == "pmem" else "root=/dev/vda "
    vm = guest.Guest(t, kernel=KERNEL, daemon=daemon, transport=transport, words=words,
                     verbs="verify write=1M sync read-line outb=0x64,0xfe")
    vm.start(stdin=subprocess.PIPE)
    at = vm.process.expect(LINE, guest.SECONDS)
    vm.daemon.kill()
    vm.process.expect("(socket ", 30)
    if not later:
        start_again(t, daemon, vm.disk, vm.socket)
        vm.process.expect(BACK, 30)
    # init's code is in the page cache, or gone: then the kernel panics, which is a reboot, too
    vm.process.send(b"on\n")
    if later:
        at = vm.process.expect("read-line: on" if daemon == "storage" else "Attempted to kill init", 30, at)
        time.sleep(4)   # the kernel is at its probe by then
        start_again(t, daemon, vm.disk, vm.socket)
    vm.process.expect(LINE, guest.SECONDS, at)
    vm.process.signal(signal.SIGTERM)
    ended = vm.wait()
    assert ended.code == 143
    assert ended.console.count(UP) == 2 and FAILED not in ended.console
    assert ended.console.count("minivmm-init: verify: ") == 2
    assert ended.console.count(BACK) == 1
    t.boots += 1


@test(tags=[*TAGS, "kexec"], needs=guest.needs_of(NEXT), timeout=300, cases=TRANSPORTS)
def a_kexec_keeps_the_daemon(t, transport):
    """Nobody resets the machine, and no driver lets go of its device: the next kernel resets what it finds running."""
    disk = guest.make_disk(t)
    resource, image, initrd, _ = guest.KERNELS[NEXT]
    for source, path in ((t.program("tests/vmshm/vmshm-kexec"), "/kexec"), (t.resource(resource) / image, "/kernel"),
                         (t.resource(resource) / initrd, "/initrd")):
        guest.put(disk, source, path)
    vm = guest.Guest(t, kernel=NEXT, disk=disk, transport=transport,
                     verbs="verify write=4M sync read-line exec=/kexec")
    vm.start(stdin=subprocess.PIPE)
    at = vm.process.expect(LINE, guest.SECONDS)
    vm.process.send(b"on\n")
    vm.process.expect(LINE, guest.SECONDS, at)
    vm.process.signal(signal.SIGTERM)
    ended = vm.wait()
    assert ended.code == 143
    assert ended.console.count(UP) == 2 and FAILED not in ended.console
    assert ended.console.count("minivmm-init: verify: ") == 2
    assert "lost" not in ended.console and BACK not in ended.console, "the daemon was not kept"
    guest.check_disk(t, disk, "4M")
    t.boots += 1
