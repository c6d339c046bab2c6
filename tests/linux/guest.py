# SPDX-License-Identifier: Apache-2.0
"""Booting guests: disks, daemons and what "booted" means.

Booted: the guest's init mounted the ext4 that a daemon serves, verified and wrote it, powered off,
and minivmm ended with 0; and from outside the disk holds what the guest wrote and is clean.
"""
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import subprocess

from harness import Process, Skip

# What each kind of guest is booted from: resource, files in it, options for minivmm
KERNELS = {
    "tiny": ("kernel:tiny", "vmlinux", None, []),
    "tiny-bzimage": ("kernel:tiny", "bzImage", None, []),
    "tiny-acpi": ("kernel:tiny-acpi", "vmlinux", None, []),
    "tiny-devices": ("kernel:tiny-devices", "vmlinux", None, []),
    "tiny-of": ("kernel:tiny-of", "vmlinux", None, ["--machine", "fdt"]),
    "debian-6.1": ("debian:6.1", "bzImage", "initrd.cpio", []),
    "debian-6.12": ("debian:6.12", "bzImage", "initrd.cpio", []),
}
DISK = "image:128M"
INIT = "init:"          # our init as a program of the host: it computes what the guest must have written
NEEDS = [DISK, INIT]
UP, OK, FAILED = "minivmm-init: up", "minivmm-init: ok", "minivmm-init: FAIL"
LINE = "minivmm-init: read-line: type a line"
QUIET = "quiet "        # errors and worse: in the lab the rest takes more than half of a boot's time
SECONDS = 100           # of a boot in the lab, several times what it takes


def needs_of(kernel):
    return [*NEEDS, KERNELS[kernel][0]]


def of_guest(text):
    """What the guest wrote: minivmm's own lines go to the same place, and one may stand within one of the guest's."""
    return re.sub(r"minivmm: [^\n]*\n", "", text)


@dataclasses.dataclass
class Ended:
    """A guest that has ended."""
    code: int
    console: str
    report: dict
    disk: pathlib.Path

    @property
    def user(self):
        """The console without the kernel's lines, one of which may stand within one of the init's."""
        return re.sub(r"\[ *\d+\.\d{6}\] [^\n]*\n", "", of_guest(self.console))

    def said(self, verb):
        """What the init said for a verb; fails when it did not."""
        found = re.search(rf"minivmm-init: {re.escape(verb)}: ([^\r\n]*)", self.user)
        assert found, f"the guest's init said nothing for {verb}"
        return found[1]


def make_disk(t, name="disk.img", image=DISK):
    """A disk of the guest's own; what is zero in the image stays a hole."""
    disk = t.dir / name
    step = 1 << 18
    with open(t.resource(image), "rb") as source, open(disk, "wb") as target:
        while block := source.read(step):
            if block.count(0) == len(block):
                target.seek(len(block), os.SEEK_CUR)
            else:
                target.write(block)
        target.truncate(source.tell())
    return disk


def pmem_daemon(t, image, keys=""):
    """Our own for persistent memory, of which a test may have several; the socket."""
    return t.own_backend("pmem", f"--file={image}{keys}", socket=t.dir / f"pmem{len(t.processes)}.sock")


def device_option(daemon, socket, transport=None):
    """--vhost-user of a disk; a socket alone is a disk's, too."""
    kind = "pmem" if daemon.startswith("pmem") else "blk" if transport else ""
    return (f"{kind},socket={socket}" if kind else str(socket)) + (f",transport={transport}" if transport else "")


class Guest:
    """A disk, the daemon that serves it, and minivmm; run it or talk to it. quiet: the kernel tells of errors only;
    words: more of the kernel's command line."""

    def __init__(self, t, kernel="tiny", cpus=1, options=(), verbs="verify write=4M sync poweroff",
                 daemon="storage", cmdline=True, disk=None, quiet=True, machine=None, transport=None, words=""):
        self.t = t
        resource, image, initrd, usual = KERNELS[kernel]
        directory = t.resource(resource)
        self.disk = disk or make_disk(t)
        self.socket = {"storage": lambda: t.storage_daemon(self.disk),
                       "own": lambda: t.own_backend("blk", f"--blk-file={self.disk}"),
                       "pmem": lambda: pmem_daemon(t, self.disk),
                       "pmem-readonly": lambda: pmem_daemon(t, self.disk, ",readonly")}[daemon]()
        self.daemon = t.processes[-1]
        self.report = t.dir / "boot-report"
        self.command = [t.minivmm, "--mem-backend=shm", "--kernel", directory / image, "--vhost-user",
                        device_option(daemon, self.socket, transport),
                        "--boot-report", self.report, *(["--machine", machine] if machine else usual)]
        if initrd:
            self.command += ["--initrd", directory / initrd]
        if cpus != 1:
            self.command += ["--cpus", cpus]
        if cmdline:
            self.command += ["--append", f"{QUIET if quiet else ''}{words}-- {verbs}"]
        self.command += options
        self.process = None

    def start(self, **options):
        self.process = self.t.start("minivmm", self.command, **options)
        return self.process

    def wait(self, timeout=SECONDS):
        code = self.process.wait(timeout)
        report = json.loads(self.report.read_text()) if self.report.exists() and self.report.stat().st_size else {}
        return Ended(code, self.process.text, report, self.disk)

    def run(self, timeout=SECONDS, **options):
        self.start(**options)
        return self.wait(timeout)


def file_of(disk, path):
    """A file of a disk's file system, from outside."""
    return subprocess.run(["/usr/sbin/debugfs", "-R", f"cat {path}", disk], capture_output=True, check=True).stdout


def put(disk, source, path):
    """Adds a file to a disk's file system, from outside."""
    done = subprocess.run(["/usr/sbin/debugfs", "-w", "-R", f"write {source} {path}", disk], capture_output=True,
                          check=True)
    assert b"Allocated inode" in done.stdout, done.stderr.decode()


def check_clean(t, disk):
    assert t.run(["/usr/sbin/e2fsck", "-fn", disk]).code == 0, "the guest left a damaged file system"


def check_disk(t, disk, written):
    """The disk from outside, past the guest: it holds what the guest wrote and is clean."""
    want = subprocess.run([t.resource(INIT), f"stream={written}"], capture_output=True, check=True).stdout
    have = file_of(disk, "/data/written")
    assert hashlib.sha256(have).digest() == hashlib.sha256(want).digest(), "the disk lacks what the guest wrote"
    check_clean(t, disk)


def check_booted(t, ended):
    """Inside and outside; counts as a boot."""
    assert FAILED not in ended.user, "the guest's init failed"
    assert OK in ended.user, f"minivmm ended with {ended.code} before the guest's init came to its end"
    assert ended.code == 0, f"minivmm ended with {ended.code}"
    ended.said("verify")
    ended.said("write")
    written = re.search(r"-- .*?\bwrite=(\w+)", " ".join(str(w) for w in t.processes[-1].command))
    if written:
        check_disk(t, ended.disk, written[1])
    t.boots += 1


def boot(t, **arguments):
    """Boots a guest to the project's definition of it."""
    timeout = arguments.pop("timeout", SECONDS)
    ended = Guest(t, **arguments).run(timeout)
    check_booted(t, ended)
    return ended


def slots(pid):
    """The shared objects that a process maps: {inode: (path, bytes)}."""
    found = {}
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and words[1][3] == "s":
            start, end = (int(x, 16) for x in words[0].split("-"))
            key = (words[3], int(words[4]))
            found[key] = (words[5], found.get(key, ("", 0))[1] + end - start)
    return found


def memory(pid):
    """What /proc says of the memory a process maps, summed up by name: {name: {"Pss": bytes, ...}}."""
    found, name = {}, ""
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        words = line.split(None, 5)
        if "-" in words[0] and ":" not in words[0]:
            name = words[5] if len(words) > 5 else "anonymous"
        elif words[-1] == "kB":
            key, sums = words[0].rstrip(":"), found.setdefault(name, {})
            sums[key] = sums.get(key, 0) + (int(words[1]) << 10)
    return found


def need_shm(size):
    """Room in /dev/shm, by remounting it where that touches nobody: in the lab."""
    stat = os.statvfs("/dev/shm")
    if stat.f_blocks * stat.f_frsize < size:
        resize_shm(size)


def resize_shm(size):
    """Gives /dev/shm a size; returns what it had."""
    if not os.environ.get("MINIVMM_IN_LAB"):
        raise Skip(f"/dev/shm does not have {size >> 20} MiB and belongs to others", machine=True)
    stat = os.statvfs("/dev/shm")
    subprocess.run(["mount", "-o", f"remount,size={size}", "/dev/shm"], check=True)
    return stat.f_blocks * stat.f_frsize


__all__ = ["Guest", "Process", "boot", "check_booted", "check_clean", "check_disk", "file_of", "make_disk", "memory",
           "need_shm", "needs_of", "pmem_daemon", "put", "resize_shm", "slots"]
