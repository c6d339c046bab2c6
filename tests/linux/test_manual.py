# SPDX-License-Identifier: Apache-2.0
"""The examples of minivmm(1) are run as they are written; of a translation from QEMU, both sides."""
import functools
import json
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys

import daemons
from harness import ROOT, Skip, test, wait_for_socket

sys.path.insert(0, str(ROOT / "tests/check"))
import roff     # noqa: E402  pylint: disable=wrong-import-position

QEMU = "qemu-system-x86_64"
MARKS = roff.Page("man/minivmm.1").marks
PAIRS = sorted({m.split()[1].rstrip(",") for m in MARKS if m.startswith("pair: ")})
RUNS = sorted(m.split()[1] for m in MARKS if m.startswith("run: "))
BASE = 0x100000
# mov $0x600, %dx; mov $0x34, %al; out %al, %dx; jmp .: the same bytes in 32-bit and 64-bit mode
POWER_OFF = bytes.fromhex("66ba0006" "b034" "ee" "ebfe")


def words_of(mark):
    return shlex.split(MARKS[mark].replace("\\\n", " "))


def power_off_kernel():
    """An ELF that powers off, with an entry for 64-bit mode and another one for PVH, which QEMU wants."""
    headers = 64 + 2 * 56
    note = headers + 2 * len(POWER_OFF)
    note += -note % 8
    size = note + 12 + 4 + 8
    entry = BASE + headers
    image = b"\x7fELF\2\1\1".ljust(16, b"\0")
    image += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    image += struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000)
    image += struct.pack("<IIQQQQQQ", 4, 4, note, BASE + note, BASE + note, 24, 24, 4)
    image = (image + 2 * POWER_OFF).ljust(note, b"\0")
    return image + struct.pack("<III4sQ", 4, 8, 18, b"Xen\0", entry + len(POWER_OFF))


def set_up(t, words):
    """The files and daemons that the examples name; and the program as if it were installed."""
    for name in ("bin", "share/minivmm"):
        (t.dir / name).mkdir(parents=True)
    for program in t.minivmm, t.backend:
        shutil.copy(program, t.dir / "bin")
    for name in {*re.findall(r"(?<!mem-path)=(\w+\.img)", " ".join(words))}:
        (t.dir / name).write_bytes(bytes(2 << 20))
    for name in ("vmlinux", "bzImage", "share/minivmm/vmlinux"):
        (t.dir / name).write_bytes(power_off_kernel())
    (t.dir / "initrd.cpio").write_bytes(bytes(512))
    # where minivmm itself is to listen there is nobody yet
    for name in sorted(set(re.findall(r"(?<!events=)\b\w+\.sock", " ".join(words)))):
        if name == "gpu.sock":
            daemons.start_gpu(t)
        elif name == "screen.sock":
            daemons.start_display(t, f"--png={t.dir}/screen.png")
        elif name.startswith("rng"):
            t.own_backend("rng", socket=t.dir / name)
        else:
            disk = t.dir / f"{name}.img"
            disk.write_bytes(bytes(2 << 20))
            kind, more = ("pmem", []) if name.startswith("pmem") else ("blk", ["--queues=4"])
            t.own_backend(kind, f"--file={disk}", *more, socket=t.dir / name)


def run_minivmm(t, words):
    assert words[0] == "minivmm", words[0]
    env = {**os.environ, "PATH": f"{t.dir / 'bin'}:{os.environ['PATH']}"}
    code = t.start("minivmm", [t.dir / "bin/minivmm", *words[1:]], cwd=t.dir, env=env).wait(60)
    assert code == 0, f"minivmm ended with {code}"


@functools.cache
def qemu_knows(kind, word):
    got = subprocess.run([QEMU, f"-{kind}", "help"], capture_output=True, text=True, check=False)
    return re.search(rf'(^|[\s"]){re.escape(word)}($|[\s",])', got.stdout, re.M) is not None


def qemu_words(words):
    """What this QEMU can be told of the example; None when it lacks the device."""
    for i, word in enumerate(words[1:]):
        name, _, rest = word.partition(",")
        if words[i] == "-device" and not qemu_knows("device", name):
            return None
        # of QEMU 9.1; its keys are common to all backends
        if name == "memory-backend-shm" and not qemu_knows("object", name):
            words[i + 1] = f"memory-backend-memfd,{rest}"
    return words


def qmp(stream, command):
    stream.write(json.dumps({"execute": command}) + "\n")
    stream.flush()
    for line in stream:
        answer = json.loads(line)
        if "return" in answer or "error" in answer:
            return answer
    raise AssertionError(f"QEMU ended at {command}")


def run_qemu(t, words):
    """QEMU makes the machine, connects to the daemons, loads the kernel, and stops there."""
    words = qemu_words(words)
    if not words:
        print("this QEMU does not have the device")
        return
    path = t.dir / "qmp"
    qemu = t.start("qemu", [*words, "-S", "-qmp", f"unix:{path},server=on,wait=off"], cwd=t.dir)
    wait_for_socket(path, qemu, 60)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(path))
        with sock.makefile("rw") as stream:
            assert "QMP" in json.loads(stream.readline())
            qmp(stream, "qmp_capabilities")
            assert qmp(stream, "query-status")["return"]["status"] == "prelaunch"
            qmp(stream, "quit")
    assert qemu.wait(30) == 0


@test(tags=["options", "manual"], timeout=120, cases={name: {"name": name} for name in PAIRS})
def qemu_translation(t, name):
    ours, theirs = words_of(f"pair: {name}, minivmm"), words_of(f"pair: {name}, qemu")
    set_up(t, ours + theirs)
    run_minivmm(t, ours)
    if not shutil.which(QEMU):
        raise Skip(f"there is no {QEMU}")
    assert theirs[0] == QEMU, theirs[0]
    run_qemu(t, theirs)


@test(tags=["options", "manual"], timeout=60, cases={name: {"name": name} for name in RUNS})
def example(t, name):
    words = words_of(f"run: {name}")
    set_up(t, words)
    run_minivmm(t, words)


@test(tags=["options", "manual"], needs=["gpu:"], timeout=60)
def readme(t):
    """Every line of README that is a call of minivmm."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    calls = [shlex.split(call) for call in re.findall(r"^    (minivmm .*)", text, re.M)]
    assert len(calls) >= 2, calls
    set_up(t, [word for call in calls for word in call])
    for call in calls:
        run_minivmm(t, call)


@test(tags=["options", "manual"], kvm=False, timeout=30)
def help_has_every_key(t):
    text = t.run([t.minivmm, "--help"]).out
    for section, parts in {"MEMORY BACKENDS": ["", "Every kind", "shm", "memfd", "file"], "DEVICES": ["Keys", "Types"]}.items():
        for tag in [tag for part in parts for tag in roff.Page("man/minivmm.1").tags(section, part)]:
            key = re.split(r"[=\[]", tag)[0]
            assert re.search(rf"^  {re.escape(key)} ", text, re.M), f"--help does not have {key}"
