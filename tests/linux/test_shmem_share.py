# SPDX-License-Identifier: Apache-2.0
"""shmem-share: a disk whose daemon writes straight into what another daemon maps into the guest."""
import hashlib
import os
import re

import guest
from harness import test

KERNEL = "tiny-acpi"
ROOT = "root=/dev/pmem0 rootflags=dax "
SIZE = 3 << 20


def read_into(t, daemon, share, verbs="verify read-into=3M,/data/direct write=4M sync poweroff", transport=None,
              timeout=guest.SECONDS):
    """A root file system in persistent memory, and a disk read into a file of it: how the guest ended, what the disk has."""
    image, disk = guest.make_disk(t, "image.img"), t.dir / "second.img"
    content = os.urandom(4 << 20)
    disk.write_bytes(content)
    blk = t.own_backend("blk", f"--blk-file={disk}") if daemon == "own" else t.storage_daemon(disk)
    vm = guest.Guest(t, kernel=KERNEL, daemon="pmem", disk=image, words=ROOT, transport=transport, verbs=verbs)
    at = vm.command.index("--vhost-user") + 1
    vm.command[at] += f",shmem-share={share}"
    vm.command += ["--vhost-user", f"blk,socket={blk}" + (f",transport={transport}" if transport else "")]
    ended = vm.run(timeout)
    assert disk.read_bytes() == content, "the disk that was read is another now"
    return ended, content[:SIZE]


@test(tags=["boot", "shmem", "pmem", "blk"], needs=guest.needs_of(KERNEL), timeout=150, cases={
    "own.pci": {"daemon": "own", "transport": "pci"}, "own.mmio": {"daemon": "own", "transport": "mmio"},
    "storage-daemon.pci": {"daemon": "storage", "transport": "pci"}})
def disk_is_read_into_a_dax_file(t, daemon, transport):
    ended, want = read_into(t, daemon, "on", transport=transport)
    digest = hashlib.sha256(want).hexdigest()
    assert ended.said("read-into") == f"/data/direct {SIZE} bytes, sha256 {digest}"
    guest.check_booted(t, ended)
    assert guest.file_of(ended.disk, "/data/direct") == want, "the file does not have what the disk has"


@test(tags=["boot", "shmem", "pmem", "blk"], needs=guest.needs_of(KERNEL), timeout=200)
def after_a_reboot_it_is_shared_anew(t):
    ended, want = read_into(t, "own", "on", timeout=150,
                            verbs="read-into=3M,/data/direct reboot-once verify read-into=3M,/data/direct "
                                  "write=4M sync poweroff")
    said = f"read-into: /data/direct {SIZE} bytes, sha256 {hashlib.sha256(want).hexdigest()}"
    assert ended.console.count(said) >= 2, "the disk was not read before and after the reboot"
    guest.check_booted(t, ended)


@test(tags=["boot", "shmem", "pmem", "blk"], needs=guest.needs_of(KERNEL), timeout=150,
      cases={"pci": {"transport": "pci"}, "mmio": {"transport": "mmio"}})
def without_the_key_such_a_read_fails_and_nothing_else(t, transport):
    """Our daemon refuses what points into a window: the program is told, disk and file system go on."""
    ended, _ = read_into(t, "own", "off", transport=transport,
                         verbs="verify read-into=3M,/data/direct read-all write=4M sync poweroff")
    assert re.fullmatch(r"0 bytes, then EIO\S*", ended.said("read-into").strip()), ended.said("read-into")
    assert f"{4 << 20} bytes" in ended.said("read-all")
    guest.check_booted(t, ended)
    assert not guest.file_of(ended.disk, "/data/direct").strip(b"\0"), "something was read nevertheless"
