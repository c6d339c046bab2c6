# SPDX-License-Identifier: Apache-2.0
"""The inner end of tests/bench/blk: guests that read and write a disk, each with a daemon of its own.

    python3 inside_blk.py PLAN

PLAN is JSON: files {path inside: path here}, daemon [word..], socket, vmms [{name, command}], runs, agree, figures (how
many a guest prints), disk {path inside, bytes}. All runs in a root in memory (inside.py says why). A line of JSON
a VMM goes to stdout: the runs of each figure.

The first guest of all takes more, and where the lab loses an interrupt (see its beat) the clock goes on to the next
tick, some milliseconds. So a VMM runs until of each figure the least two agree, at most so often as `runs` says.
"""
import contextlib
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import inside

SECONDS = 300           # the longest that a daemon may take to listen
STILL = 30              # a guest takes less than one; in this clock, which goes fast while nothing happens
SAID = re.compile(r"minivmm-init: requests: (\S+) (\d+) ns")


class Failure(Exception):
    """One sentence."""


class StoodStill(Failure):
    """A guest did."""


@contextlib.contextmanager
def running(command, **options):
    """A process in the root that does not outlive the block."""
    process = subprocess.Popen(["chroot", inside.ROOT, *command], stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(path, process):
    """Until it made it."""
    for _ in range(SECONDS * 10):
        if path.exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise Failure(f"the daemon did not make {path}")


def make_disk(path, size):
    """Not of zeros: a hole of a file costs less to read."""
    with open(path, "wb") as file:
        for number in range(size >> 20):
            file.write(bytes([number % 255 + 1]) * (1 << 20))


def figures_of(process, count):
    """What a guest says, until it said @count."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        found = SAID.search(line)
        if found:
            count -= 1
            yield {"what": found[1], "ns": int(found[2])}
        if not count:
            return
    if process.wait() == -signal.SIGKILL:
        raise StoodStill("a guest stood still")
    raise Failure("the guest ended before its figures; it said:\n" + "".join(seen))


def run(plan, vmm):
    socket = inside.ROOT / plan["socket"].lstrip("/")
    try:
        with running(plan["daemon"]) as daemon:
            wait_for(socket, daemon)
            with running(vmm["command"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace") as process:
                timer = threading.Timer(STILL, process.kill)
                timer.start()
                try:
                    return list(figures_of(process, plan["figures"]))
                finally:
                    timer.cancel()
    finally:
        socket.unlink(missing_ok=True)


def agree(values, share):
    """Whether the least two do."""
    least = sorted(values)[:2]
    return len(least) == 2 and least[1] - least[0] <= share * least[1]


def runs(plan, vmm):
    """{figure: nanoseconds of each run}"""
    found = {}
    for _ in range(plan["runs"]):
        try:
            for figure in run(plan, vmm):
                found.setdefault(figure["what"], []).append(figure["ns"])
        except StoodStill as still:
            print(f"blk: {vmm['name']}: {still}", file=sys.stderr, flush=True)
            continue
        if all(agree(values, plan["agree"]) for values in found.values()):
            break
    return found


def main():
    plan = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    daemon = {"command": plan["daemon"]}
    inside.make_root({"files": plan["files"], "vmms": [*plan["vmms"], daemon]})
    make_disk(inside.ROOT / plan["disk"]["path"].lstrip("/"), plan["disk"]["bytes"])
    for vmm in plan["vmms"]:
        print(json.dumps({"who": vmm["name"], "ns": runs(plan, vmm)}), flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"blk: {failure}")
