# SPDX-License-Identifier: Apache-2.0
"""What a test came to, and how it is told: a line each, the tail of the log of what failed."""
import dataclasses
import os
import pathlib

TAIL_LINES = 40
# A skip for this reason is the machine's nature; any other one hides a fault of the set-up in CI.
MACHINE = "machine: "


@dataclasses.dataclass
class Result:
    name: str                       # suite/name
    status: str                     # ok, FAIL, skip
    seconds: float = 0.0
    reason: str = ""
    log: pathlib.Path | None = None
    tail: str = ""                  # shown for a failure, where the log would tell too much
    boots: int = 0                  # Linux guests that booted as the project defines it


class Report:
    def __init__(self, out, ci=None):
        self.out = out
        self.ci = os.environ.get("CI") == "true" if ci is None else ci
        self.passed = self.failed = self.skipped = self.boots = 0
        self.failures = []

    def add(self, result):
        if result.status == "skip" and self.ci and not result.reason.startswith(MACHINE):
            result.status, result.reason = "FAIL", "skipped in CI: " + result.reason
        self.boots += result.boots
        if result.status == "ok":
            self.passed += 1
            self.say(f"ok {result.name} ({result.seconds:.1f} s)")
        elif result.status == "skip":
            self.skipped += 1
            self.say(f"skip {result.name}: {result.reason.removeprefix(MACHINE)}")
        else:
            self.failed += 1
            self.failures.append(result.name)
            self.say(f"FAIL {result.name}" + (f": {result.reason}" if result.reason else ""))
            self.show_log(result)

    def show_log(self, result):
        text = result.tail
        if not text and result.log and result.log.exists():
            text = result.log.read_bytes()[-65536:].decode(errors="replace")
        for line in text.splitlines()[-TAIL_LINES:]:
            self.say("  | " + line)
        if result.log:
            self.say(f"  the whole log: {result.log}")

    def say(self, line):
        print(line, file=self.out, flush=True)

    def close(self):
        """The closing lines; the exit code."""
        for name in self.failures:
            self.say(f"failed: {name}")
        self.say(f"{self.passed} passed, {self.failed} failed"
                 + (f", {self.skipped} skipped" if self.skipped else ""))
        return 1 if self.failed else 0
