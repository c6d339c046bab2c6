# SPDX-License-Identifier: Apache-2.0
"""Guest RAM: where it lies, who else has it, and what happens when there is not enough of it."""
import contextlib
import os
import pathlib
import re
import stat
import subprocess
import time

import guest
import harness
from harness import test

GIB = 1 << 30
PAGE = 4096
SIZES = {"3G-4K": 3 * GIB - PAGE, "3G": 3 * GIB, "3G+4K": 3 * GIB + PAGE, "5G": 5 * GIB}
# A disk that is written to is read from and journalled behind the verbs, which takes RAM they did not ask for.
STILL = "ro "


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
    kernel = t.resource("kernel:tiny") / "vmlinux"
    again = t.run([t.minivmm, "--mem-backend", f"shm,name=/{path.name}", "--kernel", kernel])
    assert again.code == 1 and path.name in again.err
    vmm.signal(15)
    assert vmm.wait(20) == 143
    assert not path.exists()


def room_in_shm():
    info = os.statvfs("/dev/shm")
    return info.f_bavail * info.f_frsize


@contextlib.contextmanager
def hog(size=None):
    """Takes that much of /dev/shm; without a size all there is, whatever a guest takes meanwhile."""
    path = pathlib.Path(f"/dev/shm/hog.{os.getpid()}")
    try:
        with open(path, "wb") as file:
            if size:
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                with contextlib.suppress(OSError):
                    while True:
                        os.write(file.fileno(), bytes(4096))
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def shm_of(size):
    before = guest.resize_shm(size)
    try:
        yield
    finally:
        guest.resize_shm(before)


@test(tags=["memory"], needs=needs, alone=True, cases={"1": {"cpus": 1}, "4": {"cpus": 4}})
def exhausted_shm_has_its_exit_code(t, cpus):
    """There is less than the guest was promised: a warning, and when it uses it a sentence and 3, not a crash."""
    with shm_of(512 << 20), hog(448 << 20):
        machine = guest.Guest(t, verbs="fill=120M poweroff", options=["--mem-backend", "shm,thp=off"], cpus=cpus,
                              words=STILL)
        ended = machine.run()
    assert ended.code == 3, f"minivmm ended with {ended.code}"
    # The guest is cut off in the middle of a line of its own.
    said = re.findall(r"minivmm: .*", ended.console)
    assert len(said) == 2, f"not one warning and one sentence: {said}"
    assert "warning" in said[0] and "is full and the guest needs more" in said[1], said


def wait_for_guard(vmm, wanted):
    """Until what RAM lacks is inaccessible to the VMM, or is so no longer."""
    deadline = time.monotonic() + 20 * harness.SLOW
    while time.monotonic() < deadline:
        maps = pathlib.Path(f"/proc/{vmm.pid}/maps").read_text().splitlines()
        if any(" ---s " in line and "/dev/shm/" in line for line in maps) == wanted:
            return
        assert vmm.poll() is None, "minivmm has ended"
        time.sleep(0.05)
    raise AssertionError(f"RAM is {'not ' if wanted else ''}guarded")


@test(tags=["memory"], alone=True)
def full_shm_ends_no_guest_that_has_its_ram(t):
    """While others fill /dev/shm the guest runs on with what it has, and goes on to more when there is room again."""
    command = [t.minivmm, "--kernel", t.program("tests/bare/bare_full_shm"), "--memory", "256M",
               "--mem-backend", "shm,thp=off", "--append", "takes_what_it_is_told_to"]
    with shm_of(512 << 20):
        vmm = t.start("minivmm", command, stdin=subprocess.PIPE)
        vmm.expect("# some is taken")
        with hog():
            wait_for_guard(vmm, True)
            assert room_in_shm() == 0, "the guest did not fill /dev/shm"
            vmm.send(b"x")
            vmm.expect("# the same again")
        wait_for_guard(vmm, False)
        vmm.send(b"x")
        vmm.expect("# more is taken")
        code = vmm.wait(20)
    assert code == 0, f"minivmm ended with {code}"


@test(tags=["memory"], needs=needs, alone=True)
def more_than_shm_is_refused(t):
    info = os.statvfs("/dev/shm")
    size = info.f_blocks * info.f_frsize // (1 << 20) + 1024
    got = t.run([t.minivmm, "--memory", f"{size}M", "--mem-backend", "shm,thp=off",
                 "--kernel", t.resource("kernel:tiny") / "vmlinux"])
    assert got.code == 1 and "memfd" in got.err, got.err
