# SPDX-License-Identifier: Apache-2.0
"""Disks by virtio-mmio: each way a guest is told of them, and that a reset is complete when its exit ends."""
import re

import guest
from harness import test

TOLD = {
    "tables": {"kernel": "tiny-acpi"},
    "cmdline": {"kernel": "tiny-of", "machine": "mptable"},
    "tree": {"kernel": "tiny-of"},
    "debian": {"kernel": "debian-6.12"},
}


def needs(arguments):
    return guest.needs_of(arguments.get("kernel", "tiny-of"))


@test(tags=["boot", "blk", "virtio"], needs=needs, timeout=150,
      cases={f"{k}.{n}cpu": {**v, "cpus": n} for k, v in TOLD.items() for n in (1, 4)})
def root_disk(t, **told):
    ended = guest.boot(t, transport="mmio", verbs="verify interrupts write=4M sync poweroff", **told)
    assert re.search(r"IO-APIC +16-edge +virtio0", ended.console), "the disk has another interrupt"


@test(tags=["boot", "blk", "virtio"], needs=needs, timeout=150)
def four_queues_share_a_pin(t):
    machine = guest.Guest(t, kernel="tiny-of", cpus=4, transport="mmio", quiet=False,
                          verbs="verify read-all=/dev/vdb write=4M sync poweroff")
    disk = guest.make_disk(t, "many.img")
    socket = t.own_backend("blk", f"--blk-file={disk}", "--queues=4", socket=t.dir / "many.sock")
    machine.command += ["--vhost-user", f"blk,socket={socket},transport=mmio"]
    ended = machine.run(100)
    guest.check_booted(t, ended)
    assert "virtio1: 4/0/0 default/read/poll queues" in ended.console, "the disk has not four queues"


@test(tags=["boot", "blk", "virtio"], needs=needs, timeout=200)
def reboot_keeps_the_daemon(t):
    machine = guest.Guest(t, kernel="tiny-of", transport="mmio", verbs="reboot-once verify write=4M sync poweroff")
    ended = machine.run(150)
    assert ended.console.count(guest.UP) == 2, "the guest did not start twice"
    guest.check_booted(t, ended)


@test(tags=["boot", "blk", "virtio"], needs=needs, timeout=150)
def ten_disks_share_eight_pins(t):
    machine = guest.Guest(t, kernel="tiny-of", cpus=2, transport="mmio",
                          verbs="verify read-all=/dev/vdj write=4M sync poweroff")
    for n in range(9):
        disk = guest.make_disk(t, f"disk{n}.img")
        socket = t.own_backend("blk", f"--blk-file={disk}", socket=t.dir / f"{n}.sock")
        machine.command += ["--vhost-user", f"blk,socket={socket},transport=mmio"]
    guest.check_booted(t, machine.run(100))
