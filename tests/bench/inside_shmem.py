# SPDX-License-Identifier: Apache-2.0
"""The inner end of tests/bench/shmem: mappings are made and undone, guests boot from them and read.

    python3 inside_shmem.py PLAN

PLAN is JSON: programs {swap, touch, minivmm, backend, stopwatch}, and for the boots files {path inside:
path here}, images {name: path}, disks {name: {daemon, huge, image, cmdline, lines}}, runs. All runs in a
root in memory (inside.py says why). A line of JSON a figure goes to stdout. `swaps` is for the outer end,
too: on its own KVM.
"""
import json
import pathlib
import socket
import subprocess
import sys
import time

import inside

HUGE_BYTES = 16 << 20       # what touch.c is told to touch by pages of 2 MiB
HUGE = inside.ROOT / "huge"         # a file system whose pages are of 2 MiB


class Failure(Exception):
    """One sentence."""


def figures(who, text):
    for line in text.splitlines():
        yield {"who": who, **json.loads(line)}


def ended(name, process, seconds=300):
    out, _ = process.communicate(timeout=seconds)
    if process.returncode:
        raise Failure(f"{name} ended with {process.returncode}")
    return out


def swaps(programs, huge=None):
    """Figures of swap.h's three programs; huge: a file of huge pages for the guest to touch."""
    for who in ("bare", "asked"):
        process = subprocess.Popen([programs["swap"], who], stdout=subprocess.PIPE, text=True)
        yield from figures(who, ended(who, process))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        daemon = subprocess.Popen([programs["swap"], "daemon", str(theirs.fileno()), *([huge] if huge else [])],
                                  pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True)
        vmm = subprocess.Popen([programs["minivmm"], "--kernel", programs["touch"], "--cmdline", "touch",
                                "--memory", "16M", "--log-level", "error",
                                "--vhost-user", f"generic,virtio-id=63,num_vqs=1,fd={ours.fileno()}"],
                               pass_fds=[ours.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    out = ended("the daemon", daemon)
    ended("minivmm", vmm)
    yield from figures("minivmm", out)


def make_huge():
    """Mounts HUGE; a file there."""
    HUGE.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "huge=always", "huge", HUGE], check=True)
    path = HUGE / "file"
    path.write_bytes(bytes([1]) * HUGE_BYTES)
    return str(path)


def copy_program(path):
    """Into the root, with what it needs; where it is there, seen from here."""
    for file in (path, *inside.libraries(path)):
        inside.copy_in(file, file)
    return str(inside.ROOT / path.lstrip("/"))


def boot(plan, programs, disk):
    """One boot from a fresh disk: nanoseconds from the start to each line."""
    kind, path = disk["daemon"], (HUGE if disk["huge"] else inside.ROOT) / "disk.img"
    socket_path = inside.ROOT / "disk.sock"
    subprocess.run(["cp", "--sparse=always", plan["images"][disk["image"]], path], check=True)
    key = "--file" if kind == "pmem" else "--blk-file"
    daemon = subprocess.Popen([programs["backend"], kind, f"--socket-path={socket_path}",
                               f"{key}={path}"])
    try:
        while not socket_path.exists():
            if daemon.poll() is not None:
                raise Failure(f"the daemon of {kind} ended with {daemon.returncode}")
            time.sleep(0.01)
        command = [plan["programs"]["minivmm"], "--kernel", "/boot/vmlinux", "--mem-backend", "shm",
                   "--memory", "256M", "--cmdline", disk["cmdline"],
                   "--vhost-user", f"{kind},socket=/disk.sock"]
        watch = subprocess.Popen([programs["stopwatch"], inside.ROOT, "\n".join(disk["lines"]), *command],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = watch.stdout.readline()
        watch.stdin.close()
        watch.wait()
        if not line:
            raise Failure(f"the guest with {kind} did not come to its end")
        got = json.loads(line)
        return [at - got["start"] for at in got["lines"]]
    finally:
        daemon.kill()
        daemon.wait()
        socket_path.unlink(missing_ok=True)
        path.unlink()


def boots(plan, programs):
    """The first run warms up."""
    for name, disk in plan["disks"].items():
        for run in range(plan["runs"] + 1):
            lines = boot(plan, programs, disk)
            if run:
                yield {"who": name, "lines": lines}


def main():
    plan = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    inside.make_root({"files": plan["files"], "vmms": []})
    programs = {name: copy_program(path) for name, path in plan["programs"].items()}
    for figure in swaps(programs, make_huge()):
        print(json.dumps(figure), flush=True)
    for figure in boots(plan, programs):
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"shmem: {failure}")
