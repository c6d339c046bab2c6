# SPDX-License-Identifier: Apache-2.0
"""guest/try.sh, one of the two commands of README, from the source tree: it proves what it says, and can fail."""
import json
import os
import pty
import re

from harness import ROOT, test

SCRIPT = ROOT / "guest/try.sh"
# the disk that the script itself would prepare; build/ is the plain build, which run.sh has brought up to date
NEEDS = ["kernel:tiny", "vmshm:tiny-modules", "image:", "init:"]
STEPS = ["packages", "build", "a kernel, a driver, a disk image", "KVM", "a disk daemon", "a program that asks",
         "the guest", "from outside", "what they said through shared memory", "the boot report"]
BOOTED = ["Linux version ", "minivmm-init: up", "minivmm-init: verify: 5 files, ", "minivmm-init: write: 8388608 bytes"]
PROMPT, SECONDS = ":~# ", 100


def scratch(t):
    """Where the script puts its files, and what makes it do so."""
    directory = t.dir / "tmp"
    directory.mkdir()
    return directory, {**os.environ, "TMPDIR": str(directory)}


def check(said, end, inside=()):
    """The whole story, in order and once: nothing to install or build, the guest, both proofs, the report."""
    assert re.findall(r"^== (.*)$", said, re.M) == [*STEPS, f"done: booted, read, wrote, talked, {end}"]
    assert "\nall there\n" in said and "no work to do" in said, "it installs or builds what is there"
    assert "\nreal\n" in said, "it does not take this KVM for a real one"
    at = 0
    for word in [*BOOTED, *inside]:
        assert word in said[at:], f"the console does not show {word!r}"
        at = said.index(word, at)
    outside = said[said.index("== from outside", at):]
    sums = re.findall(r"^sha256 of .*: +([0-9a-f]{64})$", outside, re.M)
    assert len(sums) == 2 and sums[0] == sums[1] and f"sha256 {sums[0]}" in said, "the file did not change as it was told"
    assert "e2fsck: clean" in outside
    asked = re.search(r"^host:  who\?\nguest: process \d+ of Linux (\S+)\nhost:  how long\?\nguest: up for \d+ seconds\n"
                      r"host:  how much\?\nguest: \d+ MiB of RAM$", outside, re.M)
    assert asked and f"Linux version {asked[1]} " in said, "it is not the guest that answered"
    report = json.loads(outside[outside.index("{"):outside.rindex("}") + 1])
    assert report["exit_code"] == 0 and report["nanoseconds"]["guest_init"] > report["nanoseconds"]["exec"]


@test(tags=["boot", "blk", "try"], needs=NEEDS, timeout=200)
def boots_and_proves_it(t):
    directory, env = scratch(t)
    before = set(os.listdir("/dev/shm"))
    got = t.run(["sh", SCRIPT], timeout=SECONDS, env=env)
    assert got.code == 0, f"it ended with {got.code}"
    assert got.err == "", "it complains"
    check(got.out.replace("\r", ""), "powered off", ["minivmm-init: check-written: ", "minivmm-init: ok"])
    assert not os.listdir(directory) and set(os.listdir("/dev/shm")) <= before, "files are left"
    t.boots += 1


@test(tags=["boot", "blk", "serial", "try"], needs=NEEDS, timeout=200, cases={
    "exit": {"keys": b"exit\r", "end": "powered off"}, "ctrl-a-x": {"keys": b"\x01x", "end": "ended by Ctrl-A x"}})
def shell_on_a_terminal(t, keys, end):
    """As a user has it: the script is a job of the shell whose terminal it is."""
    directory, env = scratch(t)
    before = set(os.listdir("/dev/shm"))
    line = f"stty -g; sh {SCRIPT} --shell; echo its code: $?; stty -g"
    master, terminal = pty.openpty()
    shell = t.start("sh", ["setsid", "--ctty", "sh", "-c", line], stdin=terminal, stdout=terminal, output=master, env=env)
    os.close(terminal)
    at = shell.expect(PROMPT, SECONDS)
    os.write(master, b"echo all $((40 + 2)) done\r")
    at = shell.expect("all 42 done", 20, at)
    shell.expect(PROMPT, 20, at)
    os.write(master, keys)
    shell.expect("its code: ", 60, at)
    shell.wait(20)
    os.close(master)
    said = shell.text.replace("\r", "")
    assert "\nits code: 0\n" in said, "it failed"
    # of the first line, and of the last
    assert said.split("\n")[0] == said.split("\n")[-2], "the terminal was left otherwise"
    check(said, end, ["all 42 done"])
    assert not os.listdir(directory) and set(os.listdir("/dev/shm")) <= before, "files are left"
    t.boots += end == "powered off"


# ---- The second part by itself, with a program in minivmm's place ----

# What the guest is told to write; $INIT is the guest's init
WRITE = "$INIT stream=8M >data; PATH=$PATH:/sbin:/usr/sbin debugfs -w -R 'write data /data/written' disk.img 2>/dev/null"


@test(tags=["blk", "try"], needs=NEEDS, kvm=False, timeout=60, cases={
    "wrote-nothing": {"program": "echo minivmm-init: ok", "says": "the disk does not hold what the guest wrote"},
    "ended-early": {"program": "echo minivmm-init: up", "says": "the guest's init did not reach its end"},
    "crashed": {"program": "echo minivmm-init: ok; exit 4", "says": "minivmm ended with 4"},
    "answered-nothing": {"program": f"{WRITE}; echo minivmm-init: ok",
                         "says": "the guest did not answer what it was asked"}})
def a_proof_that_fails_is_told(t, program, says):
    directory, env = scratch(t)
    path = t.dir / "program"
    path.write_text(f"#!/bin/sh\n{program}\n", encoding="ascii")
    path.chmod(0o755)
    before = set(os.listdir("/dev/shm"))
    env["INIT"] = str(t.resource("init:"))
    got = t.run(["sh", SCRIPT, "--boot", path, ROOT / "build/guest/examples", t.resource("image:"), t.resource("init:"),
                 t.resource("vmshm:tiny-modules"), "proof"], env=env)
    assert got.code == 1, f"it ended with {got.code}"
    assert got.err.splitlines()[-1:] == [f"try.sh: {says}"], "the sentence is another"
    assert "done" not in got.out
    assert not os.listdir(directory) and set(os.listdir("/dev/shm")) <= before, "files are left"
