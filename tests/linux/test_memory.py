# SPDX-License-Identifier: Apache-2.0
"""Guest RAM: where it lies, who else has it, and what happens when there is not enough of it."""
import os
import pathlib
import re
import stat

import guest
from harness import test

GIB = 1 << 30
PAGE = 4096
SIZES = {"3G-4K": 3 * GIB - PAGE, "3G": 3 * GIB, "3G+4K": 3 * GIB + PAGE, "5G": 5 * GIB}


def needs(_):
    return guest.needs_of("tiny")


@test(tags=["memory", "boot"], needs=needs, timeout=200, alone=True,
      cases={label: {"size": size} for label, size in SIZES.items()})
def size_boots(t, size):
    guest.need_shm(size + GIB)
    ended = guest.boot(t, options=["--memory", f"{size // 1024}K"], verbs="verify mem write=4M sync poweroff")
    total = int(re.search(r"(\d+) kB", ended.said("mem"))[1]) * 1024
    assert size - total < size // 16 + (64 << 20), f"Linux has {total >> 20} MiB of {size >> 20}"


@test(tags=["memory", "boot"], needs=needs, cases={
    "shm": {"kind": "shm"}, "shm-4k": {"kind": "shm,thp=off"}, "memfd": {"kind": "memfd"}, "file": {"kind": "file"}})
def kind_boots(t, kind):
    if kind == "file":
        kind = f"file,path={t.dir / 'ram'}"
    ended = guest.boot(t, options=["--mem-backend", kind])
    assert ended.report["memory"]["bytes"] == 256 << 20


@test(tags=["memory"], needs=needs)
def ram_is_nameless_shm_that_the_daemon_maps(t):
    machine = guest.Guest(t, verbs="verify sleep-forever")
    vmm = machine.start()
    vmm.expect("minivmm-init: sleep-forever")
    mine = {key: (path, size) for key, (path, size) in guest.slots(vmm.pid).items() if size >= 1 << 20}
    assert sum(size for _, size in mine.values()) >= 256 << 20, f"no 256 MiB of shared mappings: {mine}"
    theirs = guest.slots(machine.daemon.pid)
    for key, (path, _) in mine.items():
        assert path.endswith("(deleted)"), f"{path} has a name"
        assert key in theirs, f"the daemon does not map {path}"
    modes = []
    inodes = {inode for _, inode in mine}
    for fd in pathlib.Path(f"/proc/{vmm.pid}/fd").iterdir():
        info = os.stat(fd)
        if info.st_ino in inodes and stat.S_ISREG(info.st_mode):
            modes.append(stat.S_IMODE(info.st_mode))
    assert modes, "no descriptor of RAM"
    assert not any(modes), f"RAM with modes {[oct(m) for m in modes]}"
    vmm.signal(15)
    assert vmm.wait(20) == 143


@test(tags=["memory"], needs=needs, alone=True)
def named_object_is_there_and_goes(t):
    path = pathlib.Path(f"/dev/shm/test-minivmm.{os.getpid()}")
    machine = guest.Guest(t, verbs="verify sleep-forever", options=["--mem-backend", f"shm,name=/{path.name}"])
    vmm = machine.start()
    vmm.expect("minivmm-init: sleep-forever")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = t.run([t.minivmm, "--mem-backend", f"shm,name=/{path.name}", "--kernel", machine.command[5]])
    assert again.code == 1 and path.name in again.err
    vmm.signal(15)
    assert vmm.wait(20) == 143
    assert not path.exists()


@test(tags=["memory"], needs=needs, alone=True)
def more_than_shm_is_refused(t):
    info = os.statvfs("/dev/shm")
    size = info.f_blocks * info.f_frsize // (1 << 20) + 1024
    got = t.run([t.minivmm, "--memory", f"{size}M", "--mem-backend", "shm,thp=off",
                 "--kernel", t.resource("kernel:tiny") / "vmlinux"])
    assert got.code == 1 and "memfd" in got.err, got.err
