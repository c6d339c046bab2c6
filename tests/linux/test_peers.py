# SPDX-License-Identifier: Apache-2.0
"""Shared memory regions with daemons on crates that nobody here wrote, see tests/peers."""
import hashlib
import os
import re
import subprocess

import guest
import tiny_guest
from harness import test, wait_for_socket

KERNEL = "tiny-acpi"
OLD, NEW = "0.16", "0.18"
QUIRK = "quirk=shmem-bit-21"
DEVICE = {OLD: f"pmem,{QUIRK}", NEW: "pmem"}
RELEASES = {f"vhost-{release}": {"release": release} for release in DEVICE}
TAGS = ["shmem", "pmem"]
PAGE, MIB, END = 1 << 12, 1 << 20, 1 << 64
SIZE = 4 * MIB          # of the peer's region 0, the persistent memory; 2 has 64 KiB; 1 is not there
REFUSED = "refused, Frontend internal error"        # the crate's words for an answer that is not 0
YES = b"yes\n" * (MIB // 4)


class Peer:
    """The daemon on one release of the crate vhost, and what it is told to ask for."""

    def __init__(self, t, release):
        self.socket = t.dir / "peer.sock"
        self.process = t.start("peer", [t.resource(f"peer:{release}"), self.socket], stdin=subprocess.PIPE)
        wait_for_socket(self.socket, self.process)

    def ask(self, request):
        """What came of it: "done", or "refused, " and the crate's why."""
        start = len(self.process.out)
        self.process.send(f"{request}\n".encode())
        begin = self.process.expect(f"{request}: ", 30, start)
        end = self.process.expect("\n", 30, begin)
        return self.process.out[begin:end - 1].decode()

    def ask_map(self, path, shm_offset=0, length=PAGE, fd_offset=0, mode="rw", flags=1, shmid=0):
        return self.ask(f"map {mode} {path} {shmid} {fd_offset} {shm_offset} {length} {flags}")

    def ask_unmap(self, shm_offset, length, shmid=0):
        return self.ask(f"unmap {shmid} {shm_offset} {length}")


def huge_pages():
    """An object of huge pages, of which there are none: its fd."""
    fd = os.memfd_create("huge", os.MFD_HUGETLB)
    os.ftruncate(fd, 2 * MIB)
    return fd


def wrong_maps(t, path):
    """By what is wrong, while [0, 1 MiB) and [3 MiB, 4 MiB) of region 0 are mapped."""
    short, fifo = t.dir / "short", t.dir / "fifo"
    short.write_bytes(bytes(PAGE))
    os.mkfifo(fifo)
    free = {"path": path, "shm_offset": MIB}
    return {
        "a region that is not there": {**free, "shmid": 1}, "the last region, not there": {**free, "shmid": 255},
        "no length": {**free, "length": 0}, "half a page": {**free, "length": PAGE // 2},
        "within a page": {**free, "shm_offset": MIB + 512}, "within a page of the file": {**free, "fd_offset": 512},
        "an overflow": {**free, "shm_offset": END - PAGE, "length": 2 * PAGE},
        "an overflow in the file": {**free, "fd_offset": END - PAGE, "length": 2 * PAGE},
        "all lengths": {**free, "length": END - PAGE},
        "beyond the region": {**free, "shm_offset": SIZE}, "beyond a small region": {"path": path, "shmid": 2, "length": MIB},
        "over the end": {**free, "length": SIZE}, "the same again": {"path": path, "length": MIB},
        "over the first": {"path": path, "shm_offset": MIB - PAGE, "length": 2 * PAGE},
        "within the first": {"path": path, "shm_offset": 16 * PAGE}, "over both": {"path": path, "length": SIZE},
        "an unknown flag": {**free, "flags": 2}, "all flags": {**free, "flags": END - 1},
        "a file it may only read": {**free, "mode": "r"},
        "a directory": {**free, "path": t.dir, "mode": "r", "flags": 0},
        "a fifo": {**free, "path": fifo}, "a device": {**free, "path": "/dev/null"},
        "a file that ends": {**free, "path": short, "length": 2 * PAGE},
        "a file that ended": {**free, "path": short, "fd_offset": PAGE},
        "huge pages that are not there": {**free, "path": f"/proc/{os.getpid()}/fd/{huge_pages()}", "length": 2 * MIB},
    }


WRONG_UNMAPS = {
    "nothing mapped": (MIB, PAGE), "a part": (0, PAGE), "another part": (PAGE, MIB - PAGE), "more": (0, 2 * MIB),
    "all": (0, SIZE), "no length": (0, 0), "an overflow": (END - PAGE, 2 * PAGE), "another region": (0, MIB, 2),
    "a region that is not there": (0, MIB, 1),
}


def check_refusals(t, peer, path):
    for what, arguments in wrong_maps(t, path).items():
        came = peer.ask_map(**arguments)
        assert came == REFUSED, f"MAP of {what}: {came}"
    for what, arguments in WRONG_UNMAPS.items():
        came = peer.ask_unmap(*arguments)
        assert came == REFUSED, f"UNMAP of {what}: {came}"


def digest(data):
    return hashlib.sha256(data).hexdigest()


@test(tags=["boot", *TAGS], needs=lambda case: [*guest.needs_of(KERNEL), f"peer:{case['release']}"], timeout=150,
      cases={f"{name}.{transport}": {**case, "transport": transport}
             for (name, case), transport in zip(RELEASES.items(), ("pci", "mmio"))})
def maps_unmaps_and_is_refused(t, release, transport):
    """Linux finds in /dev/pmem0 what the peer mapped, writes what it may, and finds nothing where it was unmapped."""
    peer = Peer(t, release)
    path = t.dir / "object"
    content = os.urandom(SIZE)
    path.write_bytes(content)
    write = "yes yes | head -c 1048576 | dd of=/dev/pmem0 bs=1M iflag=fullblock conv=fsync seek="
    verbs = ('read-line drop-caches "exec=/bin/sh,-c,sha256sum /dev/pmem0" '
             f'"exec=/bin/sh,-c,{write}0" "exec=/bin/sh,-c,{write}3" read-line drop-caches "exec=/bin/sh,-c,sha256sum /dev/pmem0"')
    vm = guest.Guest(t, kernel=KERNEL, verbs=f"{verbs} verify write=4M sync poweroff")
    vm.command += ["--vhost-user", f"{DEVICE[release]},socket={peer.socket},transport={transport}"]
    vm.start(stdin=subprocess.PIPE)
    end = vm.process.expect(guest.LINE, guest.SECONDS)

    assert peer.ask_map(path, 0, MIB) == "done"
    assert peer.ask_map(path, 3 * MIB, MIB, fd_offset=MIB, mode="r", flags=0) == "done"
    assert peer.ask_map(path, length=16 * PAGE, shmid=2) == "done"
    check_refusals(t, peer, path)
    vm.process.send(b"mapped\n")
    end = vm.process.expect(guest.LINE, guest.SECONDS, end)

    written = path.read_bytes()
    assert written[:MIB] == YES, "what the guest wrote and flushed is not in the object"
    assert written[MIB:] == content[MIB:], "the guest changed what was not mapped, or not for writing"
    for request in ((0, MIB), (3 * MIB, MIB), (0, 16 * PAGE, 2)):
        assert peer.ask_unmap(*request) == "done"
        assert peer.ask_unmap(*request) == REFUSED
    assert peer.ask_map(path, 2 * MIB, MIB) == "done", "a refusal was the end"
    vm.process.send(b"unmapped\n")

    ended = vm.wait()
    found = re.findall(r"([0-9a-f]{64})  /dev/pmem0", ended.console)
    assert found == [digest(content[:MIB] + bytes(2 * MIB) + content[MIB:2 * MIB]),
                     digest(bytes(2 * MIB) + YES + bytes(MIB))], "the guest found something else"
    guest.check_booted(t, ended)
    assert peer.process.wait(30) == 0, "the peer was told nonsense"


@test(tags=["options", *TAGS], needs=[f"peer:{OLD}"], kvm=False, timeout=30)
def pmem_without_its_quirk_is_told_of_it(t):
    peer = Peer(t, OLD)
    got = t.run([*tiny_guest.command(t, tiny_guest.SPIN), "--vhost-user", f"pmem,socket={peer.socket}"], timeout=20)
    assert got.code == 1 and len(got.err.splitlines()) == 1
    assert "(SHMEM); use another" in got.err and "offers bit 21" in got.err and QUIRK in got.err


@test(tags=TAGS, needs=lambda case: [f"peer:{case['release']}"], kvm=False, timeout=30,
      cases={"vhost-0.16": {"release": OLD, "quirk": "", "came": "refused, SHMEM feature not negotiated"},
             "vhost-0.18-with-a-stale-quirk": {"release": NEW, "quirk": f",{QUIRK}", "came": "done"}})
def generic_device(t, release, quirk, came):
    """Where the regions are an extra, a daemon that is not understood works without them."""
    peer = Peer(t, release)
    path = t.dir / "object"
    path.write_bytes(bytes(PAGE))
    vm = t.start("minivmm", [*tiny_guest.command(t, tiny_guest.HELLO + tiny_guest.SPIN),
                             "--vhost-user", f"generic,virtio-id=27,num_vqs=1,socket={peer.socket}{quirk}"])
    vm.expect("U\n", 20)
    assert peer.ask_map(path) == came
    vm.stop()
