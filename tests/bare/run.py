#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of one bare guest, a boot each, and tells in TAP what came of them.

    run.py GUEST MINIVMM MINIVMM_BACKEND SHMEM_DAEMON [CASE...]

GUEST is bare_SUITE, an ELF file; asked for "list" it names its cases, which is all that is done with
MINIVMM_TEST_LIST in the environment. Every case is started with all
system call filters on and with the daemons that cases.py says; it is ok when minivmm ends as
expected there and the guest said so. Exit code 77: this machine has no KVM.
"""
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cases import QEMUS_DISK, SHMEM, Failure, Skip, case_of      # noqa: E402 pylint: disable=wrong-import-position
from event_sockets import EventSockets      # noqa: E402 pylint: disable=wrong-import-position
from shared_objects import Objects      # noqa: E402 pylint: disable=wrong-import-position

SKIPPED = 77
PROBE = pathlib.Path(__file__).resolve().parents[1] / "lab/kvm-probe"


def wait_for_end(process, chunks, on_line, seconds):
    """Collects output (stdout and stderr apart) until both end; calls on_line with each line of stdout."""
    deadline = time.monotonic() + seconds
    streams = {process.stdout.fileno(): "out", process.stderr.fileno(): "err"}
    told = 0
    while streams:
        ready, _, _ = select.select(list(streams), [], [], max(0, deadline - time.monotonic()))
        if not ready:
            process.kill()
            raise Failure(f"not done after {seconds} s")
        for fd in ready:
            data = os.read(fd, 65536)
            if not data:
                del streams[fd]
            chunks[streams.get(fd, "out")] += data
        while b"\n" in chunks["out"][told:]:
            end = chunks["out"].index(b"\n", told)
            on_line(chunks["out"][told:end].decode(errors="replace").strip())
            told = end + 1
    return process.wait(5)


def connected_pair(path):
    """As socketpair, but the second listens, and will accept the first."""
    theirs = socket.socket(socket.AF_UNIX)
    theirs.bind(str(path))
    theirs.listen(1)
    ours = socket.socket(socket.AF_UNIX)
    ours.connect(str(path))
    return ours, theirs


class Run:
    """One boot: minivmm, its daemons, a directory for their files."""

    def __init__(self, guest, minivmm, backend, shmem_daemon, name, case):
        self.guest, self.minivmm, self.backend, self.shmem_daemon = guest, minivmm, backend, shmem_daemon
        self.name, self.case = name, case
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="minivmm-bare."))
        self.daemons, self.output = [], {"out": b"", "err": b""}
        self.process = None
        self.noted = None       # by an order, for a later one
        self.objects = Objects(case.objects, self.dir.name) if case.objects else None
        self.sockets = EventSockets(self.dir) if case.sockets else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in [self.process, *self.daemons]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        if self.sockets:
            self.sockets.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        if self.objects:
            self.objects.remove()

    @property
    def text(self):
        return self.output["out"].decode(errors="replace").replace("\r", "")

    @property
    def complaints(self):
        daemons = self.dir / "daemons.err"
        return (self.output["err"] + (daemons.read_bytes() if daemons.exists() else b"")).decode(errors="replace")

    def start_daemon(self, device):
        """Starts it on one end of a connection; the other end, for minivmm."""
        ours, theirs = connected_pair(self.dir / "socket") if device.type == QEMUS_DISK else socket.socketpair()
        with theirs:
            command = self.command(device, theirs.fileno(), device.prepare(self.dir))
            with open(self.dir / "daemons.err", "ab") as errors:
                self.daemons.append(subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=errors))
        return ours

    def command(self, device, fd, options):
        if device.type == QEMUS_DISK:
            return ["qemu-storage-daemon", *options, "--export",
                    f"type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=fd,addr.str={fd}"]
        program = [self.shmem_daemon] if device.type == SHMEM else [self.backend, device.type]
        return [*program, f"--fd={fd}", *options]

    def boot(self):
        sockets = [self.start_daemon(d) for d in self.case.devices]
        words = [self.minivmm, "--kernel", self.guest, "--cmdline", self.name, "--memory", "16M",
                 "--cpus", str(self.case.cpus), *self.case.options]
        maps = {name: os.open(make(self.dir), os.O_RDWR) for name, make in self.case.maps.items()}
        if self.objects:
            words += self.objects.options([*self.case.vmshm, *(f"map=/{name}:fd={fd}" for name, fd in maps.items())])
        for device, sock in zip(self.case.devices, sockets):
            words += ["--vhost-user", f"{device.type},fd={sock.fileno()}{device.keys}"]
        words = [str(word).replace("DIR/", f"{self.dir}/") for word in words]
        if self.objects:
            words = [word.replace("OBJECTS-", self.objects.prefix) for word in words]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        pass_fds=[*(s.fileno() for s in sockets), *maps.values()])
        for sock in sockets:
            sock.close()
        for fd in maps.values():
            os.close(fd)
        self.process.stdin.write(self.case.typed)
        self.process.stdin.flush()
        return wait_for_end(self.process, self.output, lambda line: self.case.on_line(self, line),
                            self.case.seconds)

    def wait_for_daemons(self):
        """They end by themselves when minivmm has."""
        for process in self.daemons:
            try:
                code = process.wait(10)
            except subprocess.TimeoutExpired as error:
                raise Failure("a daemon goes on after minivmm's end") from error
            if code:
                raise Failure(f"a daemon ended with {describe(code)}")

    def judge(self, code):
        case, verdicts = self.case, re.findall(r"^(?:not )?ok\b.*", self.text, re.M)
        if code != case.exit_code:
            raise Failure(f"minivmm ended with {describe(code)}, not {case.exit_code}")
        if verdicts != ([f"ok - {self.name}"] if case.returns else []):
            raise Failure(f"the guest's verdict: {verdicts or 'none'}")
        self.wait_for_daemons()
        for pattern in case.complaints:
            if not re.search(pattern, self.complaints, re.M):
                raise Failure(f"standard error does not say {pattern!r}")
        if not case.complaints and self.complaints:
            raise Failure("standard error is not empty")
        for pattern in case.says:
            if not re.search(pattern, self.text, re.M):
                raise Failure(f"the guest does not say {pattern!r}")
        reason = case.after(self)
        if reason:
            raise Failure(reason)


def describe(code):
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def list_cases(guest, tools):
    with Run(guest, *tools, "list", case_of("", "list")) as run:
        code = run.boot()
        names = re.findall(r"^case (\w+)$", run.text, re.M)
        if code or not names:
            sys.exit(f"{guest} does not list its cases ({describe(code)}):\n{run.text}{run.complaints}")
        return names


def tell(text):
    for line in text.splitlines():
        # nothing of it may look like a verdict of ours
        print("#", line.removeprefix("# "))


def why_not(case):
    """Why this machine cannot run it, or None."""
    if any(d.type == QEMUS_DISK for d in case.devices) and not shutil.which("qemu-storage-daemon"):
        return "there is no qemu-storage-daemon"
    if case.real_kvm and subprocess.run([PROBE], stdout=subprocess.DEVNULL, check=False).returncode:
        return "the KVM of this machine interprets guests"
    return None


def run_case(number, guest, tools, suite, name):
    reason = why_not(case_of(suite, name))
    if reason:
        print(f"ok {number} - {name} # SKIP {reason}", flush=True)
        return
    with Run(guest, *tools, name, case_of(suite, name)) as run:
        try:
            run.judge(run.boot())
        except Skip as skip:
            print(f"ok {number} - {name} # SKIP {skip}", flush=True)
        except Failure as failure:
            tell(str(failure))
            tell(run.text)
            tell(run.complaints)
            print(f"not ok {number} - {name}", flush=True)
        else:
            print(f"ok {number} - {name}", flush=True)


def main():
    guest, *tools = sys.argv[1:5]
    wanted = sys.argv[5:]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("machine: /dev/kvm is not there or may not be opened")
        return SKIPPED
    suite = pathlib.Path(guest).name.removeprefix("bare_")
    names = [n for n in list_cases(guest, tools) if not wanted or n in wanted]
    if "MINIVMM_TEST_LIST" in os.environ:
        print("\n".join(f"case {name}" for name in names))
        return 0
    print(f"1..{len(names)}")
    for number, name in enumerate(names, 1):
        run_case(number, guest, tools, suite, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
