# SPDX-License-Identifier: Apache-2.0
"""Our own disk under a Linux with several processors: a queue for each, and many requests at a time."""
import os
import pathlib
import re

import guest
from exits import Exits
from harness import test
from session import TRANSPORTS, Session

NEEDS = guest.needs_of("tiny-acpi")
FILE = "/data/deep/er/five-mib"
REQUESTS = 1000


def on_each_processor(command):
    """Four at once, each bound to its processor, $i; all must do well."""
    return (f"pids=; for i in 0 1 2 3; do taskset $((1 << i)) {command} & pids=\"$pids $!\"; done; "
            "for p in $pids; do wait $p || exit 1; done")


def ring_operations(pid):
    """What the daemon's io_uring has ended so far; None when it has none, as the kernel wanted it."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if "io_uring" in os.readlink(f"/proc/{pid}/fd/{fd}"):
            return int(re.search(r"^CqTail:\s*(\d+)", pathlib.Path(f"/proc/{pid}/fdinfo/{fd}").read_text(), re.M)[1])
    return None


def interrupts(session):
    """Of the second disk so far."""
    lines = session.does("grep $(basename $(readlink /sys/block/vdb/device)) /proc/interrupts").splitlines()
    return sum(int(word) for line in lines if " virtio" in line for word in line.split()[1:5] if word.isdigit())


def check_exits(session, transport):
    """A request goes past the VMM: on PCI it has no part in it, on mmio in the interrupt's two registers alone."""
    before = interrupts(session)
    with Exits(session.process.pid) as exits:
        session.does(f"dd if=/dev/vdb of=/dev/null bs=4k count={REQUESTS} iflag=direct 2>/dev/null")
    many = interrupts(session) - before
    most = 2 * many if transport == "mmio" else 0
    assert many > REQUESTS // 2, f"{many} interrupts for {REQUESTS} requests are not all"
    assert exits.of["KVM_EXIT_MMIO"] <= most + REQUESTS // 100, f"{dict(exits.of)} in {many} interrupts"


@test(tags=["boot", "blk", "virtio"], needs=NEEDS, timeout=200, cases=TRANSPORTS)
def four_queues_are_served_at_once(t, transport):
    disk = guest.make_disk(t, "second.img")
    socket = t.own_backend("blk", f"--file={disk},io=auto", "--queues=4", socket=t.dir / "second.sock")
    daemon = t.processes[-1]
    session = Session(t, f"blk,socket={socket},transport={transport},queues=4", transport=transport, cpus=4)
    assert "queues:4" in session.does("echo queues:$(ls /sys/block/vdb/mq | wc -l)")
    session.does("mount /dev/vdb /mnt")
    session.does(f"({on_each_processor(f'cp {FILE} /mnt/copy$i')}) && sync && echo 3 >/proc/sys/vm/drop_caches")
    session.does(f"({on_each_processor(f'cmp {FILE} /mnt/copy$i')})")
    check_exits(session, transport)
    ended = ring_operations(daemon.pid)
    assert ended is None or ended > REQUESTS, f"{ended} operations of io_uring"
    full = disk.stat().st_blocks
    session.does("rm /mnt/copy? && sync && fstrim /mnt && umount /mnt")
    assert disk.stat().st_blocks < full - (16 << 20) // 512, "what was trimmed is not a hole"
    session.ends()
    guest.check_clean(t, disk)
    t.boots += 1
