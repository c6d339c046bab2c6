# SPDX-License-Identifier: Apache-2.0
"""VMShm in Linux guests: the driver of guest/vmshm, built for the kernel that runs, and what its programs see."""
import os
import pathlib
import select
import socket
import stat
import struct
import sys
import threading

import guest
from guest import FAILED, OK
from harness import ROOT, test

TAGS = ["boot", "vmshm"]
BARE = ROOT / "tests/bare/run.py"
WINDOW, PAGE = 1 << 20, 1 << 12
ID = "0x6661"
# What each kernel is booted from: resource, file in it; what its module is built as
KERNELS = {
    "tiny": ("kernel:tiny-modules", "vmlinux", "vmshm:tiny-modules"),
    "debug": ("kernel:tiny-debug", "vmlinux", "vmshm:tiny-debug"),
    "6.1": ("debian:6.1", "bzImage", "vmshm:6.1"),
    "6.12": ("debian:6.12", "bzImage", "vmshm:6.12"),
}
# As a distribution does it: the bus tells what is there, the module's file what it is for. The links are udev's
LOAD = f"""#!/bin/sh
set -e
dmesg -c >/dev/null     # the boot's own
depmod
for alias in /sys/bus/pci/devices/*/modalias; do
    modprobe "$(cat $alias)" 2>/dev/null || true
done
device=$(dirname $(grep -l {ID} /sys/bus/pci/devices/*/device | head -n 1))
export DEVICE=${{device##*/}}
for node in /dev/vmshm*; do
    ln -s $node /dev/vshm${{node#/dev/vmshm}}
done
"""
# What the kernel says of a fault of its own, whatever the console's level is
FAULTS = ("BUG:", "WARNING:", "KASAN", "INFO: ", "Oops", "general protection", "possible circular", "inconsistent lock")


def needs(arguments):
    resource, _, module = KERNELS[arguments.get("kernel", "tiny")]
    return [resource, module, "initrd:busybox"]


def cpio(files):
    """An archive, as initrds are: {path: (mode, content)}, folders before what is in them."""
    out = bytearray()
    for number, (path, (mode, content)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))]):
        fields = [number + 1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path) + 1, 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path.encode() + b"\0"
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


class Machine:
    """A guest of an initrd alone: BusyBox, the driver, and programs; its script runs when the driver is loaded."""

    def __init__(self, t, script, kernel="tiny", devices=("",), programs=("tests/vmshm/vmshm-driver",), words=""):
        self.t = t
        resource, image, module = KERNELS[kernel]
        module = t.resource(module)
        release = (module / "kernel").read_text(encoding="utf-8").strip()
        folder = f"lib/modules/{release}"
        files = {path: (stat.S_IFDIR | 0o755, b"") for path in ("lib", "lib/modules", folder)}
        files[f"{folder}/vmshm.ko"] = (stat.S_IFREG | 0o644, (module / "vmshm.ko").read_bytes())
        for name in ("order", "builtin"):
            files[f"{folder}/modules.{name}"] = (stat.S_IFREG | 0o644, b"")
        for program in programs:
            files[os.path.basename(program)] = (stat.S_IFREG | 0o755, t.program(program).read_bytes())
        if kernel == "debug":
            script += "\ngrep -q 'debug_locks: *1' /proc/lockdep_stats     # it looks to the end"
        files["test"] = (stat.S_IFREG | 0o755, f"{LOAD}\n{script}\ndmesg\n".encode())
        initrd = t.dir / "initrd.cpio"
        initrd.write_bytes(t.resource("initrd:busybox").read_bytes() + cpio(files))
        self.process = None
        self.prefix = f"test-{os.getpid()}-"
        self.command = [t.minivmm, "--kernel", t.resource(resource) / image, "--initrd", initrd, "--memory", "512M",
                        "--cmdline", f"console=ttyS0 quiet {words} -- exec=/test poweroff"]
        for keys in devices:
            self.command += ["--vmshm", f"prefix={self.prefix}{keys}"]

    def path(self, name):
        return pathlib.Path("/dev/shm", self.prefix + name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for path in pathlib.Path("/dev/shm").glob(f"{self.prefix}*"):
            path.unlink()

    def make(self, name, size, first=b""):
        """An object of the host, zeros but for its first bytes."""
        with open(self.path(name), "wb") as file:
            file.write(first)
            file.truncate(size)

    def make_usual(self):
        self.make("rw", 2 * WINDOW, b"r" * PAGE)
        self.make("small", PAGE, b"s" * PAGE)
        self.make("ro", WINDOW, b"o" * WINDOW)

    def start(self):
        self.process = self.t.start("minivmm", self.command)
        return self.process

    def wait(self, timeout=guest.SECONDS):
        """What the guest said; it came to its end, and its kernel found no fault."""
        code, said = self.process.wait(timeout), self.process.text
        assert FAILED not in said, "the guest's script failed"
        assert OK in said and code == 0, f"minivmm ended with {code} before the guest came to its end"
        faults = [line for line in said.splitlines() if any(word in line for word in FAULTS)]
        assert not faults, f"the kernel found a fault: {faults[0]}"
        self.t.boots += 1
        return said

    def run(self, timeout=guest.SECONDS):
        self.start()
        return self.wait(timeout)


def allow(*names):
    """Keys of --vmshm; the prefix is the machine's, as of all tests that run now."""
    return "".join(f",allow=/test-{os.getpid()}-{name}" for name in names)


USUAL = ("rw", "small", "ro:ro")


def run_cases(t, cases, kernel="tiny", keys="", **options):
    """The cases of vmshm-driver one after another, in one guest."""
    script = "\n".join(f"/vmshm-driver {case}" for case in cases)
    with Machine(t, script, kernel=kernel, devices=[allow(*USUAL) + keys], **options) as machine:
        machine.make_usual()
        said = machine.run(250)
        for case in cases:
            assert f"vmshm-driver: {case}: ok" in said
        return machine.path("rw").read_bytes()


@test(tags=TAGS, needs=needs, timeout=150, cases={name: {"kernel": name} for name in ("tiny", "6.1", "6.12")})
def the_example_of_the_document(t, kernel):
    """Unmodified, by the name of the node that it has; the module is found by what the bus says of the device."""
    with Machine(t, "/document", kernel=kernel, devices=[allow("shared-with-qemu")],
                 programs=["guest/examples/document"]) as machine:
        machine.make("shared-with-qemu", WINDOW)
        machine.run()
        found = machine.path("shared-with-qemu").read_bytes().rstrip(b"\0").decode()
        assert found.startswith("I was here: ") and found.split()[-1].isdigit(), f"the host reads {found!r}"


@test(tags=TAGS, needs=needs, timeout=300, cases={name: {"kernel": name} for name in KERNELS})
def what_programs_may_do(t, kernel):
    rw = run_cases(t, ["legacy", "wrong-requests", "wrong-mappings", "objects", "readonly", "large", "no-events",
                       "unbind", "unload"], kernel=kernel, keys=",window=8M")
    assert rw[2 * PAGE:].startswith(b"written by the guest\0")
    assert rw[WINDOW:].startswith(b"in the large window\0")


@test(tags=[*TAGS, "hostile"], needs=needs, timeout=300, cases={name: {"kernel": name} for name in ("debug", "6.12")})
def stress(t, kernel):
    """Programs that do anything in any order while the device is unbound and bound, on a kernel that looks for faults."""
    run_cases(t, ["stress"], kernel=kernel, keys=",vectors=3")


@test(tags=["vmshm"], needs=lambda case: [f"vmshm:{case['kernel']}"], kvm=False, build=False,
      cases={name: {"kernel": name} for name in ("6.1", "6.12", "sid")})
def driver_builds_without_a_word(t, kernel):
    """W=1, sparse, make install, depmod; Debian's own headers and compiler. tests/vmshm/build.sh does it and fails."""
    built = t.resource(f"vmshm:{kernel}")
    release = (built / "kernel").read_text(encoding="utf-8").strip()
    assert kernel == "sid" or release.startswith(kernel)
    assert f"vermagic={release} ".encode() in (built / "vmshm.ko").read_bytes()


class Echo:
    """A program of the host: gives each event of the guest back to it."""

    def __init__(self, path):
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.connect(str(path))
        message, self.fds, _, _ = socket.recv_fds(self.connection, 4096, 16)
        count = struct.unpack_from("=IIII", message)[3]
        assert len(self.fds) == 2 * count == 4
        self.kicks, self.calls = self.fds[:count], self.fds[count:]
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        """Until the guest is gone, which ends the connection."""
        while True:
            for fd in select.select([*self.kicks, self.connection], [], [])[0]:
                if fd is not self.connection:
                    os.write(self.calls[self.kicks.index(fd)], os.read(fd, 8))
                elif not self.connection.recv(4096):
                    return

    def close(self):
        self.thread.join()
        self.connection.close()
        for fd in self.fds:
            os.close(fd)


@test(tags=TAGS, needs=needs, timeout=200, cases={name: {"kernel": name} for name in ("debug", "6.1", "6.12")})
def events(t, kernel):
    """Of the host and of the guest, waited for in the driver; who waits for one when it is unbound waits no longer."""
    path = t.dir / "events.sock"
    script = "/vmshm-driver events\n/vmshm-driver unbind"
    with Machine(t, script, kernel=kernel, devices=[f"{allow(*USUAL)},vectors=3,events={path}"]) as machine:
        machine.make_usual()
        machine.start().expect("the host may come", guest.SECONDS)
        host = Echo(path)
        try:
            said = machine.wait()
        finally:
            machine.process.stop()
            host.close()
        assert "vmshm-driver: events: ok" in said and "vmshm-driver: unbind: ok" in said


@test(tags=["vmshm", "hostile"], timeout=100)
def the_window_is_memory_at_every_moment(t):
    """A case of the bare guests that a KVM which interprets cannot run."""
    case = "at_no_moment_is_there_a_hole"
    programs = [t.program(f"tests/bare/{name}") for name in ("bare_vmshm_hostile", "shmem_daemon")]
    got = t.run([sys.executable, "-B", BARE, programs[0], t.minivmm, t.backend, programs[1], case], timeout=60)
    assert f"ok 1 - {case}\n" in got.out, "the case failed, or was skipped"
