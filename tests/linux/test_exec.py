# SPDX-License-Identifier: Apache-2.0
"""exec=: daemons that minivmm starts, how they are connected, and that nothing of them outlives it."""
import os
import re
import select
import shutil
import signal
import stat
import subprocess

import guest
import harness
import tiny_guest
from guest import FAILED
from harness import Skip, describe, descendants, test
from session import TRANSPORTS, Session
from tiny_guest import HALT, HELLO, POWER_OFF

EVERYWHERE = {"kvm": False, "timeout": 90}
KERNEL = "tiny-acpi"
NEEDS = guest.needs_of(KERNEL)
TAGS = ["boot", "reconnect", "daemons"]
# by its signal; or, when that takes long, by the keeper
ENDED, BACK = "device rng0: its daemon was ", "is connected again after"


class Room:
    """Where daemons listen: nothing may be left there."""

    def __init__(self, t):
        self.t = t
        self.dir = t.dir / "run"
        self.dir.mkdir()
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(self.dir)}

    def start(self, code, *devices, options=()):
        words = [word for device in devices for word in ("--vhost-user", device)]
        return self.t.start("minivmm", tiny_guest.command(self.t, code, *words, *options), env=self.env)

    def is_empty(self):
        return not list(self.dir.iterdir())

    def all_end(self, held):
        for pidfd in held:
            assert select.select([pidfd], [], [], 60 * harness.SLOW)[0], "a process is left"
            os.close(pidfd)
        # who cleans up is among them, so it has
        assert self.is_empty(), "something is left where daemons listen"


def rng(t, place="--fd=%d"):
    return f"rng,exec={t.backend} rng {place}"


def below(process):
    """Every process below minivmm, held: numbers are used again."""
    return [os.pidfd_open(pid) for pid in descendants(process.pid)]


def daemon_of(process, words):
    """The process below it whose command line begins so."""
    found = [pid for pid in descendants(process.pid) if describe(pid).startswith(str(words))]
    assert len(found) == 1, [describe(pid) for pid in descendants(process.pid)]
    return found[0]


WAYS = {
    "fd": "{backend} rng --fd=%d",
    "path": "{backend} rng --socket-path=%s",
    "shell": "sh -c 'echo one; echo two >&2; exec {backend} rng --socket-path=\"$1\"' sh %s",
    "child": "sh -c '{backend} rng --fd=$1; exit 3' sh %d",
    "another-name": "{backend} rng --socket-path=%s0",
    "background": "sh -c '(setsid {backend} rng --socket-path=$1 &); exit 0' sh %s",
}


@test(tags=["ends", "daemons"], cases={name: {"command": command} for name, command in WAYS.items()}, **EVERYWHERE)
def it_is_started_and_ended(t, command):
    room = Room(t)
    process = room.start(HELLO + POWER_OFF, "rng,exec=" + command.format(backend=t.backend))
    assert process.wait(60) == 0, process.text
    assert room.is_empty()
    # unless somebody asks for it, nothing is told; what the guest says may come before a line
    told = re.findall(r"(?:minivmm|rng0): .*", process.text)
    assert told == (["rng0: one", "rng0: two"] if "two" in command else []), told


NEVER = {
    "no-such-program": ("/nonexistent %d", "device rng0: exec=/nonexistent %d: cannot be started: No such file or directory"),
    "not-a-program": ("/dev/null %s", "cannot be started: Permission denied"),
    "ended-before-it-listened": ("sh -c 'exit 4' %s", "its daemon ended with exit status 4, before it listened"),
    "killed": ("sh -c 'kill -9 $$' %s", "its daemon was ended by signal 9 (Killed), before it listened"),
    "ended-well": ("true %d", "its daemon ended with exit status 0: true %d"),
    "ended-connected": ("sh -c 'exit 5' %d", "its daemon ended with exit status 5: sh -c 'exit 5' %d"),
    "usage": ("{backend} rng --fd=%d --nonsense", "its daemon ended with exit status 2: "),
}


@test(tags=["ends", "daemons"], cases={name: {"command": command, "told": told} for name, (command, told) in NEVER.items()},
      **EVERYWHERE)
def it_cannot_be_used(t, command, told):
    room = Room(t)
    process = room.start(HELLO + POWER_OFF, "rng,exec=" + command.format(backend=t.backend))
    assert process.wait(60) == 1, process.text
    lines = [line for line in process.text.splitlines() if line.startswith("minivmm:")]
    assert len(lines) == 1 and "device rng0" in lines[0] and told in lines[0], lines
    assert room.is_empty()


@test(tags=["ends", "daemons"], **EVERYWHERE)
def it_never_listens(t):
    room = Room(t)
    process = room.start(HELLO + POWER_OFF, "rng,exec=sh -c 'exec sleep 1000' %s")
    assert process.wait(80) == 1, process.text
    assert "exec=sh -c 'exec sleep 1000' %s: its daemon does not listen at the path" in process.text
    assert room.is_empty()


@test(tags=["ends", "daemons"], cases={"term": {"number": signal.SIGTERM}, "kill": {"number": signal.SIGKILL}}, **EVERYWHERE)
def a_signal_ends_the_wait_for_it(t, number):
    room = Room(t)
    process = room.start(HELLO + POWER_OFF, "rng,exec=sh -c 'echo $1; exec sleep 1000' sh %s")
    process.expect("vhost.sock", 30)
    meeting, = room.dir.iterdir()
    assert stat.S_IMODE(meeting.stat().st_mode) == 0o700
    held = below(process)
    process.signal(number)
    assert process.wait(60) == 128 + number
    room.all_end(held)
    assert "does not listen" not in process.text


@test(tags=["ends", "daemons"], cases={"term": {"number": signal.SIGTERM}, "kill": {"number": signal.SIGKILL}}, **EVERYWHERE)
def nothing_outlives_minivmm(t, number):
    """Neither daemons that heed no SIGTERM, nor what they have put elsewhere."""
    room = Room(t)
    stays = "trap : TERM; while :; do sleep 1000; done"
    process = room.start(
        HELLO + HALT, rng(t), rng(t, "--socket-path=%s"),
        f"rng,exec=sh -c '(setsid sh -c \"{stays}\" &); {t.backend} rng --fd=$1 & {stays}' sh %d")
    process.expect("U", 30)
    held = below(process)
    # the supervisor, three keepers, three of ours, two shells; sleep comes and goes
    assert len(held) >= 9, [describe(pid) for pid in descendants(process.pid)]
    process.signal(number)
    assert process.wait(60) == 128 + number
    room.all_end(held)


@test(tags=["ends", "daemons"], cases={"term": {"number": signal.SIGTERM}, "kill": {"number": signal.SIGKILL}}, **EVERYWHERE)
def nothing_outlives_minivmm_though_nobody_reads_what_is_said(t, number):
    room = Room(t)
    command = tiny_guest.command(
        t, HELLO + HALT, "--vhost-user", f"rng,exec=sh -c '{t.backend} rng --fd=$1 & while :; do echo something; done' sh %d")
    unread, said = os.pipe()
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                          env=room.env) as process:
        os.close(said)
        assert process.stdout.read(1) == b"U"
        held = below(process)
        process.send_signal(number)
        assert process.wait(60) in (128 + number, -number)
        room.all_end(held)
    os.close(unread)


@test(tags=["ends", "daemons"], cases={
    "again": {"keys": "", "code": None}, "once": {"keys": ",reconnect=off", "code": None},
    "exit": {"keys": ",on-lost=exit", "code": 6}}, **EVERYWHERE)
def the_daemon_is_killed(t, keys, code):
    room = Room(t)
    process = room.start(HELLO + HALT, rng(t) + keys)
    process.expect("U", 30)
    os.kill(daemon_of(process, t.backend), signal.SIGKILL)
    process.expect(ENDED, 30)
    if code is None:
        if not keys:
            process.expect("device rng0 " + BACK, 30)
            daemon_of(process, t.backend)
        process.signal(signal.SIGTERM)
        code = 128 + signal.SIGTERM
    assert process.wait(60) == code, process.text
    assert process.text.count(ENDED) == 1
    assert (BACK in process.text) == (not keys)
    assert room.is_empty()


def storage_daemon(disk):
    if not shutil.which("qemu-storage-daemon"):
        raise Skip("there is no qemu-storage-daemon")
    return (f"exec=qemu-storage-daemon --blockdev driver=file,,node-name=disk,,filename={disk} --export type=vhost-user-blk,,"
            "id=export,,node-name=disk,,writable=on,,addr.type=unix,,addr.path=%s")


@test(tags=[*TAGS, "blk"], needs=NEEDS, timeout=250, cases={
    f"{transport}.{daemon}": {"transport": transport, "daemon": daemon}
    for transport in TRANSPORTS for daemon in ("storage", "fd", "path")})
def a_disk_is_used(t, transport, daemon):
    """Of a daemon of QEMU, and of ours by both ways."""
    disk = guest.make_disk(t, "second.img")
    place = {"fd": "--fd=%d", "path": "--socket-path=%s"}
    command = storage_daemon(disk) if daemon == "storage" else f"exec={t.backend} blk {place[daemon]} --blk-file={disk}"
    session = Session(t, f"blk,{command},transport={transport}", transport=transport)
    session.does("mount /dev/vdb /mnt && cp /data/deep/er/five-mib /mnt/copy && cmp /mnt/copy /data/deep/er/five-mib && umount /mnt")
    held = below(session.process)
    session.ends()
    for pidfd in held:
        assert select.select([pidfd], [], [], 60 * harness.SLOW)[0], "a process is left"
        os.close(pidfd)
    guest.check_clean(t, disk)
    t.boots += 1


@test(tags=[*TAGS, "blk"], needs=NEEDS, timeout=600, cases=TRANSPORTS)
def a_disk_goes_on_when_its_daemon_is_killed(t, transport, kills=10):
    """Under writes that are read again: no request is lost, done twice or in part."""
    disk = t.dir / "hammered.img"
    disk.touch()
    os.truncate(disk, 4 << 20)
    vm = guest.Guest(t, kernel=KERNEL, daemon="own", transport=transport, verbs="hammer=/dev/vdb poweroff")
    vm.command += ["--vhost-user", f"blk,exec={t.backend} blk --fd=%d --blk-file={disk},transport={transport}"]
    process = vm.start(stdin=subprocess.PIPE)
    at = process.expect("hammer: type a line", guest.SECONDS)
    for _ in range(kills):
        os.kill(daemon_of(process, f"{t.backend} blk --fd"), signal.SIGKILL)
        at = process.expect("; it goes on", 60, at)
    process.send(b"\n")
    ended = vm.wait()
    assert FAILED not in ended.console and ended.code == 0
    assert re.search(r"hammer: \d+ writes, all there", ended.user)
    t.boots += 1


@test(tags=[*TAGS, "hostile"], needs=guest.needs_of("tiny-devices"), timeout=250, cases=TRANSPORTS)
def a_daemon_that_hangs_is_killed_for_a_reset(t, transport):
    """Which is not over while it could write the guest's memory; then the next one serves."""
    session = Session(t, f"{rng(t)},id=random,transport={transport}", kernel="tiny-devices", transport=transport)
    name = session.does("ls /sys/bus/virtio/drivers/virtio_rng | grep ^virtio")
    name = re.search(r"\n(virtio\d+)", name)[1]
    session.does(f"test -e /sys/bus/virtio/drivers/virtio_rng/{name}")
    held = os.pidfd_open(daemon_of(session.process, f"{t.backend} rng"))
    signal.pidfd_send_signal(held, signal.SIGSTOP)
    # not does: a line of minivmm's may stand within the guest's
    session.types(f"echo {name} >/sys/bus/virtio/drivers/virtio_rng/unbind")
    session.process.expect("its daemon was still running and has been ended", 60)
    # its descriptors were closed before, and that it has ended may be told a moment later
    assert select.select([held], [], [], 60 * harness.SLOW)[0], "the daemon that hangs is still there"
    os.close(held)
    session.process.expect("device random " + BACK, 60)
    session.does(f"test ! -e /sys/bus/virtio/drivers/virtio_rng/{name}")
    session.does(f"echo {name} >/sys/bus/virtio/drivers/virtio_rng/bind; head -c 64 /dev/hwrng | wc -c | grep 64")
    session.ends()
    t.boots += 1
