# SPDX-License-Identifier: Apache-2.0
"""The inner end of tests/bench/vmshm: guests that measure, each with the program at its other end alone.

    python3 inside_vmshm.py PLAN PART..

PLAN is JSON: programs {minivmm, ring-host, vsock_echo, vsock}, kernel, initrd, rounds, bytes. PARTs are the methods
of Bench: alone, polling, doorbell, vsock. All runs from memory (inside.py says why). The guest's lines of JSON go
to stdout.
"""
import contextlib
import json
import pathlib
import subprocess
import sys
import time

import inside

SECONDS = 240           # the longest that a guest may take
POLLED = 200            # runs of polling: each so short that some have both processors to themselves
BELLED = 20             # runs of the doorbell
PORT = 1234
SHM = pathlib.Path("/dev/shm")
CMDLINE = "console=ttyS0 quiet reboot=k panic=-1 -- {} poweroff"


class Failure(Exception):
    """One sentence."""


def copy_program(path):
    """Into memory, with what it needs; where it is there."""
    for file in (path, *inside.libraries(path)):
        inside.copy_in(file, file)
    return str(inside.ROOT / path.lstrip("/"))


class Bench:
    def __init__(self, plan):
        for name in ("kernel", "initrd"):
            inside.copy_in(plan[name], name)
        self.plan = plan
        self.programs = {name: copy_program(path) for name, path in plan["programs"].items()}

    def bench(self, what, name, runs=5):
        options = f"--runs={runs},--rounds={self.plan['rounds']},--bytes={self.plan['bytes']}"
        return f"exec=/bin/vmshm-bench,{options},{what},{name}"

    @contextlib.contextmanager
    def running(self, *command, **options):
        """A process that does not outlive the block."""
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, text=True, **options)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def guest(self, verbs, *options):
        return self.running(self.programs["minivmm"], "--kernel", inside.ROOT / "kernel", "--initrd",
                            inside.ROOT / "initrd", "--memory", "128M", "--cmdline", CMDLINE.format(verbs), *options,
                            stdout=subprocess.PIPE)

    @staticmethod
    def figures(vmm, most=SECONDS):
        """What the guest measured."""
        out, _ = vmm.communicate(timeout=most)
        found = [line[line.index("{"):].strip() for line in out.splitlines() if '{"what"' in line]
        if vmm.returncode or not found:
            raise Failure(f"the guest ended with {vmm.returncode} and {len(found)} figures:\n{out}")
        return found

    def alone(self):
        """Nobody is at the other end."""
        with open(SHM / "bench", "wb") as file:
            file.truncate(1 << 20)
        verbs = " ".join(self.bench(what, "/bench") for what in ("memcpy", "open", "turns"))
        with self.guest(verbs, "--vmshm", "allow=/bench") as vmm:
            return self.figures(vmm)

    def polling(self):
        with self.running(self.programs["ring-host"], "--echo", SHM / "poll"):
            wait_for(SHM / "poll")
            with self.guest(self.bench("poll", "/poll", POLLED), "--vmshm", "allow=/poll") as vmm:
                return self.figures(vmm)

    def doorbell(self):
        events = inside.ROOT / "events.sock"
        with open(SHM / "bell", "wb") as file:
            file.truncate(1 << 20)
        with self.guest(self.bench("doorbell", "/bell", BELLED),
                        "--vmshm", f"allow=/bell,vectors=2,events={events}") as vmm:
            wait_for(events, vmm)
            with self.running(self.programs["ring-host"], "--echo", "--spin=0", f"--events={events}", SHM / "bell"):
                return self.figures(vmm)

    def vsock(self):
        device, uds = inside.ROOT / "vsock.sock", inside.ROOT / "vsock.uds"
        with self.running(self.programs["vsock_echo"], f"{uds}_{PORT}", stdout=subprocess.PIPE) as echo:
            echo.stdout.readline()
            with self.running(self.programs["vsock"], "--vm", f"guest-cid=3,socket={device},uds-path={uds}") as daemon:
                wait_for(device, daemon)
                with self.guest(self.bench("vsock", PORT), "--vhost-user",
                                f"generic,virtio-id=19,num_vqs=3,config-size=8,socket={device}") as vmm:
                    return self.figures(vmm)


def wait_for(path, process=None):
    """Until somebody made it."""
    for _ in range(SECONDS * 10):
        if path.exists():
            return
        if process and process.poll() is not None:
            break
        time.sleep(0.1)
    raise Failure(f"nobody makes {path}")


def main():
    inside.ROOT.mkdir(parents=True, exist_ok=True)
    bench = Bench(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")))
    for part in sys.argv[2:]:
        for line in getattr(bench, part)():
            print(line, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (Failure, subprocess.TimeoutExpired) as failure:
        sys.exit(f"vmshm: {failure}")
