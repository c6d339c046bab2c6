# SPDX-License-Identifier: Apache-2.0
"""Our own disk under a Linux with several processors: a queue for each, and many requests at a time."""
import guest
from exits import Exits
from harness import test
from test_reconnect import NEEDS, TRANSPORTS, Session

FILE = "/data/deep/er/five-mib"


def on_each_processor(command):
    """Four at once, each bound to its processor, $i; all must do well."""
    return (f"pids=; for i in 0 1 2 3; do taskset $((1 << i)) {command} & pids=\"$pids $!\"; done; "
            "for p in $pids; do wait $p || exit 1; done")


def interrupts(session):
    """Of the second disk so far."""
    lines = session.does("grep $(basename $(readlink /sys/block/vdb/device)) /proc/interrupts").splitlines()
    return sum(int(word) for line in lines if " virtio" in line for word in line.split()[1:5] if word.isdigit())


def check_exits(session, transport):
    """A request goes past the VMM: on PCI it has no part in it, on mmio in the interrupt's two registers alone."""
    requests, before = 1000, interrupts(session)
    with Exits(session.process.pid) as exits:
        session.does(f"dd if=/dev/vdb of=/dev/null bs=4k count={requests} iflag=direct 2>/dev/null")
    many = interrupts(session) - before
    most = 2 * many if transport == "mmio" else 0
    assert many > requests // 2, f"{many} interrupts for {requests} requests are not all"
    assert exits.of["KVM_EXIT_MMIO"] <= most + requests // 100, f"{dict(exits.of)} in {many} interrupts"


@test(tags=["boot", "blk", "virtio"], needs=NEEDS, timeout=200, cases=TRANSPORTS)
def four_queues_are_served_at_once(t, transport):
    disk = guest.make_disk(t, "second.img")
    socket = t.own_backend("blk", f"--file={disk},io=auto", "--queues=4", socket=t.dir / "second.sock")
    session = Session(t, f"blk,socket={socket},transport={transport},queues=4", transport=transport, cpus=4)
    assert "queues:4" in session.does("echo queues:$(ls /sys/block/vdb/mq | wc -l)")
    session.does("mount /dev/vdb /mnt")
    session.does(f"({on_each_processor(f'cp {FILE} /mnt/copy$i')}) && sync && echo 3 >/proc/sys/vm/drop_caches")
    session.does(f"({on_each_processor(f'cmp {FILE} /mnt/copy$i')})")
    check_exits(session, transport)
    full = disk.stat().st_blocks
    session.does("rm /mnt/copy? && sync && fstrim /mnt && umount /mnt")
    assert disk.stat().st_blocks < full - (16 << 20) // 512, "what was trimmed is not a hole"
    session.ends()
    guest.check_clean(t, disk)
    t.boots += 1
