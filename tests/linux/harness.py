# SPDX-License-Identifier: Apache-2.0
"""What tests of whole guests are written with: registration, processes with deadlines, waiting by event.

A test is a function in tests/linux/test_*.py:

    @test(tags=["boot"], needs=["kernel:tiny"], cases={"1cpu": {"cpus": 1}, "4cpus": {"cpus": 4}})
    def tiny_kernel(t, cpus):
        ...

It runs in a process, a session and a scratch directory of its own, on a real KVM (the machine's or
the lab's), and fails by raising. What it started is ended for it; what it started and lost is a
failure. Nothing here waits by sleeping for an event that the kernel can tell.
"""
import contextlib
import ctypes
import dataclasses
import errno
import importlib
import os
import pathlib
import select
import shutil
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
REGISTRY = []
# Limits are written for an idle machine and a real KVM; the runner says how much slower it is here.
SLOW = 1


class Skip(Exception):
    """Why the test cannot run here. CI takes it for a failure unless the machine's nature is to blame."""

    def __init__(self, reason, machine=False):
        super().__init__(("machine: " if machine else "") + reason)


@dataclasses.dataclass
class Test:
    name: str
    function: object
    arguments: dict
    tags: set
    needs: list             # what run.sh prepares: kernel:tiny, debian:6.1, ...
    timeout: float          # seconds on an idle machine's lab; the runner allows for a loaded one
    under: str              # the one build it is for, if that is another than the plain one
    alone: bool             # nothing else may run meanwhile
    build: bool             # needs minivmm built
    kvm: bool               # needs a real KVM; else it runs on any machine


def test(tags=(), needs=(), timeout=120, cases=None, under="", alone=False, build=True, kvm=True):
    """Registers a function as a test, or as one a case."""
    def register(function):
        module = function.__module__.removeprefix("test_")
        for label, arguments in (cases or {"": {}}).items():
            name = f"{module}.{function.__name__}" + (f".{label}" if label else "")
            wanted = needs(arguments) if callable(needs) else list(needs)
            REGISTRY.append(Test(name, function, arguments, set(tags), wanted, timeout, under, alone, build, kvm))
        return function
    return register


def load(directory):
    """All tests of a directory."""
    if not REGISTRY:
        for path in sorted(directory.glob("test_*.py")):
            importlib.import_module(path.stem)
    return REGISTRY


# ---- Waiting for files and processes ----

IN_CREATE, IN_MOVED_TO = 0x100, 0x80


@contextlib.contextmanager
def watch_directory(path):
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(path), IN_CREATE | IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), f"inotify on {path}")
    try:
        yield fd
    finally:
        os.close(fd)


def is_listening(path):
    """A socket has its path before it listens; only the kernel's table tells them apart."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        for line in table:
            words = line.split(None, 7)
            if len(words) == 8 and words[7].rstrip("\n") == str(path):
                return int(words[3], 16) & 0x10000 != 0
    return False


def inode(path):
    """Of what is there; None: nothing."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def wait_for_socket(path, process, timeout=30, ready_now=is_listening):
    """Until ready_now(path), or process, who should listen there, has ended."""
    timeout *= SLOW
    deadline = time.monotonic() + timeout
    with watch_directory(pathlib.Path(path).parent) as watch:
        while not ready_now(path):
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"{process.name} does not listen on {path} after {timeout} s")
            if process.poll() is not None:
                raise AssertionError(f"{process.name} ended with {process.poll()}, before it listened on {path}")
            # between bind and listen there is no event: look again soon
            step = left if not pathlib.Path(path).exists() else 0.002
            ready, _, _ = select.select([watch, process.pidfd], [], [], step)
            if watch in ready:
                os.read(watch, 4096)


class Process:
    """A program in the background, its output collected: from a pipe, or where stdout is another file, from output."""

    def __init__(self, name, command, *, log=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, output=None,
                 pass_fds=(), env=None, cwd=None):
        self.name, self.command = name, command
        self.out = bytearray()
        self.changed = threading.Condition()
        self.log = log
        self.child = subprocess.Popen([str(word) for word in command], stdin=stdin, stdout=stdout,
                                      stderr=subprocess.STDOUT, pass_fds=pass_fds, env=env, cwd=cwd)
        self.output = self.child.stdout.fileno() if output is None else output
        self.pid = self.child.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.reader = threading.Thread(target=self.collect, daemon=True)
        self.reader.start()
        print(f"[{self.name} {self.pid}] {' '.join(str(w) for w in command)}", flush=True)

    def collect(self):
        while True:
            try:
                data = os.read(self.output, 65536)
            except OSError as error:
                if error.errno != errno.EIO:    # a terminal that nobody has open any more
                    raise
                data = b""
            with self.changed:
                if not data:
                    self.closed = True
                self.out += data
                self.changed.notify_all()
            if not data:
                return
            os.write(1, data)

    closed = False

    @property
    def text(self):
        return bytes(self.out).decode(errors="replace")

    def send(self, data):
        self.child.stdin.write(data)
        self.child.stdin.flush()

    def expect(self, word, timeout=60, start=0):
        """Until the output from start on holds word; where it ends."""
        wanted = word.encode() if isinstance(word, str) else word
        timeout *= SLOW
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                at = self.out.find(wanted, start)
                if at >= 0:
                    return at + len(wanted)
                if self.closed:
                    raise AssertionError(f"{self.name} ended without saying {word!r}")
                if not self.changed.wait(max(0, deadline - time.monotonic())):
                    raise AssertionError(f"{self.name} does not say {word!r} within {timeout} s")

    def poll(self):
        return self.child.poll()

    def wait(self, timeout=60):
        """The exit code (of a shell: 128 + n for signal n), when all output is collected."""
        timeout *= SLOW
        try:
            code = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} does not end within {timeout} s") from None
        self.reader.join(5)
        return 128 - code if code < 0 else code

    def signal(self, number):
        signal.pidfd_send_signal(self.pidfd, number)

    def stop(self):
        """Ends it the way an operator would; by force when it does not care."""
        if self.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.child.wait(10 * SLOW)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.wait(10)

    def kill(self):
        self.child.kill()
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            stacks = [f"{path}\n{path.read_text()}" for path in pathlib.Path(f"/proc/{self.pid}/task").glob("*/stack")]
            print("\n".join(stacks), flush=True)
            raise AssertionError(f"{self.name} cannot be killed") from None

    def close(self):
        if self.poll() is None:
            self.kill()
        self.reader.join(5)
        os.close(self.pidfd)


@dataclasses.dataclass
class Done:
    """A program that has ended."""
    code: int
    out: str
    err: str


class Context:
    """What a test function gets."""

    def __init__(self, build, resources, directory):
        self.build = pathlib.Path(build)
        self.resources = resources
        self.dir = pathlib.Path(directory)
        self.processes = []
        self.boots = 0

    @property
    def minivmm(self):
        return self.program("vmm/minivmm")

    @property
    def backend(self):
        return self.program("vhost/backends/minivmm-backend")

    def program(self, path):
        if not (self.build / path).exists():
            raise Skip(f"the build has no {path}")
        return self.build / path

    def resource(self, name):
        if name not in self.resources:
            raise Skip(f"run.sh did not prepare {name}")
        return pathlib.Path(self.resources[name])

    def start(self, name, command, **options):
        process = Process(name, command, **options)
        self.processes.append(process)
        return process

    def run(self, command, timeout=60, stdin=None, env=None):
        command = [str(word) for word in command]
        print(f"$ {' '.join(command)}", flush=True)
        try:
            got = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout * SLOW, check=False, env=env)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{command[0]} does not end within {timeout} s") from None
        out, err = got.stdout.decode(errors="replace"), got.stderr.decode(errors="replace")
        print(out + err + f"[exit code {got.returncode}]", flush=True)
        return Done(128 - got.returncode if got.returncode < 0 else got.returncode, out, err)

    def close(self):
        for process in reversed(self.processes):
            process.close()

    # ---- Daemons ----

    def storage_daemon(self, disk, socket=None, options=""):
        """qemu-storage-daemon that serves a raw file; the socket."""
        socket = socket or self.dir / "blk.sock"
        if not shutil.which("qemu-storage-daemon"):
            raise Skip("there is no qemu-storage-daemon")
        process = self.start("qemu-storage-daemon", [
            "qemu-storage-daemon",
            "--blockdev", f"driver=file,node-name=disk,filename={disk},cache.direct=off",
            "--export", f"type=vhost-user-blk,id=export,node-name=disk,writable=on,"
                        f"addr.type=unix,addr.path={socket}{options}"])
        wait_for_socket(socket, process)
        return socket

    def own_backend(self, kind, *arguments, socket=None):
        """minivmm-backend KIND; the socket."""
        socket = socket or self.dir / f"{kind}.sock"
        stale = inode(socket)       # a daemon that was killed leaves its socket
        process = self.start(f"minivmm-backend {kind}",
                             [self.backend, kind, f"--socket-path={socket}", *arguments])
        # it listens first and gives the socket its path then, in place of what is there
        wait_for_socket(socket, process, ready_now=lambda path: inode(path) not in (None, stale))
        return socket


# ---- Run by the runner: one test in a process made for it ----

PR_SET_CHILD_SUBREAPER = 36


def descendants(pid):
    """Processes below pid, from /proc, parents first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                    text = stat.read()
                children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def describe(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip() or str(pid)
    except OSError:
        return str(pid)


def leftovers():
    """What the test started and nobody ended: told and killed."""
    lost = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                lost.append(describe(pid))
            os.kill(pid, signal.SIGKILL)
    return lost


def run_test(item, build, resources, directory):
    """Runs one test here. Gives (status, reason, boots); the story goes to stdout."""
    import traceback        # pylint: disable=import-outside-toplevel
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    t = Context(build, resources, directory)
    status, reason = "ok", ""
    try:
        item.function(t, **item.arguments)
    except Skip as skip:
        status, reason = "skip", str(skip)
    except BaseException as error:      # pylint: disable=broad-exception-caught
        status, reason = "FAIL", str(error).splitlines()[0] if str(error) else type(error).__name__
        traceback.print_exc(file=os.fdopen(os.dup(1), "w"))
    try:
        t.close()
    except AssertionError as error:
        status, reason = "FAIL", str(error)
    lost = leftovers()
    if lost and status == "ok":
        status, reason = "FAIL", "left behind: " + "; ".join(lost)
    return status, reason, t.boots
