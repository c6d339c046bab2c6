# SPDX-License-Identifier: Apache-2.0
"""Kernels boot, each with one processor and with four, one with 64; the disk survives; the machine restarts and ends."""
import os
import subprocess

import guest
import harness
from harness import test

ALL = {f"{kernel}.{n}cpu": {"kernel": kernel, "cpus": n} for kernel in guest.KERNELS for n in (1, 4)}


def needs(arguments):
    return guest.needs_of(arguments.get("kernel", "tiny"))


@test(tags=["boot", "blk", "virtio"], needs=needs, timeout=150, cases=ALL)
def kernel(t, kernel, cpus):
    """Our own kernels say all they have to say with one processor, Debian's always."""
    quiet = cpus > 1 and kernel.startswith("tiny")
    ended = guest.boot(t, kernel=kernel, cpus=cpus, quiet=quiet, verbs="verify cpus write=4M sync poweroff")
    assert ended.said("cpus").startswith(f"{cpus} online:")
    assert ended.report["exit_code"] == 0 and ended.report["cpus"] == cpus
    stamps = ended.report["nanoseconds"]
    order = ["exec", "vm_created", "ram_ready", "daemons_ready", "first_kvm_run", "guest_init"]
    assert [stamps[k] for k in order] == sorted(stamps[k] for k in order), f"stamps out of order: {stamps}"


@test(tags=["boot"], needs=needs, timeout=200, under="minimal", cases={
    "tiny": {"kernel": "tiny-bzimage", "restarts": 1}, "debian-6.12": {"kernel": "debian-6.12", "restarts": 0}})
def unpacked_by_the_guest(t, kernel, restarts):
    """Without the library that a kernel's compression needs its own decompressor runs, after a reset again."""
    ended = guest.boot(t, kernel=kernel, verbs="reboot-once " * restarts + "verify write=4M sync poweroff", timeout=150)
    assert ended.console.count(guest.UP) == 1 + restarts
    assert "is unpacked by the guest, which takes longer: this minivmm is built without" in ended.console


@test(tags=["boot", "virtio"], needs=needs, timeout=200)
def as_many_processors_as_there_can_be(t):
    """One after another: woken all at once they spin, and 64 that share a lab's processor do so for minutes."""
    words = "quiet cpuhp.parallel=off -- verify cpus write=4M sync poweroff"
    ended = guest.boot(t, cpus=64, cmdline=False, options=["--memory", "512M", "--append", words], timeout=300)
    assert ended.said("cpus").startswith("64 online:")


@test(tags=["boot", "blk"], needs=needs, timeout=200)
def written_disk_survives(t):
    guest.boot(t, verbs="verify write=64M sync poweroff", timeout=150)


@test(tags=["boot", "blk"], needs=needs, timeout=150)
def own_block_backend_serves_the_root(t):
    guest.boot(t, daemon="own")


@test(tags=["boot"], needs=needs, timeout=150)
def nothing_given_but_ram_and_disk(t):
    """The line that says what minivmm is, verbatim; its guest's shell is on the terminal."""
    disk = guest.make_disk(t)
    t.storage_daemon(disk)
    if not (t.build / "guest/vmlinux").exists():
        raise harness.Skip("run.sh did not put the default kernel into the build tree")
    vmm = t.start("minivmm", [t.minivmm, "--mem-backend=shm", "--vhost-user", "blk.sock"], cwd=t.dir,
                  stdin=subprocess.PIPE)
    at = vmm.expect("lists what it can do", 100)
    vmm.send(b"init=/sbin/init; $init verify write=4M sync && echo all $((40 + 2)) done\n")
    at = vmm.expect("all 42 done", 60, at)
    vmm.send(b"exit\n")
    vmm.expect(guest.OK, 60, at)
    assert vmm.wait() == 0
    guest.check_disk(t, disk, "4M")
    t.boots += 1


@test(tags=["boot"], needs=needs, timeout=200)
def reboot_keeps_the_daemon(t):
    machine = guest.Guest(t, verbs="reboot-once verify write=4M sync poweroff")
    ended = machine.run(150)
    assert ended.console.count(guest.UP) == 2, "the guest did not start twice"
    guest.check_booted(t, ended)
    assert machine.daemon.poll() is None, "the daemon ended"


@test(tags=["boot"], needs=needs)
def reset_ends_when_told_so(t):
    ended = guest.Guest(t, verbs="verify reboot", options=["--on-reset", "exit"]).run()
    assert ended.code == 0 and ended.console.count(guest.UP) == 1


@test(tags=["boot"], needs=needs)
def debug_exit_gives_its_code(t):
    ended = guest.Guest(t, verbs="exit=5").run()
    assert ended.code == 5 << 1 | 1


@test(tags=["boot"], needs=needs, cases={"term": {"number": 15}, "int": {"number": 2}, "hup": {"number": 1}})
def signal_ends_it(t, number):
    machine = guest.Guest(t, verbs="sleep-forever")
    machine.start().expect(guest.UP)
    machine.process.signal(number)
    assert machine.wait(20).code == 128 + number


@test(tags=["boot"], needs=needs)
def killed_leaves_nothing(t):
    """SIGKILL: its helpers end by themselves, no shared object has a name, the daemon serves on."""
    machine = guest.Guest(t, verbs="verify sleep-forever")
    vmm = machine.start()
    vmm.expect("minivmm-init: sleep-forever")
    below = harness.descendants(vmm.pid)
    vmm.signal(9)
    assert vmm.wait(20) == 137
    for pid in below:
        fd = -1
        try:
            fd = os.pidfd_open(pid)
            assert harness.select.select([fd], [], [], 10)[0], f"{harness.describe(pid)} lives on"
        except ProcessLookupError:
            pass
        finally:
            if fd >= 0:
                os.close(fd)
    left = [name for name in os.listdir("/dev/shm") if name.startswith(f"minivmm-{vmm.pid}-")]
    assert not left, f"shm objects are left: {left}"
    assert machine.daemon.poll() is None


@test(tags=["boot"], needs=needs)
def killed_daemon_does_not_end_it(t):
    machine = guest.Guest(t, verbs="verify sleep-forever")
    vmm = machine.start()
    vmm.expect("minivmm-init: sleep-forever")
    machine.daemon.signal(9)
    machine.daemon.wait()
    assert vmm.poll() is None
    vmm.signal(15)
    assert vmm.wait(20) == 143
