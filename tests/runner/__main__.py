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

    def build(self, needed, wanted):
        """Those that are wanted as tests (plan.Build) have a result; of others only failure is one."""
        wanted = {item.build for item in wanted}
        for build in plan.BUILDS:
            if build not in wanted | needed:
                continue
            result = prepare.compile_build(build, LOGS)
            if build in wanted or result.status != "ok":
                self.emit(result)
            else:
                self.report.say(f"set-up: build {build} ({result.seconds:.1f} s)")
            if result.status != "ok":
                self.broken.add(build)

    def narrow(self, programs):
        """Of programs that may be wanted those that are: once built they are asked for their cases."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            def is_wanted(program):
                if program.build in self.broken:
                    return self.selection.matches(program.name)
                return self.selection.wants(program)
            return [p for p, wanted in zip(programs, pool.map(is_wanted, programs)) if wanted]

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

    def everything(self, programs, guests, builds):
        """False when nothing is selected."""
        self.build({p.build for p in programs} | {g.build for g in guests if g.test.build}, builds)
        programs = self.narrow(programs)
        if not programs and not guests and not builds and not self.broken:
            return False
        benches = [p for p in programs if p.suite == "bench"]
        self.run_programs([p for p in programs if p not in benches])
        self.run_guests(guests)
        self.run_programs(benches)
        if self.report.boots:
            self.report.say(f"Linux guests booted: {self.report.boots}")
        elif self.selection.everything:
            self.emit(Result("linux/boots", "FAIL", 0, "no Linux guest booted in this run"))
        return True

    def list(self, programs, guests, builds):
        """Prints the names that a run reports, when nothing fails."""
        self.build({p.build for p in programs if p.protocol == "tap"}, [])
        if not self.broken:
            for item in [*builds, *self.narrow(programs), *guests]:
                for name in filter(self.selection.matches, item.names()):
                    print(name)


def main():
    args = parse()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, tap.end_all)
    selection = plan.Selection(args.tag, args.pattern)
    report = Report(sys.stderr if args.list else sys.stdout)
    run = Run(selection, report)
    configured = prepare.configure(plan.PLAIN, LOGS)
    if configured.status != "ok":
        report.add(configured)
        if args.list:
            return report.close()
    programs = [p for p in [*plan.checks(), *plan.programs(), *plan.benches()] if selection.may_want(p)]
    guests, builds = ([i for i in items if selection.wants(i)] for items in (plan.guests(), plan.builds()))
    if args.list:
        run.list(programs, guests, builds)
        return report.close() if run.broken else 0
    if not run.everything(programs, guests, builds):
        print("run.sh: no test has such a name or tag (--list names them)", file=sys.stderr)
        return 2
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
