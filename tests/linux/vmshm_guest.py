# SPDX-License-Identifier: Apache-2.0
"""Guests with VMShm devices, of an initrd alone: BusyBox, the driver of guest/vmshm, and programs."""
import os
import pathlib
import stat

import guest
from guest import FAILED, OK

TAGS = ["boot", "vmshm"]
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


def file_with(content, mode=0o644):
    return stat.S_IFREG | mode, content


def archive_of(t, module, programs, script, kernel):
    """An initrd: BusyBox, module with the folder that modprobe wants, programs, script."""
    folder = f"lib/modules/{(module / 'kernel').read_text(encoding='utf-8').strip()}"
    files = {path: (stat.S_IFDIR | 0o755, b"") for path in ("lib", "lib/modules", folder)}
    files[f"{folder}/vmshm.ko"] = file_with((module / "vmshm.ko").read_bytes())
    for name in ("order", "builtin"):
        files[f"{folder}/modules.{name}"] = file_with(b"")
    for program in programs:
        files[os.path.basename(program)] = file_with(t.program(program).read_bytes(), 0o755)
    if kernel == "debug":
        script += "\ngrep -q 'debug_locks: *1' /proc/lockdep_stats     # it looks to the end"
    files["test"] = file_with(f"{LOAD}\n{script}\ndmesg\n".encode(), 0o755)
    return t.resource("initrd:busybox").read_bytes() + cpio(files)


class Machine:
    """A guest of an initrd alone: BusyBox, the driver, and programs; its script runs when the driver is loaded."""

    def __init__(self, t, script, kernel="tiny", devices=("",), programs=("tests/vmshm/vmshm-driver",), words="",
                 name="minivmm", options=(), kexec=False):
        """name: of a test's several; kexec: the kernel and its initrd are in the guest, too, as files."""
        self.t, self.name = t, name
        resource, image, module = KERNELS[kernel]
        image = t.resource(resource) / image
        content = archive_of(t, t.resource(module), programs, script, kernel)
        if kexec:
            content += cpio({"kernel": file_with(image.read_bytes()), "initrd": file_with(content)})
        initrd = t.dir / f"{name}.cpio"
        initrd.write_bytes(content)
        self.process = None
        self.prefix = f"test-{os.getpid()}-"
        self.command = [t.minivmm, "--kernel", image, "--initrd", initrd, "--memory", "512M",
                        "--cmdline", f"console=ttyS0 quiet {words} -- exec=/test poweroff", *options]
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
        self.process = self.t.start(self.name, self.command)
        return self.process

    def wait(self, timeout=guest.SECONDS):
        """What the guest said; it came to its end, and its kernel found no fault."""
        code, said = self.process.wait(timeout), guest.of_guest(self.process.text)
        assert FAILED not in said, "the guest's script failed"
        assert OK in said and code == 0, f"{self.name} ended with {code} before its guest came to an end"
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
