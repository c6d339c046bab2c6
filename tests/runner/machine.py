# SPDX-License-Identifier: Apache-2.0
"""Where guests run: on this machine when its KVM is a real one, else all of them in one lab."""
import collections
import json
import os
import signal
import subprocess
import sys

from plan import ROOT, SLOW, build_dir
from report import Result
from tap import LIVE, kill_group

LAB = [str(ROOT / "tests/lab/lab"), "--mem", "8G", "--tmpfs", "7G"]
INNER = ROOT / "tests/runner/guests.py"
LAB_SLOW = 2        # limits are written for an idle machine
STARTS = 10         # a lab that ends under its tests is started again for the rest
RETRIES = 2         # of a test that failed in the lab


def probe():
    """None when the KVM of this machine is real, else why not."""
    got = subprocess.run([ROOT / "tests/lab/kvm-probe"], capture_output=True, text=True, check=False)
    if got.returncode == 0:
        return None
    return got.stdout.strip() or got.stderr.strip() or "the probe failed"


def lab_failure():
    """Fills the lab's part of the cache; a sentence when that does not work."""
    got = subprocess.run([LAB[0], "--prepare"], capture_output=True, text=True, check=False)
    return None if got.returncode == 0 else got.stderr.strip()


def run_guests(guests, resources, logs, emit):
    """Runs the chosen guests (plan.Guest); emit(Result) for each as it comes."""
    anywhere = [g for g in guests if not g.test.kvm]
    if anywhere:
        run_all(anywhere, False, resources, logs, emit)
    guests = [g for g in guests if g.test.kvm]
    if guests:
        reason = probe()
        if reason:
            print(f"{reason}; guests run in the lab", flush=True)
        run_all(guests, reason is not None, resources, logs, emit)


def run_all(guests, in_lab, resources, logs, emit):
    todo = list(guests)
    again = collections.Counter()     # how often each was run again, see start
    for _ in range(STARTS):
        if not todo:
            return
        todo = start(todo, in_lab, again, resources, logs, emit)
    for guest in todo:
        emit(Result(guest.name, "FAIL", 0, "the machine under the tests ended again and again"))


def start(guests, in_lab, again, resources, logs, emit):
    """One lab, or one run on the machine; gives what it left undone.

    Nested virtualization under a multi-threaded QEMU now and then loses a processor's state: the
    lab's kernel panics, or a guest in it triple-faults. That says nothing of the test: what fails in
    the lab is run again, in a fresh one, loudly, twice at most. What fails there as well has failed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    plan = logs / "plan.json"
    items = [{"name": g.name, "test": g.test.name, "build": str(build_dir(g.build)),
              "slow": (LAB_SLOW if in_lab else 1) * SLOW.get(g.build, 1)} for g in guests]
    plan.write_text(json.dumps({"jobs": max(1, (os.cpu_count() or 2) // (1 if in_lab else 2)),
                                "scratch": "/run" if in_lab else None,
                                "resources": resources, "items": items}), encoding="utf-8")
    command = [sys.executable, "-B", str(INNER), str(plan), str(logs)]
    if in_lab:
        command = [*LAB, "--rw", str(logs), "--", *command]
    complaints = logs / "guests.err"
    with open(complaints, "wb") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=stderr, start_new_session=True, text=True)
    LIVE[process.pid] = signal.SIGTERM
    waiting = {g.name: g for g in guests}
    under_way, retry = [], []
    try:
        for line in process.stdout:
            event = json.loads(line)
            if "start" in event:
                under_way.append(event["start"])
                continue
            name = event["end"]
            under_way.remove(name)
            guest = waiting.pop(name)
            if in_lab and event["status"] == "FAIL" and again[name] < RETRIES:
                again[name] += 1
                retry.append(guest)
                print(f"{name} failed in the lab ({event['reason']}): it is run again in a new one", flush=True)
                continue
            emit(Result(name, event["status"], event["seconds"], event["reason"], logs / (name + ".log"),
                        boots=event["boots"]))
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            pass
        kill_group(process)
        process.wait()
    if not waiting:
        return retry
    errors = complaints.read_text(errors="replace")
    if not under_way:
        for guest in waiting.values():
            emit(Result(guest.name, "FAIL", 0, "no guest could be run", tail=errors))
        return retry
    for name in under_way:
        if in_lab and again[name] < RETRIES:
            again[name] += 1
            print(f"the lab ended under {name}: it is run again in a new one", flush=True)
            continue
        del waiting[name]
        emit(Result(name, "FAIL", 0, "the machine under the test ended", logs / (name + ".log"), errors))
    return sorted([*waiting.values(), *retry], key=lambda g: -again[g.name])
