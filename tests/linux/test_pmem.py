# SPDX-License-Identifier: Apache-2.0
"""Persistent memory: a file that a daemon maps into the guest, as its root file system without a page cache of its own."""
import contextlib
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import time

import guest
import hostile_daemon
from guest import FAILED, LINE, UP
from harness import Skip, test

KERNEL = "tiny-acpi"
NEEDS = guest.needs_of(KERNEL)
EROFS = "image:erofs"
TAGS = ["boot", "shmem", "pmem"]
ROOT = "root=/dev/pmem0 rootflags=dax "
WINDOW = "0x4000000000"     # where the first 64-bit BAR is
# In a shell: whether the first 4 MiB are zeros
ZEROS = "head -c 4194304 /dev/zero >/tmp/zeros; head -c 4194304 /dev/pmem0 | cmp - /tmp/zeros"
STATUS = '"exec=/bin/sh,-c,cat /sys/bus/virtio/devices/*/status"'
NEEDS_RESET = "0x0000004f"  # beside all that a driver sets when its device runs
READER = "while :; do dd if=/dev/pmem0 of=/dev/null bs=1M iflag=direct 2>/dev/null; done"


def machine(t, **arguments):
    return guest.Guest(t, kernel=KERNEL, words=arguments.pop("words", ROOT),
                       daemon=arguments.pop("daemon", "pmem"), **arguments)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@test(tags=TAGS, needs=NEEDS, timeout=150,
      cases={f"{transport}.{cpus}cpu": {"transport": transport, "cpus": cpus}
             for transport in ("pci", "mmio") for cpus in (1, 4)})
def root(t, transport, cpus):
    ended = machine(t, transport=transport, cpus=cpus,
                    verbs="cat=/proc/mounts verify write=4M sync check-written=4M poweroff").run()
    assert re.search(r"/dev/root / ext4 rw,\S*dax=always", ended.console), "the root is not mounted with dax"
    guest.check_booted(t, ended)


@test(tags=TAGS, needs=NEEDS, timeout=200, cases={"pci": {"transport": "pci"}, "mmio": {"transport": "mmio"}})
def reboot_mounts_it_again(t, transport):
    ended = machine(t, transport=transport, verbs="reboot-once verify write=4M sync poweroff").run(150)
    assert ended.console.count(UP) == 2, "the guest did not start twice"
    guest.check_booted(t, ended)


@test(tags=TAGS, needs=[*NEEDS, EROFS], timeout=150, cases={
    "pci.ext4": {"transport": "pci", "image": guest.DISK}, "mmio.ext4": {"transport": "mmio", "image": guest.DISK},
    "pci.erofs": {"transport": "pci", "image": EROFS}, "mmio.erofs": {"transport": "mmio", "image": EROFS}})
def readonly_root_is_left_alone(t, transport, image):
    kind = "erofs" if image == EROFS else "ext4"
    vm = machine(t, transport=transport, daemon="pmem-readonly", words=f"{ROOT}ro rootfstype={kind} ",
                 disk=guest.make_disk(t, image=image), verbs="cat=/proc/mounts verify poweroff")
    before = digest(vm.disk)
    ended = vm.run()
    assert ended.code == 0 and FAILED not in ended.console
    assert re.search(rf"/dev/root / {kind} ro,\S*dax=always", ended.console), "the root is not mounted with dax"
    ended.said("verify")
    assert digest(vm.disk) == before, "the guest changed a readonly image"


@test(tags=[*TAGS, "hostile"], needs=NEEDS, timeout=150)
def a_readonly_image_cannot_be_written_by_any_address(t):
    """Neither past the driver nor by it: the guest has its own copy then, and is told that it does not last."""
    image = guest.make_disk(t, "image.img")
    socket = guest.pmem_daemon(t, image, ",readonly")
    before = digest(image)
    verbs = (f'"exec=/bin/sh,-c,! ({ZEROS})" drop-caches wipe={WINDOW},4M "exec=/bin/sh,-c,{ZEROS}" '
             '"exec=/bin/sh,-c,! dd if=/dev/zero of=/dev/pmem0 bs=1M count=8 conv=fsync"')
    vm = guest.Guest(t, kernel=KERNEL, verbs=f"verify {verbs} write=4M sync poweroff")
    vm.command += ["--vhost-user", f"pmem,socket={socket}"]
    guest.check_booted(t, vm.run())
    assert digest(image) == before, "the guest changed a readonly image"


def kill_the_daemon(daemon, image):
    daemon.kill()


def truncate_the_image(daemon, image):
    os.truncate(image, 0)


@test(tags=[*TAGS, "hostile"], needs=NEEDS, timeout=150,
      cases={"the-daemon-was-killed": {"take": kill_the_daemon}, "the-image-was-truncated": {"take": truncate_the_image}})
def reads_zeros_when(t, take):
    """What was mapped is gone from under the guest: it reads zeros there and runs on."""
    image = guest.make_disk(t, "image.img")
    socket = guest.pmem_daemon(t, image)
    daemon = t.processes[-1]
    vm = guest.Guest(t, kernel=KERNEL, verbs=f'verify "exec=/bin/sh,-c,! ({ZEROS})" drop-caches read-line '
                                             f'"exec=/bin/sh,-c,{ZEROS}" {STATUS} write=4M sync poweroff')
    vm.command += ["--vhost-user", f"pmem,socket={socket}"]
    vm.start(stdin=subprocess.PIPE)
    vm.process.expect(LINE, guest.SECONDS)
    take(daemon, image)
    if take == kill_the_daemon:
        vm.process.expect("device pmem1", 30)
    vm.process.send(b"gone\n")
    ended = vm.wait()
    guest.check_booted(t, ended)
    assert NEEDS_RESET in ended.console, "its device does not ask for a reset"
    if take == truncate_the_image:
        assert ended.console.count("device pmem1: an object was cut short") == 1


@test(tags=[*TAGS, "hostile"], needs=NEEDS, timeout=200, cases={"1cpu": {"cpus": 1}, "4cpus": {"cpus": 4}})
def truncated_under_load(t, cpus):
    """While every CPU reads past the page cache: none of them ends the machine, and what grows again stays away."""
    image = guest.make_disk(t, "image.img")
    size = image.stat().st_size
    socket = guest.pmem_daemon(t, image)
    readers = f'"exec=/bin/sh,-c,for i in $(seq {2 * cpus}); do ({READER}) & done"'
    vm = guest.Guest(t, kernel=KERNEL, cpus=cpus,
                     verbs=f'verify {readers} read-line {STATUS} read-line drop-caches "exec=/bin/sh,-c,{ZEROS}" '
                           'write=4M sync poweroff')
    vm.command += ["--vhost-user", f"pmem,socket={socket}"]
    vm.start(stdin=subprocess.PIPE)
    vm.process.expect(LINE, guest.SECONDS)
    os.truncate(image, 0)
    vm.process.expect("device pmem1: an object was cut short", 60)
    vm.process.send(b"gone\n")
    vm.process.expect(NEEDS_RESET, 60)
    os.truncate(image, size)
    vm.process.send(b"back\n")
    guest.check_booted(t, vm.wait())


RAM = ("/#", "/dev/shm/")   # what smaps calls it: its object has no name


def shares(pid):
    """Bytes of memory that a process is the reason for, by what it maps."""
    return {name: sums["Pss"] for name, sums in guest.memory(pid).items() if "Pss" in sums}


@contextlib.contextmanager
def large_pages():
    """In the lab, where a guest's first touch of a page takes long: of 2 MiB, in shared memory."""
    switch = pathlib.Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
    if not os.environ.get("MINIVMM_IN_LAB") or not switch.exists():
        yield
        return
    before = re.search(r"\[(\w+)\]", switch.read_text(encoding="utf-8"))[1]
    switch.write_text("always", encoding="utf-8")
    try:
        yield
    finally:
        switch.write_text(before, encoding="utf-8")


@test(tags=[*TAGS, "hostile", "memory"], needs=NEEDS, timeout=250)
def writing_all_of_an_unmapped_window_costs_next_to_nothing(t):
    daemon = hostile_daemon.Daemon(t.dir / "empty.sock", region=8 << 30)
    vm = guest.Guest(t, kernel=KERNEL, verbs=f"verify read-line wipe={WINDOW},8G,4096 wipe={WINDOW},32M read-line "
                                             "write=4M sync poweroff")
    vm.command += ["--vhost-user", f"generic,virtio-id=60,num_vqs=1,socket={daemon.path},window-idle-max=64M"]
    with large_pages():
        vm.start(stdin=subprocess.PIPE)
        vm.process.expect(LINE, guest.SECONDS)
        before = shares(vm.process.pid)
        vm.process.send(b"write\n")
        vm.process.expect(f"minivmm-init: wipe: {32 << 20} bytes at {WINDOW}", guest.SECONDS)
        after = shares(vm.process.pid)
        vm.process.send(b"end\n")
        guest.check_booted(t, vm.wait())
    daemon.close()
    filler = sum(n for name, n in after.items() if "minivmm-filler" in name)
    grown = sum(n - before.get(name, 0) for name, n in after.items() if not name.startswith(RAM))
    print({name: (before.get(name, 0) >> 10, n >> 10) for name, n in after.items()}, flush=True)
    assert 0 < filler <= 8 << 20, f"the guest wrote 8 GiB, and {filler} bytes of filler are there"
    assert grown <= 10 << 20, f"it grew by {grown} bytes"


@test(tags=[*TAGS, "memory"], needs=NEEDS, timeout=250)
def two_guests_have_one_copy_of_an_image(t):
    disk = guest.make_disk(t)
    vms = [machine(t, daemon="pmem-readonly", disk=disk, words=ROOT + "ro ", verbs="verify echo=read sleep-forever")
           for _ in range(2)]
    for vm in vms:
        vm.start()
        vm.process.expect("minivmm-init: echo: read", guest.SECONDS)
    for vm in vms:
        image = guest.memory(vm.process.pid)[str(disk)]
        rss, pss = image["Rss"], image["Pss"]
        assert rss > 5 << 20, f"the guest has only {rss} bytes of the image, and read more"
        assert pss < rss * 0.6, f"of {rss} bytes of the image {pss} count for one guest: they are not shared"
    for vm in vms:
        vm.process.signal(signal.SIGTERM)
        vm.process.wait(30)


@contextlib.contextmanager
def small_file_system(t, size):
    """A file system of so many bytes, in the lab; the directory."""
    if not os.environ.get("MINIVMM_IN_LAB"):
        raise Skip("cannot mount a file system of its own", machine=True)
    path = t.dir / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=False)


@test(tags=[*TAGS, "hostile"], needs=NEEDS, timeout=200,
      cases={"room": {"end": "room"}, "2cpus.room": {"end": "room", "cpus": 2},
             "SIGTERM": {"end": "SIGTERM"}})
def waits_for_room(t, end, cpus=1):
    """A file with holes on a full file system: a store into one waits, alone, and is done when there is room."""
    with small_file_system(t, 4 << 20) as small:
        image = small / "sparse.img"
        image.touch()
        os.truncate(image, 8 << 20)
        vm = guest.Guest(t, kernel=KERNEL, cpus=cpus,
                         verbs=f"verify wipe={WINDOW},8M write=4M sync poweroff")
        vm.command += ["--vhost-user", f"pmem,socket={guest.pmem_daemon(t, image)}"]
        vmm = vm.start()
        vmm.expect("device pmem1: the file system of what is mapped has no room", guest.SECONDS)
        time.sleep(5)
        assert vmm.poll() is None and "wipe: " not in vmm.text, "the guest stored what had no place, or has ended"
        if end == "SIGTERM":
            vmm.signal(signal.SIGTERM)
            assert vmm.wait(20) == 143
            return
        subprocess.run(["mount", "-o", f"remount,size={16 << 20}", small], check=True)
        ended = vm.wait()
        guest.check_booted(t, ended)
        assert ended.console.count("has no room") == 1
        assert image.stat().st_blocks * 512 == 8 << 20, "not all that the guest stored is there"
