# SPDX-License-Identifier: Apache-2.0
"""The runner behind tests/run.sh. Order: builds, checks, programs, then guests: what fails fast is told first."""
import argparse
import concurrent.futures
import os
import signal
import sys
import time

import machine
import plan
import prepare
import tap
from report import Report, Result

LOGS = plan.build_dir(plan.PLAIN) / "test-logs"


def parse():
    parser = argparse.ArgumentParser(
        prog="run.sh", description="Run every test, or those whose name or tag is given.",
        epilog="A PATTERN is how suite/name or a later part of it begins, or a shell pattern for the whole.")
    parser.add_argument("--list", action="store_true", help="name the tests, run none")
    parser.add_argument("--tag", action="append", default=[], help="only tests of this tag")
    parser.add_argument("pattern", nargs="*", metavar="PATTERN")
    return parser.parse_args()


class Run:
    def __init__(self, selection, report):
        self.selection, self.report = selection, report
        self.broken = set()         # builds that are not there
        self.resources = {}

    def emit(self, result):
        self.report.add(result)

    def build(self, items):
        for build in plan.BUILDS:
            if any(i.build == build and getattr(getattr(i, "test", i), "build", True) for i in items):
                result = prepare.compile_build(build, LOGS)
                self.emit(result)
                if result.status != "ok":
                    self.broken.add(build)

    def run_programs(self, programs):
        """As many at a time as there are processors; what comes of them in order."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            def one(program):
                if program.build in self.broken:
                    return [Result(program.name, "FAIL", 0, f"no build ({program.build})")]
                return tap.run_program(program, LOGS / (program.name + ".log"))
            for results in pool.map(one, programs):
                for result in results:
                    if result.status == "FAIL" or self.selection.matches(result.name):
                        self.emit(result)

    def provide(self, guests):
        """Prepares what the guests need; gives those that can run."""
        missing = {}
        broken = [g for g in guests if g.build in self.broken and g.test.build]
        for guest in broken:
            self.emit(Result(guest.name, "FAIL", 0, f"no build ({guest.build})"))
        guests = [g for g in guests if g not in broken]
        for name in dict.fromkeys(n for g in guests for n in g.test.needs):
            start = time.monotonic()
            path, failure = prepare.provide(name, LOGS)
            if failure:
                missing[name] = failure
                self.emit(failure)
            else:
                self.resources[name] = path
                self.report.say(f"set-up: {name} ({time.monotonic() - start:.1f} s)")
        able = []
        for guest in guests:
            lack = [n for n in guest.test.needs if n in missing]
            if lack:
                self.emit(Result(guest.name, "FAIL", 0, f"no {lack[0]}"))
            else:
                able.append(guest)
        return able

    def run_guests(self, guests):
        able = self.provide(guests)
        if able:
            machine.run_guests(able, self.resources, LOGS, self.emit)

    def everything(self, programs, guests):
        self.build([*programs, *guests])
        benches = [p for p in programs if p.suite == "bench"]
        self.run_programs([p for p in programs if p not in benches])
        self.run_guests(guests)
        self.run_programs(benches)
        if self.report.boots:
            self.report.say(f"Linux guests booted: {self.report.boots}")
        elif self.selection.everything:
            self.emit(Result("linux/boots", "FAIL", 0, "no Linux guest booted in this run"))


def main():
    args = parse()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, tap.end_all)
    selection = plan.Selection(args.tag, args.pattern)
    report = Report(sys.stdout)
    configured = prepare.configure(plan.PLAIN, LOGS)
    if configured.status != "ok" and args.list:
        report.add(configured)
        return report.close()
    programs = [p for p in [*plan.checks(), *plan.programs(), *plan.benches()] if selection.wants(p)]
    guests = [g for g in plan.guests() if selection.wants(g)]
    if args.list:
        for item in [*programs, *guests]:
            for name in item.names():
                if selection.matches(name):
                    print(name)
        return 0
    if not programs and not guests:
        print("run.sh: no test has such a name or tag (--list names them)", file=sys.stderr)
        return 2
    if configured.status != "ok":
        report.add(configured)
    Run(selection, report).everything(programs, guests)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
