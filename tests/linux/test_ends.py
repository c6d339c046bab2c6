# SPDX-License-Identifier: Apache-2.0
"""Every way minivmm ends: the exit code, and nothing left behind, neither process nor name nor terminal mode."""
import fcntl
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import termios
import time

import tiny_guest
from harness import descendants, test, wait_for_socket
from tiny_guest import CRASH, DEBUG_EXIT, HALT, HELLO, POWER_OFF, RESET, SPIN, TALK, touch

EVERYWHERE = {"kvm": False, "timeout": 60}
SHM = pathlib.Path("/dev/shm")


def shm_names(pid=None):
    """The one this test gives its machine, and those that the machine's process makes up. Others' come and go."""
    return {path.name for path in SHM.iterdir()
            if path.name == f"test-ends-{os.getpid()}" or path.name.startswith(f"minivmm-{pid}-")}


class Stage:
    """A terminal, a daemon and what was there before; check() looks whether it is so again."""

    def __init__(self, t, code, *options, backend="", keys="", started=True):
        self.t = t
        self.name = f"test-ends-{os.getpid()}"
        self.shm = shm_names()
        self.keys, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        rng = t.own_backend("rng")
        self.daemon = t.processes[-1]
        command = tiny_guest.command(t, code, "--vhost-user", f"rng,socket={rng}{keys}",
                                     "--mem-backend", f"shm,name=/{self.name}{backend}", *options)
        self.files = {*t.dir.iterdir()}
        self.vmm = t.start("minivmm", command, stdin=self.terminal)
        if started:
            self.vmm.expect("U", 30)

    def supervisors(self):
        """The supervisor and, as RAM is named here, its spare, which was started first."""
        below = sorted(descendants(self.vmm.pid), reverse=True)
        assert len(below) == 2, f"{len(below)} processes below minivmm"
        return below

    def kill_supervisors(self, which):
        both = self.supervisors()
        for pid in [both[i] for i in which]:
            pidfd = os.pidfd_open(pid)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            assert select.select([pidfd], [], [], 10)[0]
            os.close(pidfd)

    def check(self, code, left=()):
        got = self.vmm.wait(30)
        assert got == code, f"ended with {got}, not {code}"
        # what dies without a word is cleaned up after by another process
        deadline = time.monotonic() + 10
        while (running := set(descendants(os.getpid())) - {self.daemon.pid}) and time.monotonic() < deadline:
            for pid in running:
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.01)
        assert not running, "processes are left"
        found = shm_names(self.vmm.pid) - self.shm
        for name in found:
            (SHM / name).unlink()
        assert found == {*left}, f"shm objects are left: {found}"
        assert termios.tcgetattr(self.terminal) == self.before, "the terminal was left otherwise"
        assert {*self.t.dir.iterdir()} == self.files, "files are left"
        os.close(self.keys)
        os.close(self.terminal)


@test(tags=["ends", "boot"], cases={
    "power-off": {"code": POWER_OFF, "end": 0}, "reset": {"code": RESET, "end": 0},
    "debug-exit": {"code": DEBUG_EXIT, "end": 0x15 << 1 | 1}, "crash": {"code": CRASH, "end": 4}}, **EVERYWHERE)
def by_the_guest(t, code, end):
    Stage(t, HELLO + code, "--on-reset=exit").check(end)


@test(tags=["ends", "boot"], cases={name: {"number": number} for name, number in {
    "term": signal.SIGTERM, "int": signal.SIGINT, "hup": signal.SIGHUP, "quit": signal.SIGQUIT}.items()}, **EVERYWHERE)
def by_a_signal(t, number):
    for code in SPIN, HALT, TALK:
        stage = Stage(t, HELLO + code)
        assert stage.name in shm_names(), "the named object is not there while minivmm runs"
        stage.vmm.signal(number)
        stage.check(128 + number)
        t.close()
        t.processes.clear()


@test(tags=["ends", "serial"], **EVERYWHERE)
def by_keys_though_the_guest_reads_none(t):
    stage = Stage(t, HELLO + HALT)
    for _ in range(20):
        os.write(stage.keys, b"is there anybody? " * 10)
    os.write(stage.keys, b"\x01x")
    stage.check(0)


@test(tags=["ends", "boot"], **EVERYWHERE)
def by_kill(t):
    stage = Stage(t, HELLO + SPIN)
    stage.vmm.signal(signal.SIGKILL)
    stage.check(137)


@test(tags=["ends", "boot"], cases={
    "term": {"which": [0], "number": signal.SIGTERM}, "kill": {"which": [0], "number": signal.SIGKILL},
    "spare-term": {"which": [1], "number": signal.SIGTERM}, "spare-kill": {"which": [1], "number": signal.SIGKILL}},
      **EVERYWHERE)
def after_the_supervisor_was_killed(t, which, number):
    stage = Stage(t, HELLO + SPIN)
    stage.kill_supervisors(which)
    stage.vmm.signal(number)
    stage.check(128 + number)
    if number == signal.SIGTERM:
        assert "supervisor process is gone" in stage.vmm.text


@test(tags=["ends", "memory"], cases={"term": {"number": signal.SIGTERM}, "kill": {"number": signal.SIGKILL}}, **EVERYWHERE)
def after_both_supervisors_were_killed_the_name_is_left(t, number):
    """Nobody is left who could remove it. The next start says so and names the way out."""
    stage = Stage(t, HELLO + SPIN)
    stage.kill_supervisors([0, 1])
    stage.vmm.signal(number)
    stage.vmm.wait(30)
    again = t.run(tiny_guest.command(t, POWER_OFF, "--mem-backend", f"shm,name=/{stage.name}"))
    assert again.code == 1 and f"remove it (rm /dev/shm/{stage.name})" in again.err, again.err
    # only the supervisor could have given the terminal back, too
    termios.tcsetattr(stage.terminal, termios.TCSANOW, stage.before)
    stage.check(128 + number, left=[stage.name])
    if number == signal.SIGTERM:
        assert f"remove it (rm /dev/shm/{stage.name})" in stage.vmm.text


@test(tags=["ends", "memory"], cases={"term": {"number": signal.SIGTERM}, "kill": {"number": signal.SIGKILL}}, **EVERYWHERE)
def another_s_object_of_the_name_stays(t, number):
    stage = Stage(t, HELLO + SPIN)
    (SHM / stage.name).unlink()
    (SHM / stage.name).touch()
    stage.vmm.signal(number)
    stage.check(128 + number, left=[stage.name])


@test(tags=["ends", "virtio"], **EVERYWHERE)
def after_the_daemon_was_killed(t):
    stage = Stage(t, HELLO + SPIN)
    stage.daemon.kill()
    stage.vmm.expect("device rng0 (socket ")
    stage.vmm.signal(signal.SIGTERM)
    stage.check(143)


@test(tags=["ends", "virtio", "reconnect"], **EVERYWHERE)
def a_daemon_without_which_there_shall_be_no_machine(t):
    stage = Stage(t, HELLO + SPIN, keys=",on-lost=exit")
    stage.daemon.kill()
    stage.vmm.expect("device rng0: so the machine ends (on-lost=exit)")
    stage.check(6)


@test(tags=["ends", "virtio", "reconnect"], cases={"silent": {"busy": False}, "busy": {"busy": True}}, **EVERYWHERE)
def while_the_next_daemon_does_not_answer(t, busy):
    """Or does not even accept: neither is waited for at the end."""
    stage = Stage(t, HELLO + SPIN)
    path = t.dir / "rng.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        stage.daemon.kill()
        path.unlink()
        listener.bind(str(path))
        listener.listen(0)
        if busy:
            other.connect(str(path))
            stage.vmm.expect("device rng0 (socket ")
            time.sleep(1)
        else:
            connection, _ = listener.accept()
            connection.recv(12)
        stage.vmm.signal(signal.SIGTERM)
        stage.vmm.wait(5)
        if not busy:
            connection.close()
    stage.check(143)


@test(tags=["ends", "virtio", "reconnect"], **EVERYWHERE)
def after_daemon_and_supervisor_were_killed(t):
    stage = Stage(t, HELLO + SPIN)
    stage.kill_supervisors([0])
    stage.daemon.kill()
    stage.vmm.expect("device rng0 cannot be connected again: the supervisor process is gone")
    stage.vmm.signal(signal.SIGTERM)
    stage.check(143)


@test(tags=["ends", "virtio", "reconnect"], cases={
    "term": {"number": signal.SIGTERM}, "kill": {"number": signal.SIGKILL}}, **EVERYWHERE)
def by_a_signal_while_no_daemon_comes(t, number):
    path = t.dir / "late.sock"
    stage = Stage(t, HELLO + SPIN, "--vhost-user", f"rng,id=late,server=on,socket={path}", started=False)
    wait_for_socket(path, stage.vmm, ready_now=pathlib.Path.exists)
    stage.vmm.signal(number)
    stage.check(128 + number)


@test(tags=["ends", "virtio", "reconnect"], **EVERYWHERE)
def one_daemon_and_no_other(t):
    """Who comes when there is no need of him is not left to wait."""
    path = t.dir / "only.sock"
    stage = Stage(t, HELLO + SPIN, "--vhost-user", f"rng,id=only,server=on,reconnect=off,socket={path}", started=False)
    wait_for_socket(path, stage.vmm, ready_now=pathlib.Path.exists)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        fd = connection.fileno()
        t.start("minivmm-backend rng", [t.backend, "rng", f"--fd={fd}"], pass_fds=[fd])
    daemon = t.processes.pop()
    stage.vmm.expect("U", 30)
    with socket.socket(socket.AF_UNIX) as other:
        try:
            other.connect(str(path))
            raise AssertionError("somebody listens for a second daemon")
        except ConnectionRefusedError:
            pass
    stage.vmm.signal(signal.SIGTERM)
    stage.vmm.wait(30)
    daemon.close()
    stage.check(143)


@test(tags=["ends", "virtio"], cases={
    "term": {"number": signal.SIGTERM}, "kill": {"number": signal.SIGKILL},
    "supervisor-term": {"number": signal.SIGTERM, "which": [0]},
    "supervisor-kill": {"number": signal.SIGKILL, "which": [0]},
    # before there is a filter the VMM still can remove the name itself
    "both-term": {"number": signal.SIGTERM, "which": [0, 1]}}, **EVERYWHERE)
def by_a_signal_while_a_daemon_is_silent(t, number, which=()):
    path = t.dir / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        stage = Stage(t, HELLO + SPIN, "--vhost-user", path, started=False)
        connection, _ = listener.accept()
        connection.recv(12)
        assert stage.name in shm_names(), "the named object is not there during set-up"
        stage.kill_supervisors(which)
        began = time.monotonic()
        stage.vmm.signal(number)
        stage.check(128 + number)
        connection.close()
        assert time.monotonic() - began < 5, "it waited for the daemon"
        if not which:
            assert "minivmm:" not in stage.vmm.text, "a signal needs no sentence"


@test(tags=["ends", "options"], cases={
    "kernel": {"words": ["--kernel", "/dev/null"]},
    "memory": {"words": ["--memory", "2M"]},
    "policy": {"backend": ",policy=bind,host-nodes=1023"},
    "socket": {"words": ["--vhost-user", "/nonexistent.sock"]},
    "fd": {"words": ["--vhost-user", "blk,fd=77"]},
    # the first number that is free when the program starts: must not become a socket of its own
    "own-fd": {"words": ["--vhost-user", "blk,fd=3"]},
    "report": {"words": ["--boot-report", "/nonexistent/report"]},
    "serial": {"words": ["--serial", "file=/nonexistent/serial"]},
    "initrd": {"words": ["--initrd", "/nonexistent"]},
    "same-name": {"taken": True}}, **EVERYWHERE)
def set_up_that_fails(t, words=(), backend="", taken=False):
    name = SHM / f"test-ends-{os.getpid()}"
    if taken:
        name.touch()
    try:
        stage = Stage(t, HELLO + SPIN, *words, backend=backend, started=False)
        stage.check(1)
    finally:
        if taken:
            name.unlink()
    said = [line for line in stage.vmm.text.splitlines() if line]
    assert len(said) == 1 and said[0].startswith("minivmm: "), "not one sentence"


@test(tags=["ends", "options"], cases={
    "plain": {"backend": "shm", "sockets": [1]},
    # the spare's one end; the supervisor's, and the other one of the spare's; and the object
    "named": {"backend": "shm,name=/test-ends-{}", "sockets": [1, 2]}}, **EVERYWHERE)
def the_supervisor_keeps_no_descriptor_that_was_inherited(t, backend, sockets):
    read, write = os.pipe()
    options = ["--mem-backend", backend.format(os.getpid())]
    vmm = t.start("minivmm", tiny_guest.command(t, HELLO + SPIN, *options), pass_fds=[write])
    os.close(write)
    vmm.expect("U")
    processes = sorted(descendants(vmm.pid))
    assert len(processes) == len(sockets), f"{len(processes)} processes below minivmm"
    for pid, n in zip(processes, sockets):
        held = {fd.name: os.readlink(fd) for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir()}
        own = [to for fd, to in held.items() if fd not in {*"012"}]
        assert sum(to.startswith("socket:") for to in own) == n, f"it has {held}"
        assert len(own) == n + (backend != "shm") and set("012") < set(held), f"it has {held}"
    vmm.signal(signal.SIGTERM)
    assert vmm.wait(20) == 143
    os.close(read)


@test(tags=["ends", "options"], **EVERYWHERE)
def of_descriptors_that_were_inherited_those_stay_that_options_name(t):
    """The rest is closed before the guest runs, as who waits for a pipe's end sees."""
    ours, theirs = socket.socketpair()
    t.start("minivmm-backend rng", [t.backend, "rng", f"--fd={theirs.fileno()}"], pass_fds=[theirs.fileno()])
    command = tiny_guest.command(t, HELLO + SPIN)
    kernel = os.open(t.dir / "guest.elf", os.O_RDONLY)
    report = os.open(t.dir / "report", os.O_WRONLY | os.O_CREAT)
    named = [ours.fileno(), kernel, report]
    pipes = [os.pipe() for _ in range(4)]
    high = [fcntl.fcntl(write, fcntl.F_DUPFD, 900) for _, write in pipes]
    command += ["--kernel", f"/proc/self/fd/{kernel}", "--boot-report", f"/dev/fd/{report}",
                # a word for the guest names nothing
                "--append", f"/dev/fd/{high[0]}", "--vhost-user", f"rng,fd={ours.fileno()}"]
    want = {os.readlink(f"/proc/self/fd/{fd}") for fd in named}
    vmm = t.start("minivmm", command, pass_fds=[*named, *high, *(write for _, write in pipes)])
    for fd in [*high, *(write for _, write in pipes), kernel, report]:
        os.close(fd)
    ours.close()
    theirs.close()
    vmm.expect("U")
    for read, _ in pipes:
        assert select.select([read], [], [], 0)[0] and os.read(read, 1) == b"", "a pipe is still open in it"
        os.close(read)
    have = {os.readlink(fd) for fd in pathlib.Path(f"/proc/{vmm.pid}/fd").iterdir()}
    assert want <= have, f"what options name is closed: {want - have}"
    vmm.signal(signal.SIGTERM)
    assert vmm.wait(20) == 143 and (t.dir / "report").stat().st_size, "no report"


@test(tags=["ends", "options"], **EVERYWHERE)
def a_report_that_cannot_be_written_is_told(t):
    got = t.run(tiny_guest.command(t, HELLO + POWER_OFF, "--boot-report", "/dev/full"))
    assert got.code == 1, f"ended with {got.code}"
    assert "/dev/full cannot be written" in got.err
    got = t.run(tiny_guest.command(t, HELLO + DEBUG_EXIT, "--boot-report", "/dev/full"))
    assert got.code == 0x15 << 1 | 1, "the guest's own code is lost"


@test(tags=["ends", "boot"], cases={
    # of files: 4 KiB, so that what is not RAM is too large already; of descriptors: one to open
    "files": {"limit": "-f 8", "says": "File too large"},
    "descriptors": {"limit": "-n 4", "says": "Too many open files"}}, **EVERYWHERE)
def limits_of_the_host_are_told(t, limit, says):
    words = " ".join(str(word) for word in tiny_guest.command(t, HELLO + POWER_OFF))
    got = t.run(["sh", "-c", f"ulimit {limit} && exec {words}"])
    assert got.code == 1, f"ended with {got.code}"
    assert got.err.startswith("minivmm: ") and got.err.count("\n") == 1 and says in got.err, "not one sentence"


@test(tags=["ends", "boot"], **EVERYWHERE)
def ignored_signals_stay_ignored(t):
    command = [str(word) for word in tiny_guest.command(t, HELLO + SPIN)]
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    vmm = t.start("minivmm", command)
    signal.signal(signal.SIGHUP, old)
    vmm.expect("U")
    vmm.signal(signal.SIGHUP)
    vmm.signal(signal.SIGTERM)
    assert vmm.wait(20) == 143, "nohup does not protect it"


@test(tags=["ends", "boot"], **EVERYWHERE)
def without_standard_descriptors(t):
    command = " ".join(str(word) for word in tiny_guest.command(t, HELLO + POWER_OFF))
    for closed in "0<&-", "1>&-", "0<&- 1>&- 2>&-":
        assert t.run(["sh", "-c", f"{command} {closed}"], timeout=20).code == 0, f"with {closed}"


@test(tags=["ends", "memory"], cases={"on": {"discard": "on"}, "off": {"discard": "off"}}, **EVERYWHERE)
def file_ram_is_freed_when_asked_for(t, discard):
    ram = t.dir / "ram"
    code = touch(0x400000, 0x600000) + HELLO + POWER_OFF
    got = t.run(tiny_guest.command(t, code, "--mem-backend", f"file,path={ram},discard-data={discard}"))
    assert got.code == 0 and not got.err
    used = ram.stat().st_blocks * 512
    assert used == 0 if discard == "on" else used >= 2 << 20, f"the file holds {used} bytes"


@test(tags=["ends", "serial"], cases={"spin": {"end": signal.SIGTERM}, "power-off": {"end": 0}}, **EVERYWHERE)
def a_terminal_that_stands_still_does_not_hold_it(t, end):
    """Output goes to a terminal that nobody reads."""
    keys, terminal = pty.openpty()
    code = TALK if end else b"\xb9\x00\x40\x00\x00" + HELLO[:7] + b"\xe2\xf7" + POWER_OFF
    command = [str(word) for word in tiny_guest.command(t, code)]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL) as vmm:
        try:
            assert select.select([keys], [], [], 20)[0], "no output"
            time.sleep(1)
            if end:
                vmm.send_signal(end)
            code = vmm.wait(20)
        finally:
            vmm.kill()
    assert code == (128 + end if end else 0), f"ended with {code}"
    os.close(keys)
    os.close(terminal)


@test(tags=["ends", "serial"], **EVERYWHERE)
def stopped_and_continued_the_terminal_is_given_and_taken(t):
    stage = Stage(t, HELLO + SPIN)

    def state():
        return pathlib.Path(f"/proc/{stage.vmm.pid}/stat").read_text().rpartition(")")[2].split()[0]

    raw = termios.tcgetattr(stage.terminal)
    assert raw != stage.before, "the terminal is not raw"
    stage.vmm.signal(signal.SIGTSTP)
    os.waitid(os.P_PID, stage.vmm.pid, os.WSTOPPED | os.WNOWAIT)
    assert state() == "T"
    assert termios.tcgetattr(stage.terminal) == stage.before, "stopped, it keeps the terminal"
    stage.vmm.signal(signal.SIGCONT)
    deadline = time.monotonic() + 10
    while termios.tcgetattr(stage.terminal) != raw and time.monotonic() < deadline:
        time.sleep(0.01)
    assert termios.tcgetattr(stage.terminal) == raw, "continued, it does not take the terminal back"
    stage.vmm.signal(signal.SIGTERM)
    stage.check(143)


# ---- RAM that is not there (real KVM: elsewhere a page that cannot be had is no EFAULT) ----

@test(tags=["ends", "memory"], cases={
    # prealloc=off, and a mount that is large enough but has not the room
    "guest": {"code": touch(0x400000, 48 << 20) + POWER_OFF, "room": "8M"},
    # sti first: KVM sends the fault to a worker and does not hear of its failure
    "interrupts": {"code": b"\xfb" + touch(0x400000, 48 << 20) + POWER_OFF, "room": "8M"},
    "loader": {"code": HELLO + POWER_OFF, "room": "8K"}}, timeout=60)
def memory_that_runs_out_has_its_own_code(t, code, room):
    hog = f"head -c $((64*1024*1024 - {room[:-1]}*{1024 if room[-1] == 'K' else 1048576})) /dev/zero > /dev/shm/hog"
    words = " ".join(str(word) for word in tiny_guest.command(t, code, "--mem-backend", "shm,thp=off"))
    got = t.run(["unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size=64M none /dev/shm && {hog} && exec {words}"])
    assert got.code == 3, f"ended with {got.code}"
    said = [line for line in got.err.splitlines() if "warning" not in line]
    assert len(said) == 1 and "full" in said[0], "not one sentence that says it"


@test(tags=["ends", "memory"], timeout=60)
def ram_that_is_cut_off_is_a_crash_of_the_guest(t):
    again = touch(0x400000, 48 << 20)
    code = HELLO + again + b"\xe9" + (-(len(again) + 5)).to_bytes(4, "little", signed=True)
    vmm = t.start("minivmm", tiny_guest.command(t, code, "--mem-backend", "shm,thp=off"))
    vmm.expect("U")
    for fd in pathlib.Path(f"/proc/{vmm.pid}/fd").iterdir():
        if os.stat(fd).st_size == 64 << 20:
            os.truncate(fd, 8 << 20)
    assert vmm.wait(20) == 4
    assert "cut it off" in vmm.text, "the sentence does not say what happened"
