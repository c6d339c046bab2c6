# SPDX-License-Identifier: Apache-2.0
"""The inner end: runs tests of tests/linux on the KVM of where it is, one at a time.

    python3 tests/runner/guests.py PLAN LOGS

PLAN (a JSON file) is {scratch, resources}. A test to run is a line of JSON on stdin, {name, test,
build, slow}; what came of it one on stdout, {status, seconds, reason, boots}. The outer end
(machine.py) starts it on the machine itself or inside a lab.
"""
import json
import os
import pathlib
import select
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "linux"))
import harness      # noqa: E402 pylint: disable=wrong-import-position
from tap import SANITIZERS      # noqa: E402 pylint: disable=wrong-import-position

GRACE = 5       # seconds from asking a late test to end until it and all below it is killed


def tell(**event):
    os.write(1, json.dumps(event).encode() + b"\n")


def log_path(logs, name):
    return pathlib.Path(logs) / (name + ".log")


class Running:
    """A test in its own process."""

    def __init__(self, item, test, plan, logs):
        self.name, self.start = item["name"], time.monotonic()
        self.limit = test.timeout * item["slow"]
        self.deadline, self.asked = self.start + self.limit, False
        self.dir = tempfile.mkdtemp(prefix="minivmm-test.", dir=plan.get("scratch"))
        path = log_path(logs, self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self.result, result = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.child(item, test, plan, log, result)
        os.close(log)
        os.close(result)

    def child(self, item, test, plan, log, result):
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, to in ((null, 0), (log, 1), (log, 2)):
            os.dup2(fd, to)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        harness.SLOW = item["slow"]
        os.environ.update(SANITIZERS)
        outcome = harness.run_test(test, item["build"], plan["resources"], self.dir)
        os.write(result, json.dumps(outcome).encode())
        os._exit(0)

    def wait(self):
        """Until it is done. When time is up its own process is asked to end, then all are killed."""
        while not select.select([self.result], [], [], max(0, self.deadline - time.monotonic()))[0]:
            if self.asked:
                self.kill()
                return
            self.asked, self.deadline = True, time.monotonic() + GRACE
            os.kill(self.pid, signal.SIGINT)

    def kill(self):
        for pid in [*harness.descendants(self.pid), self.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def finish(self):
        data = os.read(self.result, 65536)
        os.close(self.result)
        os.waitpid(self.pid, 0)
        shutil.rmtree(self.dir, ignore_errors=True)
        seconds = time.monotonic() - self.start
        status, reason, boots = json.loads(data) if data else ("FAIL", "the test's process died", 0)
        if self.asked:
            status, reason = "FAIL", f"not done after {self.limit:g} s"
        tell(status=status, seconds=seconds, reason=reason, boots=boots)


def run(plan, logs):
    tests = {test.name: test for test in harness.load(pathlib.Path(harness.__file__).parent)}
    for line in sys.stdin:
        item = json.loads(line)
        running = Running(item, tests[item["test"]], plan, logs)
        running.wait()
        running.finish()


def main():
    plan = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    run(plan, sys.argv[2])


if __name__ == "__main__":
    main()
