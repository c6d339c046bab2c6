# SPDX-License-Identifier: Apache-2.0
"""Daemons that mean harm, against the program: it lives, holds no descriptor and no memory for them, and says who."""
import os
import pathlib
import time

import guest
import hostile_daemon as hostile
import tiny_guest
from harness import test

SETUP = {"kvm": False, "timeout": 120, "tags": ["hostile", "virtio"]}


def level():
    """An environment in which a sanitizer holds back nothing that was freed, heap or stack: that would be no growth of
    the program's own."""
    options = os.environ.get("ASAN_OPTIONS", "")
    more = "quarantine_size_mb=0:thread_local_quarantine_size_kb=0:detect_stack_use_after_return=0"
    return {**os.environ, "ASAN_OPTIONS": f"{options}:{more}"}


def start(t, daemons, *options, code=tiny_guest.HELLO + tiny_guest.SPIN, env=None):
    """minivmm with a device for each script."""
    words = []
    for n, script in enumerate(daemons):
        daemon = hostile.Daemon(t.dir / f"{n}.sock", script)
        t.processes.append(daemon)
        words += ["--vhost-user", daemon.path]
    return t.start("minivmm", [*tiny_guest.command(t, code), *words, *options], env=env)


@test(cases={request.lower().replace("_", "-"): {"request": request} for request in hostile.SETUP}, **SETUP)
def set_up(t, request):
    """Every wrong answer to a request of the set-up: one sentence that names device and socket, exit code 1."""
    for n, way in enumerate(hostile.WRONG):
        directory = t.dir / str(n)
        directory.mkdir()
        daemon = hostile.Daemon(directory / "d.sock", {request: way})
        got = t.run([*tiny_guest.command(t, tiny_guest.SPIN), "--vhost-user", daemon.path], timeout=20)
        daemon.close()
        assert got.code == 1, f"{way.__name__} ({n}): ended with {got.code}"
        lines = got.err.splitlines()
        assert len(lines) == 1 and got.out == "", f"{way.__name__}: not one sentence"
        assert lines[0].startswith(f"minivmm: blk0 (socket {daemon.path}): "), f"{way.__name__}: nobody is named"


@test(cases={"refusal": {"way": hostile.refusal}, "silence": {"way": hostile.silence}}, **SETUP)
def owner(t, way):
    vmm = start(t, [{"SET_OWNER": way}])
    assert vmm.wait(30) == 1
    assert "SET_OWNER" in vmm.text, "the request is not named"


@test(**SETUP)
def slow_but_right(t):
    vmm = start(t, [{name: hostile.byte_by_byte for name in hostile.SETUP}])
    vmm.expect("U")
    assert vmm.stop() == 143


def held(pid):
    """Descriptors, without those of the message at hand, and kilobytes of its own."""
    fds = []
    for _ in range(50):
        fds.append(len(os.listdir(f"/proc/{pid}/fd")))
        time.sleep(0.002)
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return min(fds), int(status.split("RssAnon:")[1].split()[0])


def cpu_seconds(pid):
    """Of the loop's thread."""
    words = pathlib.Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@test(cases={"not-listening": {"storm": hostile.changes_without_listening, "idle": True},
             "changes": {"storm": hostile.changes}, "descriptors": {"storm": hostile.descriptors},
             "refused": {"storm": hostile.refused},
             "half-closed": {"storm": hostile.half_closed, "idle": True}}, **SETUP)
def back_channel(t, storm, idle=False):
    """Storms before any driver starts the device: the process stays level and ends when asked."""
    vmm = start(t, [{"GET_CONFIG": hostile.background(storm)}], env=level())
    vmm.expect("U")
    time.sleep(1)
    before = held(vmm.pid)
    time.sleep(2)
    after = held(vmm.pid)
    assert after[0] <= before[0] and after[1] <= before[1] + 512, f"it grew: {before} -> {after}"
    if idle:
        busy = cpu_seconds(vmm.pid)
        time.sleep(1)
        busy = cpu_seconds(vmm.pid) - busy
        assert busy < 0.2, f"its loop is busy with nothing: {busy} s of one"
    assert vmm.stop() == 143
    assert len(vmm.text) < 4096, "the log is flooded"


# ---- With a driver: Linux starts the devices ----

START = {
    "features": {"SET_FEATURES": hostile.refusal},
    "memory": {"ADD_MEM_REG": hostile.refusal},
    "address": {"SET_VRING_ADDR": hostile.too_long},
    "kick-fds": {"SET_VRING_KICK": hostile.with_fds(9)},
    "call-many-fds": {"SET_VRING_CALL": hostile.with_fds(200)},
    "enable-garbage": {"SET_VRING_ENABLE": hostile.garbage},
    "enable-gone": {"SET_VRING_ENABLE": hostile.gone},
    "enable-twice": {"SET_VRING_ENABLE": hostile.twice},
    "enable-cut": {"SET_VRING_ENABLE": hostile.cut_off},
    "enable-silent": {"SET_VRING_ENABLE": hostile.silence},
}
STORMS = {
    "changes": {"SET_VRING_ENABLE": hostile.background(hostile.changes)},
    "errors": {"SET_VRING_ENABLE": hostile.background(hostile.errors)},
    "interrupts": {"SET_VRING_ENABLE": hostile.background(hostile.interrupts)},
    "descriptors": {"SET_VRING_ENABLE": hostile.background(hostile.descriptors)},
}


def linux(t, scripts, env=None):
    """Linux with its disk and a further disk for each script; when its init is up."""
    machine = guest.Guest(t, verbs="verify write=1M sleep-forever", options=[])
    for n, script in enumerate(scripts):
        daemon = hostile.Daemon(t.dir / f"{n}.sock", script)
        t.processes.append(daemon)
        machine.command += ["--vhost-user", f"blk,socket={daemon.path},id=bad{n}"]
    return machine.start(env=env)


@test(tags=["hostile", "virtio"], needs=guest.needs_of("tiny"), timeout=180)
def devices_that_do_not_start_are_broken_and_nothing_else(t):
    vmm = linux(t, START.values())
    vmm.expect("minivmm-init: sleep-forever", guest.SECONDS)
    for n in range(len(START)):
        vmm.expect(f"device bad{n} (socket ")
    assert vmm.stop() == 143


@test(tags=["hostile", "virtio"], needs=guest.needs_of("tiny"), timeout=180, cases={k: {"script": v} for k, v in STORMS.items()})
def storms_do_not_grow_it(t, script):
    vmm = linux(t, [script], env=level())
    vmm.expect("minivmm-init: sleep-forever", guest.SECONDS)
    before = held(vmm.pid)
    time.sleep(5)
    after = held(vmm.pid)
    assert after[0] <= before[0] and after[1] <= before[1] + 512, f"it grew: {before} -> {after}"
    assert vmm.stop() == 143


@test(tags=["hostile", "virtio", "memory"], needs=guest.needs_of("tiny"), timeout=120)
def ram_truncated_by_a_daemon_is_a_crash_of_the_guest(t):
    vmm = linux(t, [{"SET_VRING_ENABLE": hostile.truncate}])
    assert vmm.wait(guest.SECONDS) == 4
    assert "cut it off" in vmm.text, "the sentence does not say what happened"
