# SPDX-License-Identifier: Apache-2.0
"""Wrong input to every option: one sentence on stderr, nothing on stdout, exit code 2 (usage) or 1 (set-up)."""
from harness import test

USAGE, SETUP = 2, 1
WRONG = {
    "unknown": (USAGE, ["--no-such-option"]),
    "stray-word": (USAGE, ["word"]),
    "memory-none": (USAGE, ["--memory"]),
    "memory-no-unit": (USAGE, ["--memory", "256"]),
    "memory-zero": (USAGE, ["--memory", "0M"]),
    "memory-not-pages": (USAGE, ["--memory", "1025B"]),
    "memory-negative": (USAGE, ["--memory", "-256M"]),
    "memory-overflow": (USAGE, ["--memory", "99999999999999T"]),
    "memory-garbage": (USAGE, ["--memory", "256Mx"]),
    "backend-kind": (USAGE, ["--mem-backend", "ram"]),
    "backend-key": (USAGE, ["--mem-backend", "shm,nokey=1"]),
    "backend-share-off": (USAGE, ["--mem-backend", "shm,share=off"]),
    "backend-readonly": (USAGE, ["--mem-backend", "file,path=/dev/null,readonly=on"]),
    "backend-file-no-path": (USAGE, ["--mem-backend", "file"]),
    "cpus-zero": (USAGE, ["--cpus", "0"]),
    "cpus-many": (USAGE, ["--cpus", "65"]),
    "cpus-word": (USAGE, ["--cpus", "two"]),
    "machine": (USAGE, ["--machine", "pc"]),
    "on-reset": (USAGE, ["--on-reset", "maybe"]),
    "transport": (USAGE, ["--transport", "ccw"]),
    "seccomp": (USAGE, ["--seccomp", "maybe"]),
    "serial": (USAGE, ["--serial", "tcp"]),
    "serial-no-file": (USAGE, ["--serial", "file="]),
    "serial-directory": (SETUP, ["--kernel", "{kernel}", "--serial", "file=/"]),
    "log-level": (USAGE, ["--log-level", "loud"]),
    "help-value": (USAGE, ["--help=all"]),
    "cmdline-long": (SETUP, ["--kernel", "{kernel}", "--cmdline", "x" * 70000]),
    "append-long": (SETUP, ["--kernel", "{kernel}", "--append", "x" * 2048]),
    "memory-too-little": (SETUP, ["--kernel", "{kernel}", "--memory", "4K"]),
    "vhost-user-empty": (USAGE, ["--vhost-user", ""]),
    "vhost-user-no-socket": (USAGE, ["--vhost-user", "blk"]),
    "vhost-user-type": (USAGE, ["--vhost-user", "fs,socket=/nonexistent"]),
    "vhost-user-same-name": (USAGE, ["--vhost-user", "blk,socket=/a,id=x", "--vhost-user", "rng,socket=/b,id=x"]),
    "vmshm-empty": (USAGE, ["--vmshm="]),
    "vmshm-word": (USAGE, ["--vmshm", "/ring"]),
    "vmshm-key": (USAGE, ["--vmshm=allowed=/ring"]),
    "vmshm-idle-max": (SETUP, ["--kernel", "{kernel}", "--vmshm", "allow=/x,window=64G,window-idle-max=64K"]),
    "vmshm-slash": (USAGE, ["--vmshm", "allow=/a/../b"]),
    "vmshm-own": (USAGE, ["--vmshm", "allow=/minivmm-*"]),
    "vmshm-map-no-fd": (USAGE, ["--vmshm", "map=/ring"]),
    "vmshm-map-not-open": (SETUP, ["--kernel", "{kernel}", "--vmshm", "map=/ring:fd=77"]),
    "vmshm-map-not-a-file": (SETUP, ["--kernel", "{kernel}", "--vmshm", "map=/ring:fd=2"]),
    "vmshm-events-no-socket": (SETUP, ["--kernel", "{kernel}", "--vmshm", "allow=/x,events=/"]),
    "vmshm-same-name": (USAGE, ["--vmshm", "id=x", "--vmshm", "id=x"]),
    "vmshm-vhost-user-same-name": (USAGE, ["--vmshm", "id=blk0", "--vhost-user", "/nonexistent"]),
    "vmshm-same-socket": (USAGE, ["--vmshm", "events=/tmp/x", "--vmshm=events=/tmp/x"]),
    "vmshm-no-value-then-a-word": (USAGE, ["--vmshm", "--log-level", "warn", "word"]),
    "kernel-missing": (SETUP, ["--kernel", "/nonexistent"]),
    "kernel-directory": (SETUP, ["--kernel", "/"]),
    "kernel-empty": (SETUP, ["--kernel", "/dev/null"]),
    "initrd-empty": (USAGE, ["--initrd", ""]),
    "initrd-directory": (SETUP, ["--kernel", "{kernel}", "--initrd", "/"]),
    "initrd-missing": (SETUP, ["--kernel", "{kernel}", "--initrd", "/nonexistent"]),
    "socket-missing": (SETUP, ["--kernel", "{kernel}", "--vhost-user", "/nonexistent.sock"]),
    "report-directory": (SETUP, ["--kernel", "{kernel}", "--boot-report", "/"]),
    "trace-directory": (SETUP, ["--kernel", "{kernel}", "--vu-trace", "/"]),
    "trace-not-open": (SETUP, ["--kernel", "{kernel}", "--vu-trace", "fd=77"]),
    "trace-in-a-devices-socket": (USAGE, ["--vhost-user", "blk,fd=5", "--vu-trace", "fd=5"]),
    "trace-no-number": (SETUP, ["--kernel", "{kernel}", "--vu-trace", "fd=one"]),
    "fault-no-device": (USAGE, ["--vhost-user", "/nonexistent", "--vu-fault", "SET_OWNER,drop"]),
    "fault-other-device": (USAGE, ["--vhost-user", "/nonexistent", "--vu-fault", "blk1:SET_OWNER,drop"]),
    "fault-no-action": (USAGE, ["--vhost-user", "/nonexistent", "--vu-fault", "blk0:SET_OWNER"]),
    "fault-no-message": (USAGE, ["--vhost-user", "/nonexistent", "--vu-fault", "blk0:SET_NOTHING,drop"]),
    "verb-no-file": (USAGE, ["vu-trace"]),
    "verb-file-missing": (SETUP, ["vu-trace", "/nonexistent"]),
    "report-unwritable": (SETUP, ["--kernel", "{kernel}", "--boot-report", "/nonexistent/report"]),
}


@test(tags=["options"], kvm=False, timeout=30, needs=["kernel:tiny"],
      cases={name: {"code": code, "words": words} for name, (code, words) in WRONG.items()})
def wrong(t, code, words):
    values = {"{kernel}": str(t.resource("kernel:tiny") / "vmlinux")}
    got = t.run([t.minivmm, *(values.get(word, word) for word in words)], timeout=20)
    assert got.code == code, f"exit code {got.code}"
    assert got.out == "", "something on stdout"
    lines = got.err.strip().splitlines()
    assert len(lines) == 1, f"{len(lines)} lines on stderr"
    assert lines[0].startswith("minivmm: "), "the line does not say who speaks"


@test(tags=["options"], kvm=False, timeout=30)
def help_and_version_are_for_stdout(t):
    for word in ("--help", "--version"):
        got = t.run([t.minivmm, word])
        assert got.code == 0 and got.out and not got.err
