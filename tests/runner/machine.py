# SPDX-License-Identifier: Apache-2.0
"""Where guests run: on this machine when its KVM is a real one, else in labs, as many as there are processors.

A lab has one processor and runs one test at a time. A test that fails in it has failed; only a lab that
ends or falls silent under a test is started again, with that test, loudly.
"""
import concurrent.futures
import json
import os
import queue
import signal
import subprocess
import sys
import threading

from plan import ROOT, SLOW, build_dir
from report import Result
from tap import LIVE, kill_group

LAB = [str(ROOT / "tests/lab/lab"), "--mem", "8G", "--tmpfs", "7G"]
INNER = ROOT / "tests/runner/guests.py"
LAB_SLOW = 4        # than a real KVM; with room for a machine that does other things, too
STARTS = 3          # labs that a test may see the end of


def probe():
    """None when the KVM of this machine is real, else why not."""
    got = subprocess.run([ROOT / "tests/lab/kvm-probe"], capture_output=True, text=True, check=False)
    if got.returncode == 0:
        return None
    return got.stdout.strip() or got.stderr.strip() or "the probe failed"


class Place:
    """One lab, or this machine itself: a process of guests.py there, which runs what it is handed."""

    def __init__(self, number, in_lab, resources, logs):
        self.in_lab, self.logs = in_lab, logs
        self.complaints = logs / f"guests-{number}.err"
        plan = logs / f"plan-{number}.json"
        plan.write_text(json.dumps({"scratch": "/run" if in_lab else None, "resources": resources}),
                        encoding="utf-8")
        command = [sys.executable, "-B", str(INNER), str(plan), str(logs)]
        if in_lab:
            command = [*LAB, "--rw", str(logs), "--", *command]
        with open(self.complaints, "wb") as stderr:
            self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=stderr, start_new_session=True, text=True)
        LIVE[self.process.pid] = signal.SIGTERM

    def run(self, guest):
        """A Result, or None when the place ended under the test."""
        item = {"name": guest.name, "test": guest.test.name, "build": str(build_dir(guest.build)),
                "slow": (LAB_SLOW if self.in_lab else 1) * SLOW.get(guest.build, 1)}
        try:
            self.process.stdin.write(json.dumps(item) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self.process.stdout.readline()
        if not line:
            return None
        return Result(guest.name, log=self.logs / (guest.name + ".log"), **json.loads(line))

    def close(self):
        """Ends it; what it complained of."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            pass
        kill_group(self.process)
        self.process.wait()
        return self.complaints.read_text(errors="replace")


class Worker:
    """Takes tests off a queue that others take from, too, until it is empty."""

    def __init__(self, number, todo, open_place, emit):
        self.number, self.todo, self.open_place, self.emit = number, todo, open_place, emit
        self.place = None

    def work(self):
        try:
            while True:
                self.one(self.todo.get_nowait())
        except queue.Empty:
            pass
        finally:
            if self.place:
                self.place.close()

    def one(self, guest):
        for start in range(STARTS):
            self.place = self.place or self.open_place(self.number)
            result = self.place.run(guest)
            if result:
                return self.emit(result)
            complaint = self.place.close()
            if not self.place.in_lab or start + 1 == STARTS:
                break
            self.place = None
            print(f"a lab ended under {guest.name}; it is run in a new one. {complaint.strip()}", flush=True)
        self.place = None
        return self.emit(Result(guest.name, "FAIL", 0, "the machine under the test ended", tail=complaint))


def run_guests(guests, resources, logs, emit):
    """Runs the chosen guests (plan.Guest); emit(Result) for each as it comes, one at a time."""
    logs.mkdir(parents=True, exist_ok=True)
    run = Run(resources, logs, emit)
    run.on_machine([g for g in guests if not g.test.kvm])
    guests = [g for g in guests if g.test.kvm]
    if not guests:
        return
    reason = probe()
    if reason:
        print(f"{reason}; guests run in labs", flush=True)
        run.all(guests, True, os.cpu_count() or 1)
    else:
        run.on_machine(guests)


class Run:
    def __init__(self, resources, logs, emit):
        self.resources, self.logs, self.report = resources, logs, emit
        self.lock = threading.Lock()

    def emit(self, result):
        with self.lock:
            self.report(result)

    def on_machine(self, guests):
        """A test may have several vCPUs: half as many at a time as there are processors."""
        self.all([g for g in guests if not g.test.alone], False, max(1, (os.cpu_count() or 1) // 2))
        self.all([g for g in guests if g.test.alone], False, 1)

    def all(self, guests, in_lab, places):
        todo = queue.SimpleQueue()
        for guest in guests:
            todo.put(guest)

        def open_place(number):
            return Place(number, in_lab, self.resources, self.logs)
        with concurrent.futures.ThreadPoolExecutor(places) as pool:
            workers = [Worker(n, todo, open_place, self.emit) for n in range(min(places, len(guests)))]
            for done in [pool.submit(worker.work) for worker in workers]:
                done.result()
